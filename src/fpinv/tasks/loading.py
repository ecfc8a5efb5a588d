"""The pixels of examples and of latents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.models.model import Model

NARROWEST = 11  # pixels: the window of SSIM


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn any failure of a block into the error that the image ``name`` cannot be read.

    Decoders fail in many ways on damaged files; none of them may cost the other images.

    Raises:
        UserError: the block failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: cannot be read as an image ({error})") from error


def open_pixels(example: Example, frame: Frame) -> Tensor:
    """Return the pixels (3, H, W) in [-1, 1] of the part of an image that the model sees.

    Raises:
        UserError: there is no image, it cannot be read, or it is too narrow to be measured.
    """
    with decoding(example.id):
        pixels = frame.pixels(example.open())
    if min(pixels.shape[-2:]) < NARROWEST:
        height, width = pixels.shape[-2:]
        raise UserError(
            f"{example.id}: has {width}x{height} pixels at the model's size, which is too narrow "
            f"to be measured (at least {NARROWEST}): crop it, or use crop=center"
        )
    return pixels


def decode_like(images: Tensor, model: Model, latents: Tensor) -> Tensor:
    """Return the images (B, 3, H, W) of latents without the padding that ``images`` were given.

    Arguments:
        images: Images (..., H, W) before they were encoded.
        model: The model.
        latents: Latents (B, C, h, w).
    """
    height, width = images.shape[-2:]
    return model.decode(latents)[..., :height, :width]


def vae_factor(model: Model) -> int:
    """Return the number f of pixels on a side of a latent's cell."""
    return model.image_size[0] // model.latent_shape[1]
