"""What the prompt-aware adjustment does (FPI, Fig. 4 and 14): ``plot.py FOLDER [RESULTS]``.

Reads records only. Distances are Euclidean, of whole latents, as the paper's.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import Shown, side_by_side
from fpinv.reporting.tables import Column, grounds, markdown, setting

NONE, ADJUSTED = "none", "prompt_aware"
HEADINGS = {NONE: "as encoded", ADJUSTED: "adjusted"}
DISTANCES = {
    "encoded, z_0 to E(D(z_0))": Column("", ("encoding_distance",), 2, absent="-"),
    "what was inverted, to z_0": Column("", ("adjusted_distance",), 2, absent="-"),
    "what came back, to z_0": Column("", ("reconstruction_distance",), 2, absent="-"),
    "what was inverted, to the encoding": Column("", ("adjustment_distance",), 2, absent="-"),
    "seed, \\|ẑ_N − z_N\\| / \\|z_N\\|": Column("", ("seed_error",), 3, absent="-"),
    "PSNR of the image, dB": Column("", ("psnr",), 2),
    "latent, dB": Column("", ("latent_psnr",), 1),
}
ROWS = 4


def by_adjustment(jobs: Sequence[Job]) -> dict[str, Job]:
    """The two jobs on one ground.

    Raises:
        UserError: one is missing.
    """
    found = {job.summary["adjustment"]: job for job in jobs}
    if missing := {NONE, ADJUSTED} - found.keys():
        raise UserError(f"{setting(jobs[0])}: no finished run with adjustment={missing.pop()}")
    return found


def table(jobs: Sequence[Job]) -> str:
    """The table of the jobs on one ground: a row a distance, a column an adjustment."""
    found = by_adjustment(jobs)
    first = jobs[0].summary
    head = f"{setting(jobs[0])}, n = {first['n']}, {first['inverter']} on {first['dataset']}"
    rows = [
        [title, *(column.cell(found[name]) for name in HEADINGS)]
        for title, column in DISTANCES.items()
    ]
    return f"{head}\n\n{markdown(['', *HEADINGS.values()], rows)}"


def columns(all_grounds: Sequence[Sequence[Job]]) -> list[Shown]:
    """The original, then what came back without and with the adjustment, by guidance."""
    shown = [Shown("original", all_grounds[0][0], "original")]
    for jobs in all_grounds:
        found = by_adjustment(jobs)
        shown += [
            Shown(f"w = {jobs[0].summary['guidance']:g}\n{words}", found[name], *MADE)
            for name, words in HEADINGS.items()
        ]
    return shown


MADE = ("reconstruction", "psnr")


def make(jobs: Sequence[Job]) -> Results:
    """A table a guidance, and the pictures.

    Raises:
        UserError: at some guidance there is no run without, or none with the adjustment.
    """
    found = grounds(jobs)
    shown = "![Originals, and what came back without and with the adjustment](adjustment.jpg)"
    drawn = side_by_side(columns(found), ROWS, lambda example: example["prompt"])
    pictures = {} if drawn is None else {"adjustment.jpg": drawn}
    return Results("\n\n".join([*map(table, found), shown]), pictures)


experiment = Experiment(make, examples=("images", "prompt", "psnr"))

if __name__ == "__main__":
    sys.exit(experiment.main())
