"""The walk up the grid of every method that solves an equation a step."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fpinv.batch import Rows
from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.sampling import spent
from fpinv.solvers import Equation, Solution, rms

Solve = Callable[[Tensor, Tensor, int], Solution]
"""``solve(before, z, i)``: the step from ``z`` at index i - 1 to i; ``before`` is at i - 2."""


def equation(denoiser: Denoiser, z: Tensor, i: int, condition: Condition) -> Equation:
    r"""Return the equation :math:`x = g(x)` whose solution's DDIM step lands on ``z``.

    .. math:: g(x) = \frac{\alpha_i}{\alpha_{i-1}} z_{i-1}
              + \Big(\sigma_i - \frac{\alpha_i}{\alpha_{i-1}} \sigma_{i-1}\Big)
              \epsilon(x, t_i) \qquad\text{or}\qquad
              g(x) = (z_{i-1} - B_i\, m(x, t_i)) / A_i

    whichever :meth:`fpinv.schedule.Schedule.form` chooses.

    Arguments:
        denoiser: The network.
        z: The latents :math:`z_{i-1}`, shape (B, C, H, W).
        i: Grid index of the solution.
        condition: Prompts and guidance of the inversion.
    """

    def g(x: Tensor, rows: Rows) -> Tensor:
        return denoiser.schedule.raised(z[rows], denoiser.held(x, i, condition[rows]), i)

    return g


def ascend(denoiser: Denoiser, z0: Tensor, condition: Condition, solve: Solve) -> Inversion:
    r"""Solve step after step upwards from ``z0`` (B, C, H, W), and record every solution.

    The step before the first one is taken to have stood still at ``z0``.

    The error of the reconstruction to be expected is what the steps leave, as independent errors
    add up, with :math:`a_i` of :meth:`fpinv.schedule.Schedule.sensitivity`:

    .. math:: \sqrt{\sum_i \big(r_i\, |z_{i-1}| / a_i\big)^2}

    :math:`r_i` is :attr:`fpinv.solvers.Solution.remaining`. It is left out that the sampler
    magnifies errors on its way down. Without guidance that is little (by 3 at most for the
    bundled model's own pictures; photographs, which it does not know, come back worse than
    foretold). With guidance some directions grow a hundred times, and only sampling tells which
    ones, so that nothing is said.
    """
    before, z, steps, within, traces = z0, z0, [], [], []
    gradients: Tensor | int = 0
    left: list[Tensor] = []
    for i in range(1, denoiser.schedule.steps + 1):
        solution = solve(before, z, i)
        if solution.remaining is not None and condition.rows_per_sample == 1:
            left.append(solution.remaining * rms(z) / denoiser.schedule.sensitivity(i)[0])
        before, z = z, solution.value
        steps.append((solution.residual, solution.steps))
        gradients = gradients + (0 if solution.gradients is None else solution.gradients)
        within += [] if solution.converged is None else [solution.converged]
        traces += [] if solution.trace is None else [solution.trace]
    residual, iterations = (torch.stack(column) for column in zip(*steps, strict=True))
    return Inversion(
        z,
        **spent(condition, iterations.sum(0), gradients),
        residual=residual,
        iterations=iterations,
        converged=torch.stack(within) if within else None,
        trace=torch.stack(traces, 1) if traces else None,
        expected_error=torch.stack(left).norm(dim=0) if len(left) == len(steps) else None,
    )
