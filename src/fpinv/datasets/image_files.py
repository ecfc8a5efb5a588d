"""The images within a folder, and the names by which tables mean them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path

from fpinv.datasets.example import Example
from fpinv.datasets.tables.table import listed
from fpinv.errors import UserError
from fpinv.images.viewing import nfc

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
LONGEST_ID = 60  # leaves room for a digest and endings within the 255 bytes of a file name


class ImageFiles:
    """The images of a folder and of the folders in it, hidden ones aside, sorted by path.

    Arguments:
        folder: The folder.

    Attributes:
        folder: The folder.
        examples: An example without a caption for each path within the folder. It is named after
            its path without the ending, with anything but ASCII letters and digits, dot, hyphen
            and underscore replaced; where that is long, or not unique, a digest of the path is
            added.

    Raises:
        UserError: there is no image.
    """

    def __init__(self, folder: Path) -> None:
        paths = _find(folder)
        self.folder = folder
        self.examples = {
            path: Example(id, "", folder / path)
            for path, id in zip(paths, slugs(paths), strict=True)
        }
        self._by_form = {nfc(path): path for path in paths}
        names = Counter(nfc(Path(path).name) for path in paths)
        self._by_name = {name: path for path in paths if names[name := nfc(Path(path).name)] == 1}

    def path_of(self, name: str, place: str) -> str:
        """Return the path of the image that a table names.

        The forms of Unicode are not told apart. A bare file name stands for the only image of
        that name in any folder.

        Arguments:
            name: The path within the folder.
            place: File and line of the table, for messages.

        Raises:
            UserError: there is no such image, or none of a kind that is read.
        """
        path = Path(name).as_posix()
        if path in self.examples:
            return path
        form = nfc(path)
        if (match := self._by_form.get(form, self._by_name.get(form))) is not None:
            return match
        if Path(name).suffix.lower() not in SUFFIXES:
            raise UserError(f"{place}: {name!r} does not end in any of {listed(SUFFIXES)}")
        raise UserError(f"{place}: no image {name!r} in the folder")


def is_hidden(path: Path) -> bool:
    """Return whether a path within a folder has a part that begins with a dot."""
    return any(name.startswith(".") for name in path.parts)


def _find(folder: Path) -> list[str]:
    paths = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    images = [
        path.as_posix()
        for path in paths
        if path.suffix.lower() in SUFFIXES and not is_hidden(path)
    ]
    if not images:
        raise UserError(f"{folder}: no image in this folder (looked for {listed(SUFFIXES)})")
    return sorted(images)


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
        else f"{name[:LONGEST_ID]}-{_digest(image)}"
        for name, image in zip(names, images, strict=True)
    ]


def _digest(path: str) -> str:
    # a path need not be UTF-8
    return hashlib.sha256(path.encode("utf-8", "surrogateescape")).hexdigest()[:8]
