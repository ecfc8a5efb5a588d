import pytest
import torch
import toy
from hypothesis import given
from hypothesis import strategies as st

from fpinv.schedule import Schedule

ALL = (*toy.PREDICTIONS, "flow")


def flow_schedule(steps=10):
    sigma = tuple(0.02 + 0.9 * i / steps for i in range(steps + 1))
    return Schedule(tuple(1 - s for s in sigma), sigma, tuple(range(steps + 1)), "flow")


def grid_of(prediction, steps=10):
    return flow_schedule(steps) if prediction == "flow" else toy.schedule(steps, prediction)


def pair(seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, generator=g).double(), torch.randn(2, 3, generator=g).double()


@pytest.mark.parametrize("steps", [1, 28, 45, 51])
@pytest.mark.parametrize("shift", [1.0, 1.1, 3.0])
def test_a_flow_ends_at_noise_alone(steps, shift):
    flow = Schedule.flow(steps, shift)
    assert flow.alpha[-1] == 0 and flow.sigma[-1] == 1


@pytest.mark.parametrize("prediction", ALL)
@given(i=st.integers(0, 10), j=st.integers(0, 10), k=st.integers(0, 10))
def test_transfer_with_the_implied_pair_held_is_transitive(prediction, i, j, k):
    s, (z, m) = grid_of(prediction), pair()
    x, eps = s.clean(z, m, i), s.noise(z, m, i)
    middle = s.alpha[j] * x + s.sigma[j] * eps
    assert torch.allclose(s.transfer(z, m, i, j), middle)
    direct = s.transfer(z, m, i, k)
    assert torch.allclose(s.move(middle, eps, j, k), direct, rtol=1e-9)


@pytest.mark.parametrize("prediction", ALL)
@pytest.mark.parametrize("i", [1, 5, 10])
def test_preimage_of_a_step_is_the_identity(prediction, i):
    s, (z, m) = grid_of(prediction), pair()
    assert torch.allclose(s.preimage(s.transfer(z, m, i, i - 1), m, i), z)
    assert torch.allclose(s.transfer(s.preimage(z, m, i), m, i, i - 1), z)


@pytest.mark.parametrize("prediction", ALL)
def test_implied_pair_composes_the_latent(prediction):
    s, (z, m) = grid_of(prediction), pair()
    for i in (1, 5, 10):
        x, eps = s.clean(z, m, i), s.noise(z, m, i)
        assert torch.allclose(s.noised(x, eps, i), z)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "flow"])
def test_preimage_is_the_transfer_up_where_the_output_means_the_same_everywhere(prediction):
    s, (z, m) = grid_of(prediction), pair()
    assert torch.allclose(s.preimage(z, m, 4), s.transfer(z, m, 3, 4))


def test_preimage_and_transfer_up_differ_for_v():
    s, (z, m) = grid_of("v_prediction"), pair()
    assert not torch.allclose(s.preimage(z, m, 4), s.transfer(z, m, 3, 4), rtol=1e-3)


@pytest.mark.parametrize("prediction", ALL)
def test_extrapolation_continues_with_the_same_noise(prediction):
    s, (z, eps) = grid_of(prediction), pair()
    there = s.move(z, eps, 3, 4)
    assert torch.allclose(s.extrapolate(z, there, 4), s.move(there, eps, 4, 5))


@pytest.mark.parametrize("family", toy.FAMILIES)
@pytest.mark.parametrize("i", [1, 5, 10])
def test_a_step_undone_in_its_form_is_the_identity(family, i):
    s, (z, h) = toy.schedule(10, family), pair()
    assert torch.allclose(s.lowered(s.raised(z, h, i), h, i), z)
    up = s.raised(z, h, i)
    if i < 10:  # the move divides by the signal scale
        assert torch.allclose(s.move(up, s.held_noise(up, h, i), i, i - 1), z)
    assert torch.allclose(s.move(z, s.held_noise(up, h, i), i - 1, i), up)


@pytest.mark.parametrize("family", toy.FAMILIES)
@pytest.mark.parametrize("i", [1, 5, 10])
def test_sensitivity_is_that_of_the_equation(family, i):
    """For a network that is linear in x, with a slope that both terms of sensitivity must meet."""
    s, (z, x) = toy.schedule(10, family), pair()
    a, weight = s.sensitivity(i)

    def g(x):
        return s.raised(z, s.held(x, 0.3 * x, i), i)

    miss = s.transfer(x, 0.3 * x, i, i - 1) - z
    assert torch.allclose(x - g(x), a * miss)
    unit = s.sigma[i] if s.form(i) == "epsilon" else 1.0
    slope = unit * (s.held(x + 1, 0.3 * (x + 1), i) - s.held(x, 0.3 * x, i))
    assert torch.allclose(g(x + 1) - g(x), weight * slope)


def test_the_last_step_of_a_full_grid_holds_what_its_equation_can_tell():
    """In epsilon form, where the signal scale is 0, any x would be its solution."""
    for family in ("flow", "v at zero SNR"):
        s, (z, m) = toy.schedule(10, family), pair()
        for x in (z, 2 * z):
            assert torch.allclose(s.move(z, s.noise(x, m, 10), 9, 10), x)
        assert s.form(10) == s.prediction
    assert {toy.schedule(10, p).form(i) for p in toy.PREDICTIONS for i in range(1, 11)} == {
        "epsilon"
    }


@pytest.mark.parametrize("prediction", ALL)
def test_the_output_is_the_slope_of_the_latents_in_its_own_time(prediction):
    """With image and noise held, between ever closer indices."""
    s, (x, eps) = grid_of(prediction, 500), pair()
    z = [s.noised(x, eps, i) for i in (250, 251)]
    (c, t), (c_up, t_up) = (s.time(i, prediction) for i in (250, 251))
    slope = (z[1] / c_up - z[0] / c) / (t_up - t)
    m = s.output(z[0], z[1], 251)
    assert torch.allclose(slope, m, atol=5e-3)
    assert torch.allclose(s.transfer(z[1], m, 251, 250), z[0])
    assert torch.allclose(s.clean(z[1], m, 251), x) and torch.allclose(s.noise(z[1], m, 251), eps)
