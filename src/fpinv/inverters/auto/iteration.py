"""The cheap solve of a step: Anderson's iteration, until the image needs no more."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.batch import Rows
from fpinv.inverters.auto.goal import Goal
from fpinv.inverters.implicit import equation
from fpinv.schedule import Prediction
from fpinv.solvers import Acceleration, History, Solution, Trial, per_sample, rms, search

# These steps differ too much for the ratio of one to tell that of the next: 8 scenes at w = 1,
# N = 50 come back at 50.2 dB with 0, 57.0 with 2, 57.1 with 4 and 57.2 with 8, for 1.06, 1.10,
# 1.11 and 1.12 evaluations a step.
EARLY = 4
"""Steps at the clean end that take over no ratio of the step before and start by no parabola."""

# The ratio of the next step may be larger than a very small one: without the bound 80 dB end at
# twice the accepted error (w = 1, N = 20, the smooth network of the tests), with it at a third.
LEAST = 0.05
"""Ratio of residuals below which none is trusted."""

# Without the bound one of 16 scenes comes back at 33 dB instead of 51 at w = 1, N = 10. Against no
# parabola at all, w = 1, N = 20 comes back at 49.8 dB instead of 48.9, for the same evaluations.
BEND = 0.5
"""Largest bend of a parabola that is used, as a part of what the line adds."""

# The expected error follows one direction, and guidance magnifies others: to spend an evaluation
# more on a step is cheaper than a second climb (with 1 in its place, 16 scenes at w = 3, N = 50
# came back 7 dB worse for as many evaluations).
GUIDED_AIM = 0.1
"""Part of a step's tolerance that iterations under guidance aim at."""


@dataclass
class Iteration:
    r"""The iteration of each step, and the forecasts that one step makes for the next.

    With :math:`a_i` of :meth:`fpinv.schedule.Schedule.sensitivity` the error at z_0 that is to be
    expected of a residual r is :math:`\rho\, r\, G_i / a_i`; a sample's step is solved where that
    is within its share of the accepted error. It is also solved where the residual is no larger
    than what the network's precision rounds away: no evaluation can lower it any further.

    Arguments:
        goal: The images.
        iterations: Evaluations of a step at most.
        acceleration: The rule that makes the next iterate.

    Attributes:
        aim: The part of its tolerance that a step goes on to.
        ratio: Ratio :math:`\rho` of successive residuals, (B,).
        slope: The slope of ``sensitivity`` along dx, :math:`\langle dg, dx \rangle / |dx|^2` over
            the weight, from the last two points that were first and second of a step, (B,).
        gain: Growth :math:`G_i` of an error at the last latent on the way down to z_0, (B,).
        path: The last latents, four at most.
        start: The point that the last iteration began at, shape (B, C, H, W).
        error: The error at z_0 to be expected of the residual that it left, rms, (B,).
        rounded: The part of the residual that rounding may make, rms, (B,).
        below: The gain of the latent that it began from.
    """

    goal: Goal
    iterations: int
    acceleration: Acceleration

    def __post_init__(self) -> None:
        self.share, self.schedule = self.goal.share, self.goal.denoiser.schedule
        self.ratio, self.gain = torch.ones_like(self.share), torch.ones_like(self.share)
        self.slope = torch.zeros_like(self.share)
        guided = self.goal.condition.rows_per_sample > 1
        self.aim = min(self.goal.aim, GUIDED_AIM) if guided else self.goal.aim
        self.path: list[Tensor] = []

    def __call__(self, z: Tensor, i: int) -> Solution:
        """Iterate the step from ``z`` at index i - 1."""
        a, weight = self.schedule.sensitivity(i)
        if i > 1 and self.schedule.form(i) != self.schedule.form(i - 1):
            self.slope = torch.zeros_like(self.slope)  # that of another quantity
        g = equation(self.goal.denoiser, z, i, self.goal.condition)
        self.path = [*self.path, z][-4:]
        self.start = self._start(i)
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
            if k == 0:
                self.rounded = self.goal.rounding * rms(history.gs[-1] - a * z)
            if k:
                (x0, x), (g0, gx) = history.xs[-2:], history.gs[-2:]
                self.ratio[rows] = (residual / rms(x0 - g0)).nan_to_num(1.0).clamp(LEAST, 1.0)
            if k == 1:
                # Two points tell the slope of what is held and with it the stretch, along the one
                # direction between them. Later pairs lie along directions that converge fast.
                dx, dg, sound = x - x0, gx - g0, residual.isfinite()
                length = rms(dx).clamp_min(torch.finfo(dx.dtype).tiny)
                slope = (dg * dx).flatten(1).mean(1) / length**2 / weight
                self.slope[rows] = torch.where(sound, slope, self.slope[rows])
                seen = rms(dx - dg) / length / a
                stretch[rows] = torch.where(sound, seen, stretch[rows])
            solved = error(residual, rows) <= self.aim * self.share[rows]
            solved = solved | (residual <= self.rounded[rows])
            return history, Trial(following, residual, residual, ~solved)

        solution = search(step, History(self.start), self.start, self.iterations, tolerance=0.0)
        self.error = error(solution.residual, slice(None))
        self.below, self.gain = self.gain, (self.gain * stretch).clamp_min(1)
        solved = (self.error <= self.share) | (solution.residual <= self.rounded)
        return replace(solution, residual=solution.residual / rms(z), converged=solved)

    def _start(self, i: int) -> Tensor:
        """Return the first point of the step to index i: what the last moves held, continued.

        That is the image latent, by the log signal-to-noise ratio; in native form the network's
        output, by its own time, which is finite at both ends of a grid. From the second move on it
        is continued by a line; by a parabola after the first steps, where that bends little.
        """
        schedule, z = self.schedule, self.path[-1]
        if i == 1:
            return z
        form = schedule.form(i)
        read = schedule.aimed_at if form == "epsilon" else schedule.output
        held = read(self.path[-2], z, i - 1)
        if len(self.path) > 2:
            low, mid, high = (self._time(j, form) for j in (i - 2, i - 1, i))
            before = read(self.path[-3], self.path[-2], i - 2)
            slope = (held - before) / (mid - low)
            held = held + (high - mid) * slope
            if i > EARLY:
                first = self._time(i - 3, form)
                earlier = (before - read(self.path[-4], self.path[-3], i - 3)) / (low - first)
                bend = (high - mid) * (high - low) / (mid - first) * (slope - earlier)
                slight = rms(bend) <= BEND * abs(high - mid) * rms(slope)
                held = torch.where(per_sample(slight, bend), held + bend, held)
        if form == "epsilon":
            return schedule.aim(z, held, i - 1, i)
        return schedule.raised(z, held, i)

    def _time(self, i: int, form: Prediction) -> float:
        if form == "epsilon":
            return math.log(self.schedule.alpha[i] / self.schedule.sigma[i])
        return self.schedule.time(i, form)[1]
