"""The Markdown table of a folder of sweeps: ``table.py outputs/inverter_table/<stamp>``.

Reads records only. One block per guidance; means over the images, with the half-width of the 95 %
interval where it says how well the image came back.
"""

from __future__ import annotations

import math
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from fpinv.sweep import JobResult, read_jobs

METRICS = {
    "PSNR, dB": ("psnr", 2),
    "gap, dB": ("gap", 3),
    "features_scenes": ("features_scenes", 4),
    "latent, dB": ("latent_psnr", 1),
    "calls": ("nfe_calls", 0),
    "rows": ("nfe_rows", 0),
    "s/image": ("seconds_per_image", 2),
    "stored": ("stored_numbers", 0),
    "\\|z_N\\|/√d": ("noise_norm", 3),
}
WITH_INTERVAL = ("gap", "latent_psnr")


def cell(summary: dict[str, Any], metric: str, digits: int) -> str:
    """``mean``, with ``± half-width`` where it is asked for and images differ."""
    value = summary.get(metric)
    if value is None:
        return "–"
    mean, half = (value["mean"], value["ci95"]) if isinstance(value, dict) else (value, None)
    if mean is None or not math.isfinite(mean):
        return "∞" if mean else "–"
    text = f"{mean:.{digits}f}"
    return f"{text} ± {half:.{digits}f}" if half and metric in WITH_INTERVAL else text


def block(jobs: list[JobResult]) -> str:
    """The table of the jobs at one guidance, the best reconstruction first."""
    first = jobs[0].summary
    lines = [
        f"w = {first['guidance']:g}, N = {first['steps']}, n = {first['n']}, {first['device']}; "
        f"ceiling {first['ceiling_psnr']['mean']:.2f} dB",
        "",
        "| inverter | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    for job in sorted(jobs, key=lambda job: job.summary["gap"]["mean"]):
        cells = (cell(job.summary, metric, digits) for metric, digits in METRICS.values())
        lines.append(f"| {job.summary['inverter']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def guidance(job: JobResult) -> float:
    """What makes runs of this table comparable."""
    return float(job.summary["guidance"])


def main(folder: Path) -> None:
    jobs = [job for sweep in sorted(folder.glob("*")) for job in read_jobs(sweep)]
    blocks = groupby(sorted(jobs, key=guidance), key=guidance)
    print("\n\n".join(block(list(same)) for _, same in blocks))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
