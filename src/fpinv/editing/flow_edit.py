"""FlowEdit: edits along the difference of two velocities, without an inversion."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inverters.velocity import length, require_flow


@dataclass(frozen=True)
class FlowEdit:
    r"""FlowEdit: an image moves along the target's velocity less the source's.

    With x the image latent, e the edited one, and a new noise n at every step,

    .. math::
        z_s = (1 - \sigma_i) x + \sigma_i n, \qquad z_t = e + z_s - x, \qquad
        e \leftarrow e + (\sigma_{i-1} - \sigma_i)
        \big( v_t(z_t, \sigma_i) - v_s(z_s, \sigma_i) \big)

    from :math:`e = x` at the index ``start`` N down to 0. Equal prompts at equal guidance leave
    the image alone, whatever the noise. The less of the grid is walked, the more of the picture
    stays.

    NFE: 2 n, n = ``start`` N, rounded.

    References:
        | FlowEdit: Inversion-Free Text-Based Editing Using Pre-Trained Flow Models
        | (Kulikov et al., 2025), https://arxiv.org/abs/2412.08629

    Arguments:
        source_guidance: Guidance scale of the source's velocity.
        target_guidance: Guidance scale of the target's velocity.
        start: Part of the grid that is walked, in (0, 1].

    Raises:
        UserError: a number is not possible.
    """

    source_guidance: float = 3.5
    target_guidance: float = 13.5
    start: float = 0.66

    def __post_init__(self) -> None:
        if not 0 < self.start <= 1:
            raise UserError(f"start={self.start} is not possible: choose 0 < start <= 1")
        for key in ("source_guidance", "target_guidance"):
            if not math.isfinite(guidance := getattr(self, key)) or guidance == 0:
                raise UserError(
                    f"{key}={guidance} is not possible: choose a number, but not 0, at which the "
                    "prompt has no part"
                )

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        image: Tensor,
        source: Condition,
        target: Condition,
        noise: Callable[[int], Tensor],
    ) -> Tensor:
        """Return the edited latents.

        Arguments:
            denoiser: The network.
            image: The image latents x, shape (B, C, H, W).
            source: The prompts of the images and their guidance.
            target: The prompts of the edits and theirs.
            noise: ``noise(i)``: standard normal latents n of index i, as ``image``.

        Raises:
            UserError: the model is no rectified flow.
        """
        require_flow(denoiser)
        edited = image
        for i in range(max(1, round(self.start * denoiser.schedule.steps)), 0, -1):
            noised = denoiser.schedule.noised(image, noise(i), i)
            towards = denoiser(noised + (edited - image), i, target) - denoiser(noised, i, source)
            edited = edited + length(denoiser, i, i - 1) * towards
        return edited
