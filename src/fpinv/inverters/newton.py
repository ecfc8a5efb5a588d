"""Guided Newton-Raphson inversion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.batch import Rows
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import check_at_least
from fpinv.inversion import Inversion
from fpinv.inverters.implicit import ascend, equation
from fpinv.sampling import DDIMSampling
from fpinv.solvers import Equation, FixedPointIteration, Solution, Trial, per_sample, rms, search


@dataclass(frozen=True)
class Newton(DDIMSampling):
    r"""GNRI: Newton-Raphson steps towards a root that is also likely under the forward process.

    Each step minimises, with g of fixed-point inversion,

    .. math:: F(x) = \|x - g(x)\|_1 + \lambda \,
              \frac{\|x - (\alpha_i / \alpha_{i-1}) z_{i-1}\|}
                   {\sigma_i^2 - \sigma_{i-1}^2 \alpha_i^2 / \alpha_{i-1}^2}

    from :math:`x^0 = z_{i-1}`, coordinate by coordinate and with the true gradient, which goes
    through the network:

    .. math:: x_j \leftarrow x_j - \frac{F(x)}{D \, (\partial F / \partial x_j + \eta)}

    with D coordinates. The step's value is g of the evaluated point of least F, as in the authors'
    code, so that one iteration is DDIM inversion with the target label. Where g contracts, a
    Newton step shortens the residual by a factor of about 0.6, since
    :math:`\partial F / \partial x_j` is close to a sign: plain iteration does more. Gradients are
    of the latent alone, whether or not the network is frozen, and live for one evaluation.

    NFE: K N without a tolerance, of which (K - 1) N with a gradient; at most that with one.
    Stores: nothing beyond z_N.

    References:
        | Lightning-Fast Image Inversion and Editing for Text-to-Image Diffusion Models
        | (Samuel et al., 2024), https://arxiv.org/abs/2312.12540v5

    Deviations: the authors' code evaluates the network without a gradient, which leaves a step of
    one length in every coordinate. The prior is that of a step between grid indices: its mean and
    variance are those of the forward process from i - 1 to i. The tolerance is ours.

    Arguments:
        iterations: Evaluations K of a step (at most, with a tolerance).
        tolerance: Relative residual :math:`|x - g(x)| / |z_{i-1}|`, rms, at which an image's step
            is done and the image leaves the batch; None for exactly K.
        prior: Weight :math:`\lambda` of the prior.
        eta: What keeps the quotient finite.
    """

    iterations: int = 2
    tolerance: float | None = None
    prior: float = 0.1
    eta: float = 1e-10

    def __post_init__(self) -> None:
        FixedPointIteration(self.iterations, self.tolerance)  # refuses what is not possible
        check_at_least(self, prior=0, eta=0)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one equation a step."""
        condition, schedule = self.inverting(condition, denoiser), denoiser.schedule

        def solve(before: Tensor, z: Tensor, i: int) -> Solution:
            ratio, variance = schedule.noising(i)
            return self._solve(equation(denoiser, z, i, condition), z, ratio * z, variance)

        return ascend(denoiser, z0, condition, solve)

    def _solve(self, g: Equation, z: Tensor, mean: Tensor, variance: float) -> Solution:
        """Minimise F for the step from ``z``, noised to ``mean`` with ``variance``."""
        scale = rms(z)

        def step(k: int, x: Tensor, rows: Rows) -> tuple[Tensor, Trial]:
            # The last point is evaluated, but no step is made from it.
            moving = k + 1 < self.iterations
            with torch.set_grad_enabled(moving):
                x = x.detach().requires_grad_(moving)
                gx = g(x, rows)
                objective = self._objective(x, gx, mean[rows], variance)
            residual = rms(x - gx).detach() / scale[rows]
            # The point at which a sample is done is its value, though F may be less at another.
            done = residual <= (self.tolerance or 0)
            rank = torch.where(done, -math.inf, objective.detach())
            trial = Trial(gx.detach(), rank, residual, differentiated=moving)
            if not moving:
                return x, trial
            (slope,) = torch.autograd.grad(objective, x, torch.ones_like(objective))
            return self._moved(x.detach(), objective.detach(), slope), trial

        return search(step, z, z, self.iterations, self.tolerance)

    def _objective(self, x: Tensor, gx: Tensor, mean: Tensor, variance: float) -> Tensor:
        """Return F of each sample, (B,)."""
        distance = (x - mean).flatten(1).norm(dim=1)
        return (x - gx).abs().flatten(1).sum(1) + self.prior * distance / variance

    def _moved(self, x: Tensor, objective: Tensor, slope: Tensor) -> Tensor:
        """Return the points after the Newton step from ``x`` (B, ...), where F has ``slope``."""
        return x - per_sample(objective, x) / (x[0].numel() * (slope + self.eta))
