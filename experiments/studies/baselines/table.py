"""Make the tables of choices in the baselines: ``table.py FOLDER [RESULTS]``.

It reads records only. Each guidance and number of steps has a table, with the worst image of each
row. Jobs in a folder ``before`` are of an earlier state of the code.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from fpinv.reporting.experiment import Job
from fpinv.reporting.tables import CALLS, GAP, LATENT, Column, block, by_ground, label, shared


@dataclass(frozen=True)
class Worst(Column):
    """The least value of a metric among a job's examples."""

    def cell(self, job: Job) -> str:
        """Return it."""
        values = [example[self.metrics[0]] for example in job.examples]
        return f"{min(values):.{self.digits}f}"


COLUMNS = (
    LATENT,
    Worst("worst latent, dB", ("latent_psnr",), 1),
    GAP,
    CALLS,
)


def name(job: Job) -> str:
    """Return the inverter with the settings that were chosen, and whether it is of before."""
    tolerance = job.overrides.get("inverter.tolerance")
    within = f", tolerance {tolerance}" if tolerance else ""
    before = ", before" if job.name.startswith("before/") else ""
    return label(job, ("inverter.variant",)) + within + before


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, an inverter's rows together."""
    return block(shared(jobs), sorted(jobs, key=name), COLUMNS, name)


experiment = by_ground(table, "inverter", examples=("latent_psnr",))

if __name__ == "__main__":
    sys.exit(experiment.main())
