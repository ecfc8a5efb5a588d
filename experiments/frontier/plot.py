"""Accuracy against evaluations: ``plot.py outputs/frontier/<stamp> [picture]``.

Reads records only. Draws a panel for each guidance and grid, and prints the cheapest setting of
every inverter that reaches 40 dB of the latent there, or the best that it reaches.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from fpinv.sweep import JobResult, read_jobs

GOAL = 40.0
"""dB of the latent: an error of one per cent, which no picture shows."""

SETTINGS = ("inverter.iterations", "inverter.accuracy")
CAP = 75.0
"""dB above which points are drawn at the edge: exact up to rounding."""


def ground(job: JobResult) -> tuple[float, int]:
    """What makes runs comparable: guidance and grid."""
    return float(job.summary["guidance"]), int(job.summary["steps"])


def setting(job: JobResult) -> str:
    """The inverter and what was set on it."""
    return " ".join(
        [job.summary["inverter"], *(job.overrides[k] for k in SETTINGS if k in job.overrides)]
    )


def cost(job: JobResult) -> float:
    """Evaluations of the inversion a step, in network rows of the guided network."""
    rows = float(job.summary["nfe_rows"]["mean"])
    each = 1 if job.summary["guidance"] == 1 else 2
    return rows / each / int(job.summary["steps"])


def latent(job: JobResult) -> float:
    """dB of the reconstructed latent, mean over the images."""
    return float(job.summary["latent_psnr"]["mean"])


def draw(axes: Axes, jobs: list[JobResult], colours: dict[str, str]) -> None:
    """One panel: a line for each inverter, over its settings."""
    families = defaultdict(list)
    for job in jobs:
        families[job.summary["inverter"]].append(job)
    for name, found in sorted(families.items()):
        members = sorted(found, key=cost)
        style = {"linewidth": 2.5, "zorder": 3} if name == "auto" else {"linewidth": 1}
        ys = [min(latent(job), CAP) for job in members]
        axes.plot(
            [cost(job) for job in members],
            ys,
            "o-",
            ms=4,
            label=name,
            color=colours[name],
            **style,
        )
    axes.axhline(GOAL, color="grey", linewidth=0.8, linestyle=":")
    guidance, steps = ground(jobs[0])
    axes.set_title(f"w = {guidance:g}, N = {steps}, n = {jobs[0].summary['n']}", fontsize=9)
    axes.set_xscale("log", base=2)
    axes.tick_params(labelsize=8)


def cheapest(jobs: list[JobResult]) -> str:
    """Markdown rows: what each inverter needs to reach the goal, cheapest first."""
    rows = []
    by_name = sorted(jobs, key=lambda job: str(job.summary["inverter"]))
    for _, members in groupby(by_name, key=lambda job: str(job.summary["inverter"])):
        known = list(members)
        reached = [job for job in known if latent(job) >= GOAL]
        best = min(reached, key=cost) if reached else max(known, key=latent)
        rows.append((not reached, cost(best) if reached else -latent(best), best))
    rows.sort(key=lambda row: row[:2])
    return "\n".join(
        f"| {setting(job)} | {cost(job):.2f} | {latent(job):.1f} | "
        f"{job.summary['gap']['mean']:.3f} | {'no' if failed else 'yes'} |"
        for failed, _, job in rows
    )


def main(folder: Path, picture: Path) -> None:
    jobs = [job for sweep in sorted(folder.glob("*")) for job in read_jobs(sweep)]
    grounds = [(key, list(same)) for key, same in groupby(sorted(jobs, key=ground), key=ground)]
    guidances = sorted({guidance for (guidance, _), _ in grounds})
    grids = sorted({steps for (_, steps), _ in grounds})
    names = sorted({str(job.summary["inverter"]) for job in jobs})
    colours = {name: plt.colormaps["tab20"](k) for k, name in enumerate(names)}
    figure, axes = plt.subplots(
        len(guidances), len(grids), figsize=(3.4 * len(grids), 2.7 * len(guidances)), squeeze=False
    )
    for (guidance, steps), same in grounds:
        panel = axes[guidances.index(guidance)][grids.index(steps)]
        draw(panel, same, colours)
        print(f"w = {guidance:g}, N = {steps}, n = {same[0].summary['n']}\n")
        print(f"| inverter | evaluations a step | latent, dB | gap, dB | {GOAL:g} dB |")
        print(f"|---|---:|---:|---:|---|\n{cheapest(same)}\n")
    for row in axes:
        row[0].set_ylabel("latent, dB", fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("evaluations a step, to invert", fontsize=8)
    named = {}
    for panel in axes.flat:
        handles, labels = panel.get_legend_handles_labels()
        named |= dict(zip(labels, handles, strict=True))
    figure.legend(named.values(), named, loc="outside lower center", ncols=8, fontsize=8)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(picture, dpi=110)
    print(picture)


if __name__ == "__main__":
    source = Path(sys.argv[1])
    main(source, Path(sys.argv[2]) if len(sys.argv) > 2 else source / "frontier.png")
