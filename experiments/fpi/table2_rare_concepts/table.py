"""Make FPI's Table 2, rare concepts: ``table.py FOLDER [RESULTS]``.

Reads records only. Intervals are of 95 %: of an accuracy, percentiles over bootstrap draws of the
images of each class (their outcomes are right or wrong, so a draw of m images of which a share p
is right has a binomial number of right ones); of a gain over ddim's seeds, percentiles over
bootstrap draws of the classes; of a Frechet distance, the one in the summary.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fpinv.datasets.classes import BINS
from fpinv.metrics.glossary import interval
from fpinv.metrics.intervals import DRAWS, bootstrap, in_percent, paired_differences, reach
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import markdown, named, source

BASE = "plain sampling"
PEER = "ddim"
MEASURES = {name: f"accuracy_{name}" for name in BINS} | {"total": "accuracy"}
HEADINGS = (*(name.capitalize() for name in MEASURES), "FID", "T_init, s", "T_opt, s")


def steps(job: Job) -> str:
    """Return the steps that make the images, such as ``NAO (fpi) + SeedSelect (5)``."""
    task = job.settings
    start = source(job)
    names = [] if task["task.centroid"] is None else [start if _mixed(job) else f"NAO ({start})"]
    if _optimised(job):
        iterations = task["task.seedselect.iterations"]
        decaying = task.get("task.seedselect.decay_after") is not None
        names.append(f"SeedSelect ({iterations}{', decaying rate' if decaying else ''})")
    return " + ".join(names) or BASE


def _mixed(job: Job) -> bool:
    return job.settings.get("task.seeds") == "crossfade"


def guided(job: Job, jobs: Sequence[Job]) -> str:
    """Return the steps, with the guidance where the table's jobs had several."""
    several = len({other.summary["guidance"] for other in jobs}) > 1
    return f"{steps(job)}, w = {job.summary['guidance']:g}" if several else steps(job)


def shares(job: Job, name: str) -> list[float]:
    """Return the accuracies of the classes of a bin, or of all classes for ``total``."""
    values = (row.get(MEASURES[name]) for row in job.examples)
    return [value for value in values if value is not None]


def independent(job: Job, name: str) -> NDArray[np.int64]:
    """Return how many independent images each class of a bin has: copies of one count as one."""
    images = job.settings["task.images"]
    rows = [row for row in job.examples if row.get(MEASURES[name]) is not None]
    return np.array([int(row.get("different_starts", images)) for row in rows])


def limits(job: Job, name: str) -> tuple[float, float, float]:
    """Return the mean accuracy of a bin, and the ends of its 95 % interval.

    They are percentiles of bootstrap draws, or where all images are right or all are wrong, and
    draws have no width, as far as so many images allow.
    """
    values, images = np.array(shares(job, name)), independent(job, name)
    mean = float(values.mean())
    if mean in (0, 1):
        far = reach(int(images.sum()))
        return mean, max(0.0, mean - far), min(1.0, mean + far)
    draws = np.random.default_rng(0).binomial(images, values, size=(DRAWS, len(values)))
    low, high = np.percentile((draws / images).mean(1), [2.5, 97.5])
    return mean, float(low), float(high)


def accuracy(job: Job, name: str) -> str:
    """Return the mean accuracy of a bin in per cent, with its interval."""
    return in_percent(*limits(job, name)) if shares(job, name) else "-"


def gain(job: Job, base: Job, name: str = "few") -> str:
    """Return the gain in accuracy of a job over another in a bin, whose images are independent.

    Its interval is made of the two jobs' own (Zou and Donner, 2008,
    https://doi.org/10.1002/sim.3095), and so has a width where all images of both are wrong.
    """
    (x, x_low, x_high), (y, y_low, y_high) = limits(job, name), limits(base, name)
    low, high = math.hypot(x - x_low, y_high - y), math.hypot(x_high - x, y - y_low)
    return in_percent(x - y, x - y - low, x - y + high)


def paired_gain(job: Job, peer: Job) -> str:
    """Return the gain in accuracy over another job, class by class."""
    accuracies, reference = (
        {row["id"]: row["accuracy"] for row in either.examples} for either in (job, peer)
    )
    return bootstrap(paired_differences(accuracies, reference), least=-1)


def make(jobs: Sequence[Job]) -> Results:
    """Return the table, and below it the gains over plain sampling and over ddim's seeds."""
    summary = jobs[0].summary
    guidances = " and ".join(f"{w:g}" for w in sorted({job.summary["guidance"] for job in jobs}))
    head = f"w = {guidances}, N = {summary['steps']}, {summary['model']}, "
    head += f"{jobs[0].settings['task.images']} images of each class, "
    head += f"FID of {summary['features']} features"
    lines = [head, "", markdown(["seeds", *HEADINGS], [_cells(job, jobs) for job in jobs])]
    bases = {job.summary["guidance"]: job for job in jobs if steps(job) == BASE}
    gains = {
        guided(job, jobs): gain(job, base)
        for job in jobs
        if (base := bases.get(job.summary["guidance"], job)) is not job
        and shares(job, "few")
        and shares(base, "few")
    }
    lines += _listed(f"In the bin Few, points over {BASE}", gains)
    peers = {_treatment(job): job for job in jobs if _at_centroid(job) and source(job) == PEER}
    gains = {
        guided(job, jobs): paired_gain(job, peer)
        for job in jobs
        if _at_centroid(job) and (peer := peers.get(_treatment(job), job)) is not job
    }
    lines += _listed(f"In all bins, points over the same with {PEER}'s seeds", gains)
    return Results("\n".join(lines))


def _listed(title: str, gains: Mapping[str, str]) -> list[str]:
    """Return the lines of a list of gains by job; none where there are no gains."""
    entries = [f"- {job}: {points}" for job, points in gains.items()]
    return ["", f"{title}:", "", *entries] if entries else []


def _at_centroid(job: Job) -> bool:
    """Return whether a job starts at centroids of seeds."""
    return job.settings["task.centroid"] is not None and not _mixed(job)


def _treatment(job: Job) -> tuple[float, str]:
    """Return the guidance, and the steps after the centroid."""
    return job.summary["guidance"], steps(job).partition(" + ")[2]


def _cells(job: Job, jobs: Sequence[Job]) -> list[str]:
    initial = _inverted(job, jobs).summary["seconds_init"]
    times = {
        "seconds_init": None if job.settings["task.centroid"] is None else initial,
        "seconds_opt": job.summary["seconds_opt"] if _optimised(job) else None,
    }
    return [
        named(guided(job, jobs), job, jobs),
        *(accuracy(job, name) for name in MEASURES),
        interval("fid", job.summary["fid"]),
        *("-" if value is None else interval(name, value) for name, value in times.items()),
    ]


def _optimised(job: Job) -> bool:
    return job.settings["task.seedselect.iterations"] is not None


def _inverted(job: Job, jobs: Sequence[Job]) -> Job:
    """Return the job whose inversions this job took, for their time; itself where it made them."""
    if job.settings["task.inversions"] is None:
        return job
    start = steps(job).partition(" + ")[0]
    return next((other for other in jobs if steps(other) == start), job)


experiment = Experiment(
    make,
    settings=(
        *("task.centroid", "task.seeds", "task.images", "task.inversions"),
        *("task.seedselect.iterations", "task.seedselect.decay_after"),
    ),
    examples=(*MEASURES.values(), "different_starts"),
    apart=("inverter", "guidance"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
