"""RF-Solver, a sampler of second order for rectified flow, and its inversion."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inverters.velocity import ExplicitWalk, Way, length, midpoint_velocity
from fpinv.sampling import Step


@dataclass(frozen=True)
class RFSolver(ExplicitWalk):
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

    def walk(self, denoiser: Denoiser, condition: Condition, way: Way) -> Step:
        """Return the step of a walk."""

        def step(z: Tensor, i: int) -> Tensor:
            v = denoiser(z, i, condition)
            middle = midpoint_velocity(denoiser, z, v, i, i + way, condition)
            return z + length(denoiser, i, i + way) * middle

        return step
