"""Descents by least squares, where a step has no solution that the iteration reaches."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.batch import PerSample
from fpinv.inverters.auto.goal import Goal
from fpinv.sampling import sample
from fpinv.solvers import Equation, LeastSquares, rms

# Half of the square leaves room for the solved steps, whose shares add up to the whole of it.
PART = math.sqrt(0.5)
"""Part of the accepted error that a descent may leave."""

# The full length leaps out of the basin of a start near a minimum, and stalls there. After 80
# gradients at step 2 of w = 7.5, N = 20 eight scenes have 36.9 29.7 34.6 38.1 27.8 36.0 40.8 39.0
# dB with a tenth of it, 34.4 29.0 35.8 39.0 27.8 36.0 41.4 30.1 with all: a descent of each kind
# finds more minima than two of a kind.
CAREFUL = 0.1
"""Length of the first step of a second descent."""

# On the 8 scenes of above and with earlier code, w = 7.5, N = 20 came back at 34.1 dB for 29 calls
# a step. Four times the gradients of all descents made that 35.6 dB for 51, and seven whole climbs
# from other starts .6 dB more for 179.
JOINT = 4
"""Evaluations of a descent to the image, for each of those of a descent to the latent below."""


@dataclass(frozen=True)
class Unsolved(PerSample):
    """The samples of a batch whose step i the iteration did not solve.

    Arguments:
        goal: Their images.
        start: The points that the iteration began at, shape (R, C, H, W).
        below: The latents :math:`z_{i-1}`, as ``start``.
        gain: Growth of an error at :math:`z_{i-1}` on the way down to z_0, shape (R,).
        error: The error at z_0 to be expected of :math:`z_{i-1}`, rms, shape (R,).
        rounded: The part of a miss of :math:`z_{i-1}` that the network's rounding may make, rms,
            shape (R,).
    """

    goal: Goal
    start: Tensor
    below: Tensor
    gain: Tensor
    error: Tensor
    rounded: Tensor

    @property
    def allowance(self) -> Tensor:
        """Return the error at z_0 that a descent may add, rms, shape (R,)."""
        return PART * self.goal.accepted

    @property
    def limit(self) -> Tensor:
        """Return the error at z_0 at which the step counts as solved, rms, shape (R,)."""
        limit = torch.hypot(self.error, self.allowance)
        return torch.where(limit.isfinite(), limit, self.allowance)


@dataclass(frozen=True)
class Descended(PerSample):
    """The points that descents ended at.

    Arguments:
        value: The points, shape (R, C, H, W).
        miss: Distance of their DDIM step from :math:`z_{i-1}`, rms, shape (R,).
        error: The error at z_0 to be expected of them, rms, shape (R,).
        calls: Evaluations spent, shape (R,).
        gradients: Those of them that were differentiated, shape (R,).
    """

    value: Tensor
    miss: Tensor
    error: Tensor
    calls: Tensor
    gradients: Tensor

    def solves(self, unsolved: Unsolved) -> Tensor:
        """Return where the points are as near as they must be, or as rounding lets them, (R,)."""
        return (self.error <= unsolved.limit) | (self.miss <= unsolved.rounded)


@dataclass(frozen=True)
class StepDescent:
    r"""Minimisation of :math:`|D_{i \to j}(x) - z_j|^2` with D the sampler, by gradients.

    Arguments:
        gradients: Gradients of a descent to :math:`z_{i-1}` at most.
    """

    gradients: int

    def __call__(self, unsolved: Unsolved, iterate: Tensor, i: int) -> Descended:
        """Return the best points that one or two descents of each sample reach for step i.

        The first begins at ``iterate``, the iteration's best points, shape (R, C, H, W).
        """
        best = self._to_latent(unsolved, iterate, i, length=1.0)
        failed, steps = ~best.solves(unsolved), unsolved.goal.denoiser.schedule.steps
        # A latent that comes back as exactly as solved steps leave it is as good an aim as the
        # image, for one evaluation a gradient instead of i: another start may then lead to a
        # better minimum. Where it does not come back, only the image can tell what to mend.
        solved_steps_leave = math.sqrt((i - 1) / steps) * unsolved.goal.accepted
        sound = unsolved.error <= solved_steps_leave
        again, astray = (mask.nonzero().squeeze(1) for mask in (failed & sound, failed & ~sound))
        if len(again):
            rival = self._to_latent(unsolved[again], unsolved.start[again], i, CAREFUL)
            best = _merged(best, again, rival, rival.error < best.error[again])
        if len(astray):
            rival = self._to_image(unsolved[astray], best.value[astray], i)
            # Its error is measured, while the expected one of the point it began at may be wrong.
            best = _merged(best, astray, rival, rival.error.isfinite())
        return best

    def _to_latent(self, unsolved: Unsolved, start: Tensor, i: int, length: float) -> Descended:
        """Descend from ``start`` towards the latents below, j = i - 1."""
        solver = LeastSquares(self.gradients, first_length=length)
        tolerance = unsolved.goal.aim * unsolved.allowance / unsolved.gain
        tolerance = tolerance.maximum(unsolved.rounded)
        x = solver(_miss(unsolved.goal, unsolved.below, i, i - 1), start, tolerance)
        error = torch.hypot(unsolved.error, unsolved.gain * x.residual)
        return Descended(x.value, x.residual, error, x.steps, x.steps)

    def _to_image(self, unsolved: Unsolved, start: Tensor, i: int) -> Descended:
        """Descend from ``start`` towards the images, j = 0, of which the residual is the error."""
        solver = LeastSquares(max(1, JOINT * self.gradients // i), first_length=CAREFUL)
        x = solver(_miss(unsolved.goal, unsolved.goal.z0, i, 0), start, unsolved.limit)
        miss = rms(_miss(unsolved.goal, unsolved.below, i, i - 1)(x.value, slice(None)))
        return Descended(x.value, miss, x.residual, i * x.steps + 1, i * x.steps)


def _miss(goal: Goal, latents: Tensor, i: int, j: int) -> Equation:
    """Return the equation of how far points at index i come from ``latents`` at j by sampling."""
    return lambda x, rows: sample(goal.denoiser, x, goal.condition[rows], i, j) - latents[rows]


def _merged(best: Descended, rows: Tensor, rival: Descended, better: Tensor) -> Descended:
    """Return ``best`` with the samples ``rows`` of ``rival`` where ``better``, all at its cost."""
    best = replace(
        best,
        calls=best.calls.index_add(0, rows, rival.calls),
        gradients=best.gradients.index_add(0, rows, rival.gradients),
    )
    rival = replace(rival, calls=best.calls[rows], gradients=best.gradients[rows])
    return best.put(rows[better], rival[better])
