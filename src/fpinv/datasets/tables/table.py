"""Tables that people write: a csv file with a header, or one JSON object per line."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fpinv.datasets.tables.files import read_text
from fpinv.errors import UserError


def read_rows(table: Path, remedy: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The rows of a table, each with the line that it ends on.

    Raises:
        UserError: the file cannot be read or has another ending, or a row is malformed;
            ``remedy`` ends the line where the file is at fault.
    """
    reader = READERS.get(table.suffix.lower())
    if reader is None:
        raise UserError(f"{table}: a table is a file ending in {listed(READERS)}; {remedy}")
    return reader(table, read_text(table, remedy))


def _csv_rows(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row:
                raise UserError(
                    f"{table}, line {reader.line_num}: more cells than columns; "
                    "put text with commas in double quotes"
                )
            yield reader.line_num, row
    except csv.Error as error:
        line = reader.reader.line_num  # the outer count stops at the last good row
        raise UserError(f"{table}, line {line}: malformed row ({error})") from None


def _jsonl_rows(table: Path, text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    # not splitlines: JSON strings may hold other line separators of Unicode as they are
    for line, content in enumerate(text.split("\n"), start=1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except json.JSONDecodeError as error:
            raise UserError(f"{table}, line {line}: not JSON ({error})") from None
        if not isinstance(row, dict):
            raise UserError(f"{table}, line {line}: not a JSON object")
        yield line, row


READERS = {".csv": _csv_rows, ".jsonl": _jsonl_rows}


def cell(row: Mapping[str, Any], keys: tuple[str, ...], table: Path, line: int) -> str:
    """The text under the first of these keys that the row has."""
    value = next((row[key] for key in keys if key in row), None)
    if not isinstance(value, str) or not value.strip():
        raise UserError(f"{table}, line {line}: no {' or '.join(keys)} in this row")
    return value.strip()


def listed(names: Iterable[str]) -> str:
    """The names in order, with commas."""
    return ", ".join(sorted(names))
