"""Tables of edits: an image, its prompt and the prompt of its edit in each row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from fpinv.datasets.example import EditCase, Example, Mask
from fpinv.datasets.tables.table import cell, read_rows
from fpinv.editing.request import Edit
from fpinv.errors import UserError, nearest
from fpinv.images.viewing import open_picture

DARK, BRIGHT = 8, 224
"""Brightness up to which a pixel of a mask is black, and above which it is white."""

SOURCE_KEYS = ("source", "caption", "text")
EDIT_KEYS = ("target", "kind", "blend", "reweight", "mask")


@dataclass(frozen=True)
class Row:
    """One line of a table of edits.

    Arguments:
        place: File and line, for messages.
        image: Name of the image in the table.
        source: The source prompt; None if the line has none.
        edit: The requested edit.
        mask: File of the mask, relative to the data set; None for no mask.
    """

    place: str
    image: str
    source: str | None
    edit: Edit
    mask: str | None


def read_edits(table: Path, image_keys: tuple[str, ...], remedy: str) -> list[Row]:
    """Return the rows of a table of edits, those of one image together.

    The table is a csv file with a header or one JSON object per line. Its columns are the image
    (one of ``image_keys``) and ``target``, the prompt of the edit; and, as needed, ``source`` (or
    caption, text), the prompt of the image; ``kind``, replace or refine; ``blend``, words with
    semicolons between them; ``reweight``, as ``word: factor`` with semicolons between; ``mask``, a
    picture that is white where the edit may show.

    Raises:
        UserError: the table is missing, empty or malformed; the message names the line.
    """
    rows = [_row(place, row, image_keys) for place, row in read_rows(table, remedy)]
    if not rows:
        raise UserError(f"{table}: no edit in this table; {remedy}")
    order = {row.image: k for k, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: order[row.image])


def _row(place: str, row: Mapping[str, Any], image_keys: tuple[str, ...]) -> Row:
    columns = (*image_keys, *SOURCE_KEYS, *EDIT_KEYS)
    if unknown := [key for key in row if key not in columns]:
        hint = nearest(unknown[0], columns)
        raise UserError(f"{place}: there is no column {unknown[0]!r} of edits{hint}")
    edit = _edit(place, row, cell(row, ("target",), place))
    sourced = any(row.get(key) for key in SOURCE_KEYS)
    source = cell(row, SOURCE_KEYS, place) if sourced else None
    mask = cell(row, ("mask",), place) if row.get("mask") else None
    return Row(place, cell(row, image_keys, place), source, edit, mask)


def _edit(place: str, row: Mapping[str, Any], target: str) -> Edit:
    try:
        blend, reweight = words(row.get("blend")), factors(row.get("reweight"))
        return Edit(target, row.get("kind") or None, blend, reweight)
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    except (AttributeError, TypeError, ValueError):
        raise UserError(
            f"{place}: blend must be words and reweight word: factor, with semicolons between"
        ) from None


def words(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the words of a text with semicolons between them, or of a list."""
    parts = text.split(";") if isinstance(text, str) else text or ()
    return tuple(part.strip() for part in parts if part.strip())


def factors(text: str | Mapping[str, float] | None) -> dict[str, float]:
    """Return the factor of each word, of ``word: factor`` with semicolons between or of a mapping.

    Raises:
        ValueError: a factor is no number.
    """
    if isinstance(text, Mapping):
        return {word: float(factor) for word, factor in text.items()}
    pairs = (item.rpartition(":") for item in words(text))
    return {word.strip(): float(factor) for word, _, factor in pairs}


def edit_examples(pairs: Sequence[tuple[Example, Row]], root: Path) -> Iterator[Example]:
    """Yield an example for each row: its image with the prompt, the edit and the mask of the row.

    Arguments:
        pairs: Each row after its image, whose prompt counts if the row has none.
        root: Folder that the rows' masks are in.
    """
    ids = _numbered(image.id for image, _ in pairs)
    for id, (image, row) in zip(ids, pairs, strict=True):
        mask = None if row.mask is None else partial(read_mask, root / Path(row.mask).expanduser())
        case = EditCase(row.edit, image.id, mask)
        yield replace(image, id=id, prompt=row.source or image.prompt, case=case)


def _numbered(images: Iterable[str]) -> list[str]:
    """Return ids for the edits of images: the image's name, numbered if it has several edits.

    Numbers with which an id would be another image's name are passed over.
    """
    images = list(images)
    uses, numbers = Counter(images), {image: count() for image in images}

    def id_of(image: str) -> str:
        if uses[image] == 1:
            return image
        return next(id for k in numbers[image] if (id := f"{image}--{k}") not in uses)

    return [id_of(image) for image in images]


def read_mask(file: Path) -> Mask:
    """Return the mask in a picture: its pixels that are brighter than half grey.

    What is transparent is not of the mask.

    Raises:
        UserError: the file is missing or no picture, or it is not black and white, as masks of
            zeros and ones or of indexed colours are not.
    """
    brightness = np.asarray(open_picture(file, ground="black").convert("L"))
    lit, white = (int((brightness > level).sum()) for level in (DARK, BRIGHT))
    if not white or lit > 4 * white:
        raise UserError(
            f"{file}: few or none of the pixels that are not black are white: save the mask with "
            "255 where the edit may show and 0 elsewhere"
        )
    return brightness > 127
