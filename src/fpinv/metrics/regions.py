"""The regions of pictures on the latent grid: plain background, and objects."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from fpinv.images.steepness import steepness

PLAIN = 0.025
"""Difference of neighbouring pixels, as a part of the range, from which on they are not plain:
seven of 255 levels."""


def regions(
    images: Tensor,
    objects: Sequence[Tensor | None],
    factor: int,
    size: Sequence[int] | None = None,
) -> dict[str, Tensor]:
    """Return the masks ``plain`` and ``objects`` of cells, shape (B, h, w) each, bool.

    A cell is the square of ``factor`` pixels on a side that a number of a latent stands for. It is
    plain if no two neighbouring pixels, one of them in it, differ by :data:`PLAIN` or more in a
    colour, and if no object reaches into it. Where the objects are not known, as on photographs,
    all that is not plain counts as objects. Where they are, what is neither, like a shadow, is in
    no region.

    Arguments:
        images: Images (B, 3, H, W) in [-1, 1].
        objects: The mask (H, W) of each image's objects, bool; None if unknown.
        factor: Pixels on a side of a cell.
        size: Rows and columns (h, w) of the latents; cells beyond the picture, where it was
            padded, are in no region. None is the size of the picture.

    References:
        | There and Back Again: On the relation between Noise and Image Inversions in Diffusion
        | Models (Staniszewski et al., 2024), https://arxiv.org/abs/2410.23530

    Deviations: the authors call a pixel plain, by the mean difference from its two neighbours
    below and to the right.
    """
    busy = _cells(steepness(images) / 2 >= PLAIN, factor)  # halved, since pixels span 2
    masks = [
        busy[k] if mask is None else _cells(mask.to(busy.device)[None], factor)[0]
        for k, mask in enumerate(objects)
    ]
    covered = torch.stack(masks)
    height, width = size or covered.shape[-2:]
    beyond = (0, width - covered.shape[-1], 0, height - covered.shape[-2])
    return {"plain": pad(~busy & ~covered, beyond), "objects": pad(covered, beyond)}


def _cells(mask: Tensor, factor: int) -> Tensor:
    """Return the cells (B, h, w) that a mask of pixels (B, H, W) reaches into, cut ones too."""
    return max_pool2d(mask.float()[:, None], factor, ceil_mode=True)[:, 0] > 0
