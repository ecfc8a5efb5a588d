"""Make the table of all inverters: ``table.py FOLDER [RESULTS]``.

Reads records only. One block per grid and guidance; means over the images, with the half-width of
the 95 % interval where it says how well the image came back.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import Column, block, by_ground, mean, shared

Mean = partial(Column, interval=False, absent="–")
COLUMNS = (
    Mean("PSNR, dB", ("psnr",), 2),
    Column("gap, dB", ("gap",), 3, absent="–"),
    Mean("features_scenes", ("features_scenes",), 4),
    Column("latent, dB", ("latent_psnr",), 1, absent="–"),
    Mean("calls", ("nfe_calls",), 0),
    Mean("rows, with a gradient three", ("nfe_equivalents",), 0),
    Mean("s/image", ("seconds_per_image",), 2),
    Mean("stored", ("stored_numbers",), 0),
    Mean("|z_N|/√d", ("noise_norm",), 3),
)
CEILING = Mean("ceiling", ("ceiling_psnr",), 2)


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, the best reconstruction first."""
    jobs = sorted(jobs, key=lambda job: mean(job, "gap"))
    return block(shared(jobs, CEILING), jobs, COLUMNS)


experiment = by_ground(table, "inverter")

if __name__ == "__main__":
    sys.exit(experiment.main())
