"""How well edits fit their prompts against how far they are from their originals (FPI, Fig. 8).

python experiments/figure8_clip_distance/plot.py outputs/multirun/... --out figure8.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fpinv.errors import UserError
from fpinv.records import is_interval
from fpinv.suggestion import nearest
from fpinv.sweep import JobResult, read_jobs, varied


def main(arguments: Sequence[str] | None = None) -> int:
    """Reads the command line; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("sweep", type=Path, help="folder of a sweep over inverters")
    parser.add_argument("--x", default="lpips_alex", help="metric of the distance to the original")
    parser.add_argument("--y", default="clip_scenes", help="metric of the fit to the prompt")
    parser.add_argument("--out", type=Path, default=Path("figure8.png"))
    given = parser.parse_args(arguments)
    try:
        draw(points(read_jobs(given.sweep), given.x, given.y), given.x, given.y, given.out)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(given.out)
    return 0


def points(jobs: Sequence[JobResult], x: str, y: str) -> dict[str, tuple[Any, Any]]:
    """The two means of each job, by what it was run with.

    Raises:
        UserError: there is no job, or one lacks a metric.
    """
    if not jobs:
        raise UserError("the folder holds no jobs of a sweep")
    keys = varied(jobs)
    return {
        ", ".join(job.overrides.get(key, "") for key in keys) or f"job {job.number}": (
            _mean(job.summary, x),
            _mean(job.summary, y),
        )
        for job in jobs
    }


def _mean(summary: Mapping[str, Any], name: str) -> Mapping[str, float]:
    measured = [key for key, value in summary.items() if is_interval(value)]
    if name not in measured:
        raise UserError(f"a job has no metric {name}{nearest(name, measured)}")
    return summary[name]


def draw(found: Mapping[str, tuple[Any, Any]], x: str, y: str, path: Path) -> None:
    """A cross a job: its means and their 95 % intervals."""
    figure = Figure(figsize=(5, 4), layout="constrained")
    axis = figure.subplots()
    for label, (across, up) in found.items():
        axis.errorbar(
            across["mean"],
            up["mean"],
            xerr=across["ci95"] or 0,
            yerr=up["ci95"] or 0,
            fmt="o",
            capsize=2,
            label=label,
        )
    axis.set_xlabel(f"{x} to the original")
    axis.set_ylabel(f"{y} to the target prompt")
    axis.legend(fontsize=8)
    FigureCanvasAgg(figure).print_figure(path, format="png", dpi=120)


if __name__ == "__main__":
    sys.exit(main())
