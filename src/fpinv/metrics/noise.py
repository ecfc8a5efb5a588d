r"""Likeness of the z_N of an inversion to noise: neighbours, variance, kurtosis, normality.

A sampler starts from independent numbers of mean 0 and variance 1, and an inversion's z_N may be
something else. The numbers z (C, h, w) of an image are measured on a mask of cells of the latent
grid. Moments are taken about the known mean 0. All sums are float64, and a mask of fewer than
:data:`FEWEST` cells gives NaN.

References:
    | There and Back Again: On the relation between Noise and Image Inversions in Diffusion Models
    | (Staniszewski et al., 2024), https://arxiv.org/abs/2410.23530
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

FEWEST = 16
"""Cells of a mask that are enough for a measure."""

LEVEL = 0.05
"""Probability with which Gaussian noise is taken for something else."""

SAMPLE = 20
"""Numbers that the approximations of the test of normality need."""


def neighbour_correlation(z: Tensor, mask: Tensor) -> Tensor:
    r"""Return the correlation of neighbouring numbers: (B,); 0 for white noise.

    .. math:: \frac1C \sum_c \frac{\sum z_{cp} z_{cq}}{\sum (z_{cp}^2 + z_{cq}^2) / 2}

    with sums over the pairs of cells p, q of the mask, side by side or one above the other.

    Arguments:
        z: Noise latents, shape (B, C, h, w).
        mask: Cells that count, shape (B, h, w), bool.
    """
    z = z.double()
    products, powers = z.new_zeros(z.shape[:2]), z.new_zeros(z.shape[:2])
    for axis in (-1, -2):
        length = z.shape[axis] - 1
        p, q = z.narrow(axis, 0, length), z.narrow(axis, 1, length)
        both = mask.narrow(axis, 0, length) & mask.narrow(axis, 1, length)
        products += _sum(p * q, both)
        powers += _sum((p.square() + q.square()) / 2, both)
    return _where_enough((products / powers).mean(1), mask)


def variance(z: Tensor, mask: Tensor) -> Tensor:
    """Return the mean square of the numbers ``z`` in a mask: (B,); 1 for Gaussian noise.

    Arguments: see :func:`neighbour_correlation`.
    """
    return _where_enough(_moment(z, mask, 2), mask)


def excess_kurtosis(z: Tensor, mask: Tensor) -> Tensor:
    r"""Return the excess kurtosis of the numbers ``z`` in a mask: (B,); 0 for Gaussian noise.

    .. math:: \frac{n + 2}{n} \frac{m_4}{m_2^2} - 3

    with moments m about 0 of n numbers, whatever their variance. The factor makes the mean over
    draws of Gaussian noise 0 for every n. It is positive where small numbers and large ones are
    apart, as those of plain areas and of objects.

    Arguments: see :func:`neighbour_correlation`.
    """
    n = z.shape[1] * mask.flatten(1).sum(1)
    ratio = _moment(z, mask, 4) / _moment(z, mask, 2).square()
    return _where_enough((n + 2) / n * ratio - 3, mask)


def not_normal(z: Tensor) -> Tensor:
    """Return 1 for each image whose numbers a test of normality rejects at 5 %, else 0: (B,).

    The test is D'Agostino's and Pearson's, of skewness and kurtosis together. Of images whose z_N
    is Gaussian noise it rejects one in twenty. NaN where the numbers are fewer than
    :data:`SAMPLE`, not finite or all the same.

    Arguments:
        z: Noise latents, shape (B, C, h, w).

    References:
        | Tests for departure from normality (D'Agostino and Pearson, 1973)
        | https://doi.org/10.1093/biomet/60.3.613
    """
    from scipy.stats import normaltest  # its import takes long

    numbers = z.flatten(1).double().cpu()
    result = torch.full((len(z),), torch.nan, dtype=torch.float64)
    sound = numbers.isfinite().all(1) & (numbers != numbers[:, :1]).any(1)
    if numbers.shape[1] >= SAMPLE and sound.any():
        p = normaltest(numbers[sound].numpy(), axis=1).pvalue
        result[sound] = torch.from_numpy(p < LEVEL).double()
    return result


def noise_quality(z: Tensor, regions: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the measures of all of z_N and of its regions by name, (B,) each.

    Arguments:
        z: Noise latents, shape (B, C, h, w).
        regions: Masks of cells by name, shape (B, h, w) each, bool.
    """
    everywhere = torch.ones_like(z[:, 0], dtype=torch.bool)
    quality = {
        "noise_correlation": neighbour_correlation(z, everywhere),
        "noise_kurtosis": excess_kurtosis(z, everywhere),
        "noise_not_normal": not_normal(z),
    }
    for name, mask in regions.items():
        quality[f"noise_correlation_{name}"] = neighbour_correlation(z, mask)
        quality[f"noise_variance_{name}"] = variance(z, mask)
        quality[f"noise_kurtosis_{name}"] = excess_kurtosis(z, mask)
    return quality


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    """Return the sums (B, C) of values (B, C, h, w) over the cells of a mask (B, h, w)."""
    return (values * mask[:, None]).flatten(2).sum(2)


def _moment(z: Tensor, mask: Tensor, order: int) -> Tensor:
    """Return the mean powers (B,) of the numbers in a mask, of all channels."""
    return _sum(z.double() ** order, mask).mean(1) / mask.flatten(1).sum(1)


def _where_enough(values: Tensor, mask: Tensor) -> Tensor:
    return values.where(mask.flatten(1).sum(1) >= FEWEST, torch.nan)
