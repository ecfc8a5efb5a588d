"""DDIM inversion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.sampling import DDIMSampling, spent


@dataclass(frozen=True)
class DDIM(DDIMSampling):
    r"""DDIM inversion: the sampler's step read backwards with the noise of the wrong point.

    .. math:: z_i = \frac{\alpha_i}{\alpha_{i-1}} z_{i-1}
              + \Big(\sigma_i - \frac{\alpha_i}{\alpha_{i-1}} \sigma_{i-1}\Big)
              \epsilon(z_{i-1}, t)

    with :math:`t = t_i` (label ``target``) or :math:`t = t_{i-1}` (label ``source``). What the
    output means is read at index i for ``target``, which makes it the first iterate of
    fixed-point inversion; at index i - 1 for ``source``, which makes it the explicit step of the
    DDIM paper: on a rectified flow, explicit Euler.

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
        """Walk the grid upwards from ``z0`` (B, C, H, W), one evaluation a step.

        Raises:
            UserError: label ``source`` where the clean end has no timestep.
        """
        condition, z = self.inverting(condition, denoiser), z0
        lag = 0 if self.label == "target" else 1
        require_label(denoiser, 1 - lag)
        for z in ddim_path(denoiser, z0, condition, lag=lag):  # noqa: B007 - z_N is the result
            pass
        return Inversion(z, **spent(condition, denoiser.schedule.steps))


def ddim_path(
    denoiser: Denoiser, z0: Tensor, condition: Condition, stop: int | None = None, lag: int = 0
) -> Iterator[Tensor]:
    """Yield the latents z_1, z_2, ... of DDIM inversion up to grid index ``stop`` (N if None).

    The output of step i is read at index i - ``lag``.
    """
    schedule, z = denoiser.schedule, z0
    for i in range(1, (schedule.steps if stop is None else stop) + 1):
        if lag:
            z = schedule.move(z, denoiser.noise(z, i - 1, condition), i - 1, i)
        else:
            z = schedule.raised(z, denoiser.held(z, i, condition), i)
        yield z


def require_label(denoiser: Denoiser, i: int) -> None:
    """Raise UserError where the network has no timestep for grid index ``i``."""
    if denoiser.schedule.timestep[i] < 0:
        raise UserError(
            "the source label needs a timestep at the clean end, which a grid down to no noise "
            "does not have: use inverter.label=target"
        )
