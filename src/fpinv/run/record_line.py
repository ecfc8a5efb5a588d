"""The line of a record: JSON that ends with the checksum of what stands before it.

A line is read no further than its reader needs: its entry, its head, or the whole record.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from zlib import crc32

from fpinv.tasks.record import REQUIRED, metrics_of

Row = dict[str, Any]

CHECKSUM = "crc32"
SERIES = b', "series": '
"""The mark before a line's series. No text can hold it, as quotes within texts are escaped."""
LINE_START = re.compile(
    rb'\{"id": ("(?:[^"\\]|\\.)*"), "prompt": "(?:[^"\\]|\\.)*", "error": (null|")'
)


class Entry(NamedTuple):
    """The example of a line, and its outcome.

    Arguments:
        id: The id of its example.
        failed: Whether the example failed.
    """

    id: str
    failed: bool


def line_of(row: Mapping[str, Any]) -> str:
    """Return the line of a record, which ends with the checksum of all before it."""
    text = json.dumps(row, ensure_ascii=False, allow_nan=False)[:-1]
    return f"{text}{_ending(crc32(text.encode()))}\n"


def _ending(checksum: int) -> str:
    """Return the end of a line, which holds the checksum of what stands before it."""
    return f', "{CHECKSUM}": "{checksum:08x}"}}'


END = len(_ending(0))


def _is_damaged(line: bytes) -> bool:
    """Return whether a line has a checksum and it is not that of the line."""
    return f', "{CHECKSUM}": "'.encode() in line and _checked(line) is None


def record_of(line: bytes) -> Row | None:
    """Return the record in a line; None for a line that holds none, or is damaged."""
    row = None if _is_damaged(line) else parse(line)
    if row is None:
        return None
    row.pop(CHECKSUM, None)
    return row if _is_record(row) else None


def entry_of(line: bytes) -> Entry | None:
    """Return the id of a line's record and whether it failed; None for a line that holds none.

    A line whose checksum is right is what :func:`line_of` wrote, so that no more of it is read.
    """
    start = LINE_START.match(line)
    if start is None or _checked(line) is None:
        row = record_of(line)
        return None if row is None else Entry(row["id"], row["error"] is not None)
    return Entry(json.loads(start[1].decode()), start[2] != b"null")


def head_of(line: bytes) -> Row | None:
    """Return what stands in a line before its series, the record's id, error and metrics.

    A line whose checksum is right is what :func:`line_of` wrote, so that only its head is parsed:
    series are most of it. Of a line without a checksum it is the whole record.
    """
    body = _checked(line)
    cut = -1 if body is None else body.find(SERIES)
    if body is None or cut < 0:
        return record_of(line)
    return parse(body[:cut] + b"}")


def _checked(line: bytes) -> bytes | None:
    """Return what stands in a line before its checksum; None where that is missing or wrong."""
    line = line.rstrip()
    body, end = line[:-END], line[-END:]
    return body if end == _ending(crc32(body)).encode() else None


def parse(line: bytes) -> Row | None:
    """Return the JSON object in a line; None for a line that holds none."""
    try:
        row = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _is_record(row: Mapping[str, Any]) -> bool:
    """Return whether a line has all that a record has, and finite numbers for its metrics."""
    if not set(REQUIRED) <= row.keys() or not isinstance(row["id"], str):
        return False
    try:
        return all(value is None or math.isfinite(value) for value in metrics_of(row).values())
    except (TypeError, OverflowError):
        return False
