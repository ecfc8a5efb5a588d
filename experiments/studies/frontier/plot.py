"""Draw accuracy against evaluations: ``plot.py outputs/frontier/<stamp> [results]``.

It reads records only, draws a panel for each guidance and grid, and tells the cheapest setting of
every inverter that reaches 40 dB of the latent there, or the best that it reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import CAP, grounds, label, latent, markdown, mean, setting

GOAL = 40.0
"""dB of the latent: an error of one per cent, which no picture shows."""

SETTINGS = ("inverter.iterations", "inverter.accuracy", "inverter.descents")
HEADINGS = ("inverter", "evaluations a step", "latent, dB", "gap, dB", f"{GOAL:g} dB")


def ground(job: Job) -> tuple[float, int]:
    """Return guidance and grid, which make runs comparable."""
    return float(job.summary["guidance"]), int(job.summary["steps"])


def cost(job: Job) -> float:
    """Return the evaluations of the inversion a step, in rows of the guided network."""
    each = 1 if job.summary["guidance"] == 1 else 2
    return mean(job, "nfe_rows") / each / int(job.summary["steps"])


def families(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs of each inverter."""
    return grounds(jobs, lambda job: job.summary["inverter"])


def draw(axes: Axes, jobs: Sequence[Job], colours: dict[str, str]) -> None:
    """Draw one panel: a line for each inverter, over its settings."""
    for family in families(jobs):
        members, name = sorted(family, key=cost), family[0].summary["inverter"]
        style = {"linewidth": 2.5, "zorder": 3} if name == "auto" else {"linewidth": 1}
        xs, ys = [cost(job) for job in members], [min(latent(job), CAP) for job in members]
        axes.plot(xs, ys, "o-", ms=4, label=name, color=colours[name], **style)
    axes.axhline(GOAL, color="grey", linewidth=0.8, linestyle=":")
    axes.set_title(f"{setting(jobs[0])}, n = {jobs[0].summary['n']}", fontsize=9)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.tick_params(labelsize=8)


def cheapest(jobs: Sequence[Job]) -> list[list[str]]:
    """Return a row for each inverter: its cost to reach the goal, the cheapest first."""
    best = []
    for family in families(jobs):
        reached = [job for job in family if latent(job) >= GOAL]
        best.append(min(reached, key=cost) if reached else max(family, key=latent))
    best.sort(key=lambda job: (0, cost(job)) if latent(job) >= GOAL else (1, -latent(job)))
    return [
        [
            label(job, SETTINGS),
            f"{cost(job):.2f}",
            f"{latent(job):.1f}".replace("inf", "∞"),
            f"{mean(job, 'gap'):.3f}",
            "yes" if latent(job) >= GOAL else "no",
        ]
        for job in best
    ]


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    head = f"{setting(jobs[0])}, n = {jobs[0].summary['n']}"
    return f"{head}\n\n{markdown(HEADINGS, cheapest(jobs))}"


def panels(all_grounds: Sequence[Sequence[Job]]) -> Figure:
    """Return the figure of all panels, guidance down and grid across."""
    guidances = sorted({ground(jobs[0])[0] for jobs in all_grounds})
    grids = sorted({ground(jobs[0])[1] for jobs in all_grounds})
    names = sorted({job.summary["inverter"] for jobs in all_grounds for job in jobs})
    colours = {name: matplotlib.colormaps["tab20"](k) for k, name in enumerate(names)} | {
        "auto": "black"
    }
    size = (3.4 * len(grids), 2.7 * len(guidances))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(len(guidances), len(grids), squeeze=False)
    for jobs in all_grounds:
        guidance, steps = ground(jobs[0])
        draw(axes[guidances.index(guidance)][grids.index(steps)], jobs, colours)
    for panel in axes.flat:
        panel.set_visible(panel.has_data())
    for row in axes:
        row[0].set_ylabel("latent, dB", fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("evaluations a step, to invert", fontsize=8)
    lines = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
    lines = {name: lines[name] for name in names}
    figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=min(8, 3 * len(grids)), fontsize=8
    )
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of all grounds and a table of each."""
    blocks = grounds(jobs, ground)
    figure = "![Error of the latent against evaluations a step](frontier.png)"
    return Results("\n\n".join([figure, *map(table, blocks)]), {"frontier.png": panels(blocks)})


experiment = Experiment(make)

if __name__ == "__main__":
    sys.exit(experiment.main())
