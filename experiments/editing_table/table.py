"""The Markdown table of a folder of sweeps: ``table.py outputs/editing_table/<stamp>``.

Reads records only. One row per inverter and one block per grid and guidance; every number is the
mean over the edits that have it, with the half-width of its 95 % interval.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from fpinv.records import is_interval
from fpinv.sweep import JobResult, read_jobs

Column = tuple[str, tuple[str, ...], float, int]
"""Its title, the metrics that may stand there, a factor and the digits."""

COLUMNS: tuple[Column, ...] = (
    ("edit accuracy, %", ("edit_accuracy",), 100, 1),
    ("kept accuracy, %", ("kept_accuracy",), 100, 1),
    ("PSNR to the truth, dB", ("truth_psnr",), 1, 2),
    ("background PSNR, dB", ("background_psnr",), 1, 2),
    ("CLIP", ("clip_scenes", "clip_ViT-L-14_openai"), 1, 3),
    ("distance to the original", ("features_scenes", "lpips_alex"), 1, 3),
    ("s/image", ("seconds_per_image",), 1, 2),
)


def cell(job: JobResult, column: Column) -> str:
    """``mean ± half-width``, without the latter where there is none; empty where unmeasured."""
    _, metrics, factor, digits = column
    for value in (job.summary.get(metric) for metric in metrics):
        if is_interval(value) and value["mean"] is not None:
            mean, half = value["mean"] * factor, (value["ci95"] or 0) * factor
            return f"{mean:.{digits}f} ± {half:.{digits}f}" if half else f"{mean:.{digits}f}"
    return ""


def named(jobs: Sequence[JobResult], column: Column) -> str:
    """The column's title, with the network that measured it where that may differ."""
    title, metrics, *_ = column
    found = [m for m in metrics if any(is_interval(job.summary.get(m)) for job in jobs)]
    return f"{title} ({', '.join(found)})" if len(metrics) > 1 and found else title


def block(jobs: Sequence[JobResult]) -> str:
    """The table of the jobs on one ground."""
    first = jobs[0].summary
    titles = ["n", *(named(jobs, column) for column in COLUMNS)]
    lines = [
        f"w = {first['guidance']:g}, N = {first['steps']}, {first['device']}",
        "",
        "| inverter | " + " | ".join(titles) + " |",
        "|---|" + "---:|" * len(titles),
    ]
    for job in jobs:
        cells = [str(job.summary["n"]), *(cell(job, column) for column in COLUMNS)]
        lines.append(f"| {job.summary['inverter']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ground(job: JobResult) -> tuple[int, float]:
    """What makes runs comparable: the grid, the longest first, and the guidance."""
    return -job.summary["steps"], job.summary["guidance"]


def main(folder: Path) -> None:
    jobs = [job for sweep in sorted(folder.glob("*")) for job in read_jobs(sweep) if job.summary]
    blocks = groupby(sorted(jobs, key=ground), key=ground)
    print("\n\n".join(block(list(same)) for _, same in blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
