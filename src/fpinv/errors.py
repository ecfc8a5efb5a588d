"""The exception that reaches a user as a line of text instead of a traceback, and its words."""

from __future__ import annotations

import argparse
import io
import math
import sys
from collections.abc import Callable, Iterable
from difflib import get_close_matches
from functools import wraps
from typing import NoReturn, ParamSpec

P = ParamSpec("P")


class UserError(Exception):
    """Mistake that the user can mend: its message is one line with the culprit and the remedy."""


def check_at_least(owner: object, **least: float) -> None:
    """Raise UserError for an attribute that is below its least value, or not finite."""
    for name, bound in least.items():
        value = getattr(owner, name)
        if not math.isfinite(value):
            raise UserError(f"{name}={value} is not possible: choose a finite number")
        if value < bound:
            raise UserError(f"{name}={value} is not possible: choose at least {bound:g}")


def nearest(word: str, options: Iterable[str], otherwise: str = "choose from") -> str:
    """Return the end of a message about an unknown word: "; did you mean x?".

    Where no option is near, it lists them all behind ``otherwise``. Without options it is empty.
    """
    by_lower_case = {option.lower(): option for option in options}
    if close := get_close_matches(word.lower(), list(by_lower_case), n=1, cutoff=0.5):
        return f"; did you mean {by_lower_case[close[0]]}?"
    return f"; {otherwise} {', '.join(by_lower_case.values())}" if by_lower_case else ""


class OneLineParser(argparse.ArgumentParser):
    """A parser of a script's arguments that raises a mistake as a :class:`UserError`."""

    def error(self, message: str) -> NoReturn:
        """Raise the message."""
        raise UserError(f"{message}; {self.prog} --help explains")


def accept_any_text() -> None:
    """Have the terminal show escapes for characters that its encoding lacks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def command(action: Callable[P, int | None]) -> Callable[P, int]:
    """Return the main function of a script, which returns an exit code.

    Arguments:
        action: The work of the script. It may return an exit code, else 0 stands for success. A
            :class:`UserError`, and an error of a file, is printed in one line, and the exit code
            is 2.
    """

    @wraps(action)
    def main(*args: P.args, **kwargs: P.kwargs) -> int:
        accept_any_text()
        try:
            return action(*args, **kwargs) or 0
        except (UserError, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 2

    return main
