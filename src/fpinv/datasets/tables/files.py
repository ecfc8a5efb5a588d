"""Folders and files that the user names: found, or refused with one line that says what to do."""

from __future__ import annotations

from pathlib import Path

from fpinv.errors import UserError


def existing_folder(root: str | None, remedy: str) -> Path:
    """The folder ``root`` with ``~`` expanded.

    Raises:
        UserError: it is not given, does not exist or is not a folder; ``remedy`` ends the line.
    """
    if root is None:
        raise UserError(f"dataset.root is not set; {remedy}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; {remedy}")
    return folder


def read_text(file: Path, remedy: str) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: it does not exist, cannot be read or is not text; ``remedy`` ends the line.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"{file}: no such file; {remedy}") from None
    except UnicodeDecodeError:
        raise UserError(f"{file}: not a UTF-8 text file; {remedy}") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); {remedy}") from error
