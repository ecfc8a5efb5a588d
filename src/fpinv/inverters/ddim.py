"""DDIM inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import DDIMSampling, Inversion, spent


@dataclass(frozen=True)
class DDIM(DDIMSampling):
    r"""DDIM inversion: the sampler's step read backwards with the noise of the wrong point.

    .. math:: z_i = \frac{\alpha_i}{\alpha_{i-1}} z_{i-1}
              + \Big(\sigma_i - \frac{\alpha_i}{\alpha_{i-1}} \sigma_{i-1}\Big)
              \epsilon(z_{i-1}, t)

    with :math:`t = t_i` (label ``target``) or :math:`t = t_{i-1}` (label ``source``). What the
    output means is read at index i for ``target``, which makes it the first iterate of
    fixed-point inversion; at index i - 1 for ``source``, which makes it the explicit step of the
    DDIM paper.

    NFE: N. Stores: nothing beyond z_N.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021)
        | https://arxiv.org/abs/2010.02502

    Arguments:
        label: ``target``, as nearly all public code has it, or ``source``, as the paper.
    """

    label: Literal["target", "source"] = "target"

    def __post_init__(self) -> None:
        if self.label not in ("target", "source"):
            raise UserError(f"label='{self.label}' is unknown: choose target or source")

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), one evaluation a step.

        Raises:
            UserError: label ``source`` where the clean end has no timestep.
        """
        condition = self.inverting(condition)
        schedule, z = denoiser.schedule, z0
        back = 0 if self.label == "target" else 1
        require_label(denoiser, 1 - back)
        for i in range(1, schedule.steps + 1):
            at = i - back
            eps = schedule.noise(z, denoiser(z, at, condition), at)
            z = schedule.move(z, eps, i - 1, i)
        calls = torch.full((len(z0),), schedule.steps, device=z0.device)
        return Inversion(z, **spent(condition, calls))


def require_label(denoiser: Denoiser, i: int) -> None:
    """Raises UserError where the network has no timestep for grid index ``i``."""
    if denoiser.schedule.timestep[i] < 0:
        raise UserError(
            "the source label needs a timestep at the clean end, which set_alpha_to_one True "
            "does not have: use label=target, or set_alpha_to_one False"
        )
