"""Steps along the velocity of a rectified flow, for the methods that are made for it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.sampling import Guided, Step, spent

Way = Literal[1, -1]
"""The way of a walk on the grid: 1 is up, to the noise."""


class ExplicitWalk(Guided):
    """A method for rectified flow whose steps up and down the grid follow one explicit rule.

    Raises:
        UserError: the model is no rectified flow.
    """

    @abstractmethod
    def walk(self, denoiser: Denoiser, condition: Condition, way: Way) -> Step:
        """Return the step of a walk that begins, from the latents at index i to i + ``way``."""

    @property
    def starts_anywhere(self) -> bool:
        """True: a walk needs its own latents alone."""
        return True

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W)."""
        require_flow(denoiser)
        condition, z, before = self.inverting(condition, denoiser), z0, denoiser.calls
        step = self.walk(denoiser, condition, 1)
        for i in range(denoiser.schedule.steps):
            z = step(z, i)
        return Inversion(z, **spent(condition, denoiser.calls - before))

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the same step, downwards."""
        return self.walk(denoiser, condition, -1)


def require_flow(denoiser: Denoiser) -> None:
    """Raise UserError where the network does not predict the velocity of a rectified flow."""
    if (prediction := denoiser.schedule.prediction) != "flow":
        raise UserError(
            "the method steps along the velocity of a rectified flow, and this model predicts "
            f"'{prediction}': use one that is a flow, such as model=scenes_flow"
        )


def midpoint_velocity(
    denoiser: Denoiser, z: Tensor, v: Tensor, i: int, j: int, condition: Condition
) -> Tensor:
    r"""Return the velocity in the middle of the step from index i to j, where ``v`` leads.

    .. math:: v\Big(z + \tfrac{h}{2} v, \tfrac12 (\sigma_i + \sigma_j)\Big), \qquad
              h = \sigma_j - \sigma_i

    Arguments:
        denoiser: The network.
        z: The latents at index i, shape (B, C, H, W).
        v: The velocity that leads to the middle, as ``z``.
        i: Grid index of ``z``.
        j: Grid index that the step leads to, i + 1 or i - 1.
        condition: Prompts and guidance.
    """
    return denoiser(z + length(denoiser, i, j) / 2 * v, (i + j) / 2, condition)


def length(denoiser: Denoiser, i: int, j: int) -> float:
    """Return the length of the step from index i to j, negative on the way down."""
    return denoiser.schedule.sigma[j] - denoiser.schedule.sigma[i]
