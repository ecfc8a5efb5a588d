"""Negative-prompt inversion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.ddim import DDIM
from fpinv.sampling import Guided, Step


@dataclass(frozen=True)
class NegativePrompt(Guided):
    r"""Negative-prompt inversion: the prompt itself takes the place of the null prompt.

    DDIM inversion at guidance 1, then sampling with the inverted image's prompt p in both places,

    .. math:: \epsilon = \epsilon_p + w (\epsilon_p - \epsilon_p) = \epsilon_p

    so that any guidance reconstructs as guidance 1 does; an edit replaces the second place alone.

    NFE: N to invert, N to sample. Stores: the prompt's embedding.

    References:
        | Negative-prompt Inversion: Fast Image Inversion for Editing with Text-guided Diffusion
        | Models (Miyake et al., 2023), https://arxiv.org/abs/2305.16807

    Raises:
        UserError: the guidance of the inversion is not 1.
    """

    inversion_guidance: float | None = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if self.inversion_guidance != 1:
            raise UserError(
                f"inversion_guidance={self.inversion_guidance} is not possible: negative_prompt "
                "samples as guidance 1 does, so that it inverts at 1"
            )

    @property
    def starts_anywhere(self) -> bool:
        """See :class:`~fpinv.sampling.Guided`."""
        return True

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Invert ``z0`` (B, C, H, W) by DDIM, and store the prompt's embedding."""
        ddim = DDIM(inversion_guidance=self.inversion_guidance)
        state = {name: x for name, x in vars(condition.prompt).items() if isinstance(x, Tensor)}
        return replace(ddim.invert(denoiser, z0, condition), state=state)

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the step of DDIM with the stored embedding as the null prompt."""
        null = Embedding(inversion.state["tokens"], inversion.state.get("pooled"))
        return super().way_back(denoiser, inversion, replace(condition, null=null))
