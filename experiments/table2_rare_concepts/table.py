"""The Markdown table of rare concepts: ``table.py outputs/table2_rare_concepts/<stamp>``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles over bootstrap draws of the
images of each class (their outcomes are right or wrong, so a draw of m images of which a share p
is right has a binomial number of right ones); of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from omegaconf import OmegaConf

from fpinv.datasets.classes import BINS
from fpinv.display import interval
from fpinv.errors import UserError
from fpinv.records import read_rows
from fpinv.sweep import JobResult, read_jobs

DRAWS = 10_000
BASE = "plain sampling"
HEADINGS = (*(name.capitalize() for name in BINS), "Total", "FID", "T_init, s", "T_opt, s")


@dataclass(frozen=True)
class Row:
    """One way of making the images.

    Arguments:
        name: What is done.
        job: What was run.
        images: Made of each class.
        bins: The accuracies of the classes of each bin; "total" has them all.
    """

    name: str
    job: JobResult
    images: int
    bins: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, job: JobResult) -> Row:
        """The row of a job."""
        task = OmegaConf.load(job.folder / "config.yaml").task
        parts = [] if task.centroid is None else [f"NAO ({job.summary['inverter']})"]
        if task.seedselect is not None:
            parts.append(f"SeedSelect ({task.seedselect.iterations})")
        rows = read_rows(job.folder)
        bins = {name: _given(rows, f"accuracy_{name}") for name in BINS}
        bins["total"] = _given(rows, "accuracy")
        return cls(" + ".join(parts) or BASE, job, task.images, bins)

    def draws(self, name: str, seed: int) -> NDArray[np.float64]:
        """Bootstrap draws of the mean accuracy of a bin."""
        shares = np.array(self.bins[name])
        rng = np.random.default_rng(seed)
        right = rng.binomial(self.images, shares, size=(DRAWS, len(shares)))
        return right.mean(1) / self.images

    def accuracy(self, name: str) -> str:
        """The mean accuracy of a bin in per cent, with its interval."""
        if not self.bins[name]:
            return "-"
        return _percent(float(np.mean(self.bins[name])), self.draws(name, 0))


def gain(row: Row, base: Row, name: str = "few") -> str:
    """What a row has more than another in a bin; their images are draws of their own."""
    mean = np.mean(row.bins[name]) - np.mean(base.bins[name])
    return _percent(float(mean), row.draws(name, 0) - base.draws(name, 1))


def _given(rows: Sequence[Mapping[str, float | None]], metric: str) -> list[float]:
    return [value for row in rows if (value := row.get(metric)) is not None]


def _percent(mean: float, draws: NDArray[np.float64]) -> str:
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def table(rows: Sequence[Row]) -> str:
    """The table, and under it what each row gains in the rarest bin."""
    summary = rows[0].job.summary
    head = f"w = {summary['guidance']:g}, N = {summary['steps']}, {summary['model']}, "
    head += f"{rows[0].images} images of each class, FID of {summary['features']} features"
    lines = [head, "", "| seeds | " + " | ".join(HEADINGS) + " |", "|---|" + "---:|" * 7]
    for row in rows:
        found = row.job.summary
        cells = [row.accuracy(name) for name in (*BINS, "total")]
        cells += [interval(found[name]) for name in ("fid", "seconds_init", "seconds_opt")]
        lines.append(f"| {row.name} | " + " | ".join(cells) + " |")
    base = next((row for row in rows if row.name == BASE), None)
    if base is not None and base.bins["few"]:
        lines += ["", f"In the bin Few, points over {BASE}:", ""]
        gains = [row for row in rows if row is not base and row.bins["few"]]
        lines += [f"- {row.name}: {gain(row, base)}" for row in gains]
    return "\n".join(lines)


def main(folder: Path) -> None:
    """Prints the table.

    Raises:
        UserError: there is no finished job.
    """
    jobs = [job for part in sorted(folder.glob("*")) for job in read_jobs(part)]
    rows = [Row.of(job) for job in jobs if job.summary.get("n")]
    if not rows:
        raise UserError(f"{folder} holds no finished runs")
    print(table(rows))


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except UserError as error:
        sys.exit(f"error: {error}")
