"""Errors of images and latents against closed forms."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from metric_images import pictures
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fpinv.metrics import pixels


@pytest.mark.parametrize("offset", [0.002, 0.02, 0.2])
def test_constant_offset_has_known_mse_and_psnr(offset: float) -> None:
    images = pictures().double()
    error = (offset / 2) ** 2  # in [0, 1] the difference is half as large
    assert pixels.mse(images + offset, images).allclose(torch.full((3,), error).double())
    expected = torch.full((3,), -10 * math.log10(error)).double()
    assert pixels.psnr(images + offset, images).allclose(expected)


def test_identical_images_have_no_error() -> None:
    images = pictures()
    assert pixels.mse(images, images).tolist() == [0, 0, 0]
    assert pixels.psnr(images, images).tolist() == [math.inf] * 3
    assert pixels.ssim(images, images).allclose(torch.ones(3).double())


@pytest.mark.parametrize("metric", [pixels.mse, pixels.psnr, pixels.ssim])
def test_image_metrics_are_per_image_and_clamped(
    metric: Callable[[Tensor, Tensor], Tensor],
) -> None:
    images, reference = pictures(seed=1) * 2, pictures(seed=2)
    values = metric(images, reference)
    assert values.shape == (3,) and values.dtype == torch.float64
    assert values.allclose(metric(images.clamp(-1, 1), reference))
    for k in range(3):
        assert metric(images[k : k + 1], reference[k : k + 1]).allclose(values[k : k + 1])


def test_ssim_equals_its_formula() -> None:
    images, reference = pictures(1), pictures(1) + 0.1 * torch.randn(1, 3, 40, 40)
    reference = reference.clamp(-1, 1)
    x, y = ((a[0].double().numpy() + 1) / 2 for a in (images, reference))

    def blur(a: np.ndarray) -> np.ndarray:
        # radius 5: eleven pixels; mirror: reflected about the pixel at the border
        return gaussian_filter(a, 1.5, axes=(1, 2), radius=5, mode="mirror")

    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    field = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert pixels.ssim(images, reference).item() == pytest.approx(field.mean(), abs=1e-5)


def test_backgrounds_are_measured_outside_the_mask_only() -> None:
    images, mask = pictures().double(), torch.zeros(3, 40, 40, dtype=torch.bool)
    mask[:, :, :10] = True
    edited = images.clone()
    edited[:, :, :, :10] = -edited[:, :, :, :10]
    assert pixels.background_mse(edited, images, mask).tolist() == [0, 0, 0]
    assert pixels.background_psnr(edited, images, mask).tolist() == [math.inf] * 3
    assert pixels.background_ssim(edited, images, mask).allclose(torch.ones(3).double())
    # not diluted by the masked pixels, however many there are
    edited[:, :, :, 10:] += 0.1
    for width in (10, 30):
        mask[:, :, :width] = True
        error = pixels.background_mse(edited, images, mask)
        assert error.allclose(torch.full((3,), 0.05**2).double())


def test_without_a_mask_the_background_is_the_image() -> None:
    images, reference = pictures(seed=1), pictures(seed=2)
    none = torch.zeros(3, 40, 40, dtype=torch.bool)
    for name in ("mse", "psnr", "ssim"):
        whole = getattr(pixels, name)(images, reference)
        assert getattr(pixels, f"background_{name}")(images, reference, none).allclose(whole)
    assert pixels.background_mse(images, reference, ~none).isnan().all()


@pytest.mark.parametrize("ratio", [1e-3, 0.1, 1.0])
def test_latent_errors_of_a_scaled_latent(ratio: float) -> None:
    z = torch.randn(2, 4, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    power = z.square().mean((1, 2, 3))
    scaled = (1 + ratio) * z
    assert pixels.latent_mse(scaled, z).allclose(ratio**2 * power)
    decibels = torch.full((2,), -20 * math.log10(ratio)).double()
    assert pixels.latent_psnr(scaled, z).allclose(decibels)
    assert pixels.seed_error(scaled, z).allclose(torch.full((2,), ratio).double())
    assert pixels.norm_ratio(scaled).allclose((1 + ratio) * power.sqrt())


def test_latents_are_not_clamped_and_sums_do_not_round() -> None:
    z = torch.full((1, 4, 64, 64), 1000.0)
    assert pixels.norm_ratio(z).item() == 1000
    assert pixels.latent_mse(z.half() + 1, z.half()).item() == 1
    assert pixels.latent_psnr(z, z).item() == math.inf


@pytest.mark.parametrize("metric", [pixels.psnr, pixels.latent_mse, pixels.seed_error])
def test_shapes_that_would_broadcast_are_refused(
    metric: Callable[[Tensor, Tensor], Tensor],
) -> None:
    with pytest.raises(ValueError, match="shapes differ"):
        metric(torch.zeros(2, 3, 8, 8), torch.zeros(1, 3, 8, 8))
