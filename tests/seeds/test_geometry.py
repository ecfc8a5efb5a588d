"""Polar coordinates of seeds: accurate where the textbook forms are not."""

import math

import pytest
import torch
from drawn_seeds import pair

from fpinv.errors import UserError
from fpinv.seeds.geometry import Span, angle, arc_weights, chord, opening


@pytest.mark.parametrize("theta", [0.0, 1e-9, 1e-4, 0.7, math.pi / 2, 3.1])
def test_small_angles_are_exact(theta):
    a, b = pair(2.0, 3.0, theta, d=64)
    assert angle(a, b).item() == pytest.approx(theta, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize("theta", [0.0, 1e-9, 0.7, 3.1])
def test_chord_equals_the_distance(theta):
    a, b = pair(2.0, 3.0, theta, d=64)
    distance = chord(torch.tensor(2.0), torch.tensor(3.0), torch.tensor(theta))
    assert distance.item() == pytest.approx((a - b).norm().item(), rel=1e-6)


def test_gradients_are_finite_where_points_meet():
    a = torch.tensor([1.0, 2.0, 2.0], dtype=torch.float64)
    b = a.clone().requires_grad_()
    (angle(a, b) + chord(a.norm(), b.norm(), angle(a, b))).backward()
    assert b.grad.isfinite().all()


def test_arc_weights_tend_to_those_of_the_straight_line():
    t = torch.linspace(0, 1, 5, dtype=torch.float64)
    for theta in (0.0, 1e-9):
        weight_a, weight_b = arc_weights(t, torch.tensor(theta, dtype=torch.float64))
        assert torch.allclose(weight_a, 1 - t) and torch.allclose(weight_b, t)


def test_span_reproduces_its_seeds():
    seeds = torch.randn(2, 3, 4, 5, 5)
    span = Span.of(seeds)
    for k in range(3):
        assert torch.allclose(span.seeds(span.coordinates[:, k], seeds), seeds[:, k], atol=1e-6)
    gram = seeds.double().flatten(2) @ seeds.double().flatten(2).mT
    assert torch.allclose(span.coordinates @ span.coordinates.mT, gram)


@pytest.mark.parametrize("bad", [torch.zeros(1, 8), torch.full((1, 8), torch.nan)])
def test_seeds_without_direction_raise_user_error(bad):
    with pytest.raises(UserError, match="no direction"):
        opening(bad, torch.ones(1, 8))


def test_opposite_seeds_raise_user_error():
    with pytest.raises(UserError, match="opposite"):
        opening(torch.ones(1, 8), -2 * torch.ones(1, 8))
