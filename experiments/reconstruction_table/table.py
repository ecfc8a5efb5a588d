"""The Markdown table of a folder of sweeps: ``table.py outputs/reconstruction_table/<stamp>``.

Reads records only. One row per inverter with its setting and one block per grid and guidance;
every number is the mean over the images with the half-width of its 95 % interval.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from fpinv.sweep import JobResult, read_jobs

METRICS = {
    "PSNR, dB": ("psnr", 2),
    "gap to the ceiling, dB": ("gap", 3),
    "latent, dB": ("latent_psnr", 1),
    "calls": ("nfe_calls", 0),
}
SETTINGS = ("inverter.label", "inverter.variant", "inverter.iterations")


def name(job: JobResult) -> str:
    """The inverter and what was set on it."""
    set_on_it = [job.overrides[key] for key in SETTINGS if key in job.overrides]
    return " ".join([job.summary["inverter"], *set_on_it])


def cell(job: JobResult, metric: str, digits: int) -> str:
    """``mean ± half-width``, without the latter where all images have the same value."""
    value = job.summary[metric]
    text = f"{value['mean']:.{digits}f}"
    return f"{text} ± {value['ci95']:.{digits}f}" if value["ci95"] else text


def block(jobs: list[JobResult]) -> str:
    """The table of the jobs on one ground, the cheapest first."""
    jobs = sorted(jobs, key=lambda job: job.summary["nfe_calls"]["mean"])
    first = jobs[0].summary
    ceiling = cell(jobs[0], "ceiling_psnr", 2)
    lines = [
        f"w = {first['guidance']:g}, N = {first['steps']}, n = {first['n']}, {first['device']}; "
        f"ceiling {ceiling} dB",
        "",
        "| inverter | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    for job in jobs:
        cells = (cell(job, metric, digits) for metric, digits in METRICS.values())
        lines.append(f"| {name(job)} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ground(job: JobResult) -> tuple[int, float]:
    """What makes runs comparable: the grid, the longest first, and the guidance."""
    return -job.summary["steps"], job.summary["guidance"]


def main(folder: Path) -> None:
    jobs = [job for sweep in sorted(folder.glob("*/*")) for job in read_jobs(sweep)]
    blocks = groupby(sorted(jobs, key=ground), key=ground)
    print("\n\n".join(block(list(same)) for _, same in blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
