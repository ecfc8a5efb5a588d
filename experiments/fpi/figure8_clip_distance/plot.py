"""Draw the fit of edits to their prompts against the distance to their originals (FPI, Fig. 8).

``plot.py outputs/multirun/<stamp> [results]`` reads the records of a sweep over inverters. Rows of
control (``task=edit_control``) are drawn in the colour of the text: an edit ought to be where the
true edit is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from matplotlib.figure import Figure

from fpinv.errors import UserError
from fpinv.reporting.edits import CLIPS, CONTROLS, DISTANCE
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import ink, style
from fpinv.reporting.tables import Column, block
from fpinv.run.folder import is_interval
from fpinv.run.job_result import varied

MARKERS = {"perfect": "*", "decoded": "P", "unedited": "s"}
FIT = Column("fit to the prompt", CLIPS, 3)


def metric(column: Column, jobs: Sequence[Job]) -> str:
    """Return the first of a column's metrics that all jobs have.

    Raises:
        UserError: there is none.
    """
    for name in column.metrics:
        if all(is_interval(job.summary.get(name)) for job in jobs):
            return name
    raise UserError(f"the jobs do not all have one of the metrics {', '.join(column.metrics)}")


def name(job: Job, keys: Sequence[str]) -> str:
    """Return what a job shows: a known picture, or else the settings that were varied."""
    if (picture := job.overrides.get("task.picture")) is not None:
        return CONTROLS[picture]
    return ", ".join(job.overrides[key] for key in keys if key in job.overrides) or job.name


def draw(jobs: Sequence[Job], keys: Sequence[str], x: str, y: str) -> Figure:
    """Return a cross for each job: its means and their 95 % intervals; controls are of ink."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    for job in jobs:
        across, up = job.summary[x], job.summary[y]
        if (picture := job.overrides.get("task.picture")) is not None:
            look = {"marker": MARKERS[picture], "color": ink()}
        else:
            look = style(job.summary["inverter"], filled=True)
        bars = {"xerr": across["ci95"] or 0, "yerr": up["ci95"] or 0, "capsize": 2}
        axis.errorbar(
            across["mean"], up["mean"], linestyle="none", label=name(job, keys), **bars, **look
        )
    axis.set(xlabel=f"{DISTANCE.title} ({x})", ylabel=f"{FIT.title} ({y})")
    axis.legend(fontsize=8)
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return the picture, and its numbers.

    Raises:
        UserError: the jobs have no metric in common for an axis.
    """
    x, y = metric(DISTANCE, jobs), metric(FIT, jobs)
    keys = varied([job.overrides for job in jobs if "task.picture" not in job.overrides])
    figure = "![Fit to the prompt against distance to the original](clip_distance.png)"
    table = block(
        figure, jobs, (Column("n", ("n",), 0), DISTANCE, FIT), lambda job: name(job, keys)
    )
    return Results(table, {"clip_distance.png": partial(draw, jobs, keys, x, y)})


experiment = Experiment(make, apart=("inverter", "task"))

if __name__ == "__main__":
    sys.exit(experiment.main())
