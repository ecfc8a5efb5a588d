"""A folder of images, with captions in any of the usual layouts."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from fpinv.datasets.example import ListedDataset
from fpinv.datasets.image_files import ImageFiles, is_hidden
from fpinv.datasets.tables.files import existing_folder
from fpinv.datasets.tables.table import cell, read_rows
from fpinv.errors import UserError
from fpinv.images.viewing import nfc

TABLES = ("metadata.jsonl", "metadata.csv", "captions.jsonl", "captions.csv", "captions.json")
BESIDE = (".txt", ".caption")
FILE_KEYS = ("file", "file_name")
CAPTION_KEYS = ("caption", "text")


class Folder(ListedDataset):
    """The images of a folder and of the folders in it, sorted by path, each with one caption.

    Captions come from the first of these that there is:

    - ``captions``, a table: csv with a header and any delimiter, an object of JSON a line, or JSON
      in COCO's schema. Its columns are file (or file_name: the path within the folder) and caption
      (or text). The first of several rows for an image counts.
    - the folder's own metadata.jsonl, metadata.csv, captions.jsonl, captions.csv or captions.json,
      or such tables in the folders in it, whose paths begin there;
    - a text file beside each image, a.txt or a.caption for a.jpg, whose first line counts;
    - the file names: "a_red-car.jpg" is captioned "a red car".

    Arguments:
        root: The folder; None raises an error that says so.
        captions: The table, a path by itself or in ``root``.

    Attributes:
        notes: The line that says where the captions come from.

    Raises:
        UserError: no such folder or table, no image in it, a malformed row, a row without an
            image, an image without a caption.
    """

    def __init__(self, root: str | None, captions: str | None = None) -> None:
        folder = existing_folder(root, "point dataset.root=<folder> at a folder of images")
        images = ImageFiles(folder)
        if tables := _tables(folder, captions):
            others = f" and {len(tables) - 1} more" if tables[1:] else ""
            source, prompts = f"{tables[0]}{others}", _from_tables(tables, images)
        elif texts := _texts(images):
            source, prompts = "the text files beside the images", _from_texts(texts, images)
        else:
            source, prompts = "the names of the image files", _from_names(images)
        self.notes = [f"captions: {source}"]
        super().__init__(
            replace(example, prompt=prompts[path]) for path, example in images.examples.items()
        )


def _tables(folder: Path, captions: str | None) -> list[Path]:
    """Return the files of the captions: the one that is named, or the folder's own."""
    if captions is not None:
        table = Path(captions).expanduser()
        return [table if table.is_file() else folder / table]
    tables = [
        path
        for path in sorted(folder.rglob("*"))
        if path.name in TABLES and not is_hidden(path.relative_to(folder))
    ]
    first = min((path.name for path in tables), key=TABLES.index, default=None)
    return [path for path in tables if path.name == first]


def _from_tables(tables: list[Path], images: ImageFiles) -> dict[str, str]:
    captions: dict[str, str] = {}
    for table in tables:
        for place, row in read_rows(table, "check dataset.captions"):
            name = cell(row, FILE_KEYS, place)
            if table.name in TABLES and images.folder in table.parents:
                name = (table.parent.relative_to(images.folder) / name).as_posix()
            captions.setdefault(images.path_of(name, place), cell(row, CAPTION_KEYS, place))
    return _complete(captions, images, str(tables[0]), "add the rows")


def _texts(images: ImageFiles) -> dict[str, Path]:
    """Return the text files beside images by the paths of those."""
    return {
        path: file
        for path in images.examples
        for ending in reversed(BESIDE)  # the last one stays
        if (file := (images.folder / path).with_suffix(ending)).is_file()
    }


def _from_texts(texts: dict[str, Path], images: ImageFiles) -> dict[str, str]:
    captions = {}
    for path, file in texts.items():
        # A text that is not UTF-8 costs its own image, when the caption is encoded.
        lines = file.read_text("utf-8-sig", "surrogateescape").split("\n")
        if caption := next((line.strip() for line in lines if line.strip()), ""):
            captions[path] = caption
    return _complete(captions, images, str(images.folder), "add a text file beside each")


def _from_names(images: ImageFiles) -> dict[str, str]:
    return {path: caption_of(path) for path in images.examples}


def caption_of(path: str) -> str:
    """Return the caption that the name of an image says.

    Raises:
        UserError: it says nothing.
    """
    caption = re.sub(r"[\s_-]+", " ", nfc(Path(path).stem)).strip()
    if not caption:
        raise UserError(f"{path}: its name says nothing; give dataset.captions=<file>")
    return caption


def _complete(
    captions: dict[str, str], images: ImageFiles, source: str, remedy: str
) -> dict[str, str]:
    """Return the captions if every image has one.

    Raises:
        UserError: an image has none.
    """
    missing = [path for path in images.examples if path not in captions]
    if missing:
        raise UserError(
            f"{source}: no caption for {missing[0]!r} ({len(missing)} of {len(images.examples)} "
            f"images have none); {remedy} or take the images away"
        )
    return captions
