"""Folders and files that the user names, or one line that says what to do about them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fpinv.errors import UserError


def existing_folder(root: str | None, remedy: str) -> Path:
    """Return the folder ``root`` with ``~`` expanded.

    Raises:
        UserError: ``root`` is None or no folder; ``remedy`` ends the line.
    """
    if root is None:
        raise UserError(f"dataset.root is not set; {remedy}")
    folder = Path(root).expanduser()
    if folder.is_file():
        raise UserError(f"{folder}: a file and no folder; {remedy}")
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {remedy}")
    return folder


def read_text(file: Path, remedy: str) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: the file is absent, unreadable or no text; ``remedy`` ends the line.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a UTF-8 text file; {remedy}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {remedy}") from error


def read_json(file: Path, remedy: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """Return the content of a JSON file.

    Raises:
        UserError: the file is absent, unreadable or not JSON.
    """
    try:
        return json.loads(read_text(file, remedy))
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: not JSON ({error}); fetch this file again") from None


def require(entry: object, keys: Mapping[str, type], place: str) -> None:
    """Refuse an entry of a JSON file that is no object with these keys of these types.

    Raises:
        UserError: a key is absent or has another type; ``place`` begins the line.
    """
    values = entry if isinstance(entry, dict) else {}
    if wrong := [key for key, kind in keys.items() if not isinstance(values.get(key), kind)]:
        raise UserError(f"{place} has no usable {' and no '.join(wrong)}")
