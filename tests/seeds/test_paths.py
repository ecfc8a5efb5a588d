"""Paths: lengths against closed forms, the norm-aware optimum against searches in all of R^d."""

import math
import time

import pytest
import torch
from drawn_seeds import normal, pair

from fpinv.errors import UserError
from fpinv.seeds.cost import PathCost
from fpinv.seeds.geometry import angle
from fpinv.seeds.optimisation import Descent
from fpinv.seeds.paths import Linear, NAOPath, Slerp
from fpinv.seeds.prior import NormPrior

PATHS = [Linear(), Slerp(), NAOPath(resolution=12)]


def length(path):
    return path.diff(dim=1).flatten(2).norm(dim=-1).sum(1).item()


@pytest.mark.parametrize("theta", [0.3, math.pi / 2, 2.5])
def test_path_lengths_equal_the_closed_forms(theta):
    a, b = pair(16.0, 16.0, theta, d=256)
    chord, arc = 2 * 16 * math.sin(theta / 2), 16 * theta
    assert length(Linear()(a, b, 50).seeds) == pytest.approx(chord, rel=1e-12)
    polygon = 2 * 16 * 49 * math.sin(theta / 98)
    assert length(Slerp()(a, b, 50).seeds) == pytest.approx(polygon, rel=1e-12)
    assert length(Slerp()(a, b, 2000).seeds) == pytest.approx(arc, rel=1e-6)


@pytest.mark.parametrize("theta", [0.3, math.pi / 2, 2.5])
def test_norm_aware_path_between_seeds_at_the_mode_is_the_great_circle(theta):
    prior = NormPrior(4096)
    a, b = pair(prior.mode, prior.mode, theta, d=4096)
    path = NAOPath(resolution=200)(a, b, 200).seeds
    assert length(path) == pytest.approx(prior.mode * theta, rel=1e-3)
    assert torch.allclose(path, Slerp()(a, b, 200).seeds, atol=0.02)
    cost = NAOPath().cost(a)(path).item()
    assert cost == pytest.approx(-prior.peak * prior.mode * theta, rel=1e-3)


@pytest.mark.parametrize("path", PATHS)
def test_paths_keep_ends_shapes_and_precision(path):
    a, b = normal(2, 4, 8, 8), normal(2, 4, 8, 8, seed=1)
    result = path(a, b, 5).seeds
    assert result.shape == (2, 5, 4, 8, 8) and result.dtype == a.dtype
    assert torch.allclose(result[:, 0], a) and torch.allclose(result[:, -1], b)


