"""The norm prior against scipy's chi distribution."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chi

from fpinv.seeds.prior import NormPrior

DIMENSIONS = [2, 3, 16, 256, 1024, 16384, 65536]


def near_mode(d: int) -> torch.Tensor:
    """Norms within three deviations of the mode."""
    return math.sqrt(d - 1) + torch.linspace(-2.1, 2.1, 15, dtype=torch.float64)


@pytest.mark.parametrize("d", DIMENSIONS[2:])
def test_log_density_equals_scipy(d):
    r = near_mode(d)
    expected = chi.logpdf(r.numpy(), d)
    assert np.allclose(NormPrior(d).log_density(r), expected, rtol=0, atol=1e-9 * d)


@pytest.mark.parametrize("d", DIMENSIONS)
def test_log_density_peaks_at_the_mode(d):
    prior = NormPrior(d)
    mode = torch.tensor(prior.mode, dtype=torch.float64, requires_grad=True)
    prior.log_density(mode).backward()
    assert mode.grad.abs() < 1e-12
    assert prior.peak == pytest.approx(chi.logpdf(prior.mode, d), abs=1e-9 * d)
    beside = torch.tensor([prior.mode * 0.99, prior.mode * 1.01], dtype=torch.float64)
    assert (prior.log_density(beside) < prior.peak).all()


@pytest.mark.parametrize("d", DIMENSIONS)
def test_derivative_of_the_log_density_equals_the_formula(d):
    r = (near_mode(d).clamp_min(0.1)).requires_grad_()
    NormPrior(d).log_density(r).sum().backward()
    assert torch.allclose(r.grad, (d - 1) / r.detach() - r.detach(), rtol=1e-9, atol=1e-9)
    step = 1e-4
    slope = (chi.logpdf(r.detach() + step, d) - chi.logpdf(r.detach() - step, d)) / (2 * step)
    assert np.allclose(r.grad, slope, atol=1e-6 * d)


@pytest.mark.parametrize("d", [256, 1024, 4096, 16384, 65536])
def test_log_density_in_single_precision_is_accurate_near_the_mode(d):
    r = near_mode(d).float()
    error = NormPrior(d).log_density(r).double() - NormPrior(d).log_density(r.double())
    assert error.abs().max() < 1e-4


@pytest.mark.parametrize("d", DIMENSIONS)
def test_price_is_positive_everywhere(d):
    assert NormPrior(d).peak < 0
    assert NormPrior(16384).peak == pytest.approx(-0.5724, abs=1e-4)


def test_log_density_at_zero_is_minus_infinity():
    assert NormPrior(16).log_density(torch.zeros(1)) == -torch.inf
    with pytest.raises(ValueError, match="at least 2"):
        NormPrior(1)


def test_projection_keeps_the_direction_and_sets_the_norm():
    z = torch.randn(3, 4, 8, 8)
    projected = NormPrior(256).project(z)
    assert torch.allclose(projected.flatten(1).norm(dim=1), torch.full((3,), 255**0.5))
    assert torch.allclose(
        torch.cosine_similarity(projected.flatten(1), z.flatten(1)), torch.ones(3)
    )
