"""Show how much seeds are like noise and what they are worth: ``plot.py FOLDER [RESULTS]``.

It reads records only. A *seed* here is an inverter with an adjustment and a number of noised
steps, whose jobs are one a task. Intervals of shares and of gains are percentiles of bootstrap
draws, all of 95 %.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fpinv.metrics.glossary import interval
from fpinv.metrics.intervals import bootstrap, mean_ci95, paired_differences
from fpinv.reporting.edits import SUCCESS
from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import name_coincident, style
from fpinv.reporting.tables import Column, adjusted, devices, markdown, setting

BASE, OURS = "ddim", "auto"
GOAL = 0.1
"""Gap in dB that a seed with both, exactness and use, may have."""
LINEAR = 0.01
"""Gap in dB up to which the axis of a figure is linear."""

INTERPOLATION, EDIT, KEPT, TRUTH = "accuracy", "edit_accuracy", "kept_accuracy", "truth_psnr"
TASKS = {INTERPOLATION: "interpolation", EDIT: "editing", KEPT: "editing", TRUTH: "editing"}
NOISE = (
    Column("norm", ("noise_norm",), 2),
    Column("correlation, plain", ("noise_correlation_plain",), 2),
    Column("objects", ("noise_correlation_objects",), 2),
    Column("variance, plain", ("noise_variance_plain",), 2),
    Column("objects", ("noise_variance_objects",), 2),
    Column("excess kurtosis, plain", ("noise_kurtosis_plain",), 1),
    Column("objects", ("noise_kurtosis_objects",), 1),
    Column("not normal, %", ("noise_not_normal",), 0, 100),
)
GAP = Column("gap, dB", ("gap",), 3)
DASHES = {"known": ":", "crossfade": "-."}
"""Lines of the controls; noise alone, which has the name of an inverter, is dashed."""
PANELS = (
    ("noise_correlation_plain", "correlation in plain background", 1),
    (INTERPOLATION, "midpoints that show the class, %", 100),
    (EDIT, "edit right, %", 100),
    (TRUTH, "edit against the true picture, dB", 1),
)


@dataclass
class Seed:
    """An inverter with its number of noised steps.

    Arguments:
        inverter: Name of the inverter and of an adjustment; ``known`` for the noise of images that
            the model made, ``crossfade`` for mixed pixels.
        noised: Number of noised steps.
        jobs: Its jobs by task.
    """

    inverter: str
    noised: int
    jobs: dict[str, Job] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The words for it in a table."""
        if self.noised == self.steps:
            return "noise alone"
        return f"{self.inverter}, {self.noised} noised" if self.noised else self.inverter

    @property
    def is_control(self) -> bool:
        """Return whether it inverts no image."""
        return self.noised == self.steps or self.inverter in DASHES

    @property
    def steps(self) -> int:
        """The number of steps of the grid."""
        return int(next(iter(self.jobs.values())).summary["steps"])

    def cell(self, column: Column, task: str = "reconstruction") -> str:
        """Return a cell of a table; a dash without a job of the task."""
        return column.cell(self.jobs[task]) if task in self.jobs else "–"

    def values(self, metric: str) -> dict[str, float]:
        """Return the metric of each example, by id."""
        job = self.jobs.get(TASKS[metric])
        rows = () if job is None else job.examples
        return {row["id"]: row[metric] for row in rows if row.get(metric) is not None}

    def mean(self, metric: str) -> float | None:
        """Return the mean of a metric in the job that has it; None if there is none."""
        return self._measured(metric).get("mean")

    def half_width(self, metric: str) -> float | None:
        """Return the half-width of the 95 % interval of :meth:`mean`."""
        return self._measured(metric).get("ci95")

    def _measured(self, metric: str) -> Mapping[str, float | None]:
        entries = (job.summary.get(metric) for job in self.jobs.values())
        return next(filter(None, entries), {})


