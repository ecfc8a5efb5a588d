"""A folder of images with a table of edits."""

from __future__ import annotations

from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.folder import FILE_KEYS
from fpinv.datasets.image_files import ImageFiles
from fpinv.datasets.tables.edit_table import Row, edit_examples, read_edits
from fpinv.datasets.tables.files import existing_folder
from fpinv.errors import UserError


class FolderEdits(ListedDataset):
    """Edits of the images in a folder, from a table with the columns file, source and target.

    A row is an edit; several rows may name one image, which is inverted once for all of them. The
    columns kind, blend, reweight and mask are described at
    :func:`~fpinv.datasets.tables.edit_table.read_edits`.

    Arguments:
        root: The folder; None raises an error that says so.
        edits: The table in it, csv or jsonl.

    Raises:
        UserError: no such folder or table, a malformed row, a row without an image or a source
            prompt.
    """

    def __init__(self, root: str | None, edits: str = "edits.csv") -> None:
        folder = existing_folder(root, "point dataset.root=<folder> at images with an edits.csv")
        images = ImageFiles(folder)
        rows = read_edits(folder / edits, FILE_KEYS, "check dataset.edits")
        super().__init__(edit_examples([(_image(row, images), row) for row in rows], folder))


def _image(row: Row, images: ImageFiles) -> Example:
    """Return the image that a row names."""
    image = images.examples[images.path_of(row.image, row.place)]
    if row.source is None:
        raise UserError(f"{row.place}: no source prompt in this row")
    return image
