"""A folder of images, with captions from a table or from the file names."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.tables.files import existing_folder
from fpinv.datasets.tables.table import cell, listed, read_rows
from fpinv.errors import UserError

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
METADATA = ("metadata.jsonl", "metadata.csv")
FILE_KEYS = ("file", "file_name")
CAPTION_KEYS = ("caption", "text")
LONGEST_ID = 60  # leaves room for a digest and endings within the 255 bytes of a file name


class Folder(ListedDataset):
    """The images of a folder and of the folders in it, sorted by path, each with one caption.

    Captions come from ``captions``, else from metadata.jsonl or metadata.csv in the folder, else
    from the file names ("a_red-car.jpg" is captioned "a red car"). A table has one row per image:
    a csv file with a header, or one JSON object per line; the columns are file (or file_name: the
    path within the folder) and caption (or text). The first of several rows for an image counts.
    Hidden files and folders are passed over.

    An example is named after its path without the ending, with anything but ASCII letters and
    digits, dot, hyphen and underscore replaced; where that is long, or not unique, a digest of the
    path is added.

    Arguments:
        root: The folder; None raises an error that says so.
        captions: The table, ending in .csv or .jsonl, a path by itself or in ``root``.

    Raises:
        UserError: no such folder or table, no image in it, a malformed row, a row without an
            image, an image without a caption.
    """

    def __init__(self, root: str | None, captions: str | None = None) -> None:
        folder = existing_folder(root, "point dataset.root=<folder> at a folder of images")
        images = find_images(folder)
        table = _table(folder, captions)
        prompts = _name_captions(images) if table is None else _row_captions(table, images)
        super().__init__(
            Example(id, prompts[image], folder / image)
            for id, image in zip(slugs(images), images, strict=True)
        )


def find_images(folder: Path) -> list[str]:
    """Return the sorted paths of the images within the folder, with forward slashes.

    Raises:
        UserError: the folder has no image.
    """
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    images = [
        path.as_posix()
        for path in paths
        if path.suffix.lower() in SUFFIXES and not any(name.startswith(".") for name in path.parts)
    ]
    if not images:
        raise UserError(f"{folder}: no image in this folder (looked for {listed(SUFFIXES)})")
    return sorted(images)


def _table(folder: Path, captions: str | None) -> Path | None:
    """Return the file of the captions: the one that is named, the folder's own, or None."""
    if captions is None:
        return next((folder / name for name in METADATA if (folder / name).is_file()), None)
    table = Path(captions).expanduser()
    return table if table.is_file() else folder / table


def _name_captions(images: list[str]) -> dict[str, str]:
    captions = {image: re.sub(r"[\s_-]+", " ", Path(image).stem).strip() for image in images}
    for image, caption in captions.items():
        if not caption:
            raise UserError(f"{image}: its name says nothing; give dataset.captions=<file>")
    return captions


def _row_captions(table: Path, images: list[str]) -> dict[str, str]:
    captions: dict[str, str] = {}
    paths = set(images)
    for place, row in read_rows(table, "check dataset.captions"):
        image = Path(cell(row, FILE_KEYS, place)).as_posix()
        caption = cell(row, CAPTION_KEYS, place)
        if image not in paths:
            raise UserError(f"{place}: no image {image!r} in the folder")
        captions.setdefault(image, caption)
    missing = [image for image in images if image not in captions]
    if missing:
        raise UserError(
            f"{table}: no caption for {missing[0]!r} ({len(missing)} of {len(images)} images have "
            "none); add the rows or take the images away"
        )
    return captions


def slugs(images: list[str]) -> list[str]:
    """Return names for images by their paths, unique and fit for file names."""
    names = [
        re.sub(r"[^\w.-]+", "_", str(Path(image).with_suffix("")), flags=re.ASCII)
        for image in images
    ]
    # lower case, because some file systems take A and a for the same name
    uses = Counter(name.lower() for name in names)
    return [
        name
        if uses[name.lower()] == 1 and len(name) <= LONGEST_ID
        else f"{name[:LONGEST_ID]}-{hashlib.sha256(image.encode()).hexdigest()[:8]}"
        for name, image in zip(names, images, strict=True)
    ]
