"""The check of an inversion: images are sampled back, and those that do not return are mended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.inversion import Inversion
from fpinv.inverters.auto.goal import Goal
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.sampling import sample, spent
from fpinv.solvers import rms

# Without the second climb that this decides on, 8 scenes at w = 7.5, N = 50 came back at 32.8 dB,
# 1.12 dB below the ceiling; with it at 39.2, .06 below (with earlier code).
FORESEEN = 2.0
"""Error at z_0, over the expected one, up to which it counts as foreseen."""

# 40 dB stricter, because under guidance errors grow 50 to 150 times between the steps 16 and 24 of
# 50 where the iteration's own direction says 2. At w = 3, N = 50 three of 32 scenes came back at
# 23 dB; with a second climb 8 scenes had 52.0 dB instead of 43.9, and .01 below the ceiling
# instead of .27. (Measured before iterations under guidance went on to a tenth at first.)
STRICT = 0.01
"""Part of a step's tolerance that the second climb aims at."""

# A bound on the cost: DDIM inversion comes back at 28 dB where it is best (w = 1, N = 50), and at
# some 10 at w = 7.5, so that it is not worth 2 N evaluations where the climb has 20 dB of the 40.
DOUBT = 10.0
"""Error at z_0, over the accepted one, from which on DDIM inversion may come back closer."""

Climb = Callable[[Goal], tuple[Inversion, Tensor]]
"""``climb(goal)``: an inversion of the images, and its expected errors at z_0, rms."""


def check(goal: Goal, climb: Climb) -> Inversion:
    """Return the climb's inversion, or another one for samples that do not come back.

    Expected errors follow one direction, and guidance may magnify another a hundred times more.
    So every sample under guidance is sampled back, and without guidance each whose expected error
    is above the accepted one. A sample whose error is above it too, although all its steps were
    solved or the error is not the expected one, climbs a second time, stricter; where the error is
    more than ``DOUBT`` times the accepted one all the same, DDIM inversion is tried.
    """
    inversion, expected = climb(goal)
    assert inversion.converged is not None, "every climb says which steps it solved"
    unsure = ~(expected <= goal.accepted) | (goal.condition.rows_per_sample > 1)
    error = torch.where(unsure, math.inf, expected)
    calls, gradients = (count.where(~unsure, 0) for count in cost(goal, inversion))
    best = Closest(goal, inversion, error, calls, gradients)
    best.offer(unsure, lambda rows: inversion[rows])
    unforeseen = inversion.converged.all(0) | (best.error > FORESEEN * expected)
    strict = replace(goal, aim=STRICT)
    best.offer((best.error > goal.accepted) & unforeseen, lambda rows: climb(strict[rows])[0])
    best.offer(best.error > DOUBT * goal.accepted, lambda rows: _ddim(goal[rows]))
    costs = spent(goal.condition, best.calls, best.gradients)
    return replace(best.inversion, **costs, expected_error=best.error)


def cost(goal: Goal, inversion: Inversion) -> tuple[Tensor, Tensor]:
    """Return the calls of each sample, and those of them with a gradient, (B,) each."""
    assert inversion.gradients is not None, "every climb counts them"
    return inversion.calls, inversion.gradients // goal.condition.rows_per_sample


def _ddim(goal: Goal) -> Inversion:
    """Return DDIM inversion, with a record of its residuals: none of its steps is solved."""
    inversion = FixedPoint(iterations=1).invert(goal.denoiser, goal.z0, goal.condition)
    assert inversion.iterations is not None
    unsolved = torch.zeros_like(inversion.iterations, dtype=torch.bool)
    return replace(inversion, converged=unsolved, trace=None)


@dataclass
class Closest:
    """The inversion of each sample that comes back closest.

    Arguments:
        goal: The images.
        inversion: Their inversions.
        error: Their distances from z_0 once sampled back, rms, (B,); inf where not finite.
        calls: Network calls of all inversions that were made of a sample, (B,).
        gradients: Those of them with a gradient, (B,).
    """

    goal: Goal
    inversion: Inversion
    error: Tensor
    calls: Tensor
    gradients: Tensor

    def offer(self, mask: Tensor, invert: Callable[[Tensor], Inversion]) -> None:
        """Invert the samples of the mask (B,) by ``invert(rows)``, and take what comes closer."""
        rows = mask.nonzero().squeeze(1)
        if not len(rows):
            return
        rival, goal = invert(rows), self.goal[rows]
        off = sample(goal.denoiser, rival.noise, goal.condition) - goal.z0
        error = rms(off).nan_to_num(math.inf, math.inf)
        calls, gradients = cost(goal, rival)
        self.calls[rows] += calls + goal.denoiser.schedule.steps
        self.gradients[rows] += gradients
        closer = (error < self.error[rows]).nonzero().squeeze(1)
        self.error[rows[closer]] = error[closer]
        self.inversion = self.inversion.put(rows[closer], rival[closer])
