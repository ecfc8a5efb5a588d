"""A sweep: one table over its jobs, and one exit code."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.table import Table

from fpinv.metrics.glossary import with_unit
from fpinv.run.files import replacing
from fpinv.run.folder import is_interval
from fpinv.run.job_result import JobResult, read_jobs, varied
from fpinv.run.results import write_results
from fpinv.run.status import FAILED
from fpinv.run.sweep_pictures import compare
from fpinv.run.terminal import short, show

COUNTS = ("n", "failed", "total")


@dataclass
class CommandResult:
    """The end of a call of the command, as far as it is known.

    Attributes:
        exit_code: The exit code of the run, or the worst of the sweep's jobs.
        folder: The folder of the run or sweep, once that is known.
        sweep: The configuration of a sweep that has begun.
    """

    exit_code: int = 0
    folder: Path | None = None
    sweep: DictConfig | None = None


command_result: ContextVar[CommandResult] = ContextVar("command result")
"""The result that Hydra's callback fills in while a command runs.

Hydra itself makes the callback, and returns nothing of a run: a context variable is the way past
it, and each call of the command sets one of its own.
"""


class ResultCallback(Callback):
    """Hydra's callback: keeps the folder, the exit code of a run, the configuration of a sweep.

    The sweep ends outside Hydra, which would turn an error in a callback into a warning.
    """

    def __init__(self) -> None:
        self._result = command_result.get(CommandResult())

    def on_run_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Keep the folder of the run."""
        self._result.folder = Path(config.hydra.run.dir)

    def on_run_end(self, config: DictConfig, **arguments: Any) -> None:  # noqa: ANN401
        """Keep the exit code that the one job returned."""
        self._result.exit_code = arguments["job_return"].return_value or 0

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Keep the configuration and the folder of the sweep."""
        self._result.folder, self._result.sweep = Path(config.hydra.sweep.dir), config


def conclude_sweep(config: DictConfig) -> int:
    """Show and write the results of a sweep that has ended; return its exit code.

    The jobs' folders say how they ended, because a launcher may have run them elsewhere.

    Raises:
        UserError: files of a job cannot be read.
    """
    folder = Path(config.hydra.sweep.dir)
    jobs = read_jobs(folder)
    try:
        if compare(jobs, folder / "comparison.png"):
            print((folder / "comparison.png").resolve())
    finally:
        code = show_jobs(folder, jobs)
    return write_results(config, code)


def show_pictures(folder: Path) -> None:
    """Draw the first examples of a run of its own as one picture, and print its path."""
    picture = folder / "pictures.png"
    if compare(read_jobs(folder), picture):
        print(picture.resolve())


def show_jobs(folder: Path, jobs: Sequence[JobResult]) -> int:
    """Show and write the table over the jobs of a sweep; return the worst exit code."""
    for job in jobs:
        if job.failure:
            print(f"error: {job.origin.label}: {job.failure}", file=sys.stderr)
    write_csv(folder / "sweep.csv", jobs)
    show(sweep_table(f"{len(jobs)} jobs", jobs))
    print(folder.resolve())
    return max((job.exit_code for job in jobs), default=FAILED)


def sweep_table(title: str, jobs: Sequence[JobResult]) -> Table:
    """Return a row per job: the overrides in which the jobs differ, and the headline metrics."""
    keys = varied([job.overrides for job in jobs])
    metrics = _shown(jobs)
    table = Table("job", *keys, *metrics, title=title, title_justify="left")
    for job in jobs:
        settings = [job.overrides.get(key, "") for key in keys]
        values = [with_unit(name, job.summary.get(name)) for name in metrics]
        table.add_row(job.name, *settings, *values)
    return table


def _shown(jobs: Sequence[JobResult]) -> list[str]:
    """Return the metrics that the table over the jobs shows."""
    measured: dict[str, Any] = {}
    for job in jobs:
        measured |= {name: job.summary[name] for name in _metrics([job]) if job.summary[name]}
    return short(measured)


def _metrics(jobs: Sequence[JobResult]) -> list[str]:
    """Return the metrics that any job has, in order."""
    entries = (entry for job in jobs for entry in job.summary.items())
    return list(dict.fromkeys(name for name, value in entries if is_interval(value)))


def write_csv(path: Path, jobs: Sequence[JobResult]) -> None:
    """Write a row per job: overrides, exit code, counts, each metric with its interval."""
    metrics = _metrics(jobs)
    ends = [name for metric in metrics for name in (metric, f"{metric}_ci95")]
    keys = dict.fromkeys(key for job in jobs for key in job.overrides)
    header = ["job", *keys, "exit_code", *COUNTS, *ends]
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header, restval="")
        writer.writeheader()
        writer.writerows(_row(job, metrics) for job in jobs)


def _row(job: JobResult, metrics: Sequence[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"job": job.name, **job.overrides, "exit_code": job.exit_code}
    row |= {key: job.summary.get(key) for key in COUNTS}
    for name in metrics:
        value = job.summary.get(name) or {}
        row |= {name: value.get("mean"), f"{name}_ci95": value.get("ci95")}
    return row
