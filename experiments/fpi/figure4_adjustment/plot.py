"""Measure the prompt-aware adjustment (FPI, Fig. 4 and 14): ``plot.py FOLDER [RESULTS]``.

It reads records only. Distances are Euclidean, of whole latents, as the paper's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.sheets import PictureColumn, job_pictures, side_by_side
from fpinv.reporting.tables import Column, grounds, markdown, setting

NONE, ADJUSTED = "none", "prompt_aware"
HEADINGS = {NONE: "as encoded", ADJUSTED: "adjusted"}
DISTANCES = {
    "encoded, z_0 to E(D(z_0))": Column("", ("encoding_distance",), 2, absent="-"),
    "what was inverted, to z_0": Column("", ("adjusted_distance",), 2, absent="-"),
    "what came back, to z_0": Column("", ("reconstruction_distance",), 2, absent="-"),
    "what was inverted, to the encoding": Column("", ("adjustment_distance",), 2, absent="-"),
    "seed, |ẑ_N − z_N| / |z_N|": Column("", ("seed_error",), 3, absent="-"),
    "PSNR of the image, dB": Column("", ("psnr",), 2),
    "latent, dB": Column("", ("latent_psnr",), 1),
}
ROWS = 4


def by_adjustment(jobs: Sequence[Job]) -> dict[str, Job]:
    """Return the two jobs on one ground by adjustment.

    Raises:
        UserError: one is missing.
    """
    by_name = {job.summary["adjustment"]: job for job in jobs}
    if missing := {NONE, ADJUSTED} - by_name.keys():
        raise UserError(f"{setting(jobs[0])}: no finished run with adjustment={missing.pop()}")
    return by_name


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground: a row a distance, a column an adjustment."""
    pair = by_adjustment(jobs)
    run = jobs[0].summary
    head = f"{setting(jobs[0])}, n = {run['n']}, {run['inverter']} on {run['dataset']}"
    rows = [
        [title, *(column.cell(pair[name]) for name in HEADINGS)]
        for title, column in DISTANCES.items()
    ]
    return f"{head}\n\n{markdown(['', *HEADINGS.values()], rows)}"


def columns(all_grounds: Sequence[Sequence[Job]]) -> list[PictureColumn]:
    """Return the original, then the reconstructions without and with adjustment, by guidance."""
    pictures = [job_pictures("original", all_grounds[0][0], "original")]
    for jobs in all_grounds:
        pair = by_adjustment(jobs)
        for name, words in HEADINGS.items():
            title = f"w = {jobs[0].summary['guidance']:g}\n{words}"
            pictures.append(job_pictures(title, pair[name], "reconstruction", "psnr"))
    return pictures


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each guidance, and the pictures.

    Raises:
        UserError: at some guidance there is no run without, or none with the adjustment.
    """
    blocks = grounds(jobs)
    figure = "![Originals, and what came back without and with the adjustment](adjustment.jpg)"
    sheet = side_by_side(columns(blocks), ROWS, lambda example: example["prompt"])
    pictures = {} if sheet is None else {"adjustment.jpg": sheet}
    return Results("\n\n".join([*map(table, blocks), figure]), pictures)


experiment = Experiment(
    make, examples=("images", "prompt", "psnr"), apart=("guidance", "adjustment")
)

if __name__ == "__main__":
    sys.exit(experiment.main())
