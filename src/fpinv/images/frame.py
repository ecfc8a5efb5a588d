"""Pictures to tensors in [-1, 1] and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fpinv.errors import UserError
from fpinv.images.viewing import CROPS, Crop, as_seen

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Frame:
    """The part of a picture that a model sees, and its size there.

    Arguments:
        size: The size.
        crop: ``center`` takes the largest central part of the proportions of ``size`` at that
            size. ``none`` takes the whole picture, at the largest size that fits into ``size``.

    Raises:
        UserError: the crop is unknown.
    """

    size: Size
    crop: Crop = "center"

    def __post_init__(self) -> None:
        if self.crop not in CROPS:
            raise UserError(f"crop={self.crop!r} is unknown: choose {' or '.join(CROPS)}")

    def pixels(self, image: Image.Image) -> Tensor:
        """Return the part of a picture of any mode, (3, h, w) in [-1, 1], float32.

        It is resampled with Pillow's Lanczos filter, which widens with the reduction (no
        aliasing). A part that has its size already is not resampled.
        """
        pixels = np.array(self._part(as_seen(image), Image.Resampling.LANCZOS))
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 127.5 - 1

    def mask(self, mask: NDArray[np.bool_]) -> Tensor:
        """Return the same part of a mask (H, W) of the picture, (h, w), bool.

        A pixel belongs to the mask as soon as any of it did.
        """
        share = Image.fromarray(mask.astype(np.float32))
        return torch.from_numpy(np.array(self._part(share, Image.Resampling.BOX))) > 0

    def _part(self, image: Image.Image, resampling: Image.Resampling) -> Image.Image:
        (height, width), (high, wide) = self.size, (image.height, image.width)
        if self.crop == "none":
            scale = min(height / high, width / wide)
            whole = max(1, round(scale * wide)), max(1, round(scale * high))
            return image.resize(whole, resampling)
        scale = max(height / high, width / wide)
        # Cropped before it is resized, because the filter of resize(box=...) reaches beyond its
        # box.
        part = _centre(image, max(1, round(height / scale)), max(1, round(width / scale)))
        return part.resize((width, height), resampling)


def square(image: Image.Image | NDArray[np.uint8], size: int | Size) -> Tensor:
    """Return the central part of a picture at a size, which is a square for one number.

    Arguments:
        image: A picture of any mode, or (H, W, 3) uint8.
        size: Side of the result in pixels, or its height and width.

    Returns:
        (3, h, w) in [-1, 1], float32.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    return Frame((size, size) if isinstance(size, int) else size).pixels(image)


def _centre(image: Image.Image, height: int, width: int) -> Image.Image:
    x, y = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((x, y, x + width, y + height))


def central(images: Tensor) -> Tensor:
    """Return the central squares of images (B, 3, H, W), for networks that know squares only."""
    height, width = images.shape[-2:]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    return images[..., y : y + side, x : x + side]


def to_pil(image: Tensor) -> Image.Image:
    """Return the picture of an image (3, H, W) in [-1, 1], clamped and rounded to 8 bits."""
    pixels = ((image.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
