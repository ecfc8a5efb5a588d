"""The terminal output of a run: a progress bar, then a table, failures and the way to go on."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from rich import box, progress
from rich.console import Console
from rich.table import Table

from fpinv.metrics.glossary import describe, headlines, with_unit
from fpinv.run.files import read_json

MOST_ROWS = 8  # of a short table; the files hold all

MOST_NAMES = 5  # examples that a line names; metrics.jsonl has all

SPEAKER = "FPINV_TERMINAL"  # variable with the number of the process that speaks

COLUMNS = (
    progress.TextColumn("{task.description}", markup=False),
    progress.BarColumn(),
    progress.MofNCompleteColumn(),
    progress.TimeRemainingColumn(compact=True),
    progress.TextColumn("left"),
    progress.TextColumn("{task.fields[mean]}"),
)


class Bar:
    """A progress bar with the running mean of the first headline metric."""

    def __init__(self, display: progress.Progress, task: progress.TaskID) -> None:
        self._display = display
        self._task = task
        self._sums: dict[str, float] = {}
        self._counts: Counter[str] = Counter()

    def advance(self, metrics: Mapping[str, float | None]) -> None:
        """Count one more finished example and show it."""
        self.count(metrics)
        self.show(1)

    def count(self, metrics: Mapping[str, float | None]) -> None:
        """Take the metrics of an example into the mean."""
        for name in headlines(metrics):
            if (value := metrics.get(name)) is not None:
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] += 1

    def show(self, examples: int) -> None:
        """Show so many more examples, and the mean."""
        headline = next(iter(headlines(self._sums)), None)
        mean = self._sums[headline] / self._counts[headline] if headline else 0.0
        value = {"mean": mean, "ci95": None}
        text = f"{headline} {with_unit(headline, value)}" if headline else ""
        self._display.update(self._task, advance=examples, mean=text)


def take_terminal() -> None:
    """Make this process the one that speaks; the workers that it starts do not."""
    os.environ[SPEAKER] = str(os.getpid())


def speaks() -> bool:
    """Return whether this process may print; a worker or a process of several may not."""
    return os.environ.get(SPEAKER) == str(os.getpid())


@contextmanager
def progress_bar(
    title: str, total: int, earlier_rows: Iterable[Mapping[str, Any]]
) -> Iterator[Bar]:
    """Yield a bar with the time left, shown where there is a terminal.

    Arguments:
        title: Text before the bar.
        total: Number of examples.
        earlier_rows: The lines of examples that were finished before.
    """
    console = Console(stderr=True)
    quiet = not (console.is_terminal and speaks())
    with progress.Progress(
        *COLUMNS, console=console, transient=True, disable=quiet, refresh_per_second=2
    ) as display:
        bar = Bar(display, display.add_task(title, total=total, mean=""))
        number = 0
        for number, metrics in enumerate(earlier_rows, 1):  # noqa: B007
            bar.count(metrics)
        bar.show(number)
        yield bar


LONG = 60
"""Seconds of work from which on a run says how long it takes."""


@dataclass
class Pace:
    """The pace of a run, from which it says once how long the rest takes, where that is long.

    The first whole batch is the measure: what an example costs differs by inverter and setting,
    and for adaptive ones by image.

    Arguments:
        total: Number of examples to do.
        batch: Number of examples that are done together.
        name: What is before the line, such as a job of a sweep; empty for nothing.
        begun: Time of the start, in seconds.
    """

    total: int
    batch: int
    name: str = ""
    begun: float = field(default_factory=monotonic)
    done: int = 0

    def advance(self) -> None:
        """Count one more example; after the first batch, say how long the rest takes."""
        self.done += 1
        if self.done == self.batch and speaks() and (line := self.estimate(monotonic())):
            print(f"{self.name}: {line}" if self.name else line, file=sys.stderr)

    def estimate(self, now: float) -> str:
        """Return such as ``about 12 min left: 8 of 32 examples took 4 min``; nothing if short."""
        spent = now - self.begun
        left = spent / self.done * (self.total - self.done)
        if left < LONG:
            return ""
        counts = f"{self.done} of {self.total} examples took {duration(spent)}"
        return f"about {duration(left)} left: {counts}"


def duration(seconds: float) -> str:
    """Return a time in words, such as ``70 s``, ``12 min`` or ``3.5 h``."""
    minutes = seconds / 60
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:.1f} h"


def short(means: Mapping[str, Any]) -> list[str]:
    """Return the metrics of a short table: the main ones that were measured, or the first."""
    measured = [name for name, value in means.items() if value and value["mean"] is not None]
    return (headlines(measured) or measured or list(means))[:MOST_ROWS]


def run_table(means: Mapping[str, Any], names: Iterable[str]) -> Table:
    """Return a table with a row for each of the metrics ``names`` of a run."""
    table = Table("metric", "mean ± 95 %", "meaning", box=box.SIMPLE)
    for name in names:
        table.add_row(name, with_unit(name, means[name]), describe(name).meaning)
    return table


def show(table: Table) -> None:
    """Print a table to standard output, whole also where that is no terminal."""
    width = None if Console(file=sys.stdout).is_terminal else 160
    # words of the user are no markup: neither [brackets] nor :names: of emoji
    Console(file=sys.stdout, width=width, markup=False, emoji=False).print(table)


def print_failed(rows: Sequence[Mapping[str, Any]], total: int) -> None:
    """Print in one line the number of failed examples, and the errors of a few."""
    if not rows:
        return
    names = named([f"{row['id']} ({row['error']})" for row in rows])
    print(f"error: {len(rows)} of {total} examples failed: {names}", file=sys.stderr)


def named(examples: Sequence[str]) -> str:
    """Return the first few examples and the number of the others, as a list in words."""
    more = [f"and {len(examples) - MOST_NAMES} more"] if len(examples) > MOST_NAMES else []
    return "; ".join([*examples[:MOST_NAMES], *more])


def print_notice(line: str) -> None:
    """Print a line of a run, and put it into its log (:func:`quiet`)."""
    logging.getLogger(__name__).warning(line, extra={"notice": True})


@cache
def print_once(line: str) -> None:
    """Print a notice, unless this process has done so: the jobs of a sweep may share it."""
    print_notice(line)


def print_cut(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print in one line the examples whose captions the model does not read to the end."""
    cut = [row["id"] for row in rows if "ignored" in row.get("texts", {})]
    if cut:
        print(
            f"captions longer than the model reads: {len(cut)} of {len(rows)}: {named(cut)}; "
            "texts.ignored in metrics.jsonl is what it did not read",
            file=sys.stderr,
        )


def print_smaller_batches(size: int) -> None:
    """Say that memory ran out, and what the run goes on with."""
    print_notice(
        f"out of memory: the run goes on with batch_size={size}; its results are the same"
    )


def print_interrupted(folder: Path, resume: Path) -> None:
    """Print how to go on with a run, where an example was begun.

    Arguments:
        folder: The run folder.
        resume: The folder to go on with: the same, or that of the sweep which the run is part of.
    """
    if speaks() and (folder / "summary.json").exists():
        summary = read_json(folder / "summary.json")
        print(
            f"interrupted: {summary['n']} of {summary['total']} examples are kept; to go on: "
            f"python run.py resume={resume}",
            file=sys.stderr,
        )


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Keep warnings and log messages off the terminal and in a file, made at the first of them.

    A message with a true ``notice`` among its extra entries is printed to standard error as well,
    by a process that may print.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    handler = _LogFile(log, delay=True, encoding="utf-8")
    handler.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
        logging.captureWarnings(False)
        with suppress(OSError):
            handler.close()


class _LogFile(logging.FileHandler):
    """A log file that never stops the run, nor speaks where its disk is full."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            super().emit(record)
        if getattr(record, "notice", False) and speaks():
            print(record.getMessage(), file=sys.stderr)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        pass
