"""Make the tables of marks in z_N: ``table.py outputs/watermark/<stamp> [results]``.

It reads records only. Each mark, guidance and knowledge of the prompt has a table: a row an
inverter, a column an attack.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import Column, filled, grounds, markdown, setting

SIGNS = Column("signs of z_N, %", ("sign_accuracy",), 1, 100)
BITS = Column("bits, %", ("bit_accuracy",), 1, 100)
FOUND = Column("found, %", ("detected",), 0, 100)
MARKS = {"TreeRing": "Tree-Ring", "GaussianShading": "Gaussian Shading"}
UNHARMED = ("latents", "image")


def mark(job: Job) -> str:
    """Return the name of a job's mark."""
    return MARKS[job.settings["task.mark._target_"].rpartition(".")[2]]


def attack(job: Job) -> str:
    """Return the attack, or what a reader gets of an image that nobody attacked."""
    attack: str = job.settings["task.attack"]
    return str(job.settings["task.seen"]) if attack == "none" else attack


def ground(job: Job) -> tuple[str, bool, float, str]:
    """Return what the jobs of a table share."""
    marked, prompt = job.settings["task.marked"], job.settings["task.prompt"]
    return mark(job), not marked, float(job.summary["guidance"]), prompt


def head(job: Job) -> str:
    """Return a line on what the jobs of a table share."""
    _, unmarked, _, prompt = ground(job)
    state = ", images without the mark" if unmarked else f", prompt {prompt}"
    n, model, device = (job.summary[key] for key in ("n", "model", "device"))
    return f"{mark(job)}{state}, {setting(job)}, n = {n}, {model}, {device}"


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    attacks = dict.fromkeys(map(attack, jobs))
    unharmed = [name for name in UNHARMED if name in attacks]
    measures = filled((SIGNS, BITS), jobs)
    columns = [(column, name) for name in unharmed for column in measures]
    columns += [(FOUND, name) for name in dict.fromkeys([*unharmed, *attacks])]
    rows = []
    for inverter in dict.fromkeys(job.summary["inverter"] for job in jobs):
        own = {attack(job): job for job in jobs if job.summary["inverter"] == inverter}
        rows.append([inverter, *(cell(column, own.get(name)) for column, name in columns)])
    titles = [f"{column.title}: {name}" for column, name in columns]
    return f"{head(jobs[0])}\n\n{markdown(['inverter', *titles], rows)}"


def cell(column: Column, job: Job | None) -> str:
    """Return the cell of a job, empty where it is not finished."""
    return "" if job is None else column.cell(job)


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each ground."""
    return Results("\n\n".join(map(table, grounds(jobs, ground))))


experiment = Experiment(
    make,
    settings=("task.mark._target_", "task.marked", "task.prompt", "task.attack", "task.seen"),
    apart=("inverter", "guidance"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