@pytest.mark.parametrize("path", PATHS)
def test_path_does_not_depend_on_the_batch(path):
    a, b = normal(3, 1, 16, 16), normal(3, 1, 16, 16, seed=1)
    together = path(a, b, 6).seeds
    for k in range(3):
        alone = path(a[k : k + 1], b[k : k + 1], 6).seeds
        assert torch.allclose(alone, together[k : k + 1], atol=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_path_from_a_seed_to_itself_stays_there(path):
    prior = NormPrior(256)
    a = prior.project(normal(1, 4, 8, 8))
    assert (path(a, a, 5).seeds - a.unsqueeze(1)).abs().max() < 1e-5


@pytest.mark.parametrize("d", [256, 1024, 4096, 16384, 65536])
def test_norm_aware_path_is_cheaper_than_slerp_at_any_size(d):
    a, b = normal(1, d), normal(1, d, seed=1)
    path = NAOPath()
    cost, result = path.cost(a), path(a, b, 50)
    assert result.seeds.dtype == torch.float32 and result.stalled == [True]
    optimised = cost(result.seeds).item()
    assert optimised < cost(Slerp()(a, b, 50).seeds).item() < cost(Linear()(a, b, 50).seeds).item()
    assert result.losses[0][-1] == pytest.approx(optimised, rel=1e-6)
    # no path is cheaper than its angle at the mode plus the climb to the mode and back
    arc = -cost.prior.peak * cost.prior.mode * angle(a.double(), b.double()).item()
    climbs = 2 * -cost.prior.peak * 2
    assert 0.99 * arc < optimised < arc + climbs + 1


@pytest.mark.parametrize("quadrature", ["simpson", "midpoint"])
@pytest.mark.parametrize(
    ("theta", "start", "end"), [(0.2, 0.7, 1.3), (1.6, 1.3, 1.1), (3.0, 1, 0.6)]
)
def test_norm_aware_path_is_cheaper_than_slerp_from_unlikely_ends(quadrature, theta, start, end):
    prior = NormPrior(1024)
    a, b = pair(start * prior.mode, end * prior.mode, theta, d=1024)
    path = NAOPath(resolution=20, quadrature=quadrature)
    cost = path.cost(a)
    assert cost(path(a, b, 20).seeds) < cost(Slerp()(a, b, 20).seeds)


@pytest.mark.parametrize("quadrature", ["simpson", "midpoint"])
def test_search_in_the_whole_space_finds_no_cheaper_path(quadrature):
    """The plane of the ends is enough: noise that leaves it is taken back or costs."""
    d, n = 12, 10
    a, b = normal(1, d, dtype=torch.float64), normal(1, d, seed=1, dtype=torch.float64)
    path = NAOPath(resolution=n, quadrature=quadrature)
    cost, line = path.cost(a), Linear()(a, b, n).seeds[0, 1:-1]
    best = cost(path(a, b, n).seeds).item()
    for seed in range(2):
        start = line + 0.3 * normal(n - 2, d, seed=seed, dtype=torch.float64)
        result = Descent(3000, 1e-13)(lambda x: cost(torch.cat([a, x, b])[None])[0], start)
        assert result.losses[-1] == pytest.approx(best, rel=1e-5)


def test_norm_aware_path_is_as_cheap_as_one_by_adam():
    """Adam, as the paper has it, from a straight line; in coordinates of the plane for speed."""
    a, b = pair(15.8, 16.3, 1.58, d=256)
    path = NAOPath(resolution=12)
    cost, reference = path.cost(a), NAOPath(resolution=12)(a, b, 12)
    plane = torch.linalg.qr(torch.cat([a, b]).T).Q
    flat_a, flat_b = a @ plane, b @ plane
    x = Linear()(flat_a, flat_b, 12).seeds[0, 1:-1].clone().requires_grad_()
    adam = torch.optim.Adam([x], lr=0.05)
    for _ in range(500):
        loss = cost(torch.cat([flat_a, x, flat_b])[None])[0]
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert cost(reference.seeds).item() < 1.005 * loss.item()


def test_path_zigzags_with_midpoint_and_not_with_simpson():
    prior = NormPrior(16384)
    a, b = pair(prior.mode + 6, prior.mode - 5, 1.58, d=16384)

    def overshoot(quadrature):
        seeds = NAOPath(quadrature=quadrature)(a, b, 50).seeds
        return prior.mode - seeds.norm(dim=-1)[0, 1:10].min().item()

    assert overshoot("midpoint") > 3 and overshoot("simpson") < 0.5


def test_points_are_evenly_spaced_and_few_are_a_subset_of_many():
    a, b = normal(1, 1024), normal(1, 1024, seed=1)
    path = NAOPath(resolution=49)
    many, few = path(a, b, 49).seeds, path(a, b, 5).seeds
    assert torch.equal(few, many[:, ::12])
    steps = many.diff(dim=1).norm(dim=-1)[0]
    assert steps.std() < 0.03 * steps.mean()


def test_loss_of_the_norm_aware_path_never_rises():
    a, b = normal(1, 1024), normal(1, 1024, seed=1)
    losses = NAOPath()(a, b, 50).losses[0]
    assert all(later <= earlier for earlier, later in zip(losses, losses[1:], strict=False))
    short = NAOPath(descent=Descent(iterations=3))(a, b, 50)
    assert short.stalled == [False] and len(short.losses[0]) == 4


def test_path_cost_is_invariant_under_rotation():
    path = normal(2, 7, 64, dtype=torch.float64)
    turned = path @ torch.linalg.qr(normal(64, 64, seed=1, dtype=torch.float64)).Q
    cost = PathCost(NormPrior(64))
    assert torch.allclose(cost(path), cost(turned))


def test_norm_aware_path_at_the_size_of_stable_diffusion_takes_seconds():
    a, b = normal(1, 4, 64, 64), normal(1, 4, 64, 64, seed=1)
    began = time.process_time()
    NAOPath()(a, b, 50)
    assert time.process_time() - began < 5


def test_invalid_arguments_raise_user_error():
    with pytest.raises(UserError, match="simpson or midpoint"):
        PathCost(NormPrior(16), "trapezoid")
    with pytest.raises(UserError, match="at least 3"):
        NAOPath(resolution=2)
    with pytest.raises(UserError, match="iterations=0"):
        Descent(iterations=0)
    with pytest.raises(UserError, match="opposite"):
        NAOPath()(torch.ones(1, 16), -torch.ones(1, 16), 5)
