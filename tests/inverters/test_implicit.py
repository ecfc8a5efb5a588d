"""Identities between ddim, fpi, aidi and ife, and what each of them costs."""

import math
from dataclasses import replace
from itertools import pairwise

import mixture
import pytest
import torch
import toy
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import error

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.sampling import sample
from fpinv.schedule import Schedule
from fpinv.solvers import Anderson, Averaged, rms

CONVERGED = [
    FixedPoint(200, 1e-14),
    FixedPoint(200, 1e-14, start="extrapolated"),
    FixedPoint(100, 1e-14, acceleration=Anderson()),
    FixedPoint(200, 1e-14, acceleration=Averaged()),
]
EVERY = [
    DDIM(), DDIM(label="source"), FixedPoint(), FixedPoint(3, acceleration=Anderson()),
    FixedPoint(3, acceleration=Averaged()), FixedPoint(2, start="extrapolated"),
    FixedPoint(8, 1e-4), IFE(), IFE(variant="corrected"), IFE(variant="literal"),
]  # fmt: skip


@pytest.mark.parametrize("inverter", CONVERGED, ids=repr)
@pytest.mark.parametrize("steps", [10, 11])
@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("family", toy.FAMILIES)
def test_converged_inversion_is_exact(inverter, steps, guidance, family):
    d = toy.denoiser(steps, family, scale=0.3)
    assert error(inverter, d, toy.latents(), toy.condition(guidance=guidance)).max() < 1e-10


@pytest.mark.parametrize("family", toy.FAMILIES)
@pytest.mark.parametrize("guidance", [1, 3])
def test_one_fixed_point_iteration_is_ddim_bit_for_bit(family, guidance):
    d, z, c = toy.denoiser(10, family), toy.latents(), toy.condition(guidance=guidance)
    single, ddim = FixedPoint(1).invert(d, z, c), DDIM().invert(d, z, c)
    assert torch.equal(single.noise, ddim.noise)


@pytest.mark.parametrize("family", toy.FAMILIES)
def test_source_label_is_the_explicit_transfer(family):
    d, z, c = toy.denoiser(10, family), toy.latents(), toy.condition()
    x, s = z, d.schedule
    for i in range(1, 11):
        x = s.transfer(x, d(x, i - 1, c), i - 1, i)
    assert torch.allclose(DDIM(label="source").invert(d, z, c).noise, x, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize("guidance", [1, 3])
def test_literal_estimator_aims_at_the_image_seen_below(prediction, guidance):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=guidance)
    x, s = z, d.schedule
    for i in range(1, 11):
        x = s.aim(x, s.clean(x, d(x, i - 1, c), i - 1), i - 1, i)
    assert torch.allclose(IFE(variant="literal").invert(d, z, c).noise, x, rtol=1e-10)


@pytest.mark.parametrize("family", toy.FAMILIES)
def test_corrected_estimator_is_one_iteration_from_the_extrapolated_start(family):
    d, z, c = toy.denoiser(10, family), toy.latents(), toy.condition()
    single = FixedPoint(1, start="extrapolated").invert(d, z, c)
    ife = IFE(variant="corrected").invert(d, z, c)
    assert torch.allclose(ife.noise, single.noise, rtol=1e-10)
    assert torch.allclose(ife.residual, single.residual, rtol=1e-8)


def test_cached_estimator_aims_at_the_image_seen_where_the_network_was_evaluated():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition(guidance=2)
    s, x, z0 = d.schedule, z, z
    for i in range(1, 11):
        eps = d.noise(x, i, c)
        z = s.move(z, eps, i - 1, i)
        if i < 10:
            x = s.aim(z, (x - s.sigma[i] * eps) / s.alpha[i], i, i + 1)
    assert torch.allclose(IFE().invert(d, z0, c).noise, z, rtol=1e-10)
    corrected = IFE(variant="corrected").invert(d, z0, c).noise
    assert not torch.allclose(corrected, z, rtol=1e-3)


