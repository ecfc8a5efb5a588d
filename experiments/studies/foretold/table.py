"""Make the tables of errors foretold: ``table.py FOLDER [RESULTS]``.

It reads records only. Each model, data set and grid has a table: a row an inverter. Jobs of val
make no table: they give each inverter the margin of its bounds.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

import numpy as np

from fpinv.metrics.intervals import mean_ci95
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import (
    CALLS,
    LATENT,
    Column,
    block,
    devices,
    filled,
    grounds,
    label,
    most,
    setting,
)

EXPECTED, MEASURED = "latent_psnr_expected", "latent_psnr"
COVERED = 0.95
"""Share of the val images, of all grids together, that an inverter's margin covers."""

COLUMNS = (
    Column("foretold, dB", (EXPECTED,), 1),
    LATENT,
    Column("at most 1 dB worse, %", ("foretold",), 0, 100),
    Column("margin, dB", ("margin",), 1),
    Column("within the bound, %", ("bounded",), 0, 100),
    Column("slack, dB", ("slack",), 1),
    CALLS,
)


def ground(job: Job) -> tuple[str, str, int]:
    """Return what the jobs of a table share: data set, model and grid."""
    return job.summary["dataset"], job.summary["model"], job.summary["steps"]


def head(jobs: Sequence[Job]) -> str:
    """Return a line on what the jobs of a table share."""
    dataset, model, _ = ground(jobs[0])
    return f"{model}, {dataset}, {setting(jobs[0])}, n = {most(jobs)}, {devices(jobs)}"


def name(job: Job) -> str:
    """Return the inverter and its iterations."""
    return label(job, ("inverter.iterations",))


def shortfalls(job: Job) -> list[float]:
    """Return by how many dB each latent came back worse than foretold."""
    pairs = ((row.get(EXPECTED), row.get(MEASURED)) for row in job.examples)
    return [e - m for e, m in pairs if e is not None and m is not None]


def margins(jobs: Sequence[Job]) -> dict[str, float]:
    """Return the dB that :data:`COVERED` of the images of each inverter do not fall short by."""
    missed: dict[str, list[float]] = {}
    for job in jobs:
        missed.setdefault(name(job), []).extend(shortfalls(job))
    return {row: float(np.quantile(values, COVERED)) for row, values in missed.items() if values}


def with_bound(job: Job, by_inverter: Mapping[str, float]) -> Job:
    """Return a job with the margin of its inverter, and what its bounds hold, in its summary.

    The bound of an image is its forecast less the margin. *slack* is by how much the median image
    comes back better than its bound.
    """
    if (margin := by_inverter.get(name(job))) is None or not (missed := shortfalls(job)):
        return job
    within = mean_ci95([float(value <= margin) for value in missed], share=True)
    values = {"margin": margin, "bounded": within, "slack": margin - median(missed)}
    return replace(job, summary={**job.summary, **values})


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    return block(head(jobs), jobs, filled(COLUMNS, jobs), name)


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each ground, with bounds where there are jobs of val."""
    val = [job for job in jobs if job.settings.get("dataset.split") == "val"]
    by_inverter = margins(val)
    others = [with_bound(job, by_inverter) for job in jobs if job not in val]
    return Results("\n\n".join(map(table, grounds(others, ground))))


experiment = Experiment(
    make,
    settings=("dataset.split",),
    examples=(EXPECTED, MEASURED),
    apart=("inverter", "dataset", "dataset.split", "model", "spacing", "steps"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
