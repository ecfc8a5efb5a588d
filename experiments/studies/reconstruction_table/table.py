"""Make the tables of reconstructions: ``table.py FOLDER [RESULTS]``.

Reads records only. One row per inverter with its setting and one block per grid and guidance;
every number is the mean over the images with the half-width of its 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import CALLS, GAP, LATENT, PSNR, block, by_ground, label, mean, shared

COLUMNS = (PSNR, GAP, LATENT, CALLS)
SETTINGS = ("inverter.label", "inverter.variant", "inverter.iterations")


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, the cheapest first."""
    jobs = sorted(jobs, key=lambda job: mean(job, "nfe_calls"))
    return block(shared(jobs), jobs, COLUMNS, lambda job: label(job, SETTINGS))


experiment = by_ground(table, "inverter")

if __name__ == "__main__":
    sys.exit(experiment.main())
