"""A sweep: one table over its jobs, and one exit code."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.table import Table

from fpinv.display import HEADLINES, interval, show
from fpinv.records import is_interval, read_json, replacing

CRASHED = 1
COUNTS = ("n", "failed", "total")


class Overridden(Protocol):
    """Whatever was run with overrides."""

    @property
    def overrides(self) -> Mapping[str, str]:
        """Value by key."""
        ...


@dataclass(frozen=True)
class JobResult:
    """What one job of a sweep left in its folder.

    Arguments:
        number: Its number in the sweep.
        overrides: What it was run with.
        exit_code: See :func:`fpinv.execution.run_job`; 1 for a job that was killed.
        summary: Its summary.json; empty where it has none.
        folder: Where all of it lies.
    """

    number: int
    overrides: Mapping[str, str]
    exit_code: int
    summary: Mapping[str, Any]
    folder: Path


class Gather(Callback):
    """Hydra's callback at the end of a run or sweep: keeps the exit code, shows the table.

    Attributes:
        exit_code: Of the run, or the worst of the sweep's jobs.
    """

    exit_code: ClassVar[int] = 0

    def on_run_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:  # noqa: ANN401
        """Keeps the exit code that the one job returned."""
        Gather.exit_code = job_return.return_value or 0

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:  # noqa: ANN401
        """Reads the jobs' folders, because a launcher may have run them in other processes."""
        # Hydra only logs what a callback raises: until all is read, the sweep has not succeeded.
        Gather.exit_code = CRASHED
        folder = Path(config.hydra.sweep.dir)
        jobs = read_jobs(folder)
        Gather.exit_code = max((job.exit_code for job in jobs), default=CRASHED)
        write_csv(folder / "sweep.csv", jobs)
        show(sweep_table(f"{len(jobs)} jobs", jobs))
        print(folder.resolve())


def read_jobs(folder: Path) -> list[JobResult]:
    """The jobs of a sweep's folder by number."""
    found = [_read_job(path.parent.parent) for path in folder.glob("**/.hydra/hydra.yaml")]
    return sorted(found, key=lambda job: job.number)


def _read_job(folder: Path) -> JobResult:
    hydra = OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra
    parts = (str(line).lstrip("+").partition("=") for line in hydra.overrides.task)
    overrides = {key: value for key, _, value in parts}
    return JobResult(
        int(hydra.job.num),
        overrides,
        int(_read(folder / "status.json").get("exit_code", CRASHED)),
        _read(folder / "summary.json"),
        folder,
    )


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _metrics(jobs: Sequence[JobResult]) -> list[str]:
    """The metrics that any job has, in order."""
    entries = (entry for job in jobs for entry in job.summary.items())
    return list(dict.fromkeys(name for name, value in entries if is_interval(value)))


def _keys(jobs: Sequence[Overridden]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.overrides))


def varied(jobs: Sequence[Overridden]) -> list[str]:
    """The overrides in which the jobs differ."""
    return [key for key in _keys(jobs) if len({job.overrides.get(key) for job in jobs}) > 1]


def sweep_table(title: str, jobs: Sequence[JobResult]) -> Table:
    """One row per job: the overrides in which the jobs differ, and the headline metrics."""
    keys = varied(jobs)
    present = _metrics(jobs)
    metrics = [name for name in HEADLINES if name in present] or present[: len(HEADLINES)]
    table = Table("job", *keys, *metrics, title=title, title_justify="left")
    for job in jobs:
        settings = [job.overrides.get(key, "") for key in keys]
        values = [interval(job.summary.get(name)) for name in metrics]
        table.add_row(str(job.number), *settings, *values)
    return table


def write_csv(path: Path, jobs: Sequence[JobResult]) -> None:
    """One row per job: overrides, exit code, counts, each metric with its interval."""
    metrics = _metrics(jobs)
    ends = [name for metric in metrics for name in (metric, f"{metric}_ci95")]
    header = ["job", *_keys(jobs), "exit_code", *COUNTS, *ends]
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
