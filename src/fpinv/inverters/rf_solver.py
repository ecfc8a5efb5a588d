"""RF-Solver, a sampler of second order for rectified flow, and its inversion."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.velocity import length, midpoint_velocity, require_flow
from fpinv.sampling import Guided, Step, spent


@dataclass(frozen=True)
class RFSolver(Guided):
    r"""RF-Solver: a Taylor step of second order, up and down the grid alike.

    From :math:`z` at noise scale :math:`\sigma`, by a step h of either sign:

    .. math::
        v = v(z, \sigma), \qquad v' = v(z + \tfrac{h}{2} v, \sigma + \tfrac{h}{2}), \qquad
        z \leftarrow z + h v + \frac{h^2}{2} \cdot \frac{v' - v}{h / 2} = z + h v'

    That is the explicit midpoint rule. The way back is made of the same steps, so that a round
    trip has an error of third order a step, without solving for anything.

    NFE: 2 N to invert, 2 N to sample. Stores: nothing beyond z_N.

    References:
        | Taming Rectified Flow for Inversion and Editing (Wang et al., 2025)
        | https://arxiv.org/abs/2411.04746

    Raises:
        UserError: the model is no rectified flow.
    """

    @property
    def starts_anywhere(self) -> bool:
        """True: a step needs its own latent alone."""
        return True

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), two evaluations a step."""
        require_flow(denoiser)
        condition, z, steps = self.inverting(condition), z0, denoiser.schedule.steps
        for i in range(steps):
            z = _step(denoiser, z, i, i + 1, condition)
        return Inversion(z, **spent(condition, 2 * steps))

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the same step, downwards."""
        return lambda z, i: _step(denoiser, z, i, i - 1, condition)


def _step(denoiser: Denoiser, z: Tensor, i: int, j: int, condition: Condition) -> Tensor:
    v = denoiser(z, i, condition)
    return z + length(denoiser, i, j) * midpoint_velocity(denoiser, z, v, i, j, condition)
