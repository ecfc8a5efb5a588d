"""Make FPI's Table 3, paths and centroids: ``table.py FOLDER [RESULTS]``.

Reads records only. The examples (pairs or sets) of all seeds count together. Intervals are of
95 %: of an accuracy, and of its gain over ddim or over fresh noise on the same examples,
percentiles of the mean over bootstrap draws of the examples; of a Frechet distance, that of the
mean over the seeds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fpinv.datasets.classes import BINS
from fpinv.metrics.glossary import interval
from fpinv.metrics.intervals import bootstrap, paired_differences
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.tables import by_seed, grounds, markdown, pooled, setting, source

BASE, NOISE = "ddim", "random seeds"
HEADINGS = {"path": "Paths between two seeds", "centroid": "Centroids of sets of seeds"}
MEASURES = {name.capitalize(): f"accuracy_{name}" for name in BINS} | {"all": "accuracy"}
GAINS, NOISE_GAINS = ("Many", "all"), ("Many", "Few", "all")
COLUMNS = (
    *("seeds", "method", *MEASURES),
    *(*(f"gain over {BASE}, {name}" for name in GAINS), "FID", "norm", "n"),
)

Row = Sequence[Job]
"""Jobs that differ in their seeds alone."""


def mode(job: Job) -> str:
    """Return ``path`` or ``centroid``."""
    return job.overrides["task.mode"]


def method(job: Job) -> str:
    """Return the path or the centroid."""
    return job.overrides[f"task/{mode(job)}"]


def _place(job: Job) -> tuple[bool, bool]:
    """Return where a job stands: the base before other inverters, the controls behind them."""
    return source(job) != job.summary["inverter"], source(job) != BASE


def accuracies(row: Row, metric: str) -> dict[tuple[int, str], float]:
    """Return the accuracy of each example, by its seed and id."""
    return {
        (job.summary["seed"], example["id"]): example[metric]
        for job in row
        for example in job.examples
        if example.get(metric) is not None
    }


def gain(row: Row, base: Row | None, metric: str) -> str:
    """Return the gain in accuracy over the base, on the examples that both have."""
    if base is None or base is row:
        return ""
    differences = paired_differences(accuracies(row, metric), accuracies(base, metric))
    return bootstrap(differences, least=-1)


def cells(row: Row, base: Row | None) -> list[str]:
    """Return the cells of a row."""
    shares = [bootstrap(list(accuracies(row, metric).values())) for metric in MEASURES.values()]
    gains = [gain(row, base, MEASURES[name]) for name in GAINS]
    measured = [interval(name, pooled(row, name)) for name in ("fid", "norm_ratio")]
    n = sum(job.summary["n"] for job in row)
    return [source(row[0]), method(row[0]), *shares, *gains, *measured, str(n)]


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs of one mode and guidance, method by method, NAO first."""
    summary, rows = jobs[0].summary, by_seed(jobs)
    title = f"{HEADINGS[mode(jobs[0])]}: {setting(jobs[0])}, accuracy in %, "
    title += f"{summary['model']}, FID of {summary['features']} features"
    lines: list[list[str]] = []
    over_noise: list[list[str]] = []
    sources = list(dict.fromkeys(map(source, sorted(jobs, key=_place))))
    for name in sorted(dict.fromkeys(map(method, jobs)), key=lambda name: name != "nao"):
        group = [row for row in rows if method(row[0]) == name]
        group.sort(key=lambda row: sources.index(source(row[0])))
        named = {source(row[0]): row for row in group}
        lines += [cells(row, named.get(BASE)) for row in group]
        if noise := named.pop(NOISE, None):
            over_noise += [
                [label, name, *(gain(row, noise, MEASURES[measure]) for measure in NOISE_GAINS)]
                for label, row in named.items()
            ]
    text = f"{title}\n\n{markdown(COLUMNS, lines, words=2)}"
    if over_noise:
        columns = ["seeds", "method", *NOISE_GAINS]
        text += f"\n\nPoints over {NOISE} with the same method:\n\n"
        text += markdown(columns, over_noise, words=2)
    return text


def make(jobs: Sequence[Job]) -> Results:
    """Return a table for each mode and guidance."""
    modes = [[job for job in jobs if mode(job) == name] for name in HEADINGS]
    tables = [table(group) for members in modes for group in grounds(members)]
    return Results("\n\n".join(tables))


experiment = Experiment(
    make,
    settings=("task.seeds",),
    examples=tuple(MEASURES.values()),
    apart=("inverter", "guidance", "steps", "seed"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
