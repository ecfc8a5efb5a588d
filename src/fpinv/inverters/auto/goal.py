"""The images that an inversion is to bring back, and how exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.batch import PerSample
from fpinv.denoiser import Condition, Denoiser


@dataclass(frozen=True)
class Goal(PerSample):
    """Images of a batch with the error at z_0 that is acceptable.

    Arguments:
        denoiser: The network.
        z0: The image latents, shape (B, C, H, W).
        condition: The prompts, at the guidance of the inversion.
        accepted: Error at z_0 that is acceptable, rms, shape (B,).
        aim: The part of its tolerance that a step goes on to; it is solved at the whole.
            Iterations under guidance go on to a tenth in any case.
    """

    denoiser: Denoiser
    z0: Tensor
    condition: Condition
    accepted: Tensor
    aim: float = 1.0

    @property
    def share(self) -> Tensor:
        """Return the error at z_0, rms, that a step may leave, shape (B,)."""
        # Errors of steps add up like independent ones, by their squares.
        return self.accepted / math.sqrt(self.denoiser.schedule.steps)

    @property
    def rounding(self) -> Tensor | float:
        r"""Return the relative error that the network's precision makes in a guided output.

        .. math:: \varepsilon \sqrt{w^2 + (w - 1)^2}

        with the machine epsilon of the network, which is about what its layers together round
        away; guidance weighs the rounded outputs of two rows by w and 1 - w. Shape (B,), or a
        number.
        """
        w = self.condition.guidance
        if isinstance(w, Tensor):
            w = w.to(self.accepted)
            return self.denoiser.epsilon * torch.hypot(w, 1 - w)
        return self.denoiser.epsilon * math.hypot(w, 1 - w)
