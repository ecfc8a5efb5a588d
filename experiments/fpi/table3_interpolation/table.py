"""Make FPI's Table 3, paths and centroids: ``table.py FOLDER [RESULTS]``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles of its mean over bootstrap
draws of the examples (pairs or sets); of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fpinv.metrics.intervals import bootstrap
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import markdown, setting
from fpinv.run.terminal import interval

BASE = "ddim"
HEADINGS = {"path": "Paths between two seeds", "centroid": "Centroids of sets of seeds"}
COLUMNS = ("inverter", "method", "accuracy, %", f"gain over {BASE}, points", "FID", "norm", "n")


@dataclass(frozen=True)
class Cell:
    """One inverter with one path or centroid.

    Arguments:
        mode: ``path`` or ``centroid``.
        inverter, method: The inverter, and the path or centroid.
        job: The finished job.
        accuracy: Accuracy of each example, by its id.
    """

    mode: str
    inverter: str
    method: str
    job: Job
    accuracy: Mapping[str, float]

    @classmethod
    def of(cls, job: Job) -> Cell:
        """Return the cell of a job."""
        mode = job.overrides["task.mode"]
        accuracy = {r["id"]: r["accuracy"] for r in job.examples if r.get("accuracy") is not None}
        return cls(mode, job.summary["inverter"], job.overrides[f"task/{mode}"], job, accuracy)


def gain(cell: Cell, base: Cell | None) -> str:
    """Return the gain in accuracy over the base cell, on the examples that both have."""
    if base is None or base is cell:
        return ""
    common = [id for id in cell.accuracy if id in base.accuracy]
    return bootstrap([cell.accuracy[id] - base.accuracy[id] for id in common])


def row(cell: Cell, base: Cell | None) -> list[str]:
    """Return the row of a cell."""
    summary = cell.job.summary
    return [
        cell.inverter,
        cell.method,
        bootstrap(list(cell.accuracy.values())),
        gain(cell, base),
        interval(summary["fid"]),
        interval(summary["norm_ratio"]),
        str(summary["n"]),
    ]


def table(cells: Sequence[Cell]) -> str:
    """Return the table of the cells of one mode, method by method."""
    summary = cells[0].job.summary
    title = f"{HEADINGS[cells[0].mode]}: {setting(cells[0].job)}, "
    title += f"{summary['model']}, FID of {summary['features']} features"
    rows = []
    for method in dict.fromkeys(cell.method for cell in cells):
        group = [cell for cell in cells if cell.method == method]
        base = next((cell for cell in group if cell.inverter == BASE), None)
        rows += [row(cell, base) for cell in group]
    return f"{title}\n\n{markdown(COLUMNS, rows, words=2)}"


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each mode."""
    cells = [Cell.of(job) for job in jobs]
    modes = [[cell for cell in cells if cell.mode == mode] for mode in HEADINGS]
    return Results("\n\n".join(table(group) for group in modes if group))


experiment = Experiment(make, examples=("accuracy",))

if __name__ == "__main__":
    sys.exit(experiment.main())
