"""Files that appear whole or not at all, and JSON objects in files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from fpinv.errors import UserError

PARTIAL = ".{}.partial"
"""Name of a file that is being written."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file.

    Raises:
        UserError: the file is missing or holds none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from None
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a JSON object")
    return value


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to, which takes the place of ``path`` when all went well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # a name of its own, as processes that share a run may keep the same inversion
    partial = path.with_name(PARTIAL.format(f"{path.name}.{token_hex(4)}"))
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
