"""What a run shows on the terminal: a progress bar, then a table."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

HEADLINES = (
    "psnr",
    "gap",
    "latent_psnr",
    "edit_accuracy",
    "truth_psnr",
    "background_psnr",
    "accuracy",
    "accuracy_few",
    "fid",
    "nfe_calls",
    "seconds_per_image",
    "seconds_init",
    "seconds_opt",
)
"""Metrics that a table over several runs shows; the files hold all."""

SPEAKER = "FPINV_TERMINAL"  # variable with the number of the process that speaks

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeRemainingColumn(compact=True),
    TextColumn("left"),
    TextColumn("{task.fields[mean]}"),
)


class Bar:
    """Counts finished examples and shows the running mean of their first headline metric."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._values: dict[str, list[float]] = {}

    def advance(self, metrics: Mapping[str, float | None]) -> None:
        """One more example is done."""
        for name in HEADLINES:
            if (value := metrics.get(name)) is not None:
                self._values.setdefault(name, []).append(value)
        self._progress.update(self._task, advance=1, mean=self._mean())

    def _mean(self) -> str:
        name = next((name for name in HEADLINES if name in self._values), None)
        if name is None:
            return ""
        return f"{name} {sum(self._values[name]) / len(self._values[name]):.2f}"


def take_terminal() -> None:
    """Makes this process the one that speaks: not the workers that it starts."""
    os.environ[SPEAKER] = str(os.getpid())


def speaks() -> bool:
    """Whether the terminal is this process's: a job may run in another, or with others."""
    return os.environ.get(SPEAKER) == str(os.getpid())


@contextmanager
def progress_bar(title: str, total: int, done: Sequence[Mapping[str, Any]]) -> Iterator[Bar]:
    """A bar with the time left, where there is a terminal; ``done`` holds earlier examples."""
    console = Console(stderr=True)
    quiet = not (console.is_terminal and speaks())
    columns = Progress(
        *COLUMNS, console=console, transient=True, disable=quiet, refresh_per_second=2
    )
    with columns as progress:
        bar = Bar(progress, progress.add_task(title, total=total, mean=""))
        for metrics in done:
            bar.advance(metrics)
        yield bar


def interval(value: Mapping[str, float | None] | None) -> str:
    """``mean ± ci95`` with four digits; a dash where there is no number."""
    if not value or value["mean"] is None:
        return "-"
    half = value["ci95"]
    return f"{value['mean']:.4g}" if half is None else f"{value['mean']:.4g} ± {half:.2g}"


def run_table(title: str, means: Mapping[str, Any]) -> Table:
    """One row per metric of a run."""
    table = _table(title, "metric", "mean ± 95 %")
    for name, value in means.items():
        table.add_row(name, interval(value))
    return table


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, box=box.SIMPLE, title_justify="left")


def show(table: Table) -> None:
    """Prints a table to standard output, whole also where that is no terminal."""
    console = Console(file=sys.stdout)
    Console(file=sys.stdout, width=console.width if console.is_terminal else 160).print(table)
