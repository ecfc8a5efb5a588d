"""Compare inverters on a rectified flow: ``plot.py outputs/flow_frontier/<stamp> [results]``.

It reads records only, draws accuracy against evaluations for each guidance, and has a table of
all settings, the cheapest first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.frontier import SETTINGS, Frontier, cost
from fpinv.reporting.tables import CALLS, Column, block, label, shared

FRONTIER = Frontier(goal=50.0)  # dB: an error of a third of a per cent


COLUMNS = (
    *FRONTIER.columns,
    CALLS,
    Column("calls to sample", ("sample_nfe_calls",), 0),
    Column("s/image", ("seconds_per_image",), 2),
)


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, the cheapest first."""
    ordered = sorted(jobs, key=lambda job: (round(cost(job), 2), label(job, SETTINGS)))
    return block(shared(ordered), ordered, COLUMNS, lambda job: label(job, SETTINGS))


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of all grounds and a table of each."""
    return FRONTIER.results(table, jobs, "flow_frontier.png")


experiment = Experiment(make, apart=("inverter", "steps", "guidance"))

if __name__ == "__main__":
    sys.exit(experiment.main())
