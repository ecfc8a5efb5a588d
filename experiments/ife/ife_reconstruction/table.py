"""Make the table of IFE's measures: ``table.py FOLDER [RESULTS]``.

Reads records only. One block per guidance, the fewest evaluations first; means over the images
with the half-width of their 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import LATENT, PSNR, Column, block, by_ground, label, mean, shared

SETTINGS = ("inverter.variant", "inverter.iterations")
COLUMNS = (
    Column("perceptual distance", ("lpips_alex", "features_scenes"), 4),
    Column("SSIM", ("ssim",), 4),
    PSNR,
    LATENT,
    Column("NFE", ("nfe_calls",), 0),
    Column("s/image", ("seconds_per_image",), 2, interval=False),
)


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    jobs = sorted(jobs, key=lambda job: mean(job, "nfe_calls"))
    return block(shared(jobs), jobs, COLUMNS, lambda job: label(job, SETTINGS))


experiment = by_ground(table, "inverter")

if __name__ == "__main__":
    sys.exit(experiment.main())
