"""The loop of all iterative methods: it tries points until every sample of a batch is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from fpinv.batch import BATCH_LAST, PerSample, Rows

Equation = Callable[[Tensor, Rows], Tensor]
"""``g(x, rows)``: x holds the samples ``rows`` of the batch."""


def rms(x: Tensor) -> Tensor:
    """Return the root mean square of each sample, shape (B,)."""
    return x.flatten(1).square().mean(1).sqrt()


def per_sample(values: Tensor, like: Tensor) -> Tensor:
    """Reshape ``values`` (B,) so that they broadcast over the samples of ``like``."""
    return values.view(-1, *[1] * (like.ndim - 1))


class Sliceable(Protocol):
    """State of a method, of which the rows of some samples can be taken."""

    def __getitem__(self, rows: Tensor, /) -> Self: ...


State = TypeVar("State", bound=Sliceable)


@dataclass(frozen=True)
class Solution(PerSample):
    """Result of a solver, sample by sample.

    Arguments:
        value: The solution, shape (B, ...); always finite where the start was.
        residual: :math:`|x - g(x)| / scale`, rms, of the point x that the value was made from,
            shape (B,); infinite where g was not finite at the start already.
        steps: Evaluations of g that the sample took part in, shape (B,).
        converged: The residual is within the tolerance, shape (B,); None without a tolerance.
        trace: The residual of every evaluated point in order, shape (K, B): NaN after a sample
            has left the batch; None from a solver that keeps none.
        gradients: The number of those evaluations that were differentiated, shape (B,); None
            for none.
        remaining: The residual to be expected of the value, in the unit of ``residual``, shape
            (B,); None from a solver that cannot tell.
    """

    value: Tensor
    residual: Tensor
    steps: Tensor
    converged: Tensor | None
    trace: Tensor | None = field(default=None, metadata=BATCH_LAST)
    gradients: Tensor | None = None
    remaining: Tensor | None = None


@dataclass(frozen=True)
class Trial:
    """One evaluation of the R samples that are still in the batch.

    Arguments:
        value: The solution that the evaluated point would make, shape (R, ...).
        rank: The lower, the better, shape (R,): a sample keeps its value of least rank. Infinite
            or NaN for a value that is not to be kept.
        residual: The residual that belongs to the value, shape (R,).
        hopeful: Which samples may still improve, shape (R,); None for all.
        differentiated: Whether the evaluation had a gradient.
    """

    value: Tensor
    rank: Tensor
    residual: Tensor
    hopeful: Tensor | None = None
    differentiated: bool = False


Step = Callable[[int, State, Rows], tuple[State, Trial]]
"""``step(k, state, rows)``: evaluation k of the samples ``rows`` and their state after it."""


def search(
    step: Step[State],
    state: State,
    start: Tensor,
    iterations: int,
    tolerance: Tensor | float | None = None,
    traced: bool = False,
) -> Solution:
    """Evaluate points until each sample is within its tolerance, and return the best of each.

    A sample leaves the batch that the step evaluates as soon as its residual is within the
    tolerance or not finite, or the step sees no hope for it. Without a tolerance all samples stay
    for all iterations, and nothing in the loop waits for the device.

    Arguments:
        step: The method: from the state before evaluation k to the state and the trial after it.
        state: The state before the first evaluation, of all samples.
        start: The value of samples for which no trial has a finite rank, shape (B, ...).
        iterations: Evaluations of a sample at most.
        tolerance: The residual at which a sample is done, a number or shape (B,); None for a fixed
            number of evaluations.
        traced: Whether the solution has a trace.
    """
    best, batch = _Best(start), len(start)
    trace = start.new_full((iterations, batch), math.nan)
    active: Rows = slice(None)
    for k in range(iterations):
        state, trial = step(k, state, active)
        best.offer(active, trial)
        if traced:
            trace[k, active] = trial.residual
        if tolerance is None:
            continue
        limit = tolerance[active] if isinstance(tolerance, Tensor) else tolerance
        going = trial.residual.isfinite() & (trial.residual > limit)
        if trial.hopeful is not None:
            going = going & trial.hopeful
        keep = going.nonzero().squeeze(1)
        if len(keep) < len(going):
            active = keep if isinstance(active, slice) else active[keep]
            if not len(keep):
                break
            state = state[keep]
    residual = best.residual
    within = None if tolerance is None else residual.isfinite() & (residual <= tolerance)
    traces = trace if traced else None
    return Solution(best.value, residual, best.steps, within, traces, best.gradients)


class _Best:
    """Best value of each sample so far, with its residual and the evaluations that it took."""

    def __init__(self, start: Tensor) -> None:
        self.value = start.clone()
        self.rank, self.residual = start.new_full((2, len(start)), math.inf)
        self.steps, self.gradients = torch.zeros(
            2, len(start), dtype=torch.long, device=start.device
        )

    def offer(self, active: Rows, trial: Trial) -> None:
        """Take a trial of the samples ``active`` into account."""
        better = trial.rank < self.rank[active]
        # Chosen by where: an index made of a mask has a length that the host must wait for.
        value = torch.where(per_sample(better, trial.value), trial.value, self.value[active])
        self.value[active] = value
        self.rank[active] = torch.where(better, trial.rank, self.rank[active])
        self.residual[active] = torch.where(better, trial.residual, self.residual[active])
        self.steps[active] += 1
        self.gradients[active] += int(trial.differentiated)
