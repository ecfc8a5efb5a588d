"""Adjusting the encoding of a real image to its prompt before the inversion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError, check_at_least
from fpinv.images.steepness import steepness
from fpinv.inverters.ddim import ddim_path
from fpinv.sampling import sample


class Adjustment(Protocol):
    """Change of the latents before an inverter gets them."""

    def __call__(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, noise: Tensor
    ) -> Tensor:
        """Return ``z0`` (B, C, H, W), adjusted with the help of standard normal ``noise``."""


@dataclass(frozen=True)
class Unadjusted:
    """Encoding as it is."""

    def __call__(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, noise: Tensor
    ) -> Tensor:
        return z0


@dataclass(frozen=True)
class Grain:
    r"""Faint noise in plain areas, which makes an inversion's z_N more like noise there.

    .. math:: \tilde z_{0,p} = z_{0,p} + c\, \epsilon_p\, [s_p < \tau]

    in cells p of the latents, with s their :func:`~fpinv.images.steepness.steepness`. The encoding
    of a plain area is smoother than what the network takes for an image. An inversion that brings
    it back makes weak and correlated numbers of what is missing. Where the grain stands in for it
    they are like noise, and the picture hardly changes: ``experiment=seed_quality`` measures both.
    Noise in all cells costs more of the picture for less.

    NFE: 0.

    References:
        | That inversions have this fault: There and Back Again: On the relation between Noise and
        | Image Inversions in Diffusion Models (Staniszewski et al., 2024)
        | https://arxiv.org/abs/2410.23530
        | The remedy is ours.

    Arguments:
        level: The noise c, rms, in the latents' own unit.
        plain: The steepness :math:`\tau` below which a cell is plain, in the same unit.
    """

    level: float = 0.022
    plain: float = 0.3

    def __post_init__(self) -> None:
        check_at_least(self, level=0, plain=0)

    def __call__(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, noise: Tensor
    ) -> Tensor:
        return z0 + self.level * noise * (steepness(z0) < self.plain)[:, None]


@dataclass(frozen=True)
class PromptAware:
    r"""Prompt-aware adjustment: a few rounds of light noising and prompted denoising.

    Iterates :math:`\tilde z_0 \leftarrow h(\tilde z_0, p)` from :math:`\tilde z_0 = E(x)`, where
    h noises to grid index ``depth`` and samples back to 0 under the prompt:

    .. math:: z_k = \alpha_k \tilde z_0 + \sigma_k \epsilon \quad\text{(sdedit)} \qquad
              z_{i} = \text{DDIM inversion of } z_{i-1},\; i \le k \quad\text{(ddim)}

    The noise :math:`\epsilon` is one draw an image, the same in all rounds, so that h is a
    function. Works with every inverter, because it only changes what is inverted.

    NFE: ``rounds * depth`` (sdedit), twice that (ddim).

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 3.3
        | https://arxiv.org/abs/2312.12540v1
        | SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations
        | (Meng et al., 2022), https://arxiv.org/abs/2108.01073

    Arguments:
        rounds: Fixed-point iterations of h (paper: 2).
        depth: Noising and denoising steps of a round (paper: 2).
        noise: ``sdedit`` adds random noise, as the paper's text has it (Image2Image); ``ddim``
            adds what DDIM inversion finds.
    """

    rounds: int = 2
    depth: int = 2
    noise: Literal["sdedit", "ddim"] = "sdedit"

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.depth < 1:
            raise UserError("the prompt-aware adjustment needs rounds and depth of at least 1")
        if self.noise not in ("sdedit", "ddim"):
            raise UserError(f"noise='{self.noise}' is unknown: choose sdedit or ddim")

    @torch.no_grad()
    def __call__(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, noise: Tensor
    ) -> Tensor:
        if self.depth > denoiser.schedule.steps:
            raise UserError(
                f"adjustment.depth={self.depth} is more than steps={denoiser.schedule.steps}"
            )
        for _ in range(self.rounds):
            noised = self._noised(denoiser, z0, condition, noise)
            z0 = sample(denoiser, noised, condition, start=self.depth)
        return z0

    def _noised(
        self, denoiser: Denoiser, z: Tensor, condition: Condition, noise: Tensor
    ) -> Tensor:
        if self.noise == "sdedit":
            return denoiser.schedule.noised(z, noise, self.depth)
        *_, noised = ddim_path(denoiser, z, condition, stop=self.depth)
        return noised
