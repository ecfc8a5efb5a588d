"""Errors of images and latents against a reference, one number per sample.

Images are (B, 3, H, W) in [-1, 1], as the model takes and returns them. Values outside are
clamped, as they are when an image is displayed or saved, and the errors are those of images in
[0, 1]. Nothing is rounded to 8 bits. Sums are float64, but for ssim's.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad


def mse(images: Tensor, reference: Tensor) -> Tensor:
    """Return the mean squared error on the scale [0, 1]: (B,), float64."""
    return _mean_square(_difference(_unit(images), _unit(reference)))


def psnr(images: Tensor, reference: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio 10 log10(1 / mse) in dB: (B,); inf if identical."""
    return -10 * mse(images, reference).log10()


def background_mse(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return :func:`mse` over the pixels outside a mask (B, H, W): (B,), float64.

    An average over all pixels would shrink as the mask grows. NaN where all is masked.
    """
    squares = _difference(_unit(images), _unit(reference)).square().mean(1)
    return mean_outside(squares, mask)


def background_psnr(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return :func:`psnr` over the pixels outside a mask (B, H, W): (B,), float64."""
    return -10 * background_mse(images, reference, mask).log10()


def background_ssim(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return :func:`ssim` over the pixels outside a mask (B, H, W): (B,), float64.

    The mask is filled with the reference, so that an edit does not count against its
    surroundings in the windows that reach into it.
    """
    return mean_outside(_ssim_map(filled(images, reference, mask), reference).mean(1), mask)


def filled(images: Tensor, reference: Tensor, mask: Tensor) -> Tensor:
    """Return images (B, 3, H, W) with the reference in the pixels of a mask (B, H, W)."""
    return torch.where(mask[:, None], reference, images)


def mean_outside(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean (B,) of values (B, H, W) over the pixels that are not masked."""
    free = ~mask
    return (values * free).flatten(1).sum(1) / free.flatten(1).sum(1)


def ssim(images: Tensor, reference: Tensor) -> Tensor:
    """Return the structural similarity: (B,), float64 of float32 convolutions (error 1e-6).

    Gaussian window of 11 pixels (sigma 1.5), K1 = .01, K2 = .03, data range 1, mean over the
    colour channels and over all pixels, the borders reflected.

    References:
        Image Quality Assessment: From Error Visibility to Structural Similarity (Wang et al.,
        2004), https://doi.org/10.1109/TIP.2003.819861.
    """
    return _ssim_map(images, reference).flatten(1).mean(1)


def _ssim_map(images: Tensor, reference: Tensor) -> Tensor:
    """Return the structural similarity at each pixel and colour: (B, 3, H, W), float64."""
    # the convolutions of float64 images take ten times as long
    x, y = _unit(images).float(), _unit(reference).float()
    _difference(x, y)
    moments = _blurred(torch.cat([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, square_x, square_y, product = moments.double().chunk(5)
    means, power = mean_x * mean_y, mean_x**2 + mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    likeness = (2 * means + c1) / (power + c1)
    return likeness * (2 * (product - means) + c2) / (square_x + square_y - power + c2)


def _blurred(images: Tensor) -> Tensor:
    """Return images (B, C, H, W) averaged over a Gaussian window of 11 pixels, sigma 1.5."""
    offsets = torch.arange(-5, 6, dtype=torch.float64)
    window = (-(offsets**2) / (2 * 1.5**2)).exp()
    row = (window / window.sum()).to(images).expand(images.shape[1], 1, 1, 11)
    padded = pad(images, (5, 5, 5, 5), mode="reflect")
    blurred = conv2d(padded, row, groups=len(row))
    return conv2d(blurred, row.transpose(2, 3), groups=len(row))


def latent_mse(z: Tensor, reference: Tensor) -> Tensor:
    """Return the mean squared error of latents (B, C, H, W): (B,), float64; nothing is clamped."""
    return _mean_square(_difference(z.double(), reference.double()))


def latent_psnr(z: Tensor, reference: Tensor) -> Tensor:
    r"""Return the error of latents (B, C, H, W) in dB: (B,), float64; inf when identical.

    Latents have no peak value, so the signal is the power of the reference. Unlike the PSNR of
    the images it does not saturate at the VAE's ceiling.

    .. math:: 10 \log_{10} (\operatorname{mean}(z_{ref}^2) / \operatorname{mean}((z - z_{ref})^2))
    """
    return decibels(latent_mse(z, reference).sqrt(), reference)


def decibels(error: Tensor, reference: Tensor) -> Tensor:
    """Return an error (B,), rms, in dB below the power of the reference (B, ...): (B,)."""
    return 10 * (_mean_square(reference.double()) / error.double().square()).log10()


def seed_error(z: Tensor, reference: Tensor) -> Tensor:
    """Return the error ``|z - z_N| / |z_N|`` of recovered noise z against the true z_N: (B,)."""
    return (latent_mse(z, reference) / _mean_square(reference.double())).sqrt()


def norm_ratio(z: Tensor) -> Tensor:
    """Return ``|z| / sqrt(d)`` (B,) of noise latents of d numbers; it is 1 for Gaussian noise."""
    return _mean_square(z.double()).sqrt()


def _unit(images: Tensor) -> Tensor:
    """Return images from [-1, 1] on the scale [0, 1], clamped."""
    return (images.double() + 1).div(2).clamp(0, 1)


def _difference(x: Tensor, reference: Tensor) -> Tensor:
    if x.shape != reference.shape:  # broadcasting would give numbers that mean nothing
        raise ValueError(f"shapes differ: {tuple(x.shape)} and {tuple(reference.shape)}")
    return x - reference


def _mean_square(x: Tensor) -> Tensor:
    return x.square().flatten(1).mean(1)
