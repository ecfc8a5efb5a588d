"""A folder of images, with captions from a table or from the file names."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fpinv.datasets.example import Example
from fpinv.datasets.files import existing_folder, read_text
from fpinv.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
METADATA = ("metadata.jsonl", "metadata.csv")
FILE_KEYS = ("file", "file_name")
CAPTION_KEYS = ("caption", "text")
LONGEST_ID = 60  # leaves room for a digest and endings within the 255 bytes of a file name


class Folder:
    """The images of a folder and of the folders in it, sorted by path, each with one caption.

    Captions come from ``captions``, else from metadata.jsonl or metadata.csv in the folder, else
    from the file names ("a_red-car.jpg" is captioned "a red car"). A table has one row per image:
    a csv file with a header, or one JSON object per line; the columns are file (or file_name: the
    path within the folder) and caption (or text). Of several rows for an image the first counts.
    Hidden files and folders are passed over.

    An example is named after its path without the ending, with anything but ASCII letters and
    digits, dot, hyphen and underscore replaced; where that is long, or not unique, a digest of the
    path is added.

    Arguments:
        root: The folder; None raises an error that says so.
        captions: The table, ending in .csv or .jsonl, looked for as given and then in ``root``.

    Raises:
        UserError: no such folder or table, no image in it, a malformed row, a row without an
            image, an image without a caption.
    """

    def __init__(self, root: str | None, captions: str | None = None) -> None:
        folder = existing_folder(root, "point dataset.root=<folder> at a folder of images")
        images = _images(folder)
        table = _table(folder, captions)
        prompts = _name_captions(images) if table is None else _row_captions(table, images)
        self._examples = [
            Example(id, prompts[image], folder / image)
            for id, image in zip(_ids(images), images, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _images(folder: Path) -> list[str]:
    """Paths of the images within the folder, with forward slashes."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    images = [
        path.as_posix()
        for path in paths
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)
    ]
    if not images:
        raise UserError(f"{folder}: no image in this folder (looked for {_listed(SUFFIXES)})")
    return sorted(images)


def _table(folder: Path, captions: str | None) -> Path | None:
    """The file of the captions: the one asked for, or the folder's own, or none."""
    if captions is None:
        return next((folder / name for name in METADATA if (folder / name).is_file()), None)
    given = Path(captions).expanduser()
    return given if given.is_file() else folder / given


def _name_captions(images: list[str]) -> dict[str, str]:
    captions = {image: re.sub(r"[\s_-]+", " ", Path(image).stem).strip() for image in images}
    for image, caption in captions.items():
        if not caption:
            raise UserError(f"{image}: its name says nothing; give dataset.captions=<file>")
    return captions


def _row_captions(table: Path, images: list[str]) -> dict[str, str]:
    captions: dict[str, str] = {}
    known = set(images)
    for line, row in _rows(table):
        image = Path(_value(row, FILE_KEYS, table, line)).as_posix()
        caption = _value(row, CAPTION_KEYS, table, line)
        if image not in known:
            raise UserError(f"{table}, line {line}: no image {image!r} in the folder")
        captions.setdefault(image, caption)
    missing = [image for image in images if image not in captions]
    if missing:
        raise UserError(
            f"{table}: no caption for {missing[0]!r} ({len(missing)} of {len(images)} images have "
            "none); add the rows or take the images away"
        )
    return captions


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a table, each with the line that it ends on."""
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise UserError(f"{table}: captions come from a file ending in {_listed(READERS)}")
    return reader(table, read_text(table, "check dataset.captions"))


def _csv_rows(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise UserError(
                    f"{table}, line {reader.line_num}: more cells than columns; "
                    "put captions with commas in double quotes"
                )
            yield reader.line_num, row
    except csv.Error as error:
        line = reader.reader.line_num  # the outer count stops at the last good row
        raise UserError(f"{table}, line {line}: malformed row ({error})") from None


def _jsonl_rows(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # not splitlines: JSON strings may hold other line separators of Unicode as they are
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{table}, line {line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{table}, line {line}: not a JSON object with file and caption")
        yield line, row


READERS = {".csv": _csv_rows, ".jsonl": _jsonl_rows}


def _value(row: Mapping[str, Any], keys: tuple[str, ...], table: Path, line: int) -> str:
    """The text under the first of these keys that the row has."""
    value = next((row[key] for key in keys if key in row), None)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{table}, line {line}: no {' or '.join(keys)} in this row")
    return value.strip()


def _ids(images: list[str]) -> list[str]:
    slugs = [
        re.sub(r"[^\w.-]+", "_", str(Path(image).with_suffix("")), flags=re.ASCII)
        for image in images
    ]
    # lower case, because some file systems take A and a for the same name
    uses = Counter(slug.lower() for slug in slugs)
    return [
        slug
        if uses[slug.lower()] == 1 and len(slug) <= LONGEST_ID
        else f"{slug[:LONGEST_ID]}-{hashlib.sha256(image.encode()).hexdigest()[:8]}"
        for slug, image in zip(slugs, images, strict=True)
    ]


def _listed(suffixes: Mapping[str, Any] | set[str]) -> str:
    return ", ".join(sorted(suffixes))
