"""Draw accuracy against guidance: ``plot.py outputs/guidance_sweep/<stamp> [results]``.

It reads records only. The gap to the VAE's ceiling and the error of the latent stand against the
guidance, which is that of the sampling as of the inversion.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import mark_cap, name_coincident, style
from fpinv.reporting.tables import (
    CAP,
    Column,
    devices,
    grounds,
    label,
    latent,
    markdown,
    mean,
    named,
)

GAP = Column("gap to the ceiling, dB", ("gap",), 2)
LATENT = Column("latent, dB", ("latent_psnr",), 1, absent="∞")


def guidance(job: Job) -> float:
    """Return w of the sampling."""
    return float(job.summary["guidance"])


def families(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs of each inverter on each device, by guidance."""
    runs = grounds(jobs, lambda job: (label(job), job.summary["device"]))
    return [sorted(family, key=guidance) for family in runs]


def table(jobs: Sequence[Job], column: Column) -> str:
    """Return a table with a row an inverter and a column a guidance."""
    scales = sorted({guidance(job) for job in jobs})
    rows = []
    for family in families(jobs):
        at = {guidance(job): column.cell(job) for job in family}
        name = named(label(family[0]), family[0], jobs)
        rows.append([name, *(at.get(w, "") for w in scales)])
    run = jobs[0].summary
    head = f"{column.title}: N = {run['steps']}, n = {run['n']}, {devices(jobs)}"
    return f"{head}\n\n{markdown(['inverter', *(f'w = {w:g}' for w in scales)], rows)}"


def draw(jobs: Sequence[Job]) -> Figure:
    """Return a figure of both measures, a line an inverter."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ends = []
    for family in families(jobs):
        ws, name = [guidance(job) for job in family], family[0].summary["inverter"]
        gaps = [mean(job, "gap") for job in family]
        left.plot(ws, gaps, **style(name))
        latents = [min(latent(job), CAP) for job in family]
        right.plot(ws, latents, label=named(name, family[0], jobs), **style(name))
        ends.append((name, ws[-1], gaps[-1]))
    left.set(xlabel="guidance w", ylabel="gap to the VAE's ceiling, dB")
    right.set(xlabel="guidance w", ylabel="latent, dB")
    mark_cap(right, CAP)
    name_coincident(left, ends)
    figure.legend(loc="outside right center", fontsize=8)
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return the picture and a table for each measure."""
    figure = "![Gap and error of the latent against guidance](guidance.png)"
    tables = [table(jobs, GAP), table(jobs, LATENT)]
    return Results("\n\n".join([figure, *tables]), {"guidance.png": partial(draw, jobs)})


experiment = Experiment(make, apart=("inverter", "guidance"))

if __name__ == "__main__":
    sys.exit(experiment.main())
