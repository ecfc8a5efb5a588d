r"""One implicit equation in, a solution out: batched fixed-point iteration and its accelerations.

All methods here solve :math:`x = g(x)` for every sample of a batch on its own. An *acceleration*
turns the last few pairs :math:`(x^k, g(x^k))` into the next iterate; the *solver* owns the loop,
the residuals, the stopping and the bookkeeping of samples that are done.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from fpinv.errors import UserError

Equation = Callable[[Tensor, Tensor | None], Tensor]
"""``g(x, rows)``: x holds the samples ``rows`` (indices, shape (R,)) of the batch; None is all."""


def rms(x: Tensor) -> Tensor:
    """Root mean square of each sample, shape (B,)."""
    return x.flatten(1).square().mean(1).sqrt()


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshapes (B,) values so that they broadcast over the samples of ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


@dataclass(frozen=True)
class Solution:
    """What a solver found, sample by sample.

    Arguments:
        value: The solution, shape (B, ...); always finite where the start was.
        residual: :math:`|x - g(x)| / scale`, rms, of the point x that the value was made from,
            shape (B,); infinite where g was not finite at the start already.
        steps: Evaluations of g that the sample took part in, shape (B,).
        converged: The residual is within the tolerance (without one: all iterates were finite).
        trace: The residual of every evaluated point in order, shape (K, B): NaN after a sample
            has left the batch; None from a solver that keeps none.
    """

    value: Tensor
    residual: Tensor
    steps: Tensor
    converged: Tensor
    trace: Tensor | None = None


class Acceleration(Protocol):
    """Makes the next iterate from the last ``memory`` pairs (x, g(x)), oldest first."""

    @property
    def memory(self) -> int: ...

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Plain:
    r"""Plain iteration :math:`x^{k+1} = g(x^k)`, damped on request.

    .. math:: x^{k+1} = (1 - d) g(x^k) + d x^k

    Arguments:
        damping: d in [0, 1); 0 is the undamped iteration.
    """

    damping: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.damping < 1:
            raise UserError(f"damping={self.damping} is not possible: choose 0 <= damping < 1")

    @property
    def memory(self) -> int:
        return 1

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        return torch.lerp(gs[-1], xs[-1], self.damping) if self.damping else gs[-1]


@dataclass(frozen=True)
class Averaged:
    r"""Two-point averaging :math:`x^{k+1} = (g(x^k) + g(x^{k-1})) / 2` (AIDI-E).

    Remembered evaluations make it one evaluation an iteration.

    References:
        | Effective Real Image Editing with Accelerated Iterative Diffusion Inversion
        | (Pan et al., 2023), https://arxiv.org/abs/2309.04907
    """

    @property
    def memory(self) -> int:
        return 2

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        return (gs[0] + gs[-1]) / 2


@dataclass(frozen=True)
class Anderson:
    r"""Anderson acceleration (AIDI-A): the mix of remembered images with the least residual.

    .. math:: x^{k+1} = \sum_j \gamma_j g(x^j), \quad
              \gamma = \arg\min_{\sum \gamma_j = 1} \Big| \sum_j \gamma_j (g(x^j) - x^j) \Big|

    The normal equations are solved in float64 with Tikhonov regularisation, relative to their
    mean diagonal; where that gives nothing finite the sample takes a plain step. With window 1
    it is the plain iteration.

    Arguments:
        window: Number of remembered pairs (AIDI: 3).
        regularization: Tikhonov weight relative to the mean diagonal of the normal equations.

    References:
        | Iterative Procedures for Nonlinear Integral Equations (Anderson, 1965)
        | https://doi.org/10.1145/321296.321305
        | Effective Real Image Editing with Accelerated Iterative Diffusion Inversion
        | (Pan et al., 2023), https://arxiv.org/abs/2309.04907
    """

    window: int = 3
    regularization: float = 1e-10

    def __post_init__(self) -> None:
        if self.window < 1:
            raise UserError(f"window={self.window} is not possible: choose at least 1")

    @property
    def memory(self) -> int:
        return self.window

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        if len(xs) == 1:
            return gs[-1]
        images = torch.stack(gs, 1)
        residuals = (images - torch.stack(xs, 1)).flatten(2).double()
        gram = residuals @ residuals.mT
        ridge = self.regularization * gram.diagonal(dim1=1, dim2=2).mean(1)
        gram = gram + ridge[:, None, None] * torch.eye(
            len(xs), dtype=gram.dtype, device=gram.device
        )
        # solve_ex reports failure in its result instead of waiting for the device.
        weights = torch.linalg.solve_ex(gram, torch.ones_like(gram[..., :1]))[0].squeeze(-1)
        weights = (weights / weights.sum(1, keepdim=True)).to(images.dtype)
        mixed = torch.einsum("bm,bm...->b...", weights, images)
        usable = mixed.flatten(1).isfinite().all(1)
        return torch.where(per_sample(usable, mixed), mixed, gs[-1])


@dataclass(frozen=True)
class FixedPointIteration:
    r"""Iterates :math:`x \leftarrow g(x)`, accelerated, a fixed number of times or to a tolerance.

    The points :math:`x^0 \dots x^{K-1}` are evaluated, so K iterations cost K evaluations.
    Without a tolerance the value is :math:`x^K`. With one, a sample stops as soon as its residual
    :math:`r(x^k) \le` tolerance, leaves the batch that g is given, and its value is the iterate
    made from :math:`x^k`; a sample that never gets there takes the iterate made from its point of
    least residual. The residual costs nothing, because g was evaluated anyway.

    A sample whose g is not finite keeps what it had: its best iterate with a tolerance, its last
    finite one without, and is never reported as converged.

    Arguments:
        iterations: Evaluations K of g per sample at most, at least 1.
        tolerance: Relative residual at which a sample is done; None for exactly K evaluations,
            the one mode that never waits for the device.
        acceleration: How the next iterate is made.
    """

    iterations: int = 5
    tolerance: float | None = None
    acceleration: Acceleration = field(default_factory=Plain)

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UserError(f"iterations={self.iterations} is not possible: choose at least 1")
        if self.tolerance is not None and not self.tolerance > 0:
            raise UserError(
                f"tolerance={self.tolerance} is not possible: choose a positive number, "
                "or null for a fixed number of iterations"
            )

    def __call__(self, g: Equation, start: Tensor, scale: Tensor) -> Solution:
        """Solves ``x = g(x)`` from ``start`` (B, ...); the residual's unit is ``scale`` (B,)."""
        solve = self._fixed_count if self.tolerance is None else self._to_tolerance
        return solve(g, start, scale)

    def _fixed_count(self, g: Equation, start: Tensor, scale: Tensor) -> Solution:
        x, history = start, History(self.acceleration)
        residual = torch.full_like(scale, math.inf)
        sound = torch.ones_like(scale, dtype=torch.bool)
        trace = scale.new_full((self.iterations, len(scale)), math.nan)
        for k in range(self.iterations):
            following, r = history.advance(x, g(x, None), scale)
            trace[k] = r
            sound = sound & r.isfinite()
            x = torch.where(per_sample(sound, x), following, x)
            residual = torch.where(sound, r, residual)
        steps = torch.full_like(scale, self.iterations, dtype=torch.long)
        return Solution(x, residual, steps, sound, trace)

    def _to_tolerance(self, g: Equation, start: Tensor, scale: Tensor) -> Solution:
        assert self.tolerance is not None
        value = start.clone()
        best = torch.full_like(scale, math.inf)
        steps = torch.zeros_like(scale, dtype=torch.long)
        x, history, rows = start, History(self.acceleration), None
        active = torch.arange(len(start), device=start.device)
        trace = scale.new_full((self.iterations, len(scale)), math.nan)
        for k in range(self.iterations):
            following, r = history.advance(x, g(x, rows), scale[active])
            trace[k, active] = r
            steps[active] += 1
            better = r < best[active]
            value[active[better]] = following[better]
            best[active[better]] = r[better]
            going = r.isfinite() & (r > self.tolerance)
            x = following
            if not going.all():
                keep = going.nonzero().squeeze(1)
                rows = active = active[keep]
                x = x[keep]
                history.keep(keep)
                if not len(active):
                    break
        return Solution(value, best, steps, best <= self.tolerance, trace)


