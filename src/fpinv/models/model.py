"""What a text-to-image latent diffusion model offers to the rest of the program."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding


class Model(Protocol):
    """A latent diffusion model: images to latents and back, prompts to embeddings, a denoiser.

    Attributes:
        name: Short name for records.
        commit: The resolved revision of the weights, or None for a folder without one.
        image_size: Side of the square images in pixels.
        latent_shape: Shape (C, H, W) of one latent.
        device: Where the networks live.
        dtype: Precision of the denoising network.
    """

    name: str
    commit: str | None
    image_size: int
    latent_shape: tuple[int, int, int]
    device: torch.device
    dtype: torch.dtype

    def encode(self, images: Tensor) -> Tensor:
        """Latents z_0 of images (B, 3, H, W) in [-1, 1]: float32, the posterior mode, scaled."""

    def decode(self, latents: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], float32, of scaled latents."""

    def embed(self, prompts: list[str]) -> Embedding:
        """Embeddings of prompts, one row each."""

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        """The condition of these prompts and of the null prompt."""

    def denoiser(self, steps: int) -> Denoiser:
        """The denoiser on a grid of ``steps`` steps, its counts at zero."""
