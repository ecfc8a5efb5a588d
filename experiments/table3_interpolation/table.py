"""The Markdown tables of paths and centroids: ``table.py outputs/table3_interpolation/<stamp>``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles of its mean over bootstrap
draws of the examples (pairs or sets); of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fpinv.display import interval
from fpinv.errors import UserError
from fpinv.records import read_rows
from fpinv.sweep import JobResult, read_jobs

BASE = "ddim"
DRAWS = 10_000
HEADINGS = {"path": "Paths between two seeds", "centroid": "Centroids of sets of seeds"}
COLUMNS = ("inverter", "method", "accuracy, %", f"gain over {BASE}, points", "FID", "norm", "n")


@dataclass(frozen=True)
class Cell:
    """One inverter with one path or centroid.

    Arguments:
        mode: ``path`` or ``centroid``.
        inverter, method: The options.
        job: What was run.
        accuracy: Of each example.
    """

    mode: str
    inverter: str
    method: str
    job: JobResult
    accuracy: Mapping[str, float]

    @classmethod
    def of(cls, job: JobResult) -> Cell:
        """The cell of a job."""
        mode = job.overrides["task.mode"]
        rows = read_rows(job.folder)
        accuracy = {r["id"]: r["accuracy"] for r in rows if r.get("accuracy") is not None}
        return cls(mode, job.summary["inverter"], job.overrides[f"task/{mode}"], job, accuracy)


def bootstrap(values: Sequence[float]) -> str:
    """The mean of shares as a percentage, with the 95 % interval of its bootstrap draws."""
    if not values:
        return "-"
    x, rng = np.array(values), np.random.default_rng(0)
    draws = [x[rng.integers(len(x), size=len(x))].mean() for _ in range(DRAWS)]
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * x.mean():.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def gain(cell: Cell, base: Cell | None) -> str:
    """How much accuracy a cell has more than another on the examples that both have."""
    if base is None or base is cell:
        return ""
    common = [id for id in cell.accuracy if id in base.accuracy]
    return bootstrap([cell.accuracy[id] - base.accuracy[id] for id in common])


def line(cell: Cell, base: Cell | None) -> str:
    """The row of a cell."""
    summary = cell.job.summary
    shown = [
        cell.inverter,
        cell.method,
        bootstrap(list(cell.accuracy.values())),
        gain(cell, base),
        interval(summary["fid"]),
        interval(summary["norm_ratio"]),
        str(summary["n"]),
    ]
    return "| " + " | ".join(shown) + " |"


def block(cells: Sequence[Cell]) -> str:
    """The table of the cells of one mode, method by method."""
    summary = cells[0].job.summary
    title = f"{HEADINGS[cells[0].mode]}: w = {summary['guidance']:g}, N = {summary['steps']}, "
    title += f"{summary['model']}, FID of {summary['features']} features"
    lines = [title, "", "| " + " | ".join(COLUMNS) + " |", "|---|---|" + "---:|" * 5]
    for method in dict.fromkeys(cell.method for cell in cells):
        same = [cell for cell in cells if cell.method == method]
        base = next((cell for cell in same if cell.inverter == BASE), None)
        lines += [line(cell, base) for cell in same]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Prints a table a mode.

    Raises:
        UserError: there is no finished job.
    """
    jobs = [
        job
        for mode in HEADINGS
        for part in sorted(folder.glob(f"{mode}/*"))
        for job in read_jobs(part)
    ]
    cells = [Cell.of(job) for job in jobs if job.summary.get("n")]
    if not cells:
        raise UserError(f"{folder} holds no finished runs")
    modes = [[cell for cell in cells if cell.mode == mode] for mode in HEADINGS]
    print("\n\n".join(block(same) for same in modes if same))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
