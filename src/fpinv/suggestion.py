"""The nearest valid word to a misspelt one."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


def nearest(word: str, options: Sequence[str]) -> str:
    """ "; did you mean x?", or the options where none is near, or nothing where there are none."""
    if close := get_close_matches(word, options, n=1, cutoff=0.5):
        return f"; did you mean {close[0]}?"
    return f"; choose from {', '.join(dict.fromkeys(options))}" if options else ""