def seeds(jobs: Sequence[Job]) -> list[Seed]:
    """Return the seeds of the jobs, in their order."""
    known: dict[tuple[str, int], Seed] = {}
    for job in jobs:
        name = job.overrides.get("task.seeds", job.summary["inverter"])
        key = adjusted(name, job), int(job.summary["noised_steps"])
        known.setdefault(key, Seed(*key)).jobs[job.summary["task"]] = job
    return list(known.values())


def gains(seed: Seed, base: Seed | None, metric: str) -> list[float]:
    """Return what each example gains in a measure over another seed, where both have it."""
    reference = {} if base is None or base is seed else base.values(metric)
    return paired_differences(seed.values(metric), reference)


def gain(seed: Seed, base: Seed | None, metric: str) -> str:
    """Return the mean gain in a share over another seed, in points."""
    return bootstrap(gains(seed, base, metric), least=-1)


def share(seed: Seed, metric: str) -> str:
    """Return a share in per cent, over the examples that have it."""
    return bootstrap(list(seed.values(metric).values()))


def uses(seed: Seed, base: Seed | None) -> list[str]:
    """Return what a seed is worth: gap, interpolation, edits, with the gains over ``base``."""
    interpolation = [share(seed, INTERPOLATION), gain(seed, base, INTERPOLATION)]
    edits = [share(seed, EDIT), gain(seed, base, EDIT), share(seed, KEPT)]
    whole = [seed.cell(column, "editing") for column in (SUCCESS, Column("", (TRUTH,), 2))]
    return [seed.cell(GAP), *interpolation, *edits, *whole]


def table_of_noise(members: Sequence[Seed]) -> str:
    """Return the table of how much z_N is like noise, of the seeds whose images were inverted."""
    inverted = [seed for seed in members if "reconstruction" in seed.jobs]
    rows = [[seed.label, *(seed.cell(column) for column in NOISE)] for seed in inverted]
    return markdown(["seed", *(column.title for column in NOISE)], rows)


def table_of_uses(members: Sequence[Seed], base: Seed | None) -> str:
    """Return the table of how exactly images come back and what seeds are worth."""
    titles = [
        *("seed", "gap, dB", "midpoints of the class, %", f"gain over {BASE}, points"),
        *("edit right, %", f"gain over {BASE}, points", "kept, %"),
        *(SUCCESS.title, "edit against the truth, dB"),
    ]
    return markdown(titles, [[seed.label, *uses(seed, base)] for seed in members])


def both(members: Sequence[Seed]) -> Seed | None:
    """Return our seed within the goal that is most like noise in plain background, if any is."""
    exact = [
        seed
        for seed in members
        if seed.inverter.startswith(OURS) and (seed.mean("gap") or 0.0) <= GOAL
    ]
    measured = [
        (like, seed) for seed in exact if (like := seed.mean(NOISE[1].metrics[0])) is not None
    ]
    return min(measured, key=lambda pair: abs(pair[0]))[1] if measured else None


def table_of_gains(seed: Seed, others: Sequence[Seed]) -> str:
    """Return the table of what a seed gains over others, on the examples that both have."""
    titles = ["over", "midpoints, points", "edits, points", "kept, points", "edit, dB"]
    rows = []
    for other in others:
        decibels = interval(TRUTH, mean_ci95(gains(seed, other, TRUTH)))
        points = (gain(seed, other, metric) for metric in (INTERPOLATION, EDIT, KEPT))
        rows.append([other.label, *points, decibels])
    return markdown(titles, rows)


