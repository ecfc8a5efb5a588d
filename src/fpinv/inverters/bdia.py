"""Exact diffusion inversion via bi-directional integration approximation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Guided, Inversion
from fpinv.inverters import two_step
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class BDIA(Guided):
    r"""BDIA: from :math:`z_i` a DDIM step down and one up, with one evaluation.

    .. math:: z_{i-1} = \gamma z_{i+1} - \gamma M_{i \to i+1}(z_i) + M_{i \to i-1}(z_i)

    with :math:`M` the DDIM moves at :math:`\epsilon(z_i, t_i)`; inversion solves it for
    :math:`z_{i+1}`. It divides by :math:`\gamma` a step, so that small ones blow up over many
    steps (0.5 does over 50). :math:`z_1` is DDIM inversion's.

    NFE: N to invert, N - 1 to sample. Stores: :math:`z_{N-1}`.

    References:
        | Exact Diffusion Inversion via Bi-directional Integration Approximation
        | (Zhang et al., 2023), https://arxiv.org/abs/2307.10829

    Deviations: the second latent is kept. Restarted from z_N alone the method is not exact.

    Arguments:
        gamma: :math:`\gamma` in (0, 1].
    """

    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise UserError(f"gamma={self.gamma} is not possible: choose 0 < gamma <= 1")

    def recursion(self, schedule: Schedule, i: int) -> tuple[float, float, float]:
        """See :data:`fpinv.inverters.two_step.Recursion`."""

        def move(j: int) -> tuple[float, float]:
            ratio = schedule.alpha[j] / schedule.alpha[i]
            return ratio, schedule.sigma[j] - ratio * schedule.sigma[i]

        (z_down, eps_down), (z_up, eps_up) = move(i - 1), move(i + 1)
        return self.gamma, z_down - self.gamma * z_up, eps_down - self.gamma * eps_up

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), one evaluation a step."""
        return two_step.invert(denoiser, z0, self.inverting(condition), self.recursion)

    @torch.no_grad()
    def sample(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Tensor:
        """Walks back down from the two last latents."""
        return two_step.sample(denoiser, inversion, condition, self.recursion)
