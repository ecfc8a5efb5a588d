"""Measures of noise on noises whose statistics are known."""

import pytest
import torch

from fpinv.metrics.noise import (
    excess_kurtosis,
    neighbour_correlation,
    noise_quality,
    not_normal,
    variance,
)
from fpinv.metrics.pixels import norm_ratio

SHAPE = (400, 4, 16, 16)


def white(seed=0, shape=SHAPE):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def everywhere(z):
    return torch.ones_like(z[:, 0], dtype=torch.bool)


def left(z):
    mask = torch.zeros_like(z[:, 0], dtype=torch.bool)
    mask[..., : z.shape[-1] // 2] = True
    return mask


def assert_mean(values, expected):
    """The mean of independent values lies within four standard errors of what is expected."""
    error = values.std() / len(values) ** 0.5
    assert abs(values.mean() - expected) <= 4 * error, (values.mean(), expected, error)


@pytest.mark.parametrize("mask", [everywhere, left])
@pytest.mark.parametrize("shape", [SHAPE, (2000, 1, 6, 6)])
def test_white_noise_is_noise(mask, shape):
    z = white(shape=shape)
    assert_mean(neighbour_correlation(z, mask(z)), 0)
    assert_mean(variance(z, mask(z)), 1)
    assert_mean(excess_kurtosis(z, mask(z)), 0)
    assert 0.02 < not_normal(z).mean() < 0.08


@pytest.mark.parametrize(("axes", "expected"), [((-1,), 1 / 4), ((-2,), 1 / 4), ((-1, -2), 1 / 2)])
def test_smoothed_noise_has_the_correlation_of_its_window(axes, expected):
    """Means of two neighbours share one number: 1/2 along the axis, 0 across it."""
    z = white()
    for axis in axes:
        z = (z + z.roll(1, axis)) / 2**0.5
    inner = everywhere(z)
    inner[:, 0], inner[:, :, 0] = False, False
    assert_mean(neighbour_correlation(z, inner), expected)
    assert_mean(variance(z, inner), 1)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 7.0])
def test_scale_counts_for_the_variance_alone(scale):
    z, mask = white(), left(white())
    assert torch.allclose(variance(scale * z, mask), scale**2 * variance(z, mask), rtol=1e-5)
    for measure in (neighbour_correlation, excess_kurtosis):
        assert torch.allclose(measure(scale * z, mask), measure(z, mask), atol=1e-4)


def test_a_channel_of_its_own_mean_is_correlated():
    """The mean of noise is known to be 0: mu^2 / (1 + mu^2) of the power is shared."""
    z = white() + torch.tensor([0.0, 0, 0, 1])[:, None, None]
    assert_mean(neighbour_correlation(z, everywhere(z)), 1 / 4 * 1 / 2)


def test_regions_are_measured_alone():
    """Weak noise at the left; one law at each side, and together none."""
    z = white()
    z[..., :8] *= 0.3
    regions = {"plain": left(z), "objects": ~left(z)}
    quality = noise_quality(z, regions)
    assert_mean(quality["noise_variance_plain"], 0.09)
    assert_mean(quality["noise_variance_objects"], 1)
    for name in regions:
        assert_mean(quality[f"noise_kurtosis_{name}"], 0)
        assert_mean(quality[f"noise_correlation_{name}"], 0)
    assert quality["noise_kurtosis"].min() > 0.5 and quality["noise_not_normal"].mean() == 1
    both = quality["noise_variance_plain"] + quality["noise_variance_objects"]
    assert torch.allclose(both / 2, norm_ratio(z).square())


def test_uniform_numbers_have_the_kurtosis_of_their_law():
    z = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert excess_kurtosis(z, everywhere(z)).mean() == pytest.approx(-1.2, abs=0.01)
    assert not_normal(z).mean() == 1


def test_what_cannot_be_measured_is_nan():
    z = white(shape=(3, 1, 4, 4))
    few = everywhere(z)
    few[:, 0, 0] = False
    for measure in (neighbour_correlation, variance, excess_kurtosis):
        assert measure(z, everywhere(z)).isfinite().all() and measure(z, few).isnan().all()
    assert not_normal(z).isnan().all()
    broken = white(shape=(3, 1, 8, 8))
    broken[0], broken[1, 0, 0, 0] = 1.0, torch.nan
    assert not_normal(broken).isnan().tolist() == [True, True, False]
