"""Tables of edits: which image, from which prompt to which."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fpinv.datasets.example import Example, Mask
from fpinv.datasets.tables.table import cell, read_rows
from fpinv.editing.request import Edit
from fpinv.errors import UserError

SOURCE_KEYS = ("source", "caption", "text")


@dataclass(frozen=True)
class Row:
    """One line of a table of edits.

    Arguments:
        where: File and line, for messages.
        image: What the line calls the image.
        source: The source prompt; None where the line has none.
        edit: What is asked.
        mask: File of the mask, relative to the data set; None for none.
    """

    where: str
    image: str
    source: str | None
    edit: Edit
    mask: str | None


def read_edits(table: Path, image_keys: tuple[str, ...], remedy: str) -> list[Row]:
    """The rows of a table of edits, those of one image together.

    A csv file with a header or one JSON object per line, with the columns: the image (one of
    ``image_keys``); ``target``, the prompt of the edit; and, where there is more to say,
    ``source`` (or caption, text), the prompt of the image; ``kind``, replace or refine;
    ``blend``, words with semicolons between them; ``reweight``, as ``word: factor`` with
    semicolons between; ``mask``, a picture that is white where the edit may show.

    Raises:
        UserError: the table is missing, empty or malformed; the message names the line.
    """
    rows = [_row(table, line, row, image_keys) for line, row in read_rows(table, remedy)]
    if not rows:
        raise UserError(f"{table}: no edit in this table; {remedy}")
    places = {row.image: place for place, row in reversed(list(enumerate(rows)))}
    return sorted(rows, key=lambda row: places[row.image])


def _row(table: Path, line: int, row: Mapping[str, Any], image_keys: tuple[str, ...]) -> Row:
    where = f"{table}, line {line}"
    known = any(row.get(key) for key in SOURCE_KEYS)
    try:
        edit = Edit(
            cell(row, ("target",), table, line),
            row.get("kind") or None,
            _words(row.get("blend")),
            _factors(row.get("reweight")),
        )
    except UserError as error:
        named = str(error).startswith(str(table))
        raise error if named else UserError(f"{where}: {error}") from None
    except (TypeError, ValueError):
        raise UserError(
            f"{where}: blend must be words and reweight word: factor, with semicolons between"
        ) from None
    source = cell(row, SOURCE_KEYS, table, line) if known else None
    return Row(where, cell(row, image_keys, table, line), source, edit, row.get("mask") or None)


def _words(text: str | Sequence[str] | None) -> tuple[str, ...]:
    words = text.split(";") if isinstance(text, str) else text or ()
    return tuple(word.strip() for word in words if word.strip())


def _factors(text: str | Mapping[str, float] | None) -> dict[str, float]:
    if isinstance(text, Mapping):
        return {word: float(factor) for word, factor in text.items()}
    pairs = (part.rpartition(":") for part in _words(text))
    return {word.strip(): float(factor) for word, _, factor in pairs}


def numbered(images: Iterable[str]) -> list[str]:
    """Ids for the edits of images: the image's own name, numbered where it has several."""
    images = list(images)
    uses, seen = Counter(images), Counter[str]()
    ids = []
    for image in images:
        ids.append(image if uses[image] == 1 else f"{image}--{seen[image]}")
        seen[image] += 1
    return ids


def read_mask(file: Path) -> Mask:
    """The mask in a picture: its pixels that are brighter than half grey.

    Raises:
        UserError: the file is missing or no picture.
    """
    return np.asarray(Example(file.stem, "", file).open().convert("L")) > 127
