"""Null-text and EDICT on FPI's time (FPI, supplement 7, Fig. 9): ``plot.py FOLDER [RESULTS]``.

Reads records only. A budget is a multiple of the seconds that fpi takes for an image on the same
machine: 1 and 5, which are the paper's 5 s and 25 s.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from fpinv.errors import UserError
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import Shown, side_by_side
from fpinv.reporting.tables import GAP, PSNR, Column, grounds, markdown, mean

BUDGETS = (1, 5)
FPI, BASELINES = "fpi", ("null_text", "edict")
COLUMNS = (
    PSNR,
    GAP,
    Column("s/image", ("seconds_per_image",), 2),
)
SLACK = 1.1
"""How far over a budget a setting may be and still count as within it."""
ROWS = 4


def setting(job: Job) -> str:
    """The inverter and what its time depends on."""
    inner = job.overrides.get("inverter.inner_steps")
    words = f"N = {job.summary['steps']}"
    return f"{job.summary['inverter']}, {words}" + (f", {inner} inner steps" if inner else "")


def multiple(job: Job, fpi: Job) -> float:
    """Its time in units of fpi's."""
    return mean(job, "seconds_per_image") / mean(fpi, "seconds_per_image")


def within(jobs: Sequence[Job], fpi: Job, budget: float) -> Job | None:
    """The slowest of an inverter's settings that a budget allows."""
    allowed = [job for job in jobs if multiple(job, fpi) <= budget * SLACK]
    return max(allowed, key=lambda job: multiple(job, fpi), default=None)


def families(jobs: Sequence[Job]) -> tuple[Job, list[list[Job]]]:
    """fpi's job, and those of each baseline by time.

    Raises:
        UserError: no run of fpi is finished.
    """
    fpi = next((job for job in jobs if job.summary["inverter"] == FPI), None)
    if fpi is None:
        raise UserError("no run of fpi is finished, whose time is the unit of the budgets")
    others = [job for job in jobs if job.summary["inverter"] in BASELINES]
    found = grounds(others, lambda job: BASELINES.index(job.summary["inverter"]))
    return fpi, [sorted(same, key=lambda job: multiple(job, fpi)) for same in found]


def table(fpi: Job, others: Sequence[Sequence[Job]]) -> str:
    """All settings, in units of fpi's time."""
    first = fpi.summary
    head = f"w = {first['guidance']:g}, n = {first['n']}, {first['device']}; "
    head += f"ceiling {mean(fpi, 'ceiling_psnr'):.2f} dB; time in units of fpi's"
    titles = ["setting", "time", *(column.title for column in COLUMNS)]
    rows = [
        [setting(job), f"{multiple(job, fpi):.2f}", *(column.cell(job) for column in COLUMNS)]
        for job in (fpi, *(job for same in others for job in same))
    ]
    return f"{head}\n\n{markdown(titles, rows)}"


def verdict(fpi: Job, others: Sequence[Sequence[Job]]) -> str:
    """What each baseline reaches within each budget."""
    lines = [f"Within a budget (its slowest setting, up to {SLACK - 1:.0%} over):", ""]
    for budget in BUDGETS:
        reached = [(same[0].summary["inverter"], within(same, fpi, budget)) for same in others]
        words = [
            f"{name}: nothing" if job is None else f"{setting(job)}: {mean(job, 'psnr'):.2f} dB"
            for name, job in reached
        ]
        lines.append(f"- {budget} times fpi's: {'; '.join(words)}")
    return "\n".join([*lines, f"- {setting(fpi)}: {mean(fpi, 'psnr'):.2f} dB"])


def draw(fpi: Job, others: Sequence[Sequence[Job]]) -> Figure:
    """PSNR against time, a line a baseline; the budgets dotted, the VAE's ceiling dashed."""
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot(1, mean(fpi, "psnr"), "*", ms=12, color="C0", label=setting(fpi))
    for colour, same in zip(("C1", "C2"), others, strict=False):
        times = [multiple(job, fpi) for job in same]
        values = [mean(job, "psnr") for job in same]
        axes.plot(times, values, "o-", ms=4, color=colour, label=same[0].summary["inverter"])
        for job, x, y in zip(same, times, values, strict=True):
            inner = job.overrides.get("inverter.inner_steps", job.summary["steps"])
            axes.annotate(inner, (x, y), xytext=(3, -9), textcoords="offset points", fontsize=7)
    for budget in BUDGETS:
        axes.axvline(budget, color="grey", linestyle=":", linewidth=0.8)
    axes.axhline(mean(fpi, "ceiling_psnr"), color="grey", linestyle="--", label="VAE ceiling")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("time of inversion and sampling, in units of fpi's")
    axes.set_ylabel("PSNR, dB")
    axes.legend(fontsize=8)
    return figure


def columns(fpi: Job, others: Sequence[Sequence[Job]]) -> list[Shown]:
    """The original, fpi, and what the baselines' slowest settings in each budget made of it."""
    shown = [Shown("original", fpi, "original"), _made(fpi, fpi)]
    for budget in BUDGETS:
        found = (within(same, fpi, budget) for same in others)
        shown += [_made(job, fpi) for job in found if job is not None]
    return shown


def _made(job: Job, fpi: Job) -> Shown:
    words = setting(job).replace(", ", "\n", 1)
    return Shown(f"{words}\n{multiple(job, fpi):.1f} × fpi's time", job, "reconstruction", "psnr")


def make(jobs: Sequence[Job]) -> Results:
    """Both pictures and the table.

    Raises:
        UserError: see :func:`families`.
    """
    fpi, others = families(jobs)
    pictures = {"time_budget.png": draw(fpi, others)}
    if (drawn := side_by_side(columns(fpi, others), ROWS)) is not None:
        pictures["pictures.jpg"] = drawn
    text = [
        "![PSNR against time in units of fpi's](time_budget.png)",
        table(fpi, others),
        verdict(fpi, others),
        "![Reconstructions within the budgets](pictures.jpg)",
    ]
    return Results("\n\n".join(text), pictures)


experiment = Experiment(make, examples=("images", "psnr"))

if __name__ == "__main__":
    sys.exit(experiment.main())
