"""Centroids: identities, symmetry, and the norm-aware optimum against a search in all of R^d."""

import math

import pytest
import torch
from drawn_seeds import normal, pair

from fpinv.errors import UserError
from fpinv.seeds.centroids import FrechetMean, Mean, NAOCentroid, NormalisedMean
from fpinv.seeds.cost import PathCost
from fpinv.seeds.geometry import angle
from fpinv.seeds.optimisation import Descent
from fpinv.seeds.paths import Linear
from fpinv.seeds.prior import NormPrior

CENTROIDS = [Mean(), NormalisedMean(), FrechetMean(), NAOCentroid(resolution=12)]


@pytest.mark.parametrize("centroid", CENTROIDS)
@pytest.mark.parametrize("count", [1, 2, 5])
def test_centroid_of_identical_seeds_is_that_seed(centroid, count):
    seed = normal(2, 4, 8, 8)
    result = centroid(seed.unsqueeze(1).expand(-1, count, -1, -1, -1)).seeds
    assert torch.allclose(result, seed, rtol=0, atol=1e-6)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_centroid_does_not_depend_on_the_batch(centroid):
    seeds = normal(3, 4, 1, 16, 16)
    together = centroid(seeds).seeds
    assert together.shape == (3, 1, 16, 16) and together.dtype == torch.float32
    for k in range(3):
        alone = centroid(seeds[k : k + 1]).seeds
        assert torch.allclose(alone, together[k : k + 1], atol=1e-4)


@pytest.mark.parametrize("centroid", CENTROIDS)
def test_centroid_does_not_depend_on_the_order(centroid):
    seeds = normal(1, 4, 256)
    turned = centroid(seeds.flip(1)).seeds
    assert torch.allclose(centroid(seeds).seeds, turned, atol=2e-3)


def test_norms_of_centroids():
    seeds = normal(1, 9, 4096)
    norm = {type(c).__name__: c(seeds).seeds.norm().item() / 4096**0.5 for c in CENTROIDS}
    assert norm["Mean"] == pytest.approx(1 / 3, rel=0.05)
    for name in ("NormalisedMean", "FrechetMean"):
        assert norm[name] == pytest.approx(seeds.norm(dim=-1).mean().item() / 4096**0.5)
    assert norm["NAOCentroid"] == pytest.approx(1, rel=2e-3)


@pytest.mark.parametrize("centroid", [FrechetMean(), NAOCentroid()])
def test_centroid_of_two_seeds_of_equal_norm_is_the_middle_of_the_arc(centroid):
    mode = NormPrior(1024).mode
    a, b = pair(mode, mode, 1.2, d=1024)
    result = centroid(torch.stack([a, b], 1)).seeds
    assert torch.allclose(result, (a + b) / (2 * math.cos(0.6)), atol=1e-3)


def test_mean_logarithm_at_the_frechet_mean_is_zero():
    """A zero mean logarithm defines the Frechet mean."""
    seeds = normal(1, 5, 64, dtype=torch.float64)
    result = FrechetMean()(seeds)
    c = result.seeds[0] / result.seeds[0].norm()
    x = seeds[0] / seeds[0].norm(dim=-1, keepdim=True)
    theta = angle(x, c).unsqueeze(-1)
    assert ((x - theta.cos() * c) * theta / theta.sin()).mean(0).norm() < 1e-8
    assert result.stalled == [True] and result.losses[0][-1] <= result.losses[0][0]


@pytest.mark.parametrize("d", [256, 1024, 4096, 16384, 65536])
def test_norm_aware_centroid_converges_at_any_size_in_single_precision(d):
    result = NAOCentroid()(normal(1, 5, d))
    assert result.stalled == [True] and result.losses[0][-1] < result.losses[0][0]
    assert result.seeds.dtype == torch.float32
    assert result.seeds.norm().item() / d**0.5 == pytest.approx(1, abs=4 / d**0.5 / 5)


def test_search_in_the_whole_space_finds_no_better_centroid():
    d, count, n = 12, 3, 8
    seeds = normal(1, count, d, dtype=torch.float64)
    result, cost = NAOCentroid(resolution=n)(seeds), PathCost(NormPrior(d))

    def loss(x):
        c, inner = x[0], x[1:].view(count, n - 2, d)
        paths = torch.cat([seeds[0].unsqueeze(1), inner, c.expand(count, 1, d)], 1)
        return cost(paths).sum() + cost.prior.price(c.norm())

    for seed in range(2):
        noise = normal(1 + count * (n - 2), d, seed=seed + 5, dtype=torch.float64)
        c = result.seeds[0] + 0.5 * noise[0]
        lines = Linear()(seeds[0], c.expand(count, d), n).seeds[:, 1:-1].reshape(-1, d)
        searched = Descent(5000, 1e-13)(loss, torch.cat([c[None], lines + 0.1 * noise[1:]]))
        assert searched.losses[-1] == pytest.approx(result.losses[0][-1], rel=1e-5)
        assert (searched.point[0] - result.seeds[0]).norm() < 1e-2


def test_norm_aware_centroid_resists_outliers_like_a_median():
    """An outlier draws the Frechet mean in proportion to its distance, the median less."""
    mode = NormPrior(256).mode
    near = torch.cat([pair(mode, mode, 0.3, d=256, seed=k)[0] for k in (0, 0, 0, 1)])
    near = near + 0.3 * normal(4, 256, dtype=torch.float64)
    outlier = lambda c: angle(near[3], c.seeds[0]).item()  # noqa: E731
    assert outlier(NAOCentroid()(near[None])) > outlier(FrechetMean()(near[None])) + 0.1


def test_centroid_of_cancelling_seeds_raises_user_error():
    opposite = torch.stack([torch.ones(16), -torch.ones(16)])[None]
    for centroid in CENTROIDS[1:]:
        with pytest.raises(UserError, match="no direction"):
            centroid(opposite)
