"""Make FPI's Table 2, rare concepts: ``table.py FOLDER [RESULTS]``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles over bootstrap draws of the
images of each class (their outcomes are right or wrong, so a draw of m images of which a share p
is right has a binomial number of right ones); of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fpinv.datasets.classes import BINS
from fpinv.metrics.intervals import DRAWS, percent
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import markdown, named, setting
from fpinv.run.terminal import interval

BASE = "plain sampling"
MEASURES = {name: f"accuracy_{name}" for name in BINS} | {"total": "accuracy"}
HEADINGS = (*(name.capitalize() for name in MEASURES), "FID", "T_init, s", "T_opt, s")


@dataclass(frozen=True)
class Row:
    """One way of making the images.

    Arguments:
        name: The steps that make the images, such as ``NAO (fpi) + SeedSelect (5)``.
        job: The finished job.
        images: Number of images of each class.
        bins: The accuracies of the classes of each bin; "total" has them all.
    """

    name: str
    job: Job
    images: int
    bins: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, job: Job) -> Row:
        """Return the row of a job."""
        task = job.settings
        steps = [] if task["task.centroid"] is None else [f"NAO ({job.summary['inverter']})"]
        if (iterations := task["task.seedselect.iterations"]) is not None:
            steps.append(f"SeedSelect ({iterations})")
        bins = {name: _values(job, metric) for name, metric in MEASURES.items()}
        return cls(" + ".join(steps) or BASE, job, task["task.images"], bins)

    def draws(self, name: str, seed: int) -> NDArray[np.float64]:
        """Return bootstrap draws of the mean accuracy of a bin."""
        shares = np.array(self.bins[name])
        rng = np.random.default_rng(seed)
        right = rng.binomial(self.images, shares, size=(DRAWS, len(shares)))
        return right.mean(1) / self.images

    def accuracy(self, name: str) -> str:
        """Return the mean accuracy of a bin in per cent, with its interval."""
        if not self.bins[name]:
            return "-"
        return percent(float(np.mean(self.bins[name])), self.draws(name, 0))


def gain(row: Row, base: Row, name: str = "few") -> str:
    """Return the gain in accuracy of a row over another in a bin, whose images are independent."""
    mean = np.mean(row.bins[name]) - np.mean(base.bins[name])
    return percent(float(mean), row.draws(name, 0) - base.draws(name, 1))


def _values(job: Job, metric: str) -> list[float]:
    return [value for row in job.examples if (value := row.get(metric)) is not None]


def table(rows: Sequence[Row]) -> str:
    """Return the table, and below it the gain of each row in the rarest bin."""
    summary = rows[0].job.summary
    head = f"{setting(rows[0].job)}, {summary['model']}, "
    head += f"{rows[0].images} images of each class, FID of {summary['features']} features"
    lines = [head, "", markdown(["seeds", *HEADINGS], [_cells(row, rows) for row in rows])]
    base = next((row for row in rows if row.name == BASE), None)
    if base is not None and base.bins["few"]:
        lines += ["", f"In the bin Few, points over {BASE}:", ""]
        gains = [row for row in rows if row is not base and row.bins["few"]]
        lines += [f"- {row.name}: {gain(row, base)}" for row in gains]
    return "\n".join(lines)


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    fid, optimising = (row.job.summary[name] for name in ("fid", "seconds_opt"))
    initial = _inverted(row, rows).job.summary["seconds_init"]
    measured = [interval(value) for value in (fid, initial, optimising)]
    name = named(row.name, row.job, [row.job for row in rows])
    return [name, *map(row.accuracy, MEASURES), *measured]


def _inverted(row: Row, rows: Sequence[Row]) -> Row:
    """Return the row whose inversions this row took, for their time; itself where it made them."""
    if row.job.settings["task.inversions"] is None:
        return row
    start = row.name.partition(" + ")[0]
    return next((source for source in rows if source.name == start), row)


def make(jobs: Sequence[Job]) -> Results:
    """Return the table of all jobs."""
    return Results(table([Row.of(job) for job in jobs]))


experiment = Experiment(
    make,
    settings=("task.centroid", "task.seedselect.iterations", "task.images", "task.inversions"),
    examples=tuple(MEASURES.values()),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
