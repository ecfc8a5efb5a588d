"""Make the table of networks in half and single precision: ``table.py FOLDER [RESULTS]``.

Reads records only. A block per grid and guidance, a row per inverter and precision.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import Column, block, by_ground, label, shared

COLUMNS = (
    Column("latent, dB", ("latent_psnr",), 1, absent="–"),
    Column("gap to the ceiling, dB", ("gap",), 3, absent="–"),
    Column("calls", ("nfe_calls",), 0, absent="–"),
    Column("residual", ("residual",), 4, absent="–"),
    Column("failed", ("failed",), 0),
)


def name(job: Job) -> str:
    """Return the inverter and the precision of its network."""
    return f"{label(job)}, {job.summary['precision']}"


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, the precisions of an inverter together."""
    order = [job.summary["inverter"] for job in jobs]
    jobs = sorted(jobs, key=lambda job: order.index(job.summary["inverter"]))
    return block(shared(jobs), jobs, COLUMNS, name)


experiment = by_ground(table, "inverter", "precision")

if __name__ == "__main__":
    sys.exit(experiment.main())
