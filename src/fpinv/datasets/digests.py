"""Digests of examples, by which a continued run notices that one has changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from hashlib import file_digest, sha256
from pathlib import Path

from PIL import Image

from fpinv.datasets.example import EditCase, Example
from fpinv.datasets.groups import Group

LENGTH = 16  # hexadecimal digits: chance makes two of a million examples alike once in 10 million


def digest(example: Example) -> str | None:
    """Return a digest of what an example consists of, or None where it cannot be read.

    That is its prompt, its seed, its image, and its edit with the mask; for a group, those of its
    images. An image in a file is digested as the file, any other by its pixels.
    """
    try:
        return sha256(b"\0".join(_parts(example))).hexdigest()[:LENGTH]
    except Exception:  # decoders fail in many ways, and the task will name the fault
        return None


def image_digest(*examples: Example) -> str:
    """Return a digest of the images of examples alone, whatever is said of them or made of them.

    An image in a file is digested as the file, any other by its pixels, and one that the model
    makes by its seed.
    """
    parts = [part for example in examples for part in _image_parts(example)]
    return sha256(b"\0".join(parts)).hexdigest()[:LENGTH]


def digesting(
    examples: Iterable[Example], digests: MutableMapping[str, str | None]
) -> Iterator[Example]:
    """Yield the examples, with the digest of each put among ``digests`` under its id."""
    for example in examples:
        digests[example.id] = digest(example)
        yield example


def _parts(example: Example) -> Iterator[bytes]:
    yield repr((example.prompt, example.seed)).encode("utf-8", "surrogatepass")
    if isinstance(example, Group):
        for member in (*example.members, *example.further):
            yield from _parts(member)
    if example.case is not None:
        yield from _case_parts(example.case)
    if example.image is not None:
        yield from _image_parts(example)


def _image_parts(example: Example) -> Iterator[bytes]:
    match example.image:
        case None:
            yield repr(example.seed).encode()
        case Path() as path:
            with path.open("rb") as file:
                yield file_digest(file, "sha256").digest()
        case Image.Image() as picture:
            yield _pixels(picture)
        case draw:
            yield _pixels(draw())


def _case_parts(case: EditCase) -> Iterator[bytes]:
    edit = case.edit
    settings = (edit.prompt, edit.kind, edit.blend, sorted(edit.reweight.items()), case.image)
    yield repr(settings).encode("utf-8", "surrogatepass")
    mask = case.mask() if callable(case.mask) else case.mask
    if mask is not None:
        yield repr(mask.shape).encode() + mask.tobytes()


def _pixels(picture: Image.Image) -> bytes:
    return repr((picture.mode, picture.size)).encode() + picture.tobytes()
