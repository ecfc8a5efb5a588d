"""Make the tables of errors foretold: ``table.py FOLDER [RESULTS]``.

It reads records only. Each model, data set and grid has a table: a row an inverter.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import (
    CALLS,
    LATENT,
    Column,
    block,
    devices,
    grounds,
    label,
    most,
    setting,
)

COLUMNS = (
    Column("foretold, dB", ("latent_psnr_expected",), 1),
    LATENT,
    Column("at most 1 dB worse, %", ("foretold",), 0, 100),
    CALLS,
)


def ground(job: Job) -> tuple[str, str, int]:
    """Return what the jobs of a table share: data set, model and grid."""
    return job.summary["dataset"], job.summary["model"], job.summary["steps"]


def head(jobs: Sequence[Job]) -> str:
    """Return a line on what the jobs of a table share."""
    dataset, model, _ = ground(jobs[0])
    return f"{model}, {dataset}, {setting(jobs[0])}, n = {most(jobs)}, {devices(jobs)}"


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    return block(head(jobs), jobs, COLUMNS, lambda job: label(job, ("inverter.iterations",)))


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each ground."""
    return Results("\n\n".join(map(table, grounds(jobs, ground))))


experiment = Experiment(make, apart=("inverter", "dataset", "model", "spacing", "steps"))

if __name__ == "__main__":
    sys.exit(experiment.main())
