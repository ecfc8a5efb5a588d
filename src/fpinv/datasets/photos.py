"""Images that are named one by one, with the edits of each."""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.folder import caption_of
from fpinv.datasets.image_files import slugs
from fpinv.datasets.tables.edit_table import Row, edit_examples, factors, words
from fpinv.editing.request import Edit, Kind
from fpinv.errors import UserError

WILD = "*?["
Texts = str | Sequence[str] | None


class Photos(ListedDataset):
    """Images by their paths, each with a caption, and every image with all edits.

    Arguments:
        image: A path, a pattern such as ``photos/*.jpg``, or a list of these.
        prompt: The caption of all images, or a list with that of each; None takes file names for
            captions, as :class:`~fpinv.datasets.folder.Folder` does.
        edit: A target prompt or a list of them; None for images without edits.
        kind: ``replace`` or ``refine``, of all edits; None derives it from the prompts.
        blend: Words outside which the image should stay, with semicolons between or as a list.
        reweight: Factors by word, as ``word: factor`` with semicolons between or as a mapping.
        mask: A picture that is white where the edits may show; None for none.

    Raises:
        UserError: there is no such file, or the numbers of images and captions differ.
    """

    def __init__(
        self,
        image: Texts,
        prompt: Texts = None,
        edit: Texts = None,
        kind: Kind | None = None,
        blend: Texts = None,
        reweight: str | Mapping[str, float] | None = None,
        mask: str | None = None,
    ) -> None:
        files = list(dict.fromkeys(f for pattern in _listed(image) for f in _files(pattern)))
        if not files:
            raise UserError("no image is named: give image=<file>")
        named = zip(_ids(files), _captions(prompt, files), files, strict=True)
        images = [Example(id, caption, file) for id, caption, file in named]
        if not edit:
            options = {"kind": kind, "blend": blend, "reweight": reweight, "mask": mask}
            if unused := [name for name, value in options.items() if value]:
                raise UserError(f"{unused[0]}=... says how to edit: add edit=<target prompt>")
            super().__init__(images)
            return
        edits = [Edit(text, kind, words(blend), _factors(reweight)) for text in _listed(edit)]
        rows = [
            (example, Row("edit=", example.id, None, request, mask))
            for example in images
            for request in edits
        ]
        super().__init__(edit_examples(rows, Path()))


def _listed(texts: Texts) -> list[str]:
    return [texts] if isinstance(texts, str) else list(texts or ())


def _factors(reweight: str | Mapping[str, float] | None) -> dict[str, float]:
    try:
        return factors(reweight)
    except ValueError:
        raise UserError(
            f"reweight={reweight} is not possible: give word: factor, with semicolons between"
        ) from None


def _files(pattern: str) -> list[Path]:
    """Return the file of a path, or those that match a pattern, sorted.

    Raises:
        UserError: there is none.
    """
    path = Path(pattern).expanduser()
    if path.is_file():
        return [path]
    matches = (
        sorted(glob.glob(str(path), recursive=True)) if any(c in pattern for c in WILD) else []
    )
    if path.is_dir():
        raise UserError(f"image={pattern} is a folder: give image='{pattern}/*.jpg'")
    if not matches:
        raise UserError(f"image={pattern}: there is no such file")
    return [Path(match) for match in matches]


def _ids(files: Sequence[Path]) -> list[str]:
    """Return names for files: their own, or that of their path where several share one."""
    uses = Counter(file.name for file in files)
    return slugs([file.name if uses[file.name] == 1 else str(file) for file in files])


def _captions(prompt: Texts, files: Sequence[Path]) -> list[str]:
    """Return the caption of each file.

    Raises:
        UserError: there are several, but not as many as files.
    """
    if prompt is None:
        return [caption_of(file.name) for file in files]
    prompts = _listed(prompt)
    if len(prompts) == 1:
        return prompts * len(files)
    if len(prompts) != len(files):
        images = f"{len(files)} image{'s' if len(files) > 1 else ''}"
        raise UserError(f"there are {len(prompts)} prompts for {images}: give one each")
    return prompts
