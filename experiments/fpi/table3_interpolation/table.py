"""Make FPI's Table 3, paths and centroids: ``table.py FOLDER [RESULTS]``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles of its mean over bootstrap
draws of the examples (pairs or sets); of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.metrics.intervals import bootstrap
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import markdown, setting
from fpinv.run.terminal import interval

BASE = "ddim"
HEADINGS = {"path": "Paths between two seeds", "centroid": "Centroids of sets of seeds"}
COLUMNS = ("inverter", "method", "accuracy, %", f"gain over {BASE}, points", "FID", "norm", "n")


def mode(job: Job) -> str:
    """Return ``path`` or ``centroid``."""
    return job.overrides["task.mode"]


def method(job: Job) -> str:
    """Return the path or the centroid."""
    return job.overrides[f"task/{mode(job)}"]


def accuracies(job: Job) -> dict[str, float]:
    """Return the accuracy of each example, by its id."""
    return {r["id"]: r["accuracy"] for r in job.examples if r.get("accuracy") is not None}


def gain(job: Job, base: Job | None) -> str:
    """Return the gain in accuracy over the base job, on the examples that both have."""
    if base is None or base is job:
        return ""
    reference = accuracies(base)
    return bootstrap([x - reference[id] for id, x in accuracies(job).items() if id in reference])


def row(job: Job, base: Job | None) -> list[str]:
    """Return the row of a job."""
    summary, accuracy = job.summary, bootstrap(list(accuracies(job).values()))
    measured = [interval(summary[name]) for name in ("fid", "norm_ratio")]
    names = [summary["inverter"], method(job)]
    return [*names, accuracy, gain(job, base), *measured, str(summary["n"])]


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs of one mode, method by method."""
    summary = jobs[0].summary
    title = f"{HEADINGS[mode(jobs[0])]}: {setting(jobs[0])}, "
    title += f"{summary['model']}, FID of {summary['features']} features"
    rows = []
    for name in dict.fromkeys(map(method, jobs)):
        group = [job for job in jobs if method(job) == name]
        base = next((job for job in group if job.summary["inverter"] == BASE), None)
        rows += [row(job, base) for job in group]
    return f"{title}\n\n{markdown(COLUMNS, rows, words=2)}"


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each mode."""
    groups = [[job for job in jobs if mode(job) == name] for name in HEADINGS]
    return Results("\n\n".join(table(group) for group in groups if group))


experiment = Experiment(make, examples=("accuracy",))

if __name__ == "__main__":
    sys.exit(experiment.main())
