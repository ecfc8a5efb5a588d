"""What guidance does to inversions: ``plot.py outputs/guidance_sweep/<stamp> [results]``.

Reads records only. The gap to the VAE's ceiling and the error of the latent against the guidance,
which is that of the sampling as of the inversion.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from fpinv.reporting.experiment import Experiment, Job, Results
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
    """w of the sampling."""
    return float(job.summary["guidance"])


def families(jobs: Sequence[Job]) -> list[list[Job]]:
    """The jobs of each inverter on each device, by guidance."""
    found = grounds(jobs, lambda job: (label(job), job.summary["device"]))
    return [sorted(same, key=guidance) for same in found]


def table(jobs: Sequence[Job], column: Column) -> str:
    """A row an inverter, a column a guidance."""
    scales = sorted({guidance(job) for job in jobs})
    rows = []
    for same in families(jobs):
        at = {guidance(job): column.cell(job) for job in same}
        name = named(label(same[0]), same[0], jobs)
        rows.append([name, *(at.get(w, "") for w in scales)])
    first = jobs[0].summary
    head = f"{column.title}: N = {first['steps']}, n = {first['n']}, {devices(jobs)}"
    return f"{head}\n\n{markdown(['inverter', *(f'w = {w:g}' for w in scales)], rows)}"


def draw(jobs: Sequence[Job]) -> Figure:
    """Both measures, a line an inverter."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    for k, same in enumerate(families(jobs)):
        ws, style = [guidance(job) for job in same], {"ms": 4, "color": f"C{k}"}
        left.plot(ws, [mean(job, "gap") for job in same], "o-", **style)
        latents = [min(latent(job), CAP) for job in same]
        right.plot(ws, latents, "o-", label=same[0].summary["inverter"], **style)
    left.set_ylabel("gap to the VAE's ceiling, dB")
    right.set_ylabel("latent, dB")
    for axes in (left, right):
        axes.set_xlabel("guidance w")
    figure.legend(loc="outside right center", fontsize=8)
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """The picture and a table a measure."""
    shown = "![Gap and error of the latent against guidance](guidance.png)"
    tables = [table(jobs, GAP), table(jobs, LATENT)]
    return Results("\n\n".join([shown, *tables]), {"guidance.png": draw(jobs)})


experiment = Experiment(make)

if __name__ == "__main__":
    sys.exit(experiment.main())
