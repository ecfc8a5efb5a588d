"""Metrics against closed forms, and their summary."""

import math
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lpips
import numpy as np
import pytest
import torch
from scipy import stats
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fpinv.errors import UserError
from fpinv.metrics import pixels
from fpinv.metrics.intervals import mean_ci95
from fpinv.metrics.lpips import LPIPS


def pictures(batch: int = 3, size: int = 40, seed: int = 0) -> Tensor:
    """Smooth random images in [-.8, .8]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(batch, 3, 5, 5, generator=generator) * 1.6 - 0.8
    return torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")


@pytest.mark.parametrize("offset", [0.002, 0.02, 0.2])
def test_constant_offset_has_known_mse_and_psnr(offset: float) -> None:
    images = pictures().double()
    error = (offset / 2) ** 2  # in [0, 1] the difference is half as large
    assert pixels.mse(images + offset, images).allclose(torch.full((3,), error).double())
    expected = torch.full((3,), -10 * math.log10(error)).double()
    assert pixels.psnr(images + offset, images).allclose(expected)


def test_identical_images() -> None:
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
    images, other = pictures(seed=1), pictures(seed=2)
    none = torch.zeros(3, 40, 40, dtype=torch.bool)
    for name in ("mse", "psnr", "ssim"):
        whole = getattr(pixels, name)(images, other)
        assert getattr(pixels, f"background_{name}")(images, other, none).allclose(whole)
    assert pixels.background_mse(images, other, ~none).isnan().all()


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


@pytest.fixture
def random_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS with the linear heads of its package on a backbone that is not trained."""
    trained = lpips.LPIPS

    def untrained(**options: Any) -> lpips.LPIPS:
        torch.manual_seed(0)
        return trained(pnet_rand=True, **options)

    monkeypatch.setattr(lpips, "LPIPS", untrained)


@pytest.mark.usefixtures("random_backbone")
def test_lpips_is_a_distance_per_image() -> None:
    metric, images, other = LPIPS(), pictures(3, 31, seed=1), pictures(3, 31, seed=2)
    assert metric.name == "lpips_alex" and metric.version == "0.1"
    values = metric(images, other)
    assert values.shape == (3,) and (values > 0).all()
    assert values.allclose(metric(other, images))
    assert metric(images[1:2], other[1:2]).allclose(values[1:2])
    assert metric(images, images).tolist() == [0, 0, 0]
    assert metric(images, images.lerp(other, 0.1)).lt(values).all()


@pytest.mark.usefixtures("random_backbone")
def test_lpips_takes_half_precision_and_clamps() -> None:
    metric, images, other = LPIPS(), pictures(1, 64, seed=1), pictures(1, 64, seed=2)
    assert metric(images.half(), other).allclose(metric(images, other), rtol=1e-2)
    assert metric(2 * images, other).allclose(metric((2 * images).clamp(-1, 1), other))


def test_lpips_without_weights_or_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        assert socket.getdefaulttimeout() == 10
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    metric = LPIPS()
    with pytest.raises(UserError, match="lpips_alex needs torchvision's alexnet") as error:
        metric(pictures(), pictures())
    assert "no network" in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in str(error.value)
    assert socket.getdefaulttimeout() is None


def test_lpips_with_an_unknown_net() -> None:
    with pytest.raises(UserError, match="no net 'resnet'; it has alex, vgg, squeeze"):
        LPIPS("resnet")


def test_interval_is_student_t() -> None:
    values = [20.1, 22.4, 22.1, 25.0, 19.3]
    low, high = stats.t.interval(0.95, 4, loc=np.mean(values), scale=stats.sem(values))
    summary = mean_ci95([values[0], None, *values[1:]])
    assert summary == {
        "mean": pytest.approx(np.mean(values)),
        "ci95": pytest.approx((high - low) / 2),
    }


def test_interval_covers_the_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(3, 2, size=(2000, 4))
    summaries = [mean_ci95(row.tolist()) for row in draws]
    covered = np.mean([abs(s["mean"] - 3) <= s["ci95"] for s in summaries])
    assert covered == pytest.approx(0.95, abs=0.015)


def test_summary_of_few_or_unusual_values() -> None:
    assert mean_ci95([]) is None
    assert mean_ci95([None, None]) is None
    assert mean_ci95([3, None]) == {"mean": 3, "ci95": None}
    assert mean_ci95([5, 5, 5]) == {"mean": 5, "ci95": 0}
    assert mean_ci95([math.inf]) == {"mean": None, "ci95": None, "nonfinite": 1}
    assert mean_ci95([2, math.nan, 2, -math.inf]) == {"mean": 2, "ci95": 0, "nonfinite": 2}
