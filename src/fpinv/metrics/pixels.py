"""Measures of a reconstruction or an edit, one number per sample, and their summary over samples.

Images are (B, 3, H, W) in [-1, 1], as the model takes and gives them. What lies outside is
clamped, as it is when an image is shown or saved; the numbers are those of images in [0, 1].
Nothing is rounded to 8 bits. Sums are float64, but for ssim's.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mse(images: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error on the scale [0, 1]: (B,), float64."""
    return _mean_square(_difference(_unit(images), _unit(reference)))


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10 log10(1 / mse) in dB: (B,), float64; inf when identical."""
    return -10 * mse(images, reference).log10()


def background_mse(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """:func:`mse` outside a mask (B, H, W), over those pixels only: (B,), float64.

    Averaged over all pixels it would be the smaller the more is masked. NaN where all is masked.
    """
    squares = _difference(_unit(images), _unit(reference)).square().mean(1)
    return _outside(squares, mask)


def background_psnr(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """:func:`psnr` outside a mask (B, H, W), over those pixels only: (B,), float64."""
    return -10 * background_mse(images, reference, mask).log10()


def background_ssim(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """:func:`ssim` outside a mask (B, H, W): mean over those pixels only: (B,), float64.

    Windows that reach into the mask find the reference there, so that what was edited does not
    count against its surroundings.
    """
    outside = torch.where(mask[:, None], reference, images)
    return _outside(_ssim_map(outside, reference).mean(1), mask)


def _outside(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, H, W) over the pixels that are not masked."""
    free = ~mask
    return (values * free).flatten(1).sum(1) / free.flatten(1).sum(1)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Structural similarity: (B,), float64 of a float32 computation (error about 1e-6).

    Gaussian window of 11 pixels (sigma 1.5), K1 = .01, K2 = .03, data range 1, mean over the
    colour channels and over all pixels, the borders reflected.

    References:
        Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
        2004), https://doi.org/10.1109/TIP.2003.819861.
    """
    return _ssim_map(images, reference).flatten(1).mean(1)


def _ssim_map(images: Tensor, reference: Tensor) -> Tensor:
    """The structural similarity at each pixel and colour, (B, 3, H, W), float64."""
    # Imported here, because it takes seconds that an error in the command line need not wait for.
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, values = structural_similarity_index_measure(
        # the convolutions of float64 images take ten times as long
        _unit(images).float(),
        _unit(reference).float(),
        data_range=1.0,
        reduction="none",
        return_full_image=True,
    )
    return _double(values)


def latent_mse(z: Tensor, reference: Tensor) -> Tensor:
    """Mean squared error of latents (B, C, H, W), as they are: (B,), float64."""
    return _mean_square(_difference(_double(z), _double(reference)))


def latent_psnr(z: Tensor, reference: Tensor) -> Tensor:
    """Error of latents (B, C, H, W) in dB: (B,), float64; inf when identical.

    Latents have no peak value, so the signal is the reference's own power:
    10 log10(mean(z_ref^2) / mean((z - z_ref)^2)). Unlike the PSNR of the images it does not
    saturate at the VAE's ceiling.
    """
    return 10 * (_mean_square(_double(reference)) / latent_mse(z, reference)).log10()


def seed_error(z: Tensor, reference: Tensor) -> Tensor:
    """Relative distance |z - z_N| / |z_N| of recovered noise to the true one: (B,), float64."""
    return (latent_mse(z, reference) / _mean_square(_double(reference))).sqrt()


def norm_ratio(z: Tensor) -> Tensor:
    """Norm |z| / sqrt(d) of noise latents (B, ...) of d numbers, 1 for Gaussian noise: (B,)."""
    return _mean_square(_double(z)).sqrt()


def _double(x: Tensor) -> Tensor:
    """Float64, so that sums of many small numbers stay exact."""
    return x.double()


def _unit(images: Tensor) -> Tensor:
    """Images from [-1, 1] to [0, 1], clamped."""
    return (_double(images) + 1).div(2).clamp(0, 1)


def _difference(x: Tensor, reference: Tensor) -> Tensor:
    if x.shape != reference.shape:  # broadcasting would give numbers that mean nothing
        raise ValueError(f"shapes differ: {tuple(x.shape)} and {tuple(reference.shape)}")
    return x - reference


def _mean_square(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)
