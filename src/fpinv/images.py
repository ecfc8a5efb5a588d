"""Pictures to tensors in [-1, 1] and back."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor


def square(image: Image.Image | NDArray[np.uint8], size: int) -> Tensor:
    """Return the central square of an image at a size, upright and in RGB.

    The square's side is the shorter side of the image; it is resampled with Pillow's Lanczos
    filter, which widens with the reduction (no aliasing). An image of that size already is not
    resampled.

    Arguments:
        image: A picture of any mode, or (H, W, 3) uint8.
        size: Side of the result in pixels.

    Returns:
        (3, size, size) in [-1, 1], float32.
    """
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    upright = ImageOps.exif_transpose(image).convert("RGB")
    # Cropped before it is resized, because the filter of resize(box=...) reaches beyond the box.
    pixels = np.array(_centre(upright).resize((size, size), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous().float() / 127.5 - 1


def square_mask(mask: NDArray[np.bool_], size: int) -> Tensor:
    """Return the central square of a mask (H, W), as :func:`square` cuts it: (size, size), bool.

    A pixel belongs to the mask as soon as any of it did.
    """
    share = Image.fromarray(mask.astype(np.float32))
    pixels = np.array(_centre(share).resize((size, size), Image.Resampling.BOX))
    return torch.from_numpy(pixels) > 0


def _centre(image: Image.Image) -> Image.Image:
    side = min(image.size)
    x, y = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((x, y, x + side, y + side))


def to_pil(image: Tensor) -> Image.Image:
    """Return the picture of an image (3, H, W) in [-1, 1], clamped and rounded to 8 bits."""
    pixels = ((image.detach().float().cpu() + 1) * 127.5).round().clamp(0, 255)
    return Image.fromarray(pixels.to(torch.uint8).permute(1, 2, 0).contiguous().numpy())
