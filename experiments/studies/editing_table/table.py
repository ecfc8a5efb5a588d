"""Make the table of edits: ``table.py FOLDER [RESULTS]``.

Reads records only. One row per inverter and one block per grid and guidance; every number is the
mean over the edits that have it, with the half-width of its 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import Column, block, by_ground, devices, setting

COLUMNS = (
    Column("n", ("n",), 0),
    Column("edit accuracy, %", ("edit_accuracy",), 1, 100),
    Column("kept accuracy, %", ("kept_accuracy",), 1, 100),
    Column("PSNR to the truth, dB", ("truth_psnr",), 2),
    Column("background PSNR, dB", ("background_psnr",), 2),
    Column("CLIP", ("clip_scenes", "clip_ViT-L-14-quickgelu_openai"), 3),
    Column("distance to the original", ("features_scenes", "lpips_alex"), 3),
    Column("s/image", ("seconds_per_image",), 2),
)


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    return block(f"{setting(jobs[0])}, {devices(jobs)}", jobs, COLUMNS)


experiment = by_ground(table)

if __name__ == "__main__":
    sys.exit(experiment.main())
