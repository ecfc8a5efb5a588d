"""Markdown tables of finished jobs: cells with their intervals, a block for each ground.

A ground is what jobs must share to be compared: grid, guidance and data set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from fpinv.metrics.glossary import counted, sign
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.run.folder import is_interval


@dataclass(frozen=True)
class Column:
    """A column of a table over jobs.

    Arguments:
        title: The heading.
        metrics: Entries of a summary, of which the first that was measured stands there.
        digits: Digits behind the point.
        factor: Factor of the numbers, such as 100 for per cent.
        interval: True to add the half-width of the 95 % interval where it is not 0.
        absent: Text where nothing was measured.
    """

    title: str
    metrics: tuple[str, ...]
    digits: int
    factor: float = 1
    interval: bool = True
    absent: str = ""

    def cell(self, job: Job) -> str:
        """Return ``mean ± half-width`` of a job."""
        texts = (
            self.shown(entry if is_interval(entry) else {"mean": entry, "ci95": None})
            for entry in map(job.summary.get, self.metrics)
        )
        return next((text for text in texts if text != self.absent), self.absent)

    def shown(self, entry: Mapping[str, Any] | None) -> str:
        """Return ``mean ± half-width`` of an entry, and the n of one that lacks examples."""
        if entry is None or entry["mean"] is None:
            return self.absent
        number, half = self._number(entry["mean"]), entry["ci95"] if self.interval else None
        mark = sign(entry["mean"], share=self.factor == 100)
        return (f"{number} {mark} {self._number(half)}" if half else number) + counted(entry)

    def heading(self, jobs: Sequence[Job]) -> str:
        """Return the title, with the metrics that were measured where it stands for several."""
        names = [m for m in self.metrics if any(is_interval(job.summary.get(m)) for job in jobs)]
        several = len(self.metrics) > 1 and names
        return f"{self.title} ({', '.join(names)})" if several else self.title

    def _number(self, value: float) -> str:
        return f"{value * self.factor:z.{self.digits}f}"  # z: no minus before 0


PSNR = Column("PSNR, dB", ("psnr",), 2)
GAP = Column("gap to the ceiling, dB", ("gap",), 3)
LATENT = Column("latent, dB", ("latent_psnr",), 1)
CALLS = Column("calls", ("nfe_calls",), 0)
CEILING = Column("ceiling", ("ceiling_psnr",), 2)

CAP = 75.0
"""dB of a latent above which points are drawn at the edge: exact up to rounding."""


def mean(job: Job, metric: str) -> float:
    """Return the mean of a metric over the job's examples."""
    return float(job.summary[metric]["mean"])


def latent(job: Job) -> float:
    """Return the mean dB of the reconstructed latent; infinite if every image is exact."""
    return math.inf if job.summary["latent_psnr"] is None else mean(job, "latent_psnr")


def ground(job: Job) -> tuple[int, float, str]:
    """Return what makes runs comparable: grid, the longest first, guidance and data set."""
    return -job.summary["steps"], job.summary["guidance"], job.summary["dataset"]


def grounds(jobs: Sequence[Job], key: Callable[[Job], Any] = ground) -> list[list[Job]]:
    """Return the jobs on each ground, in the order of the grounds."""
    return [list(members) for _, members in groupby(sorted(jobs, key=key), key=key)]


GROUND = ("steps", "guidance", "dataset")
"""The settings of a :func:`ground`."""


def by_ground(
    table: Callable[[Sequence[Job]], str], *apart: str, examples: Sequence[str] = ()
) -> Experiment:
    """Return the experiment whose results are a table for each ground.

    Arguments:
        table: Makes the table of the jobs on one ground.
        apart: Further settings that its rows tell apart.
        examples: Metrics of single examples that it takes.
    """

    def make(jobs: Sequence[Job]) -> Results:
        return Results("\n\n".join(map(table, grounds(jobs))))

    return Experiment(make, examples=examples, apart=(*GROUND, *apart))


