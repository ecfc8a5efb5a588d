"""Runs that are killed, and gone on with."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from forked import Trial, command, compare, judged, rows

RUN = ("inverter=fpi", "steps=2", "limit=5", "batch_size=2", "images=3", "inversions=true")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EVENTS = ("open", "os.rename", "os.mkdir", "os.remove")


def on_event(
    folder: Path, number: int, act: Callable[[], None], *, ever_after: bool = False
) -> Callable[[], None]:
    """Return a fault that acts just before the ``number``-th change to files of a folder.

    Python announces every opening, renaming, making and removing of a file to its audit hooks,
    so that the fault strikes at the same place of the program each time.

    Arguments:
        ever_after: Whether it acts before every later change, too.
    """
    count = 0

    def strike() -> None:
        nonlocal count
        count += 1
        if count == number or (ever_after and count > number):
            act()

    return lambda: sys.addaudithook(_watch(folder, strike))


def _watch(folder: Path, act: Callable[[], None]) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that acts just before every change to files of a folder."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in EVENTS and _within(folder, arguments) and _changes(event, arguments):
            act()

    return hook


def _within(folder: Path, arguments: tuple[Any, ...]) -> bool:
    path = arguments[0]
    return isinstance(path, (str, os.PathLike)) and Path(os.fspath(path)).is_relative_to(folder)


def _changes(event: str, arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2] if event == "open" else os.O_WRONLY
    return bool(flags & (os.O_WRONLY | os.O_RDWR))


def changes(folder: Path, arguments: tuple[str, ...]) -> int:
    """Run a command, and return how many changes it makes to files of a folder."""
    tally = folder.with_suffix(".tally")

    def note() -> None:
        with tally.open("ab", buffering=0) as file:
            file.write(b".")

    output = command(*arguments, fault=lambda: sys.addaudithook(_watch(folder, note)))
    assert output.code == 0, output.text
    return tally.stat().st_size


def kills(scratch: Path, count: int) -> Iterator[Trial]:
    """Yield trials of runs ended by a signal at a change to their folder, then gone on with."""
    whole = scratch / "whole"
    total = changes(whole, (*RUN, f"hydra.run.dir={whole}"))
    reference = rows(whole)
    for k in range(count):
        number, kind = 1 + k * total // count, SIGNALS[k % len(SIGNALS)]
        folder = scratch / f"killed{k}"
        start = (*RUN, f"hydra.run.dir={folder}")
        strike = on_event(folder, number, lambda kind=kind: os.kill(os.getpid(), kind))
        command(*start, fault=strike)
        output = command(*go_on(folder, start))
        name = f"{kind.name} at change {number} of {total}"
        yield judged("kills", name, output, compare(folder, reference))


def go_on(folder: Path, start: tuple[str, ...]) -> tuple[str, ...]:
    """Return the arguments that go on with a run, or begin it."""
    return (f"resume={folder}",) if (folder / "config.yaml").is_file() else start
