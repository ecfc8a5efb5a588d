"""What pictures look like to a network: embeddings that a gradient can flow through."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from fpinv.errors import UserError
from fpinv.models.stable_diffusion import quiet
from fpinv.weights import package_folder


class ImageEncoder(Protocol):
    """Embeddings of pictures."""

    def __call__(self, images: Tensor) -> Tensor:
        """Embeddings (B, D) of images (B, 3, H, W) in [-1, 1]; differentiable, any length."""
        ...


class CLIPImageEncoder:
    """The image tower of a CLIP in transformers format, frozen, in float32.

    Images are resized as tensors (bicubic, antialiased) wherever they come from, so that those
    that are optimised and those they are compared with are seen alike.

    References:
        | Learning Transferable Visual Models From Natural Language Supervision
        | (Radford et al., 2021), https://arxiv.org/abs/2103.00020

    Arguments:
        path: Name on the Hugging Face hub, a folder, or a folder of an installed package as
            ``pkg://package.module/folder``. Read on the first use.
        mean, std: What the tower was trained to have subtracted from channels in [0, 1], and
            to have them divided by.

    Raises:
        UserError: on the first use, where the weights cannot be had.
    """

    def __init__(
        self,
        path: str,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
    ) -> None:
        self.path = path
        self._mean, self._std = (torch.tensor(v).view(3, 1, 1) for v in (mean, std))

    def __call__(self, images: Tensor) -> Tensor:
        """See :class:`ImageEncoder`."""
        tower = self._tower.to(images.device)
        side = tower.config.image_size
        pixels = (images + 1) / 2
        if pixels.shape[-2:] != (side, side):
            pixels = F.interpolate(pixels, (side, side), mode="bicubic", antialias=True)
        return tower((pixels - self._mean.to(pixels)) / self._std.to(pixels)).image_embeds

    @cached_property
    def _tower(self) -> CLIPVisionModelWithProjection:
        reason = ""
        for cached in (True, False):
            try:
                with quiet():
                    tower = CLIPVisionModelWithProjection.from_pretrained(
                        package_folder(self.path), local_files_only=cached, dtype=torch.float32
                    )
                return tower.eval().requires_grad_(False)
            except (OSError, ValueError) as error:
                reason = str(error).strip().splitlines()[0]
        raise UserError(
            f"the CLIP image tower '{self.path}' is neither in the local cache nor could the hub "
            f"be reached ({reason}): connect once, or pass encoder.path=<folder>"
        )
