"""Draw residuals and PSNR against fpi's iterations (FPI, Fig. 3).

``plot.py FOLDER [RESULTS]`` reads records only. Each guidance has a row of panels: the residuals
of every image at the step in the middle of the grid, the ratios of successive residuals along the
grid (FPI, 3.2), and PSNR with the VAE's ceiling.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from fpinv.reporting.experiment import Experiment, Job, Results
from fpinv.reporting.figures import look
from fpinv.reporting.tables import (
    CALLS,
    GAP,
    LATENT,
    PSNR,
    block,
    grounds,
    label,
    latent,
    mean,
    setting,
    shared,
)

ITERATIONS = "inverter.iterations"
FLOOR = 1e-5
"""Residual below which rounding says what the next one is."""

COLUMNS = (PSNR, GAP, LATENT, CALLS)
COLOUR, MARKER = look("fpi")
POINTS = {"marker": MARKER, "markerfacecolor": "none", "markersize": 4, "color": COLOUR}


def traced(line: Mapping[str, Any]) -> dict[str, Any]:
    """Return the residuals of one image at the middle step, and their fall along the grid.

    ``ratios`` has for each step the geometric mean of r_{k+1} / r_k, ``rises`` the share of the
    steps at which a residual was larger than the one before.
    """
    count = sum(name.startswith("residual_") for name in line)
    trace = np.array([line[f"residual_{n}"] for n in range(1, count + 1)], dtype=float)
    middle = {"middle": trace[:, trace.shape[1] // 2].tolist()}
    if count < 2:
        return middle
    ratios = trace[1:] / trace[:-1]
    telling = (trace[:-1] > FLOOR) & np.isfinite(ratios)
    logs = np.log(ratios, where=telling, out=np.zeros_like(ratios))
    means = np.exp(logs.sum(0) / np.maximum(telling.sum(0), 1)).round(4)
    steps = [float(m) if known else None for m, known in zip(means, telling.any(0), strict=True)]
    return middle | {"ratios": steps, "rises": float((logs > 0).any(0).mean())}


def iterations(job: Job) -> int:
    """Return the number of iterations a step."""
    return int(job.overrides[ITERATIONS])


def ratios(job: Job) -> NDArray[np.float64]:
    """Return the ratios of each image and step, (n, N), NaN where there is none."""
    return np.array([e["ratios"] for e in job.examples], dtype=float)


def contraction(job: Job) -> str:
    """Return a line on the speed at which the residuals fell."""
    low, middle, high = np.nanpercentile(ratios(job), [5, 50, 95])
    rises = np.mean([e["rises"] for e in job.examples])
    return (
        f"Of {iterations(job)} iterations, `r_{{k+1}} / r_k` over images and steps: median "
        f"{middle:.3f}, nine in ten between {low:.3f} and {high:.3f}; a residual rose at "
        f"{100 * rises:.1f} % of the steps."
    )


def table(jobs: Sequence[Job]) -> str:
    """Return the table of the jobs on one ground, and the contraction of the longest."""
    rows = block(shared(jobs), jobs, COLUMNS, lambda job: label(job, (ITERATIONS,)))
    return f"{rows}\n\n{contraction(jobs[-1])}" if iterations(jobs[-1]) > 1 else rows


def draw_residuals(axes: Axes, job: Job) -> None:
    """Draw a line for each image: the residual of each evaluated point of one step."""
    for example in job.examples:
        residuals = np.array(example["middle"], dtype=float)
        axes.plot(range(1, len(residuals) + 1), residuals, color=COLOUR, alpha=0.5, linewidth=0.8)
    step = int(job.summary["steps"]) // 2 + 1
    axes.set_title(f"{setting(job)}: {len(job.examples)} images, step {step}", fontsize=9)
    axes.set(yscale="log", xlabel="iteration k", ylabel="residual |x − g(x)| / |z|")


def draw_ratios(axes: Axes, job: Job) -> None:
    """Draw the ratios along the grid: the median, and the band of nine in ten images."""
    values = ratios(job)
    defined = np.isfinite(values).any(0)
    steps = np.arange(1, values.shape[1] + 1)[defined]
    low, middle, high = np.nanpercentile(values[:, defined], [5, 50, 95], axis=0)
    axes.fill_between(
        steps, low, high, color=COLOUR, alpha=0.25, linewidth=0, label="nine in ten images"
    )
    axes.plot(steps, middle, color=COLOUR, label="median")
    axes.axhline(1, color="grey", linestyle=":", linewidth=0.8)
    axes.set_ylim(0, max(1.05, 1.05 * float(high.max())))
    axes.set_title("contraction along the grid", fontsize=9)
    axes.set(xlabel="step of the grid, clean end first", ylabel="$r_{k+1}$ / $r_k$")
    axes.legend(fontsize=7)


def draw_psnr(axes: Axes, jobs: Sequence[Job]) -> None:
    """Draw PSNR with its ceiling against iterations, and on a second axis the latent's."""
    at = [iterations(job) for job in jobs]
    image = axes.plot(at, [mean(job, "psnr") for job in jobs], **POINTS)
    ceiling = axes.axhline(mean(jobs[0], "ceiling_psnr"), color="grey", linestyle="--")
    axes.set_title("reconstruction", fontsize=9)
    axes.set(xlabel="iterations", ylabel="PSNR of the image, dB (solid)")
    right = axes.twinx()
    latents = right.plot(at, [latent(job) for job in jobs], linestyle=":", **POINTS)
    right.set_ylabel("of the latent, dB (dotted)")
    lines, names = [*image, ceiling, *latents], ["image", "VAE ceiling", "latent"]
    axes.legend(lines, names, fontsize=7, loc="lower right")


def panels(all_grounds: Sequence[Sequence[Job]]) -> Figure:
    """Return a figure of three panels for each guidance."""
    figure = Figure(figsize=(10.5, 3.0 * len(all_grounds)), layout="constrained")
    grid = figure.subplots(len(all_grounds), 3, squeeze=False)
    for (left, middle, right), jobs in zip(grid, all_grounds, strict=True):
        draw_residuals(left, jobs[-1])
        if iterations(jobs[-1]) > 1:
            draw_ratios(middle, jobs[-1])
        draw_psnr(right, jobs)
        for axes in (left, middle, right):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def make(jobs: Sequence[Job]) -> Results:
    """Return a picture of all guidances and a table of each."""
    blocks = [sorted(block, key=iterations) for block in grounds(jobs)]
    figure = "![Residuals, their ratios and PSNR against iterations](iterations.png)"
    return Results(
        "\n\n".join([figure, *map(table, blocks)]), {"iterations.png": partial(panels, blocks)}
    )


experiment = Experiment(make, examples=traced, apart=("guidance",))

if __name__ == "__main__":
    sys.exit(experiment.main())
