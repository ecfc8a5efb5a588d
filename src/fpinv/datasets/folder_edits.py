"""A folder of images with a table of edits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from fpinv.datasets.example import EditCase, Example
from fpinv.datasets.folder import FILE_KEYS, find_images, slugs
from fpinv.datasets.tables.edit_table import numbered, read_edits, read_mask
from fpinv.datasets.tables.files import existing_folder
from fpinv.errors import UserError


class FolderEdits:
    """Edits of the images in a folder, from a table with the columns file, source and target.

    One row an edit; several rows may name one image, which is inverted once for all of them. The
    columns kind, blend, reweight and mask are described at
    :func:`~fpinv.datasets.tables.edit_table.read_edits`.

    Arguments:
        root: The folder; None raises an error that says so.
        edits: The table in it, ending in .csv or .jsonl.

    Raises:
        UserError: no such folder or table, a malformed row, a row without an image or a source
            prompt.
    """

    def __init__(self, root: str | None, edits: str = "edits.csv") -> None:
        folder = existing_folder(root, "point dataset.root=<folder> at images with an edits.csv")
        images = find_images(folder)
        names = dict(zip(images, slugs(images), strict=True))
        rows = read_edits(folder / edits, FILE_KEYS, "check dataset.edits")
        for row in rows:
            if Path(row.image).as_posix() not in names:
                raise UserError(f"{row.where}: no image {row.image!r} in the folder")
            if row.source is None:
                raise UserError(f"{row.where}: no source prompt in this row")
        found = [names[Path(row.image).as_posix()] for row in rows]
        self._examples = [
            Example(
                id,
                row.source or "",
                folder / row.image,
                case=EditCase(
                    row.edit,
                    name,
                    None if row.mask is None else partial(read_mask, folder / row.mask),
                ),
            )
            for id, name, row in zip(numbered(found), found, rows, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]