def by_seed(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs in groups that differ in their seeds alone, in the order of the first."""
    groups: dict[str, list[Job]] = {}
    for job in jobs:
        # Each seed has inversions of its own.
        shared = {k: v for k, v in job.overrides.items() if k not in ("seed", "task.inversions")}
        groups.setdefault(json.dumps(shared, sort_keys=True), []).append(job)
    return list(groups.values())


def pooled(jobs: Sequence[Job], metric: str) -> dict[str, float | None] | None:
    """Return the mean of independent jobs' means of a metric, with its interval."""
    entries = [job.summary[metric] for job in jobs if is_interval(job.summary.get(metric))]
    means = [entry["mean"] for entry in entries if entry["mean"] is not None]
    if not means:
        return None
    halves = [entry["ci95"] for entry in entries if entry["ci95"] is not None]
    whole = len(halves) == len(means)
    half = math.hypot(*halves) / len(means) if whole else None
    return {"mean": sum(means) / len(means), "ci95": half}


def source(job: Job) -> str:
    """Return where a job's seeds come from: its inverter, or a control."""
    seeds = job.settings.get("task.seeds") or "inverted"
    names = {"inverted": job.summary["inverter"], "crossfade": "pixel crossfade"}
    return names.get(seeds, f"{seeds} seeds")


def setting(job: Job) -> str:
    """Return guidance and grid, such as ``w = 3, N = 50``."""
    return f"w = {job.summary['guidance']:g}, N = {job.summary['steps']}"


def devices(jobs: Sequence[Job]) -> str:
    """Return the devices that the jobs ran on, such as ``cpu and cuda``."""
    return " and ".join(sorted({job.summary["device"] for job in jobs}))


def named(name: str, job: Job, jobs: Sequence[Job]) -> str:
    """Return the name of a row, with the job's device and n where those of the jobs differ."""
    device, n = job.summary["device"], job.summary["n"]
    name = name if device == devices(jobs) else f"{name}, {device}"
    return name if n == most(jobs) else f"{name} (n = {n})"


def most(jobs: Sequence[Job]) -> int:
    """Return the number of examples of the job that has most: others have lost some to errors."""
    return max(job.summary["n"] for job in jobs)


def shared(jobs: Sequence[Job], ceiling: Column = CEILING) -> str:
    """Return what jobs on one ground share: setting, images, devices and the VAE's ceiling."""
    largest = max(jobs, key=lambda job: int(job.summary["n"]))
    dataset = largest.summary["dataset"]
    head = f"{setting(largest)}, n = {most(jobs)}, {dataset}, {devices(jobs)}"
    return f"{head}; ceiling {ceiling.cell(largest)} dB"


def label(job: Job, settings: Sequence[str] = ()) -> str:
    """Return the inverter, and the values of those settings that were set on it."""
    return " ".join(
        [job.summary["inverter"], *(job.overrides[k] for k in settings if k in job.overrides)]
    )


def adjusted(name: str, job: Job) -> str:
    """Return a name with the job's adjustment behind it, where it has one."""
    adjustment = job.summary["adjustment"]
    return name if adjustment == "none" else f"{name}, {adjustment}"


def filled(columns: Iterable[Column], jobs: Sequence[Job]) -> list[Column]:
    """Return the columns in which any of the jobs has a cell."""
    return [column for column in columns if any(map(column.cell, jobs))]


def block(
    head: str,
    jobs: Sequence[Job],
    columns: Sequence[Column],
    name: Callable[[Job], str] = label,
    names: str = "inverter",
) -> str:
    """Return a line on what the jobs share, and their table: a row a job.

    Arguments:
        head: The line.
        jobs: The jobs.
        columns: The columns beside the names.
        name: Returns the name of a job.
        names: Heading of the names.
    """
    titles = [names, *(column.heading(jobs) for column in columns)]
    rows = [[named(name(job), job, jobs), *(col.cell(job) for col in columns)] for job in jobs]
    return f"{head}\n\n{markdown(titles, rows)}"


def markdown(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table whose first ``words`` columns hold words and whose others hold numbers."""
    rule = "|" + "---|" * words + "---:|" * (len(titles) - words)
    return "\n".join([_row(titles), rule, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
