"""Texts in Hydra's grammar of overrides."""

from __future__ import annotations

import re
from pathlib import Path


def literal(text: str) -> str:
    """Return a text in quotes, in which nothing but ``${`` has a meaning of its own."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    # A quote ends the text unless the backslashes before it are doubled.
    ending = len(escaped) - len(escaped.rstrip("\\"))
    return "'" + escaped + "\\" * ending + "'"


def quoted(path: Path) -> str:
    """Return a path, in quotes where it has to be."""
    text = str(path)
    return text if re.fullmatch(r"[\w./+-]+", text) else literal(text)