@pytest.mark.parametrize("inverter", EVERY + CONVERGED, ids=repr)
def test_iterates_do_not_depend_on_the_prediction_type(inverter):
    z, c = toy.latents(), toy.condition(guidance=2)
    inversion = [inverter.invert(toy.denoiser(10, p, 0.3), z, c).noise for p in toy.PREDICTIONS]
    assert torch.allclose(inversion[0], inversion[1], rtol=1e-7, atol=1e-9)
    assert torch.allclose(inversion[0], inversion[2], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
def test_error_falls_with_every_iteration(prediction):
    d, z, c = toy.denoiser(20, prediction, scale=0.5), toy.latents(), toy.condition()
    errors = [error(FixedPoint(k), d, z, c).max() for k in (1, 2, 3, 5, 8)]
    assert all(b < 0.7 * a for a, b in pairwise(errors))


@pytest.mark.parametrize("variant", ["corrected", "cached"])
def test_the_estimator_beats_ddim_at_its_cost_on_a_smooth_path(variant):
    grid = toy.schedule(50)
    d = Denoiser(toy.Gaussian(grid), grid, dtype=torch.float64)
    z, c = torch.linspace(-1, 1, 4, dtype=torch.float64).view(4, 1, 1, 1), toy.condition(4)
    assert error(IFE(variant=variant), d, z, c).max() < 0.2 * error(DDIM(), d, z, c).max()


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize(
    ("inverter", "calls"),
    [(DDIM(), 10), (DDIM(label="source"), 10), (IFE(), 10), (IFE(variant="corrected"), 10),
     (IFE(variant="literal"), 10), (FixedPoint(), 50), (FixedPoint(1), 10),
     (FixedPoint(4, acceleration=Anderson()), 40), (FixedPoint(4, acceleration=Averaged()), 40)],
    ids=repr,
)  # fmt: skip
def test_evaluation_counts(inverter, calls, guidance):
    d, c = toy.denoiser(), toy.condition(guidance=guidance)
    inversion = inverter.invert(d, toy.latents(), c)
    assert inversion.calls.tolist() == [calls] * 3 and d.calls == calls
    assert (
        inversion.rows.tolist() == [calls * c.rows_per_sample] * 3
        and d.rows == inversion.rows.sum()
    )
    d.calls = d.rows = 0
    inverter.sample(d, inversion, c)
    assert (d.calls, d.rows) == (10, 30 * c.rows_per_sample)


def test_a_tolerance_saves_evaluations_and_counts_them_per_image():
    d, z, c = toy.denoiser(scale=0.5), toy.latents(), toy.condition(guidance=2)
    z = z * torch.tensor([1.0, 3.0, 0.1], dtype=torch.float64).view(3, 1, 1, 1)
    inversion = FixedPoint(50, 1e-6).invert(d, z, c)
    assert (inversion.residual <= 1e-6).all()
    assert len(set(inversion.calls.tolist())) > 1
    assert d.rows == inversion.rows.sum() and d.calls <= inversion.calls.sum()
    assert torch.equal(inversion.iterations.sum(0), inversion.calls)


@pytest.mark.parametrize("inverter", EVERY, ids=repr)
def test_batch_equals_images_alone(inverter):
    toy.assert_batch_equals_images_alone(inverter)


@pytest.mark.parametrize("inverter", EVERY, ids=repr)
def test_inversion_guidance_replaces_that_of_the_run(inverter):
    d, z = toy.denoiser(), toy.latents()
    replaced = replace(inverter, inversion_guidance=1.0).invert(d, z, toy.condition(guidance=3))
    plain = inverter.invert(d, z, toy.condition(guidance=1))
    assert torch.equal(replaced.noise, plain.noise) and torch.equal(replaced.rows, plain.rows)


@pytest.mark.parametrize(
    "inverter", [DDIM(), DDIM(label="source"), FixedPoint(60, 1e-14), IFE()], ids=repr
)
def test_first_order_convergence_to_the_exact_flow(inverter):
    """On Gaussian data, with the grid's end points held, the error is of order 1/N.

    The estimator is explicit Euler with a better read-out, so its order is at least that.
    """
    errors = toy.flow_errors(inverter, 200, (1, 2, 4))
    orders = [math.log2(b / a) for a, b in pairwise(errors)]
    assert all(order > 0.8 for order in orders), (orders, errors)


@given(seed=st.integers(0, 1000), guidance=st.sampled_from([0.0, 1.0, 2.5]))
@settings(max_examples=15, deadline=None)
def test_the_fixed_point_solves_every_step_of_the_sampler(seed, guidance):
    d, c = toy.denoiser(10, "v_prediction", 0.3), toy.condition(guidance=guidance)
    z = toy.latents(seed=seed)
    noise = FixedPoint(100, 1e-13).invert(d, z, c).noise
    assert rms(sample(d, noise, c) - z).max() < 1e-9


def test_a_clean_end_without_a_label_refuses_only_the_source_label():
    grid = toy.schedule(10)
    grid = Schedule((1.0, *grid.alpha[1:]), (0.0, *grid.sigma[1:]), (-1, *grid.timestep[1:]))
    d = Denoiser(toy.predicting(toy.tanh_eps(0.3), grid), grid, dtype=torch.float64)
    z, c = toy.latents(), toy.condition()
    for inverter in (DDIM(label="source"), IFE(variant="literal")):
        with pytest.raises(UserError, match="source label"):
            inverter.invert(d, z, c)
    assert error(CONVERGED[0], d, z, c).max() < 1e-10
    assert IFE().invert(d, z, c).noise.isfinite().all()


@pytest.mark.parametrize(
    "wrong",
    [lambda: DDIM(label="up"), lambda: FixedPoint(0), lambda: FixedPoint(start="x"),
     lambda: FixedPoint(tolerance=-1), lambda: IFE(variant="x")],
)  # fmt: skip
def test_refuses_unknown_settings(wrong):
    with pytest.raises(UserError):
        wrong()


@pytest.mark.parametrize(
    ("grid", "three", "five"),
    [("flow, 28 steps, shift 3", 65, 95), ("flow, 28 steps, shift 1", 65, 95),
     ("flow, 50 steps, shift 3", 80, 120), ("flow, 50 steps, shift 1", 80, 120),
     ("flow, 8 steps, shift 1", 39, 53), ("v, 50 steps", 70, 95), ("v, 25 steps", 50, 75)],
)  # fmt: skip
def test_iteration_contracts_up_to_a_signal_scale_of_zero(grid, three, five):
    assert mixture.decibels(FixedPoint(3), mixture.GRIDS[grid]) > three
    assert mixture.decibels(FixedPoint(5), mixture.GRIDS[grid]) > five


@pytest.mark.parametrize("grid", mixture.GRIDS.values(), ids=mixture.GRIDS)
def test_full_grids_are_solved_exactly_with_anderson(grid):
    assert mixture.decibels(FixedPoint(20, acceleration=Anderson()), grid) > 220


@pytest.mark.parametrize("grid", ["flow, 28 steps, shift 3", "flow, 8 steps, shift 1"])
def test_the_estimator_continues_the_velocity(grid):
    """On rectified flow it is Uni-Inv, but for its first step; and better than ddim."""
    grid = mixture.GRIDS[grid]
    d, z, c = mixture.denoiser(grid), mixture.latents(16), mixture.condition(16)
    x, v = z, torch.zeros_like(z)
    for i in range(1, grid.steps + 1):
        length = grid.sigma[i] - grid.sigma[i - 1]
        v = d(x + length * v, i, c)
        x = x + length * v
    assert torch.allclose(IFE(variant="corrected").invert(d, z, c).noise, x, rtol=1e-9)
    assert mixture.decibels(IFE(), grid) > mixture.decibels(DDIM(), grid) + 6


@pytest.mark.parametrize(
    "inverter", [FixedPoint(3), FixedPoint(6), FixedPoint(50, 1e-4)], ids=repr
)
@pytest.mark.parametrize("grid", mixture.GRIDS)
def test_without_guidance_the_error_of_the_reconstruction_is_foretold(inverter, grid):
    d, z, c = mixture.denoiser(mixture.GRIDS[grid]), mixture.latents(16), mixture.condition(16)
    inversion = inverter.invert(d, z, c)
    foretold = (
        (inversion.expected_error / rms(sample(d, inversion.noise, c) - z)).log().mean().exp()
    )
    assert 1 / 3 < foretold < 3


@pytest.mark.parametrize(
    ("inverter", "guidance"),
    [(FixedPoint(1), 1), (FixedPoint(5, acceleration=Anderson()), 1), (FixedPoint(5), 3)],
)
def test_nothing_is_foretold_where_nothing_tells_it(inverter, guidance):
    inversion = inverter.invert(toy.denoiser(), toy.latents(), toy.condition(guidance=guidance))
    assert inversion.expected_error is None
