"""Exact diffusion inversion via bi-directional integration approximation."""

from __future__ import annotations

from dataclasses import dataclass

from fpinv.errors import UserError
from fpinv.inverters.two_step import TwoStep
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class BDIA(TwoStep):
    r"""BDIA: from :math:`z_i` a DDIM step down and one up, with one evaluation.

    .. math:: z_{i-1} = \gamma z_{i+1} - \gamma M_{i \to i+1}(z_i) + M_{i \to i-1}(z_i)

    with :math:`M` the DDIM moves at :math:`\epsilon(z_i, t_i)`; inversion solves it for
    :math:`z_{i+1}`. It divides by :math:`\gamma` a step, so that small ones blow up over many
    steps (0.5 does over 50). :math:`z_1` is DDIM inversion's, with the network evaluated at
    :math:`z_0` under the label :math:`t_1`, since the clean end may have no label of its own.

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
        """Return the recursion of :class:`~fpinv.inverters.two_step.TwoStep`."""

        def move(j: int) -> tuple[float, float]:
            ratio = schedule.alpha[j] / schedule.alpha[i]
            return ratio, schedule.sigma[j] - ratio * schedule.sigma[i]

        (z_down, eps_down), (z_up, eps_up) = move(i - 1), move(i + 1)
        return self.gamma, z_down - self.gamma * z_up, eps_down - self.gamma * eps_up
