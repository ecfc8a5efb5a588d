"""Make the table of edits on a rectified flow: ``table.py outputs/flow_edits/<stamp> [results]``.

It reads records only. The table of the test edits has each way of editing at its best setting and
rows of control; a table of the val edits has all settings that were chosen from.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fpinv.reporting.edits import CONTROLS, MEASURES, SUCCESS, Choice, is_control
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import Column, block, devices, filled, mean

CHOSEN = ("task.guidance", "inverter.stop", "task.recipe", "task.method")
"""Settings that are chosen on val."""


def way(job: Job) -> str:
    """Return the way of editing, with the inverter that it follows."""
    if is_control(job):
        return CONTROLS[job.settings["task.picture"]]
    if job.summary["task"] == "flow_editing":
        return "flowedit"
    recipe, inverter = job.settings["task/recipe"], job.summary["inverter"]
    return f"{'prompt-to-prompt' if recipe == 'default' else recipe}, {inverter}"


def choices(job: Job) -> str:
    """Return the settings that were set for the job, such as ``guidance:3``."""
    values = {key: job.overrides[key] for key in CHOSEN if key in job.overrides}
    words = [
        value.strip("{}") if value.startswith("{") else f"{key.split('.')[-1]}:{value}"
        for key, value in values.items()
    ]
    return ", ".join(words).replace(",", ", ").replace(",  ", ", ").replace(":", " ")


COLUMNS = (
    Choice("model", (), 0, text=lambda job: str(job.summary["model"])),
    Choice("setting", (), 0, text=choices),
)


@dataclass(frozen=True)
class Rows(Column):
    """The network rows of an edit: of the inversion, if any, and of all sampling."""

    def cell(self, job: Job) -> str:
        """Return their number; nothing for a row of control."""
        metrics = ("nfe_rows", "sample_nfe_rows")
        spent = [mean(job, metric) for metric in metrics if job.summary.get(metric)]
        return f"{sum(spent):.0f}" if spent else ""


ROWS = Rows("network rows", (), 0)


def table(head: str, jobs: Sequence[Job], measures: Sequence[Column]) -> str:
    """Return a table with those columns that are not empty, rows of control last."""
    ordered = sorted(jobs, key=is_control)
    columns = filled((*COLUMNS, *measures), ordered)
    return block(f"{head}, {devices(ordered)}", ordered, columns, way, "way of editing")


def make(jobs: Sequence[Job]) -> Results:
    """Return the tables of the jobs."""
    val = [job for job in jobs if job.settings.get("dataset.split") == "val"]
    test = [job for job in jobs if job not in val]
    steps, n = jobs[0].summary["steps"], jobs[0].summary["n"]
    truth = next(column for column in MEASURES if "truth_psnr" in column.metrics)
    tables = (
        (f"Test, each at its best setting on val, N = {steps}", test, (*MEASURES, ROWS)),
        (f"Val, N = {steps}, n = {n}", val, (SUCCESS, truth)),
    )
    return Results("\n\n".join(table(*split) for split in tables if split[1]))


experiment = Experiment(
    make,
    settings=("dataset.split", "task.picture", "task/recipe"),
    apart=("model", "spacing", "sampler", "inverter", "task"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
