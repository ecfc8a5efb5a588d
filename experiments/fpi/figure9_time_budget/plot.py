"""Give null-text and EDICT fpi's time (FPI, supplement 7, Fig. 9): ``plot.py FOLDER [RESULTS]``.

It reads records only. A budget is a multiple of the seconds that fpi takes for an image on the
same machine: 1 and 5, which are the paper's 5 s and 25 s.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure
from PIL import Image

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import Drawing, style
from fpinv.reporting.sheets import PictureColumn, job_pictures, side_by_side
from fpinv.reporting.tables import GAP, PSNR, Column, grounds, markdown, mean

BUDGETS = (1, 5)
FPI, BASELINES = "fpi", ("null_text", "edict")
VARIED = {"null_text": "inner steps", "edict": "N"}
"""The setting in which the points of a baseline differ, written beside them."""
COLUMNS = (PSNR, GAP, Column("s/image", ("seconds_per_image",), 2))
SLACK = 1.1
"""Factor by which a setting may exceed a budget and still count as within it."""
ROWS = 4


def setting(job: Job) -> str:
    """Return the inverter and the settings that its time depends on."""
    inner = job.overrides.get("inverter.inner_steps")
    words = f"N = {job.summary['steps']}"
    return f"{job.summary['inverter']}, {words}" + (f", {inner} inner steps" if inner else "")


def multiple(job: Job, fpi: Job) -> float:
    """Return the time of a job in units of fpi's."""
    return mean(job, "seconds_per_image") / mean(fpi, "seconds_per_image")


def within(jobs: Sequence[Job], fpi: Job, budget: float) -> Job | None:
    """Return the slowest of an inverter's settings that a budget allows; None if it has none."""
    allowed = [job for job in jobs if multiple(job, fpi) <= budget * SLACK]
    return max(allowed, key=lambda job: multiple(job, fpi), default=None)


def families(jobs: Sequence[Job]) -> tuple[Job, list[list[Job]]]:
    """Return fpi's job, and those of each baseline by time.

    Raises:
        UserError: no run of fpi is finished.
    """
    fpi = next((job for job in jobs if job.summary["inverter"] == FPI), None)
    if fpi is None:
        raise UserError("no run of fpi is finished, whose time is the unit of the budgets")
    baselines = [job for job in jobs if job.summary["inverter"] in BASELINES]
    by_inverter = grounds(baselines, lambda job: BASELINES.index(job.summary["inverter"]))
    return fpi, [sorted(runs, key=lambda job: multiple(job, fpi)) for runs in by_inverter]


def table(fpi: Job, baselines: Sequence[Sequence[Job]]) -> str:
    """Return the table of all settings, with their time in units of fpi's."""
    run = fpi.summary
    head = f"w = {run['guidance']:g}, n = {run['n']}, {run['device']}; "
    head += f"ceiling {mean(fpi, 'ceiling_psnr'):.2f} dB; time in units of fpi's"
    titles = ["setting", "time", *(column.title for column in COLUMNS)]
    rows = [
        [setting(job), f"{multiple(job, fpi):.2f}", *(column.cell(job) for column in COLUMNS)]
        for job in (fpi, *(job for runs in baselines for job in runs))
    ]
    return f"{head}\n\n{markdown(titles, rows)}"


def verdict(fpi: Job, baselines: Sequence[Sequence[Job]]) -> str:
    """Return the PSNR that each baseline reaches within each budget."""
    lines = [f"Within a budget (its slowest setting, up to {SLACK - 1:.0%} over):", ""]
    for budget in BUDGETS:
        reached = [(runs[0].summary["inverter"], within(runs, fpi, budget)) for runs in baselines]
        words = [
            f"{name}: nothing" if job is None else f"{setting(job)}: {mean(job, 'psnr'):.2f} dB"
            for name, job in reached
        ]
        lines.append(f"- {budget} times fpi's: {'; '.join(words)}")
    return "\n".join([*lines, f"- {setting(fpi)}: {mean(fpi, 'psnr'):.2f} dB"])


def draw(fpi: Job, baselines: Sequence[Sequence[Job]]) -> Figure:
    """Return PSNR against time, a line a baseline; budgets are dotted, the ceiling is dashed."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(1, mean(fpi, "psnr"), linestyle="none", label=setting(fpi), **style(FPI))
    for runs in baselines:
        name = runs[0].summary["inverter"]
        times = [multiple(job, fpi) for job in runs]
        values = [mean(job, "psnr") for job in runs]
        axes.plot(times, values, label=f"{name} (numbers: {VARIED[name]})", **style(name))
        for job, x, y in zip(runs, times, values, strict=True):
            inner = job.overrides.get("inverter.inner_steps", job.summary["steps"])
            axes.annotate(inner, (x, y), xytext=(3, -9), textcoords="offset points", fontsize=7)
    for budget in BUDGETS:
        axes.axvline(budget, color="grey", linestyle=":", linewidth=0.8)
    axes.axhline(mean(fpi, "ceiling_psnr"), color="grey", linestyle="--", label="VAE ceiling")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set(xlabel="time of inversion and sampling, in units of fpi's", ylabel="PSNR, dB")
    axes.legend(fontsize=8)
    return figure


def columns(fpi: Job, baselines: Sequence[Sequence[Job]]) -> list[PictureColumn]:
    """Return the original, fpi, and the baselines' slowest settings in each budget."""
    slowest = [within(runs, fpi, budget) for budget in BUDGETS for runs in baselines]
    pictures = [job_pictures("original", fpi, "original")]
    for job in (fpi, *filter(None, slowest)):
        title = setting(job).replace(", ", "\n", 1)
        title += f"\n{multiple(job, fpi):.1f} × fpi's time"
        pictures.append(job_pictures(title, job, "reconstruction", "psnr"))
    return pictures


def make(jobs: Sequence[Job]) -> Results:
    """Return both pictures and the table.

    Raises:
        UserError: no run of fpi is finished.
    """
    fpi, baselines = families(jobs)
    pictures: dict[str, Image.Image | Drawing] = {"time_budget.png": partial(draw, fpi, baselines)}
    if (sheet := side_by_side(columns(fpi, baselines), ROWS)) is not None:
        pictures["pictures.jpg"] = sheet
    text = [
        "![PSNR against time in units of fpi's](time_budget.png)",
        table(fpi, baselines),
        verdict(fpi, baselines),
        "![Reconstructions within the budgets](pictures.jpg)",
    ]
    return Results("\n\n".join(text), pictures)


experiment = Experiment(make, examples=("images", "psnr"), apart=("inverter", "steps"))

if __name__ == "__main__":
    sys.exit(experiment.main())
