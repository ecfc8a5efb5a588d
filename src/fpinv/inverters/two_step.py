"""Explicit two-step recursions: each new latent from the two before it, and exactly back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.ddim import ddim_path
from fpinv.sampling import Guided, Step, spent
from fpinv.schedule import Schedule


class TwoStep(Guided, ABC):
    """Inversion and sampling by a two-step recursion."""

    @property
    def starts_anywhere(self) -> bool:
        """See :class:`~fpinv.sampling.Guided`."""
        return True

    @abstractmethod
    def recursion(self, schedule: Schedule, i: int) -> tuple[float, float, float]:
        r"""Return ``(p, q, r)`` of :math:`z_{i-1} = p z_{i+1} + q z_i + r \epsilon(z_i, t_i)`."""

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        r"""Solve the recursion for :math:`z_{i+1}` upwards from ``z0`` (B, C, H, W).

        One evaluation a step; the first step is DDIM inversion's.
        """
        condition, schedule = self.inverting(condition, denoiser), denoiser.schedule
        before, (z,) = z0, ddim_path(denoiser, z0, condition, stop=1)
        for i in range(1, schedule.steps):
            p, q, r = self.recursion(schedule, i)
            before, z = z, (before - q * z - r * denoiser.noise(z, i, condition)) / p
        return Inversion(z, **spent(condition, schedule.steps), state={"before": before})

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        r"""Return the recursion down from the pair :math:`(z_N, z_{N-1})`."""
        schedule, recent = denoiser.schedule, deque[Tensor](maxlen=2)

        def step(z: Tensor, i: int) -> Tensor:
            recent.append(z)
            if i == schedule.steps:
                return inversion.state["before"]
            p, q, r = self.recursion(schedule, i)
            return p * recent[0] + q * z + r * denoiser.noise(z, i, condition)

        return step
