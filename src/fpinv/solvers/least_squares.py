"""Least squares by L-BFGS, for equations without a solution."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.batch import PerSample, Rows
from fpinv.errors import UserError, check_at_least
from fpinv.solvers.search import Equation, Solution, Trial, per_sample, rms, search

SHORTEST = 0.01
"""Length of a step at which a sample no longer moves: a full step after four reductions."""


@dataclass(frozen=True)
class LeastSquares:
    r"""Minimisation of :math:`\tfrac12 |f(x)|^2` by L-BFGS: for equations without a solution.

    Where g of :math:`x = g(x)` folds, no iteration of g alone finds the point of least residual
    :math:`f(x) = x - g(x)`: that takes :math:`f'(x)^T`, a gradient through the network. Each
    sample has its own curvature pairs and its own length of step, a quarter of the last one's
    where the residual did not fall and 1 where it did; the first step has ``first_length`` times
    the length that solves an equation in one unknown, :math:`|f|^2 / |f'^T f|^2`. A sample leaves
    the batch at its tolerance, or when no step of a sensible length helps.

    References:
        | On the limited memory BFGS method for large scale optimization (Liu and Nocedal, 1989)
        | https://doi.org/10.1007/BF01589116

    Arguments:
        iterations: Evaluations of f with a gradient per sample at most, at least 1.
        memory: Number of remembered curvature pairs.
        first_length: Length of the first step. 1 is far where there is no solution: a start near
            a minimum leaves its basin then.
    """

    iterations: int = 80
    memory: int = 24
    first_length: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(self, iterations=1)
        if not self.first_length > SHORTEST:
            raise UserError(
                f"first_length={self.first_length} is not possible: choose more than {SHORTEST}"
            )

    def __call__(self, f: Equation, start: Tensor, tolerance: Tensor) -> Solution:
        """Return the best point met from ``start`` (B, ...), itself included.

        ``f(x, rows)`` is the residual of the samples ``rows``; its rms is in the unit of
        ``tolerance`` (B,).
        """

        def step(k: int, at: _Position, rows: Rows) -> tuple[_Position, Trial]:
            x = at.trial()
            half, slope = _half_square(f, x, rows)
            at = at.advance(x, half, slope, self.memory) if k else at.measured(half, slope)
            residual = (2 * at.half / start[0].numel()).sqrt()
            return at, Trial(at.x, at.half, residual, at.length > SHORTEST, differentiated=True)

        # The first trial is the start itself: without a slope there is no step.
        zero = start.new_zeros(len(start))
        length = torch.full_like(zero, self.first_length)
        state = _Position(start, zero, torch.zeros_like(start), zero, length)
        return search(step, state, start, self.iterations, tolerance)


def _half_square(f: Equation, x: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Return half the squared residual of each sample, (B,), and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        off = f(x, rows)
        size = rms(off.detach()).clamp_min(torch.finfo(torch.float32).tiny)
        # Of unit size on its way back through a network that may run in half precision.
        (slope,) = torch.autograd.grad(off, x, off.detach() / per_sample(size, off))
    half = off.detach().flatten(1).square().sum(1) / 2
    return half, per_sample(size, slope) * slope


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Return the inner product of each sample, broadcastable over it."""
    return per_sample((a * b).flatten(1).sum(1), a)


@dataclass(frozen=True)
class _Position(PerSample):
    """The best point of each sample of a descent, and the curvature that is known there.

    Arguments:
        x: The point, shape (R, ...).
        half: Half its squared residual, shape (R,).
        slope: The gradient of that, shape (R, ...).
        curvature: Inverse curvature along the last accepted move, shape (R,).
        length: Length of the next step, in units of the quasi-Newton step, shape (R,).
        moves: Accepted moves s, oldest first; zero for samples that made none then.
        bends: Changes y of the gradient over them.
    """

    x: Tensor
    half: Tensor
    slope: Tensor
    curvature: Tensor
    length: Tensor
    moves: list[Tensor] = field(default_factory=list)
    bends: list[Tensor] = field(default_factory=list)

    def measured(self, half: Tensor, slope: Tensor) -> _Position:
        """Return the position with the first evaluation of its point."""
        square = slope.flatten(1).square().sum(1)
        curvature = 2 * half / square.clamp_min(torch.finfo(square.dtype).tiny)
        return replace(self, half=half, slope=slope, curvature=curvature)

    def trial(self) -> Tensor:
        """Return the next point to evaluate: a quasi-Newton step by the two-loop recursion."""
        q, weights = self.slope, []
        tiny = torch.finfo(q.dtype).tiny
        pairs = list(zip(self.moves, self.bends, strict=True))
        for s, y in reversed(pairs):
            weights.append(_inner(s, q) / _inner(s, y).clamp_min(tiny))
            q = q - weights[-1] * y
        q = q * per_sample(self.curvature, q)
        for (s, y), weight in zip(pairs, reversed(weights), strict=True):
            q = q + (weight - _inner(y, q) / _inner(s, y).clamp_min(tiny)) * s
        return self.x - per_sample(self.length, q) * q

    def advance(self, x: Tensor, half: Tensor, slope: Tensor, memory: int) -> _Position:
        """Return the position after a trial, which becomes the point where the residual fell."""
        fell = half < self.half
        s, y = x - self.x, slope - self.slope
        product, square = _inner(s, y).flatten(), _inner(y, y).flatten()
        # A pair without positive curvature would make the next step point uphill.
        curved = fell & (product > 1e-8 * square)
        keep, there = per_sample(curved, x), per_sample(fell, x)
        return _Position(
            torch.where(there, x, self.x),
            torch.where(fell, half, self.half),
            torch.where(there, slope, self.slope),
            torch.where(curved, product / square, self.curvature),
            torch.where(fell, 1.0, self.length / 4),
            [*self.moves, torch.where(keep, s, 0)][-memory:],
            [*self.bends, torch.where(keep, y, 0)][-memory:],
        )
