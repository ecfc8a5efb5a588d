"""Compare inverters on a rectified flow: ``plot.py outputs/flow_frontier/<stamp> [results]``.

It reads records only, draws accuracy against evaluations for each guidance, and has a table of
all settings, the cheapest first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.frontier import SETTINGS, Frontier, cost
from fpinv.reporting.tables import CALLS, GAP, LATENT, Column, block, label, shared

FRONTIER = Frontier(goal=50.0)  # dB: an error of a third of a per cent


@dataclass(frozen=True)
class Cost(Column):
    """The evaluations of an inversion a step."""

    def cell(self, job: Job) -> str:
        """Return them; under guidance one of two rows counts as one."""
        return f"{cost(job):.2f}"


@dataclass(frozen=True)
class Reached(Column):
    """A column that says whether the goal is reached."""

    def cell(self, job: Job) -> str:
        """Return yes or no."""
        return "yes" if FRONTIER.reached(job) else "no"


COLUMNS = (
    Cost("evaluations a step", (), 2),
    replace(LATENT, absent="∞"),
    Reached(f"{FRONTIER.goal:g} dB", (), 0),
    GAP,
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
