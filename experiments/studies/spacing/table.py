"""Make the tables of grids: ``table.py FOLDER [RESULTS]``.

It reads records only. Each guidance and number of steps has a table of inversions, and all plain
samples have one.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import (
    CALLS,
    GAP,
    GROUND,
    LATENT,
    Column,
    block,
    devices,
    grounds,
    label,
    most,
    setting,
    shared,
)

INVERSIONS = (LATENT, GAP, CALLS)
SAMPLES = tuple(
    Column(f"{name}, %", (metric,), 1, 100)
    for name, metric in (
        ("Many", "accuracy_many"),
        ("Med", "accuracy_med"),
        ("Few", "accuracy_few"),
        ("all", "accuracy"),
    )
)


def name(job: Job) -> str:
    """Return the inverter and the spacing."""
    return f"{label(job)}, {job.summary['spacing']}"


def inversions(jobs: Sequence[Job]) -> str:
    """Return the table of inversions on one ground, an inverter's rows together."""
    return block(shared(jobs), sorted(jobs, key=label), INVERSIONS, name, "inverter, spacing")


def samples(jobs: Sequence[Job]) -> str:
    """Return the table of plain samples on one ground: how many show the shape asked for."""
    count = f"{jobs[0].settings['task.images']} images of each of {most(jobs)} shapes"
    head = f"Plain samples, {setting(jobs[0])}, {count}, {devices(jobs)}"
    return block(head, jobs, SAMPLES, lambda job: job.summary["spacing"], "spacing")


def make(jobs: Sequence[Job]) -> Results:
    """Return the tables of inversions, then those of samples."""
    inverted = [job for job in jobs if job.summary["task"] == "reconstruction"]
    sampled = [job for job in jobs if job not in inverted]
    tables = [*map(inversions, grounds(inverted)), *map(samples, grounds(sampled))]
    return Results("\n\n".join(tables))


experiment = Experiment(
    make, settings=("task.images",), apart=(*GROUND, "spacing", "inverter", "task")
)

if __name__ == "__main__":
    sys.exit(experiment.main())