def draw(axes: Axes, metric: str, factor: float, families: Sequence[Sequence[Seed]]) -> None:
    """Draw one panel: a measure against the gap, a line an inverter, its noised steps as words."""
    points = []
    for family in families:
        known = [seed for seed in family if None not in (seed.mean("gap"), seed.mean(metric))]
        xs = [seed.mean("gap") or 0.0 for seed in known]
        ys = [factor * (seed.mean(metric) or 0.0) for seed in known]
        halves = [factor * (seed.half_width(metric) or 0.0) for seed in known]
        label, (name, _, adjustment) = family[0].inverter, family[0].inverter.partition(", ")
        look = style(name, filled=bool(adjustment))
        axes.errorbar(xs, ys, halves, elinewidth=0.4, label=label, **look)
        points += [(label, x, y) for x, y in zip(xs, ys, strict=True)]
        for x, y, seed in zip(xs, ys, known, strict=True):
            if len(family) > 1:
                words = str(seed.noised)
                axes.annotate(words, (x, y), (3, 3), textcoords="offset points", fontsize=7)
    axes.set_xscale("symlog", linthresh=LINEAR)
    name_coincident(axes, points)


def picture(members: Sequence[Seed]) -> Figure:
    """Return the trade-off: noise, interpolation and edits against the gap."""
    controls = [seed for seed in members if seed.is_control]
    climbs = [seed for seed in members if not seed.is_control]
    families = [
        sorted((s for s in climbs if s.inverter == name), key=lambda seed: seed.noised)
        for name in dict.fromkeys(seed.inverter for seed in climbs)
    ]
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True).flat
    for axes, (metric, title, factor) in zip(panels, PANELS, strict=True):
        draw(axes, metric, factor, families)
        for seed in controls:
            if (level := seed.mean(metric)) is not None:
                dashes = DASHES.get(seed.inverter, "--")
                axes.axhline(factor * level, color="grey", linestyle=dashes, label=seed.label)
        axes.set_ylabel(title)
    for axes in figure.axes[2:]:
        axes.set_xlabel(f"gap, dB (linear below {LINEAR:g})")
    named = zip(*(axes.get_legend_handles_labels() for axes in figure.axes), strict=True)
    handles, labels = (sum(parts, []) for parts in named)
    shown = dict(zip(labels, handles, strict=True))
    figure.legend(shown.values(), shown, loc="outside right upper", fontsize=8)
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return the picture, the tables of the inverters as they are, and those with noised steps."""
    members = seeds(jobs)
    plain = [seed for seed in members if not seed.noised]
    noised = [
        seed for seed in members if seed.inverter in {s.inverter for s in members if s.noised}
    ]
    noised.sort(key=lambda seed: (seed.noised == seed.steps, seed.inverter, seed.noised))
    base = next((seed for seed in plain if seed.inverter == BASE), None)
    head = f"{setting(jobs[0])}, {counts(jobs)}, {devices(jobs)}"
    tables = {
        "How much z_N is like noise": table_of_noise(plain),
        "What seeds are worth": table_of_uses(plain, base),
        "Noise in place of the first steps, z_N": table_of_noise(noised),
        "Noise in place of the first steps, uses": table_of_uses(noised, base),
    }
    if (ours := both(members)) is not None:
        others = [seed for seed in members if seed is not ours]
        tables[f"What {ours.label} ({ours.cell(GAP)} dB gap) gains"] = table_of_gains(ours, others)
    blocks = ["![Noise and usefulness of seeds against the gap](trade_off.png)"]
    blocks += [f"{title}: {head}\n\n{table}" for title, table in tables.items()]
    return Results("\n\n".join(blocks), {"trade_off.png": partial(picture, members)})


def counts(jobs: Sequence[Job]) -> str:
    """Return the number of examples of each task."""
    numbers = {job.summary["task"]: job.summary["n"] for job in jobs}
    words = {"reconstruction": "images", "interpolation": "pairs", "editing": "edits"}
    return ", ".join(f"{numbers[task]} {word}" for task, word in words.items() if task in numbers)


experiment = Experiment(
    make,
    examples=(INTERPOLATION, EDIT, KEPT, TRUTH),
    apart=("dataset", "inverter", "adjustment", "noised_steps", "task"),
)

if __name__ == "__main__":
    sys.exit(experiment.main())
