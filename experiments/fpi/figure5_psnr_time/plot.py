"""Draw PSNR against seconds an image (FPI, Fig. 5): ``plot.py FOLDER [RESULTS]``.

It reads records only, and tells the memory of each inverter. Seconds are of inversion
and sampling, without the VAE.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import style
from fpinv.reporting.tables import GAP, LATENT, PSNR, Column, block, mean, shared

COLUMNS = (
    PSNR,
    GAP,
    LATENT,
    Column("s/image", ("seconds_per_image",), 2),
    Column("rows to invert, with a gradient three", ("nfe_equivalents",), 0),
    Column("numbers stored beside z_N", ("stored_numbers",), 0),
)


def draw(jobs: Sequence[Job]) -> Figure:
    """Return a cross for each inverter: its means with 95 % intervals; the ceiling is dashed."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    axes = figure.subplots()
    for job in jobs:
        (x, xerr), (y, yerr) = (
            (job.summary[name]["mean"], job.summary[name]["ci95"])
            for name in ("seconds_per_image", "psnr")
        )
        name = job.summary["inverter"]
        axes.errorbar(
            x, y, xerr=xerr, yerr=yerr, capsize=2, linestyle="none", **style(name, filled=True)
        )
        axes.annotate(name, (x, y), xytext=(7, -12), textcoords="offset points")
    axes.axhline(mean(jobs[0], "ceiling_psnr"), color="grey", linestyle="--", label="VAE ceiling")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.margins(x=0.25)
    axes.set(xlabel="seconds an image, to invert and sample", ylabel="PSNR, dB")
    axes.legend(fontsize=8, loc="lower right")
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return the picture, and its numbers with the memory that each inverter needs."""
    jobs = sorted(jobs, key=lambda job: mean(job, "seconds_per_image"))
    head = f"{shared(jobs)}; batches of {jobs[0].summary['batch_size']}"
    figure = "![PSNR against seconds an image](psnr_time.png)"
    return Results(
        f"{figure}\n\n{block(head, jobs, COLUMNS)}", {"psnr_time.png": partial(draw, jobs)}
    )


experiment = Experiment(make, apart=("inverter",))

if __name__ == "__main__":
    sys.exit(experiment.main())
