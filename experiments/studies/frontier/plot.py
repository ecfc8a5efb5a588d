"""Draw accuracy against evaluations: ``plot.py outputs/frontier/<stamp> [results]``.

It reads records only, draws a panel for each guidance and grid, and tells the cheapest setting of
every inverter that reaches 40 dB of the latent there, or the best that it reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.frontier import SETTINGS, Frontier, cost
from fpinv.reporting.tables import label, latent, markdown, mean, setting

FRONTIER = Frontier(goal=40.0)  # dB: an error of one per cent, which no picture shows
HEADINGS = ("inverter", "evaluations a step", "latent, dB", "gap, dB", f"{FRONTIER.goal:g} dB")


def row(job: Job) -> list[str]:
    """Return the row of an inverter's best job."""
    return [
        label(job, SETTINGS),
        f"{cost(job):.2f}",
        f"{latent(job):.1f}".replace("inf", "∞"),
        f"{mean(job, 'gap'):z.3f}",
        "yes" if FRONTIER.reached(job) else "no",
    ]


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground."""
    head = f"{setting(jobs[0])}, n = {jobs[0].summary['n']}"
    return f"{head}\n\n{markdown(HEADINGS, [row(job) for job in FRONTIER.best(jobs)])}"


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of all grounds and a table of each."""
    return FRONTIER.results(table, jobs, "frontier.png")


experiment = Experiment(make, apart=("inverter", "steps", "guidance"))

if __name__ == "__main__":
    sys.exit(experiment.main())
