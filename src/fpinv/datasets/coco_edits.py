"""COCO images with a table of edits."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from fpinv.datasets.coco import Coco
from fpinv.datasets.example import EditCase, Example
from fpinv.datasets.tables.edit_table import Row, numbered, read_edits, read_mask
from fpinv.errors import UserError

REMEDY = (
    "point dataset.edits=<file> at a csv or jsonl table with the columns image_id and target "
    "(and source, where the image's first caption is not it)"
)


class CocoEdits:
    """Edits of COCO images, from a table with the columns image_id and target.

    The source prompt is the column source, else the image's first caption. One row an edit;
    several rows may name one image, which is inverted once for all of them. The columns kind,
    blend, reweight and mask are described at :func:`~fpinv.datasets.tables.edit_table.read_edits`.

    Arguments:
        root: See :class:`~fpinv.datasets.coco.Coco`.
        edits: The table, looked for as given and then in ``root``; None raises an error that says
            so.
        split: val2017 or train2017.

    Raises:
        UserError: no such folder or table, a malformed row, an image that COCO does not have.
    """

    def __init__(self, root: str | None, edits: str | None = None, split: str = "val2017") -> None:
        coco = Coco(root, split)
        if edits is None or root is None:
            raise UserError(f"dataset.edits is not set; {REMEDY}")
        given, self._root = Path(edits).expanduser(), Path(root).expanduser()
        rows = read_edits(given if given.is_file() else self._root / given, ("image_id",), REMEDY)
        images = {example.id: example for example in coco}
        named = [(_named(row, images), row) for row in rows]
        ids = numbered(image.id for image, _ in named)
        self._examples = [
            replace(
                image,
                id=id,
                prompt=row.source or image.prompt,
                case=EditCase(row.edit, image.id, self._mask(row)),
            )
            for id, (image, row) in zip(ids, named, strict=True)
        ]

    def _mask(self, row: Row) -> partial | None:
        return None if row.mask is None else partial(read_mask, self._root / row.mask)

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, index: int) -> Example:
        return self._examples[index]


def _named(row: Row, images: dict[str, Example]) -> Example:
    image = images.get(row.image.zfill(12))
    if image is None:
        raise UserError(f"{row.where}: COCO has no captioned image {row.image!r} in this split")
    return image