class History:
    """The pairs (x, g(x)) that an acceleration remembers."""

    def __init__(self, acceleration: Acceleration) -> None:
        self.acceleration = acceleration
        self.xs: list[Tensor] = []
        self.gs: list[Tensor] = []

    def advance(self, x: Tensor, gx: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """The next iterate and the residual of ``x``, infinite where either is not finite."""
        self.xs = [*self.xs, x][-self.acceleration.memory :]
        self.gs = [*self.gs, gx][-self.acceleration.memory :]
        following = self.acceleration(self.xs, self.gs)
        residual = rms(x - gx) / scale
        sound = residual.isfinite() & rms(following).isfinite()
        return following, torch.where(sound, residual, math.inf)

    def keep(self, rows: Tensor) -> None:
        """Forgets all samples but ``rows``."""
        self.xs = [x[rows] for x in self.xs]
        self.gs = [g[rows] for g in self.gs]


@dataclass(frozen=True)
class LeastSquares:
    r"""Minimises :math:`\tfrac12 |f(x)|^2` by L-BFGS: for equations without a solution.

    Where g of :math:`x = g(x)` folds, no iteration of g alone finds the point of least residual
    :math:`f(x) = x - g(x)`: that takes :math:`f'(x)^T`, a gradient through the network. Each
    sample has its own curvature pairs and its own length of step, a quarter of the last one's
    where the residual did not fall and 1 where it did; the first step has ``first`` times the
    length that solves an equation in one unknown, :math:`|f|^2 / |f'^T f|^2`. A sample leaves the
    batch at its tolerance, or when no step of a sensible length helps.

    References:
        | On the limited memory BFGS method for large scale optimization (Liu and Nocedal, 1989)
        | https://doi.org/10.1007/BF01589116

    Arguments:
        iterations: Evaluations of f with a gradient per sample at most, at least 1.
        memory: Number of remembered curvature pairs.
        first: Length of the first step. 1 is far where there is no solution: a start near a
            minimum leaves its basin then.
    """

    iterations: int = 80
    memory: int = 24
    first: float = 1.0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UserError(f"iterations={self.iterations} is not possible: choose at least 1")
        if not self.first > _Descending.shortest:
            raise UserError(f"first={self.first} is not possible: choose more than 0.01")

    def __call__(self, f: Equation, start: Tensor, tolerance: Tensor) -> Solution:
        """The best point met from ``start`` (B, ...), itself included.

        ``f(x, rows)`` is the residual of the samples ``rows``; its rms is in the unit of
        ``tolerance`` (B,).
        """
        value, least = start.clone(), torch.full_like(tolerance, math.inf)
        steps = torch.zeros_like(tolerance, dtype=torch.long)
        active = torch.arange(len(start), device=start.device)
        state: _Descending | None = None
        for _ in range(self.iterations):
            x = start if state is None else state.trial()
            half, slope = _half_square(f, x, active if len(active) < len(start) else None)
            steps[active] += 1
            if state is None:
                state = _Descending(x, half, slope, self.memory, self.first)
            else:
                state.advance(x, half, slope)
            residual = (2 * state.half / start[0].numel()).sqrt()
            value[active], least[active] = state.x, residual.nan_to_num(math.inf)
            going = ~_within(least, tolerance)[active] & state.moving
            if not going.all():
                active = active[going]
                if not len(active):
                    break
                state.keep(going)
        return Solution(value, least, steps, _within(least, tolerance))


def _within(residual: Tensor, tolerance: Tensor) -> Tensor:
    """Whether each residual is finite and no more than its tolerance, (B,)."""
    return residual.isfinite() & (residual <= tolerance)


def _half_square(f: Equation, x: Tensor, rows: Tensor | None) -> tuple[Tensor, Tensor]:
    """Half the squared residual of each sample, (B,), and its gradient."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        off = f(x, rows)
        size = rms(off.detach()).clamp_min(torch.finfo(torch.float32).tiny)
        # Of unit size on its way back through a network that may run in half precision.
        (slope,) = torch.autograd.grad(off, x, off.detach() / per_sample(size, off))
    half = off.detach().flatten(1).square().sum(1) / 2
    return half, per_sample(size, slope) * slope


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Inner product of each sample, broadcastable over it."""
    return per_sample((a * b).flatten(1).sum(1), a)


class _Descending:
    """Where each sample of a descent is, and what it knows of the curvature there."""

    shortest = 0.01
    """Length of a step below which a sample no longer moves."""

    def __init__(self, x: Tensor, half: Tensor, slope: Tensor, memory: int, first: float) -> None:
        self.x, self.half, self.slope, self.memory = x, half, slope, memory
        self.pairs: list[tuple[Tensor, Tensor]] = []
        square = slope.flatten(1).square().sum(1)
        self.curvature = 2 * half / square.clamp_min(torch.finfo(square.dtype).tiny)
        self.length = torch.full_like(half, first)

    @property
    def moving(self) -> Tensor:
        """Samples for which a step may still help, (B,)."""
        return self.half.isfinite() & (self.length > self.shortest)

    def trial(self) -> Tensor:
        """The next point to evaluate: a quasi-Newton step by the two-loop recursion."""
        q, weights = self.slope, []
        tiny = torch.finfo(q.dtype).tiny
        for s, y in reversed(self.pairs):
            weights.append(_inner(s, q) / _inner(s, y).clamp_min(tiny))
            q = q - weights[-1] * y
        q = q * per_sample(self.curvature, q)
        for (s, y), weight in zip(self.pairs, reversed(weights), strict=True):
            q = q + (weight - _inner(y, q) / _inner(s, y).clamp_min(tiny)) * s
        return self.x - per_sample(self.length, q) * q

    def advance(self, x: Tensor, half: Tensor, slope: Tensor) -> None:
        """Takes in the evaluation of a trial point: goes there where the residual fell."""
        fell = half < self.half
        s, y = x - self.x, slope - self.slope
        product, square = _inner(s, y).flatten(), _inner(y, y).flatten()
        curved = fell & (product > 1e-8 * square)
        keep, there = per_sample(curved, x), per_sample(fell, x)
        self.pairs = [*self.pairs, (torch.where(keep, s, 0), torch.where(keep, y, 0))]
        self.pairs = self.pairs[-self.memory :]
        self.curvature = torch.where(curved, product / square, self.curvature)
        self.x, self.slope = torch.where(there, x, self.x), torch.where(there, slope, self.slope)
        self.half = torch.where(fell, half, self.half)
        self.length = torch.where(fell, torch.ones_like(self.length), self.length / 4)

    def keep(self, rows: Tensor) -> None:
        """Forgets all samples but ``rows``."""
        self.x, self.half, self.slope = self.x[rows], self.half[rows], self.slope[rows]
        self.length, self.curvature = self.length[rows], self.curvature[rows]
        self.pairs = [(s[rows], y[rows]) for s, y in self.pairs]
