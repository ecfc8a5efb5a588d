"""Accuracy against evaluations: a picture, and the cost of a goal, of jobs that invert images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fpinv.reporting.experiment import Job, Results
from fpinv.reporting.figures import mark_cap, name_coincident, style
from fpinv.reporting.tables import (
    CAP,
    GAP,
    LATENT,
    Column,
    grounds,
    latent,
    mean,
    most,
    setting,
)

SETTINGS = ("inverter.iterations", "inverter.accuracy", "inverter.descents")
"""Settings of inverters that stand behind their names where they were set."""


def ground(job: Job) -> tuple[float, int]:
    """Return guidance and grid, which make runs comparable."""
    return float(job.summary["guidance"]), int(job.summary["steps"])


def cost(job: Job) -> float:
    """Return the evaluations of the inversion a step, where one with a gradient counts three."""
    rows = 1 if job.summary["guidance"] in (0, 1) else 2
    return mean(job, "nfe_equivalents") / rows / int(job.summary["steps"])


def half_width(job: Job) -> float:
    """Return the half-width of the interval of the mean dB; 0 where there is none."""
    entry = job.summary["latent_psnr"]
    return 0.0 if entry is None else entry["ci95"] or 0.0


@dataclass(frozen=True)
class Evaluations(Column):
    """The column of the evaluations of an inversion a step."""

    def cell(self, job: Job) -> str:
        """Return them; under guidance one of two rows counts as one."""
        return f"{cost(job):.2f}"


@dataclass(frozen=True)
class Reached(Column):
    """The column that says whether an accuracy is reached."""

    reached: Callable[[Job], bool] = field(kw_only=True)

    def cell(self, job: Job) -> str:
        """Return yes or no."""
        return "yes" if self.reached(job) else "no"


def families(jobs: Sequence[Job]) -> list[list[Job]]:
    """Return the jobs of each inverter."""
    return grounds(jobs, lambda job: job.summary["inverter"])


@dataclass(frozen=True)
class Frontier:
    """The frontier of accuracy and cost, with an accuracy to be reached.

    Arguments:
        goal: The accuracy, in dB of the latent.
    """

    goal: float

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of a job's cost, its accuracy, and whether that reaches the goal."""
        reached = Reached(f"{self.goal:g} dB", (), 0, reached=self.reached)
        return Evaluations("evaluations a step", (), 2), replace(LATENT, absent="∞"), reached, GAP

    def reached(self, job: Job) -> bool:
        """Return whether a job reaches the goal."""
        return latent(job) >= self.goal

    def best(self, jobs: Sequence[Job]) -> list[Job]:
        """Return each inverter's cheapest job that reaches the goal, or else its most exact.

        Those that reach it come first, the cheapest at the head.
        """
        best = []
        for family in families(jobs):
            reached = [job for job in family if self.reached(job)]
            best.append(min(reached, key=cost) if reached else max(family, key=latent))
        best.sort(key=lambda job: (0, cost(job)) if self.reached(job) else (1, -latent(job)))
        return best

    def panels(self, all_grounds: Sequence[Sequence[Job]]) -> Figure:
        """Return the figure of all grounds: guidance down and grid across, or one grid across."""
        names = sorted({job.summary["inverter"] for jobs in all_grounds for job in jobs})
        places = _places([ground(jobs[0]) for jobs in all_grounds])
        rows, columns = (1 + max(place[side] for place in places) for side in (0, 1))
        width, height = (3.4, 2.7) if rows > 1 else (4.6, 3.8)
        figure = Figure(figsize=(width * columns, height * rows + 0.2), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for jobs, place in zip(all_grounds, places, strict=True):
            self._draw(axes[place], jobs)
        _finish(figure, axes, names)
        return figure

    def results(
        self, table: Callable[[Sequence[Job]], str], jobs: Sequence[Job], picture: str
    ) -> Results:
        """Return a picture of all grounds, with its file name, and a table of each."""
        blocks = grounds(jobs, ground)
        figure = f"![Error of the latent against evaluations a step]({picture})"
        text = "\n\n".join([figure, *map(table, blocks)])
        return Results(text, {picture: partial(self.panels, blocks)})

    def _draw(self, axes: Axes, jobs: Sequence[Job]) -> None:
        """Draw one panel: a line for each inverter, over its settings."""
        points = []
        for family in families(jobs):
            members, name = sorted(family, key=cost), family[0].summary["inverter"]
            width, order = (2.5, 3) if name == "auto" else (1, 2)
            xs, ys = [cost(job) for job in members], [min(latent(job), CAP) for job in members]
            (line,) = axes.plot(xs, ys, label=name, linewidth=width, zorder=order, **style(name))
            bars = [half_width(job) if y < CAP else 0 for job, y in zip(members, ys, strict=True)]
            axes.errorbar(xs, ys, bars, fmt="none", ecolor=line.get_color(), elinewidth=0.8)
            points += [(name, x, y) for x, y in zip(xs, ys, strict=True)]
        axes.axhline(self.goal, color="grey", linewidth=0.8, linestyle=":")
        axes.set_title(f"{setting(jobs[0])}, n = {most(jobs)}", fontsize=9)
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.tick_params(labelsize=8)
        mark_cap(axes, CAP)
        name_coincident(axes, points)


def _places(all_grounds: Sequence[tuple[float, int]]) -> list[tuple[int, int]]:
    """Return the row and the column of the panel of each guidance and grid."""
    guidances, grids = (sorted({each[side] for each in all_grounds}) for side in (0, 1))
    places = [(guidances.index(w), grids.index(steps)) for w, steps in all_grounds]
    return [(column, row) for row, column in places] if len(grids) == 1 else places


def _finish(figure: Figure, axes: Any, names: Sequence[str]) -> None:  # noqa: ANN401 - an array
    """Hide the panels without a line, and give the others their labels and a legend."""
    for panel in axes.flat:
        panel.set_visible(panel.has_data())
    for row in axes:
        row[0].set_ylabel("latent, dB", fontsize=8)
    for panel in axes[-1]:
        panel.set_xlabel("evaluations a step, to invert (with a gradient: 3)", fontsize=8)
    lines = {line.get_label(): line for panel in axes.flat for line in panel.get_lines()}
    lines, columns = {name: lines[name] for name in names}, min(8, 3 * axes.shape[1])
    figure.legend(lines.values(), lines, loc="outside lower center", ncols=columns, fontsize=8)
