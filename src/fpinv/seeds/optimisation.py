"""The result of a search among seeds, and the descent of smooth searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult
from scipy.optimize import minimize as scipy_minimize
from torch import Tensor

from fpinv.errors import UserError

MEMORY = 20  # remembered steps of L-BFGS


@dataclass(frozen=True)
class SeedSearch:
    """The seeds that a search led to, and its course.

    Arguments:
        seeds: The result, first dimension B.
        losses: The loss of each sample before the first and after every iteration; empty for a
            closed form.
        stalled: True for each sample whose search ended because its loss no longer fell, False
            where the iterations ran out; empty for a closed form.
    """

    seeds: Tensor
    losses: Sequence[Sequence[float]] = field(default_factory=list)
    stalled: Sequence[bool] = field(default_factory=list)

    def __getitem__(self, rows: slice) -> SeedSearch:
        """Return the search of some samples."""
        return SeedSearch(self.seeds[rows], self.losses[rows], self.stalled[rows])

    @staticmethod
    def cat(searches: Sequence[SeedSearch]) -> SeedSearch:
        """Return several searches of one kind, in order, as one."""
        return SeedSearch(
            torch.cat([search.seeds for search in searches]),
            [losses for search in searches for losses in search.losses],
            [stalled for search in searches for stalled in search.stalled],
        )


@dataclass(frozen=True)
class Minimum:
    """The end of a descent.

    Arguments:
        point: The point of the last loss.
        losses: The loss at the start and after every iteration.
        stalled: True if the loss no longer fell, False if the iterations ran out.
    """

    point: Tensor
    losses: Sequence[float]
    stalled: bool


@dataclass(frozen=True)
class Descent:
    """L-BFGS in double precision, until the loss stalls.

    References:
        | On the limited memory BFGS method for large scale optimization (Liu and Nocedal, 1989)
        | https://doi.org/10.1007/BF01589116

    Arguments:
        iterations: Number of iterations at most.
        tolerance: A relative decrease of the loss below which it has stalled.

    Raises:
        UserError: there is not even one iteration.
    """

    iterations: int = 500
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise UserError(f"descent.iterations={self.iterations} is not possible: at least 1")

    def __call__(self, objective: Callable[[Tensor], Tensor], start: Tensor) -> Minimum:
        """Minimise a smooth function of a float64 tensor, from ``start``, on the CPU."""

        def value_and_gradient(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            # SciPy overwrites x in place, hence the copy.
            point = torch.from_numpy(x.copy()).view_as(start).requires_grad_()
            with torch.enable_grad():
                value = objective(point)
                (gradient,) = torch.autograd.grad(value, point)
            return value.item(), gradient.flatten().numpy()

        def keep(intermediate_result: OptimizeResult) -> None:
            losses.append(float(intermediate_result.fun))

        x = start.detach().flatten().numpy()
        losses = [value_and_gradient(x)[0]]
        options = {
            "maxiter": self.iterations,
            "maxfun": 20 * self.iterations,  # As many as line searches of at most 20 can take.
            "ftol": self.tolerance,
            "gtol": 0.0,
            "maxcor": MEMORY,
        }
        result = scipy_minimize(
            value_and_gradient, x, jac=True, method="L-BFGS-B", callback=keep, options=options
        )
        point = torch.from_numpy(result.x).view_as(start)
        return Minimum(point, losses, stalled=result.nit < self.iterations)
