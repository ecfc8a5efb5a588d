"""Tables that people write: csv with a header, an object of JSON a line, or COCO's JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fpinv.datasets.tables.files import read_text
from fpinv.errors import UserError

DELIMITERS = ",;\t|"

Line = tuple[str, Mapping[str, Any]]
"""The place of a row, "<file>, line <n>" for messages, and its values by column."""


def read_rows(table: Path, remedy: str) -> Iterator[Line]:
    """Yield the rows of a table, each with its place for messages.

    Raises:
        UserError: the file cannot be read or has another ending, or a row is malformed;
            ``remedy`` ends the line if the file is at fault.
    """
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise UserError(f"{table}: a table is a file ending in {listed(READERS)}; {remedy}")
    return reader(table, read_text(table, remedy))


def _csv_rows(table: Path, text: str) -> Iterator[Line]:
    header = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=header.count)
    reader = csv.DictReader(
        io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True
    )
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        if doubled := [name for name in filter(None, columns) if columns.count(name) > 1]:
            raise UserError(f"{table}, line 1: two columns are named {doubled[0]!r}")
        reader.fieldnames = columns
        for row in reader:
            place = f"{table}, line {reader.line_num}"
            if None in row:
                raise UserError(
                    f"{place}: more cells than columns; put text with {delimiter!r} in double "
                    "quotes"
                )
            yield place, row
    except csv.Error as error:
        line = reader.reader.line_num  # the outer count stops at the last good row
        raise UserError(f"{table}, line {line}: malformed row ({error})") from None


def _jsonl_rows(table: Path, text: str) -> Iterator[Line]:
    # not splitlines: JSON strings may hold other line separators of Unicode as they are
    for number, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        place = f"{table}, line {number}"
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{place}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{place}: not a JSON object")
        yield place, row


def _json_rows(table: Path, text: str) -> Iterator[Line]:
    """Yield a row for each caption in COCO's schema, by annotation id."""
    try:
        content = json.loads(text)
        names = {image["id"]: image["file_name"] for image in content["images"]}
        annotations = sorted(content["annotations"], key=lambda annotation: annotation["id"])
        rows = [(a["id"], names[a["image_id"]], a["caption"]) for a in annotations]
    except json.JSONDecodeError as error:
        raise UserError(f"{table}: not JSON ({error})") from None
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{table}: not in COCO's schema of images and annotations (no {error})"
        ) from None
    for id, name, caption in rows:
        yield f"{table}, annotation {id}", {"file_name": name, "caption": caption}


READERS = {".csv": _csv_rows, ".tsv": _csv_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}


def cell(row: Mapping[str, Any], keys: tuple[str, ...], place: str) -> str:
    """Return the text under the first of these keys that the row has one under.

    Whole numbers are taken as text, as ids are written in JSON.

    Raises:
        UserError: the row has no text under any of the keys, or what is no text.
    """
    values = {key: row[key] for key in keys if row.get(key) not in (None, "")}
    for key, value in values.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (isinstance(value, str) or whole):
            raise UserError(f"{place}: {key}={value} is no text")
        if text := str(value).strip():
            return text
    if not any(key in row for key in keys):
        columns = ", ".join(map(str, row))
        raise UserError(f"{place}: no column {' or '.join(keys)}, but {columns}")
    raise UserError(f"{place}: no {' or '.join(keys)} in this row")


def listed(names: Iterable[str]) -> str:
    """Return the names in alphabetical order, with commas."""
    return ", ".join(sorted(names))
