"""A sweep: one table over its jobs, and one exit code."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from fpinv.run.folder import is_interval, read_json, replacing
from fpinv.run.job import FAILED
from fpinv.run.processes import ranks
from fpinv.run.results import write_results
from fpinv.run.terminal import HEADLINES, interval, show

COUNTS = ("n", "failed", "total")


@dataclass(frozen=True)
class JobResult:
    """The records of one job of a sweep.

    Arguments:
        number: Its number in the sweep.
        overrides: The overrides that it was run with.
        exit_code: See :func:`fpinv.run.job.run_job`; 1 for a job that was killed.
        summary: Its summary.json; empty where it has none.
        folder: Its run folder.
        failure: The reason why it failed, where the terminal does not show that yet.
    """

    number: int
    overrides: Mapping[str, str]
    exit_code: int
    summary: Mapping[str, Any]
    folder: Path
    failure: str | None = None


@dataclass
class CommandResult:
    """The end of a call of the command, as far as it is known.

    Attributes:
        exit_code: The exit code of the run, or the worst of the sweep's jobs.
        sweep: The folder of a sweep that has begun and whose jobs have not been gathered.
    """

    exit_code: int = 0
    sweep: Path | None = None


command_result: ContextVar[CommandResult] = ContextVar("command result")
"""The result that Hydra's callback fills in while a command runs.

Hydra itself makes the callback, and returns nothing of a run: a context variable is the way past
it, and each call of the command sets one of its own.
"""


class ResultCallback(Callback):
    """Hydra's callback at the end of a run or sweep: keeps the exit code, shows the table."""

    def __init__(self) -> None:
        self._result = command_result.get(CommandResult())

    def on_run_end(self, config: DictConfig, **arguments: Any) -> None:  # noqa: ANN401
        """Keep the exit code that the one job returned."""
        self._result.exit_code = arguments["job_return"].return_value or 0

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Keep the folder, for a sweep whose launcher gives up."""
        self._result.sweep = Path(config.hydra.sweep.dir)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Read the jobs' folders, because a launcher may have run them in other processes."""
        # Hydra only logs what a callback raises: until all is read, the sweep has not succeeded.
        self._result.exit_code, self._result.sweep = FAILED, None
        if ranks().leads:
            code = gather(Path(config.hydra.sweep.dir))
            self._result.exit_code = write_results(config, code)


def gather(folder: Path) -> int:
    """Show and write the table over the jobs of a sweep; return the worst exit code."""
    jobs = read_jobs(folder)
    for job in jobs:
        if job.failure:
            overrides = ", ".join(f"{key}={value}" for key, value in job.overrides.items())
            print(f"error: job {job.number} ({overrides}): {job.failure}", file=sys.stderr)
    write_csv(folder / "sweep.csv", jobs)
    show(sweep_table(f"{len(jobs)} jobs", jobs))
    print(folder.resolve())
    return max((job.exit_code for job in jobs), default=FAILED)


def read_jobs(folder: Path) -> list[JobResult]:
    """Return the jobs below a folder, by number."""
    jobs = [_read_job(path.parent.parent) for path in folder.glob("**/.hydra/hydra.yaml")]
    return sorted(jobs, key=lambda job: job.number)


def _read_job(folder: Path) -> JobResult:
    hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra
    lines = (str(line).lstrip("+").partition("=") for line in hydra.overrides.task)
    overrides = {key: value for key, _, value in lines}
    status, summary = _read(folder / "status.json"), _read(folder / "summary.json")
    code = int(status.get("exit_code", FAILED))
    failure = _failure(status, summary) if code else None
    return JobResult(int(hydra.job.num), overrides, code, summary, folder, failure)


def _failure(status: Mapping[str, Any], summary: Mapping[str, Any]) -> str | None:
    """Return why a job failed, where it ran in another process and could not print that."""
    if not status:
        return "it was stopped before its end"
    if status.get("said", True):  # unless a run of an older version left it
        return None
    return status["message"] or f"{summary['failed']} of {summary['total']} examples failed"


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _metrics(jobs: Sequence[JobResult]) -> list[str]:
    """Return the metrics that any job has, in order."""
    entries = (entry for job in jobs for entry in job.summary.items())
    return list(dict.fromkeys(name for name, value in entries if is_interval(value)))


def varied(settings: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the keys in which the overrides of jobs differ, in order."""
    keys = dict.fromkeys(key for overrides in settings for key in overrides)
    return [key for key in keys if len({overrides.get(key) for overrides in settings}) > 1]


def sweep_table(title: str, jobs: Sequence[JobResult]) -> Table:
    """Return a row per job: the overrides in which the jobs differ, and the headline metrics."""
    keys = varied([job.overrides for job in jobs])
    present = _metrics(jobs)
    metrics = [name for name in HEADLINES if name in present] or present[: len(HEADLINES)]
    table = Table("job", *keys, *metrics, title=title, title_justify="left")
    for job in jobs:
        settings = [job.overrides.get(key, "") for key in keys]
        values = [interval(job.summary.get(name)) for name in metrics]
        table.add_row(str(job.number), *settings, *values)
    return table


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
    row: dict[str, Any] = {"job": job.number, **job.overrides, "exit_code": job.exit_code}
    row |= {key: job.summary.get(key) for key in COUNTS}
    for name in metrics:
        value = job.summary.get(name) or {}
        row |= {name: value.get("mean"), f"{name}_ci95": value.get("ci95")}
    return row
