"""COCO images with a table of edits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fpinv.datasets.coco import Coco
from fpinv.datasets.example import Example, ListedDataset
from fpinv.datasets.tables.edit_table import Row, edit_examples, read_edits
from fpinv.errors import UserError

REMEDY = (
    "point dataset.edits=<file> at a csv or jsonl table with the columns image_id and target "
    "(and source, where the image's first caption is not it)"
)


class CocoEdits(ListedDataset):
    """Edits of COCO images, from a table with the columns image_id and target.

    The source prompt is the column source, else the image's first caption. A row is an edit;
    several rows may name one image, which is inverted once for all of them. The columns kind,
    blend, reweight and mask are described at :func:`~fpinv.datasets.tables.edit_table.read_edits`.

    Arguments:
        root: The folder of :class:`~fpinv.datasets.coco.Coco`.
        edits: The table, a path by itself or in ``root``; None raises an error that says so.
        split: val2017 or train2017.

    Raises:
        UserError: no such folder or table, a malformed row, an image that COCO does not have.
    """

    def __init__(self, root: str | None, edits: str | None = None, split: str = "val2017") -> None:
        coco = Coco(root, split)
        if edits is None or root is None:
            raise UserError(f"dataset.edits is not set; {REMEDY}")
        folder, table = Path(root).expanduser(), Path(edits).expanduser()
        table = table if table.is_file() else folder / table
        rows = read_edits(table, ("image_id",), REMEDY)
        images = {example.id: example for example in coco}
        super().__init__(edit_examples([(_image(row, images), row) for row in rows], folder))


def _image(row: Row, images: Mapping[str, Example]) -> Example:
    """Return the image that a row names."""
    image = images.get(row.image.zfill(12))
    if image is None:
        raise UserError(f"{row.place}: COCO has no captioned image {row.image!r} in this split")
    return image
