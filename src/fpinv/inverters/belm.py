"""The optimal bidirectional explicit linear multi-step sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Guided, Inversion
from fpinv.inverters import two_step
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class BELM(Guided):
    r"""O-BELM: the exactly invertible two-step recursion of least local error.

    With :math:`\bar z = z / \alpha`, :math:`\bar\sigma = \sigma / \alpha` and
    :math:`h_i = \bar\sigma_i - \bar\sigma_{i-1}`:

    .. math:: \bar z_{i-1} = \frac{h_i^2}{h_{i+1}^2} \bar z_{i+1}
              + \Big(1 - \frac{h_i^2}{h_{i+1}^2}\Big) \bar z_i
              - \frac{h_i (h_i + h_{i+1})}{h_{i+1}} \epsilon(z_i, t_i)

    Inversion solves it for :math:`z_{i+1}`; :math:`z_1` is DDIM inversion's.

    NFE: N to invert, N - 1 to sample. Stores: :math:`z_{N-1}`.

    References:
        | BELM: Bidirectional Explicit Linear Multi-step Sampler for Exact Inversion in Diffusion
        | Models (Wang et al., 2024), https://arxiv.org/abs/2410.07273
    """

    def recursion(self, schedule: Schedule, i: int) -> tuple[float, float, float]:
        """See :data:`fpinv.inverters.two_step.Recursion`."""
        alpha = schedule.alpha
        down, here, up = (schedule.sigma[j] / alpha[j] for j in (i - 1, i, i + 1))
        h, h_up = here - down, up - here
        ratio, scale = (h / h_up) ** 2, alpha[i - 1]
        return (
            scale / alpha[i + 1] * ratio,
            scale / alpha[i] * (1 - ratio),
            -scale * h * (h + h_up) / h_up,
        )

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), one evaluation a step."""
        return two_step.invert(denoiser, z0, self.inverting(condition), self.recursion)

    @torch.no_grad()
    def sample(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Tensor:
        """Walks back down from the two last latents."""
        return two_step.sample(denoiser, inversion, condition, self.recursion)
