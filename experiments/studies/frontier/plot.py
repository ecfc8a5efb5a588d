"""Draw accuracy against evaluations: ``plot.py outputs/frontier/<stamp> [results]``.

It reads records only, draws a panel for each guidance and grid, and tells the cheapest setting of
every inverter that reaches 40 dB of the latent there, or the best that it reaches.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.frontier import SETTINGS, Frontier
from fpinv.reporting.tables import block, label, shared

FRONTIER = Frontier(goal=40.0)  # dB: an error of one per cent, which no picture shows


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground: each inverter's best."""
    best = FRONTIER.best(jobs)
    return block(shared(best), best, FRONTIER.columns, lambda job: label(job, SETTINGS))


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of all grounds and a table of each."""
    return FRONTIER.results(table, jobs, "frontier.png")


experiment = Experiment(make, apart=("inverter", "steps", "guidance"))

if __name__ == "__main__":
    sys.exit(experiment.main())
