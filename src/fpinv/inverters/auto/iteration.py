"""The cheap solve of a step: Anderson's iteration, until the image needs no more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.batch import Rows
from fpinv.inverters.auto.goal import Goal
from fpinv.inverters.implicit import equation
from fpinv.solvers import Acceleration, History, Solution, Trial, rms, search

# These steps differ too much for the ratio of one to tell that of the next: 8 scenes at w = 1,
# N = 50 come back at 50.2 dB with 0, 57.0 with 2, 57.1 with 4 and 57.2 with 8, for 1.06, 1.10,
# 1.11 and 1.12 evaluations a step.
EARLY = 4
"""Steps at the clean end that do not take over the ratio of the step before."""

# The ratio of the next step may be larger than a very small one: without the bound 80 dB end at
# twice the accepted error (w = 1, N = 20, the smooth network of the tests), with it at a third.
LEAST = 0.05
"""Ratio of residuals below which none is trusted."""


@dataclass
class Iteration:
    r"""The iteration of each step, and the forecasts that one step makes for the next.

    With :math:`a_i = \alpha_i / \alpha_{i-1}` the error at z_0 that is to be expected of a
    residual r is :math:`\rho\, r\, G_i / a_i`; a sample's step is solved where that is within its
    share of the accepted error.

    Arguments:
        goal: The images.
        iterations: Evaluations of a step at most.
        acceleration: The rule that makes the next iterate.

    Attributes:
        ratio: Ratio :math:`\rho` of successive residuals, (B,).
        slope: :math:`\langle d\epsilon, dx \rangle / |dx|^2` times :math:`\sigma_i`, over the last
            two points that were first and second of a step, (B,).
        gain: Growth :math:`G_i` of an error at the last latent on the way down to z_0, (B,).
        clean: The image latents that the last moves held, two at most.
        start: The point that the last iteration began at, shape (B, C, H, W).
        error: The error at z_0 to be expected of the residual that it left, rms, (B,).
        below: The gain of the latent that it began from.
    """

    goal: Goal
    iterations: int
    acceleration: Acceleration

    def __post_init__(self) -> None:
        self.share, self.schedule = self.goal.share, self.goal.denoiser.schedule
        self.ratio, self.gain = torch.ones_like(self.share), torch.ones_like(self.share)
        self.slope = torch.zeros_like(self.share)
        self.clean: list[Tensor] = []

    def __call__(self, before: Tensor, z: Tensor, i: int) -> Solution:
        """Iterate the step from ``z`` at index i - 1, which was reached from ``before``."""
        a = self.schedule.alpha[i] / self.schedule.alpha[i - 1]
        # g(x) is linear in the noise, with this many times sigma_i as its factor.
        weight = 1 - a * self.schedule.sigma[i - 1] / self.schedule.sigma[i]
        g = equation(self.goal.denoiser, z, i, self.goal.condition)
        self.start = self._start(before, z, i)
        # By how much the DDIM step stretches a difference: at first from the step before.
        stretch = (1 - weight * self.slope).abs() / a
        if i <= EARLY:
            self.ratio = torch.ones_like(self.ratio)

        def error(residual: Tensor, rows: Rows) -> Tensor:
            """Return the error at z_0 to be expected where the next iterate is taken."""
            gain = (self.gain * stretch)[rows].clamp_min(1)
            return self.ratio[rows] * residual * gain / a

        def step(k: int, history: History, rows: Rows) -> tuple[History, Trial]:
            history, following, residual = history.advance(g(history.x, rows), self.acceleration)
            if k:
                (x0, x), (g0, gx) = history.xs[-2:], history.gs[-2:]
                self.ratio[rows] = (residual / rms(x0 - g0)).nan_to_num(1.0).clamp(LEAST, 1.0)
            if k == 1:
                # Two points tell the slope of the noise and with it the stretch, along the one
                # direction between them. Later pairs lie along directions that converge fast.
                dx, dg, sound = x - x0, gx - g0, residual.isfinite()
                length = rms(dx).clamp_min(torch.finfo(dx.dtype).tiny)
                slope = (dg * dx).flatten(1).mean(1) / length**2 / weight
                self.slope[rows] = torch.where(sound, slope, self.slope[rows])
                seen = rms(dx - dg) / length / a
                stretch[rows] = torch.where(sound, seen, stretch[rows])
            solved = error(residual, rows) <= self.goal.aim * self.share[rows]
            return history, Trial(following, residual, residual, ~solved)

        solution = search(step, History(self.start), self.start, self.iterations, tolerance=0.0)
        self.error = error(solution.residual, slice(None))
        self.below, self.gain = self.gain, (self.gain * stretch).clamp_min(1)
        solved, residual = self.error <= self.share, solution.residual / rms(z)
        return replace(solution, residual=residual, converged=solved)

    def _start(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        """Return the first point of the step from ``z`` at index i - 1."""
        if i == 1:
            return z
        schedule = self.schedule
        self.clean = [*self.clean, schedule.aimed_at(before, z, i - 1)][-2:]
        clean = self.clean[-1]
        if len(self.clean) == 2 and schedule.alpha[i] > 0:
            three = slice(i - 2, i + 1)
            scales = zip(schedule.alpha[three], schedule.sigma[three], strict=True)
            low, mid, high = (math.log(alpha / sigma) for alpha, sigma in scales)
            clean = clean + (high - mid) / (mid - low) * (clean - self.clean[0])
        return schedule.aim(z, clean, i - 1, i)
