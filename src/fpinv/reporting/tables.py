"""Markdown tables of finished jobs: cells with their intervals, a block for each ground."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.run.folder import is_interval


@dataclass(frozen=True)
class Column:
    """What a column shows.

    Arguments:
        title: Its heading.
        metrics: Entries of a summary that may stand there; the first that was measured does.
        digits: Behind the point.
        factor: Of the numbers, such as 100 for per cent.
        interval: Whether the half-width of the 95 % interval is shown where it is not 0.
        absent: What stands where nothing was measured.
    """

    title: str
    metrics: tuple[str, ...]
    digits: int
    factor: float = 1
    interval: bool = True
    absent: str = ""

    def cell(self, job: Job) -> str:
        """``mean ± half-width``."""
        for value in map(job.summary.get, self.metrics):
            mean, half = (value["mean"], value["ci95"]) if is_interval(value) else (value, None)
            if mean is not None:
                text = self._number(mean)
                return f"{text} ± {self._number(half)}" if half and self.interval else text
        return self.absent

    def heading(self, jobs: Sequence[Job]) -> str:
        """The title, with the metrics that were measured where several may be meant."""
        found = [m for m in self.metrics if any(is_interval(job.summary.get(m)) for job in jobs)]
        several = len(self.metrics) > 1 and found
        return f"{self.title} ({', '.join(found)})" if several else self.title

    def _number(self, value: float) -> str:
        return f"{value * self.factor:.{self.digits}f}"


PSNR = Column("PSNR, dB", ("psnr",), 2)
GAP = Column("gap to the ceiling, dB", ("gap",), 3)
LATENT = Column("latent, dB", ("latent_psnr",), 1)
CALLS = Column("calls", ("nfe_calls",), 0)
CEILING = Column("ceiling", ("ceiling_psnr",), 2)

CAP = 75.0
"""dB of a latent above which points are drawn at the edge: exact up to rounding."""


def mean(job: Job, metric: str) -> float:
    """The mean of a metric over the job's examples."""
    return float(job.summary[metric]["mean"])


def latent(job: Job) -> float:
    """Mean dB of the reconstructed latent; infinite where every image came back exactly."""
    return math.inf if job.summary["latent_psnr"] is None else mean(job, "latent_psnr")


def ground(job: Job) -> tuple[int, float, str]:
    """What makes runs comparable: the grid, the longest first, the guidance, and the data set."""
    return -job.summary["steps"], job.summary["guidance"], job.summary["dataset"]


def grounds(jobs: Sequence[Job], key: Callable[[Job], Any] = ground) -> list[list[Job]]:
    """The jobs on one ground together, in the order of the grounds."""
    return [list(same) for _, same in groupby(sorted(jobs, key=key), key=key)]


def by_ground(table: Callable[[Sequence[Job]], str]) -> Experiment:
    """The experiment whose results are a table a ground."""
    return Experiment(lambda jobs: Results("\n\n".join(map(table, grounds(jobs)))))


def setting(job: Job) -> str:
    """Guidance and grid."""
    return f"w = {job.summary['guidance']:g}, N = {job.summary['steps']}"


def devices(jobs: Sequence[Job]) -> str:
    """What the jobs ran on, such as ``cpu and cuda``."""
    return " and ".join(sorted({job.summary["device"] for job in jobs}))


def named(name: str, job: Job, jobs: Sequence[Job]) -> str:
    """``name`` of a row, with the job's device where the ``jobs`` of the table had several."""
    device = job.summary["device"]
    return name if device == devices(jobs) else f"{name}, {device}"


def shared(jobs: Sequence[Job], ceiling: Column = CEILING) -> str:
    """What reconstructions on one ground share: setting, images, devices, VAE's ceiling."""
    n, dataset = (jobs[0].summary[key] for key in ("n", "dataset"))
    head = f"{setting(jobs[0])}, n = {n}, {dataset}, {devices(jobs)}"
    return f"{head}; ceiling {ceiling.cell(jobs[0])} dB"


def label(job: Job, settings: Sequence[str] = ()) -> str:
    """The inverter, and which of the settings were set on it."""
    return " ".join(
        [job.summary["inverter"], *(job.overrides[k] for k in settings if k in job.overrides)]
    )


def block(
    head: str,
    jobs: Sequence[Job],
    columns: Sequence[Column],
    name: Callable[[Job], str] = label,
) -> str:
    """A line on what the jobs share, and their table: a row a job."""
    titles = ["inverter", *(column.heading(jobs) for column in columns)]
    rows = [[named(name(job), job, jobs), *(col.cell(job) for col in columns)] for job in jobs]
    return f"{head}\n\n{markdown(titles, rows)}"


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first columns hold words and whose others hold numbers, set to the right."""
    rule = "|" + "---|" * words + "---:|" * (len(titles) - words)
    return "\n".join([_row(titles), rule, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
