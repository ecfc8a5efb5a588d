"""RF-Solver, FireFlow and RF-Inversion: what they equal, cost and converge to."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import toy

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fireflow import FireFlow
from fpinv.inverters.rf_inversion import RFInversion
from fpinv.inverters.rf_solver import RFSolver
from fpinv.schedule import Schedule
from fpinv.seeding import numbers
from fpinv.solvers import rms


def flow(steps=10):
    return toy.denoiser(steps, "flow", 0.5)


def test_euler_is_ddim_with_the_label_of_the_source():
    d, z, c = flow(), toy.latents(), toy.condition(guidance=2)
    x, sigma = z, d.schedule.sigma
    for i in range(10):
        x = x + (sigma[i + 1] - sigma[i]) * d(x, i, c)
    assert torch.allclose(DDIM(label="source").invert(d, z, c).noise, x, rtol=1e-12)


def test_rf_inversion_without_pulls_is_euler():
    d, z, c = flow(), toy.latents(), toy.condition(guidance=2)
    free, euler = RFInversion(0.0, 0.0, inversion_guidance=None), DDIM(label="source")
    inversion, expected = free.invert(d, z, c), euler.invert(d, z, c)
    assert torch.allclose(inversion.noise, expected.noise, rtol=1e-12)
    back, plain = free.sample(d, inversion, c), euler.sample(d, expected, c)
    assert torch.allclose(back, plain, rtol=1e-12)


def test_rf_inversion_pulled_to_the_full_ends_at_its_noise_and_its_image():
    d, z, c = flow(), toy.latents(), toy.condition()
    inversion = RFInversion(1.0, 1.0, stop=1.0).invert(d, z, c)
    assert torch.allclose(inversion.noise[0], inversion.noise[1])
    other = RFInversion(1.0, 1.0, stop=1.0, seed=1).invert(d, z, c)
    assert rms(other.noise - inversion.noise).min() > 0.5
    assert torch.allclose(RFInversion(1.0, 1.0, stop=1.0).sample(d, inversion, c), z)


def test_rf_inversion_pulls_each_image_to_a_noise_of_its_own():
    """Whatever images stand beside it; without their numbers all have the same noise."""
    d, z, c = flow(), toy.latents()[:1].expand(3, -1, -1, -1), toy.condition()
    named = replace(c, images=numbers(["a", "b", "a"], "cpu"))
    pulled = RFInversion(gamma=1.0)
    noise, alone = pulled.invert(d, z, named).noise, pulled.invert(d, z[1:2], named[slice(1, 2)])
    assert torch.equal(noise[0], noise[2]) and torch.equal(noise[1:2], alone.noise)
    assert rms(noise[:1] - noise[1:2]) > 0.5
    assert torch.equal(*pulled.invert(d, z, c).noise[:2])


def test_rf_inversion_pulls_for_a_part_of_the_steps():
    d, z, c = flow(), toy.latents(), toy.condition()
    errors = [toy.error(RFInversion(stop=stop), d, z, c).mean() for stop in (0.0, 0.3, 0.6, 1.0)]
    assert errors == sorted(errors, reverse=True)
    late, never = RFInversion(start=0.5, stop=0.5), RFInversion(eta=0.0)
    assert torch.equal(toy.error(late, d, z, c), toy.error(never, d, z, c))


def test_a_taylor_step_of_rf_solver_is_the_midpoint_rule():
    d, z, c = flow(1), toy.latents(), toy.condition(guidance=2)
    v = d(z, 0, c)
    middle = Denoiser(d.network, Schedule.flow(2), torch.float64)
    v_mid = middle(z + v / 2, 1, c)
    slope = (v_mid - v) / (1 / 2)
    assert torch.allclose(RFSolver().invert(d, z, c).noise, z + v + slope / 2, rtol=1e-9)


def test_fireflow_leads_to_its_midpoint_by_the_last_velocity():
    d, z, c = flow(2), toy.latents(), toy.condition()
    sigma = d.schedule.sigma
    v = d(z, 0, c)
    for i in range(2):
        h = sigma[i + 1] - sigma[i]
        v = d(z + h / 2 * v, i + 0.5, c)
        z = z + h * v
    assert torch.allclose(FireFlow().invert(d, toy.latents(), c).noise, z, rtol=1e-12)


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize(
    ("inverter", "calls"),
    [(RFSolver(), 20), (FireFlow(), 11), (RFInversion(inversion_guidance=None), 10)],
    ids=repr,
)
def test_evaluation_counts(inverter, calls, guidance):
    d, c = flow(), toy.condition(guidance=guidance)
    inversion = inverter.invert(d, toy.latents(), c)
    assert inversion.calls.tolist() == [calls] * 3 and d.calls == calls
    d.calls = 0
    inverter.sample(d, inversion, c)
    assert d.calls == calls


@pytest.mark.parametrize(
    ("inverter", "order"),
    [(DDIM(label="source"), 0.9), (RFSolver(), 1.9), (FireFlow(), 1.9)],
    ids=repr,
)
def test_order_of_convergence_on_the_way_up(inverter, order):
    d, z, c = flow(512), toy.latents(), toy.condition()
    exact = RFSolver().invert(d, z, c).noise
    errors = [rms(inverter.invert(flow(n), z, c).noise - exact).mean() for n in (32, 64, 128)]
    orders = [math.log2(a / b) for a, b in pairwise(errors)]
    assert min(orders) > order, orders


def test_a_round_trip_of_the_midpoint_rule_loses_less_than_one_of_euler():
    d, z, c = flow(20), toy.latents(), toy.condition()
    euler = toy.error(DDIM(label="source"), d, z, c)
    for inverter in (RFSolver(), FireFlow()):
        assert (toy.error(inverter, d, z, c) < 0.1 * euler).all()


@pytest.mark.parametrize("inverter", [RFSolver(), FireFlow(), RFInversion()], ids=repr)
@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
def test_models_without_a_velocity_are_refused(inverter, prediction):
    with pytest.raises(UserError, match=f"'{prediction}'.*model=scenes_flow"):
        inverter.invert(toy.denoiser(5, prediction), toy.latents(), toy.condition())


def test_steps_that_are_pulled_are_counted_exactly():
    """At .27 and .28 the first 7 of 25 steps are pulled; .28 x 25 is 7.000...1 in floats."""
    d, z, c = flow(25), toy.latents(), toy.condition()
    inversion = RFInversion().invert(d, z, c)
    parts = [RFInversion(stop=stop).sample(d, inversion, c) for stop in (0.27, 0.28, 0.3)]
    assert torch.equal(parts[0], parts[1]) and not torch.equal(parts[1], parts[2])


@pytest.mark.parametrize("wrong", [{"gamma": 1.5}, {"eta": -0.1}, {"start": 2.0}, {"stop": -1.0}])
def test_refuses_impossible_settings(wrong):
    with pytest.raises(UserError, match="is not possible: choose 0 to 1"):
        RFInversion(**wrong)
