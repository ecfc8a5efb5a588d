"""FireFlow, a sampler of second order for rectified flow at the cost of the first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.velocity import length, midpoint_velocity, require_flow
from fpinv.sampling import Guided, Step, spent


@dataclass(frozen=True)
class FireFlow(Guided):
    r"""FireFlow: the midpoint rule, led to its midpoint by the velocity of the step before.

    From :math:`z` at noise scale :math:`\sigma`, by a step h of either sign:

    .. math:: v_k = v(z + \tfrac{h}{2} v_{k-1}, \sigma + \tfrac{h}{2}), \qquad
              z \leftarrow z + h v_k

    Only the first step of a walk evaluates the network at its beginning, for :math:`v_0`. It is of
    second order nevertheless where the velocity changes little from step to step.

    NFE: N + 1 to invert, N + 1 to sample. Stores: nothing beyond z_N.

    References:
        | FireFlow: Fast Inversion of Rectified Flow for Image Semantic Editing
        | (Deng et al., 2025), https://arxiv.org/abs/2412.07517

    Raises:
        UserError: the model is no rectified flow.
    """

    @property
    def starts_anywhere(self) -> bool:
        """True: a walk makes its first velocity itself."""
        return True

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one evaluation a step and one more."""
        require_flow(denoiser)
        condition, z, steps = self.inverting(condition), z0, denoiser.schedule.steps
        v = denoiser(z, 0, condition)
        for i in range(steps):
            v = midpoint_velocity(denoiser, z, v, i, i + 1, condition)
            z = z + length(denoiser, i, i + 1) * v
        return Inversion(z, **spent(condition, steps + 1))

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the same step, downwards; it remembers the velocity of the one before."""
        last: list[Tensor] = []

        def step(z: Tensor, i: int) -> Tensor:
            v = last.pop() if last else denoiser(z, i, condition)
            last.append(midpoint_velocity(denoiser, z, v, i, i - 1, condition))
            return z + length(denoiser, i, i - 1) * last[0]

        return step
