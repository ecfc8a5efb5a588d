"""Make the table of edits: ``table.py FOLDER [RESULTS]``.

Reads records only. Of a sweep that chose settings it shows a table of the test edits, each
inverter at its best setting, with rows of control, and a table of what was chosen from; of any
other sweep of edits a table for each grid and guidance. Every number is the mean over the edits
that have it, with the half-width of its 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from fpinv.reporting.edits import CONTROLS, MEASURES, SUCCESS, Choice, is_control
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import (
    Column,
    adjusted,
    block,
    devices,
    filled,
    grounds,
    label,
    markdown,
    setting,
)


def scales(job: Job) -> tuple[float, float]:
    """Return the guidance of the inversion and that of the targets."""
    w = job.settings["guidance"]
    values = (job.settings[key] for key in ("inverter.inversion_guidance", "task.guidance"))
    inversion, targets = (w if value is None else value for value in values)
    return inversion, targets


def shares(job: Job) -> str:
    """Return the parts of the sampling with the source's cross- and self-attention."""
    recipe: Mapping[str, float] = job.settings["task.recipe"]
    return f"{recipe['cross_steps']:g}, {recipe['self_steps']:g}"


CHOICES = (
    Choice("w of inversion / edit", (), 0, text=lambda job: "{:g} / {:g}".format(*scales(job))),
    Choice("cross, self", (), 0, text=shares),
)


def name(job: Job) -> str:
    """Return the name of a row: the inverter and its remedies, or what a control shows."""
    if is_control(job):
        return CONTROLS[job.settings["task.picture"]]
    noised = job.summary["noised_steps"]
    return adjusted(label(job), job) + (f", {noised} noised" if noised else "")


def rows(head: str, jobs: Sequence[Job], choices: Sequence[Column] = ()) -> str:
    """Return a table with those columns that are not empty, rows of control last."""
    columns = filled((*choices, *MEASURES), jobs)
    ordered = sorted(jobs, key=is_control)
    return block(f"{head}, {devices(jobs)}", ordered, columns, name)


def trials(jobs: Sequence[Job]) -> str:
    """Return the table of the settings that were chosen from, a row an inverter."""
    by_name: dict[str, list[Job]] = {}
    for job in jobs:
        by_name.setdefault(label(job), []).append(job)
    places = list(dict.fromkeys(map(_place, jobs)))
    titles = ["inverter", *(f"w = {w:g}; {parts}" for w, parts in places)]
    lines = []
    for inverter, members in by_name.items():
        cells = {_place(job): SUCCESS.cell(job) for job in members}
        lines.append([inverter, *(cells.get(place, "") for place in places)])
    n, steps = (jobs[0].summary[key] for key in ("n", "steps"))
    head = "Val, all right, %, by w of the edit and cross, self"
    return f"{head}; N = {steps}, n = {n}, {devices(jobs)}\n\n{markdown(titles, lines)}"


def _place(job: Job) -> tuple[float, str]:
    """Return what tells the settings of an inverter apart."""
    return scales(job)[1], shares(job)


def make(jobs: Sequence[Job]) -> Results:
    """Return the tables of the jobs."""
    val = [job for job in jobs if job.settings.get("dataset.split") == "val"]
    others = [job for job in jobs if job not in val]
    if not val:
        return Results(
            "\n\n".join(rows(setting(members[0]), members) for members in grounds(jobs))
        )
    steps = others[0].summary["steps"]
    test = rows(f"Test, each at its best setting on val, N = {steps}", others, CHOICES)
    return Results(f"{test}\n\n{trials(val)}")


experiment = Experiment(
    make,
    settings=(
        *("dataset.split", "guidance", "task.guidance", "inverter.inversion_guidance"),
        *("task.recipe", "task.picture"),
    ),
    apart=("inverter", "adjustment", "noised_steps", "guidance", "task"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
