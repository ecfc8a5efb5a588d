"""FireFlow, a sampler of second order for rectified flow at the cost of the first."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inverters.velocity import ExplicitWalk, Way, length, midpoint_velocity
from fpinv.sampling import Step


@dataclass(frozen=True)
class FireFlow(ExplicitWalk):
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

    def walk(self, denoiser: Denoiser, condition: Condition, way: Way) -> Step:
        """Return the step of a walk; it remembers the velocity of the one before."""
        velocities: list[Tensor] = []

        def step(z: Tensor, i: int) -> Tensor:
            v = velocities.pop() if velocities else denoiser(z, i, condition)
            velocities.append(midpoint_velocity(denoiser, z, v, i, i + way, condition))
            return z + length(denoiser, i, i + way) * velocities[0]

        return step
