"""Changes of an image on its way to a reader of its mark."""

from __future__ import annotations

import io
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.transforms.functional import gaussian_blur, rotate

from fpinv.images import to_pil
from fpinv.images.frame import square

Attack = Callable[[Tensor, torch.Generator], Tensor]
"""``attack(image, generator)``: an image (3, H, W) in [-1, 1], of 8 bits, to one of the same."""


def _jpeg(image: Tensor, _: torch.Generator) -> Tensor:
    """Return the image after JPEG of quality 25."""
    file = io.BytesIO()
    to_pil(image).save(file, "JPEG", quality=25)
    return square(Image.open(file), (image.shape[-2], image.shape[-1])).to(image)


def _blur(image: Tensor, _: torch.Generator) -> Tensor:
    """Return the image blurred by a Gaussian of radius 4 at 512 pixels."""
    sigma = 4 * image.shape[-1] / 512
    return gaussian_blur(image, 2 * max(1, round(3 * sigma)) + 1, sigma)


def _noise(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image with Gaussian noise of a standard deviation of .1 of its range of 1."""
    return image + 0.2 * torch.randn(image.shape, generator=generator).to(image)


def _brightness(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image with its brightness multiplied by a number of 0 to 7, uniformly drawn."""
    factor = 7 * torch.rand((), generator=generator).item()
    return (image + 1) * factor - 1


def _crop(image: Tensor, generator: torch.Generator) -> Tensor:
    """Return a window of the whole height and 75 % of the width, stretched to the whole."""
    height, width = image.shape[-2:]
    w = round(0.75 * width)
    left = int(torch.randint(width - w + 1, (), generator=generator))
    window = image[None, :, :, left : left + w]
    return interpolate(window, (height, width), mode="bilinear", antialias=True)[0]


def _rotation(image: Tensor, _: torch.Generator) -> Tensor:
    """Return the image turned by 75 degrees about its middle, with black corners."""
    return rotate(image, 75, fill=[-1.0])


ATTACKS: dict[str, Attack] = {
    "none": lambda image, _: image,
    "jpeg": _jpeg,
    "blur": _blur,
    "noise": _noise,
    "brightness": _brightness,
    "crop": _crop,
    "rotation": _rotation,
}
"""Attacks by name, those of Tree-Ring (Wen et al., 2023) at their strengths.

Deviations: the authors' noise is rounded to bytes that wrap around, so that white becomes black
where noise is added; ours is clipped. The blur is a Gaussian, where Pillow's is made of boxes, and
its radius is a share of the width. Their crop asks for 75 % of the area at a ratio of width to
height of .75, which is ours on a square.
"""


def attacked(name: str, image: Tensor, generator: torch.Generator) -> Tensor:
    """Return the image (3, H, W) after an attack, in 8 bits as a file would keep it."""
    changed = ATTACKS[name](eight_bits(image), generator)
    return eight_bits(changed)


def eight_bits(image: Tensor) -> Tensor:
    """Return an image in [-1, 1] rounded to the 256 levels of a file."""
    return ((image.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
