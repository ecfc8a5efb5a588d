"""The contract between text-to-image latent diffusion models and the rest of the program."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.models.origin import ModelOrigin


class Model(Protocol):
    """A latent diffusion model: images to latents and back, prompts to embeddings, a denoiser.

    Attributes:
        name: Short name for records.
        domain: The only kind of pictures that it knows, such as scenes; None for any kind.
        image_size: Height and width in pixels that pictures are brought to.
        latent_shape: Shape (C, h, w) of the latent of such a picture.
        device: Device of the networks.
        dtype: Precision of the denoising network.
    """

    name: str
    domain: str | None
    image_size: tuple[int, int]
    latent_shape: tuple[int, int, int]
    device: torch.device
    dtype: torch.dtype

    @property
    def origin(self) -> ModelOrigin:
        """The origin of the weights, for records."""

    @property
    def multiple(self) -> int:
        """Number of pixels to multiples of which the sides of a picture are padded."""

    def encode(self, images: Tensor) -> Tensor:
        """Return the latents z_0 of images (B, 3, H, W) in [-1, 1]: float32, scaled modes.

        Sides that are no multiples of ``multiple`` are padded, below and to the right.
        """

    def decode(self, latents: Tensor) -> Tensor:
        """Return the images (B, 3, H, W) in [-1, 1], float32, of scaled latents."""

    def embed(self, prompts: list[str]) -> Embedding:
        """Return the embeddings of prompts, one row each."""

    def excess(self, prompt: str) -> str:
        """Return the end of a prompt that is cut off, because the encoder reads no more."""

    def condition(self, prompts: list[str], guidance: float) -> Condition:
        """Return the condition of these prompts and of the null prompt at a guidance w."""

    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on a grid of ``steps`` steps, its counts at zero."""
