"""The tolerance-driven inverter: exact where asked, cheap where not, never worse than DDIM."""

import math
from dataclasses import replace
from itertools import product

import mixture
import pytest
import torch
import toy

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.auto.auto import Auto, Climb
from fpinv.inverters.auto.goal import Goal
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.implicit import ascend
from fpinv.sampling import sample
from fpinv.solvers import rms

ROUGH = 4.0


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize(
    ("steps", "family"), [(1, "epsilon"), (2, "epsilon"), *product((10, 11), toy.FAMILIES)]
)
def test_auto_is_exact_at_a_high_accuracy(steps, guidance, family):
    d = toy.denoiser(steps, family, scale=0.3)
    inverter = Auto(accuracy=250.0, iterations=60)
    assert toy.error(inverter, d, toy.latents(), toy.condition(guidance=guidance)).max() < 1e-10


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("accuracy", [20.0, 40.0, 60.0, 80.0, 120.0])
def test_auto_stays_within_the_accepted_error(accuracy, guidance):
    d, z, c = toy.denoiser(20, scale=0.3), toy.latents(16), toy.condition(16, guidance)
    inversion = Auto(accuracy).invert(d, z, c)
    assert inversion.converged.all()
    errors = rms(sample(d, inversion.noise, c) - z) / rms(z)
    assert errors.mean() < 10 ** (-accuracy / 20) and errors.max() < 1.5 * 10 ** (-accuracy / 20)


def test_auto_spends_more_evaluations_for_more_accuracy():
    d, z, c = toy.denoiser(20, scale=0.3), toy.latents(16), toy.condition(16, guidance=3)
    runs = [Auto(accuracy).invert(d, z, c) for accuracy in (20.0, 60.0, 120.0)]
    calls = [inversion.calls.double().mean() for inversion in runs]
    errors = [rms(sample(d, inversion.noise, c) - z).mean() for inversion in runs]
    assert calls[0] < calls[1] < calls[2] and errors[0] > errors[1] > 100 * errors[2]
    assert torch.equal(runs[0].calls, runs[0].iterations.sum(0) + 20)
    assert (runs[0].iterations >= 1).all() and calls[0] >= 20


def test_auto_needs_fewer_evaluations_than_plain_iteration_for_a_smaller_error():
    d, z, c = toy.denoiser(50, scale=0.3), toy.latents(16), toy.condition(16)
    plain, auto = FixedPoint(3), Auto(100.0)
    assert auto.invert(d, z, c).calls.double().mean() < 0.8 * plain.invert(d, z, c).calls[0]
    assert toy.error(auto, d, z, c).max() < toy.error(plain, d, z, c).min()


def test_auto_takes_one_evaluation_a_step_from_a_network_sure_of_its_image():
    """A network that is sure of its image makes every start the solution."""
    grid, image = toy.schedule(10), toy.latents(1, seed=5)
    scales = {t: (a, s) for t, a, s in zip(grid.timestep, grid.alpha, grid.sigma, strict=True)}

    def eps(z, t, embedding):
        a, s = scales[int(t[0])]
        return (z - a * image) / s

    d = Denoiser(eps, grid, torch.float64)
    z = grid.noised(image, toy.latents(2), 0)
    inversion = Auto(accuracy=140.0).invert(d, z, toy.condition(2))
    assert (inversion.iterations[1:] == 1).all() and inversion.residual[1:].max() < 1e-12


@pytest.mark.parametrize("scale", [1.0, 2.0, ROUGH, 8.0])
@pytest.mark.parametrize("steps", [5, 10])
def test_auto_brings_no_image_back_worse_than_ddim(steps, scale):
    d, z, c = toy.denoiser(steps, scale=scale), toy.latents(15), toy.condition(15, guidance=7.5)
    auto, ddim = (toy.error(inverter, d, z, c) for inverter in (Auto(), DDIM()))
    assert (auto <= ddim * (1 + 1e-9)).all()


def test_auto_records_unsolved_steps_and_the_cost_of_checks():
    d, z, c = toy.denoiser(10, scale=ROUGH), toy.latents(15), toy.condition(15, guidance=7.5)
    inversion = Auto(iterations=6, descents=0).invert(d, z, c)
    assert d.rows == inversion.rows.sum() == 2 * inversion.calls.sum()
    assert not inversion.converged.all(0).any()
    lost = rms(inversion.noise - DDIM().invert(d, z, c).noise) < 1e-9
    assert lost.any() and not inversion.converged[:, lost].any()
    assert (inversion.iterations[:, lost] == 1).all()
    checks = (inversion.calls - inversion.iterations.sum(0))[~lost]
    assert (checks == 30).any() and ((checks == 10) | (checks == 30)).all()
    unsolved = ~inversion.converged[:, ~lost]
    assert unsolved.any(0).all() and (inversion.iterations[:, ~lost][unsolved] == 6).all()
    for guidance, sampled in ((1, 0), (5, 10)):
        smooth = Auto().invert(toy.denoiser(10, scale=0.3), z, toy.condition(15, guidance))
        assert smooth.converged.all()
        assert torch.equal(smooth.calls, smooth.iterations.sum(0) + sampled)


def test_auto_climbs_again_where_the_error_was_not_foreseen(monkeypatch):
    d, z, c = toy.denoiser(10, scale=3.0), toy.latents(30), toy.condition(30, guidance=7.5)
    mended = toy.error(Auto(), d, z, c)
    monkeypatch.setattr("fpinv.inverters.auto.check.FORESEEN", math.inf)
    unmended = toy.error(Auto(), d, z, c)
    assert (mended <= unmended * 1.01).all() and (mended < unmended / 2).any()


def test_descents_are_counted_and_bounded_and_bring_images_closer():
    d, z, c = toy.denoiser(6, scale=2.0), toy.latents(15), toy.condition(15, guidance=7.5)
    without = toy.error(Auto(descents=0), d, z, c)
    before = d.rows
    inversion = Auto(descents=20).invert(d, z, c)
    assert d.rows - before == inversion.rows.sum() == 2 * inversion.calls.sum()
    assert 12 < inversion.iterations.max() <= 12 + 20 + 80 + 1
    errors = rms(sample(d, inversion.noise, c) - z) / rms(z)
    assert errors.log().mean() < without.log().mean() - 0.5


@pytest.mark.parametrize(
    ("accuracy", "guidance"), [(10.0, 7.5), (20.0, 3), (20.0, 7.5), (40.0, 3), (40.0, 7.5)]
)
def test_auto_mends_wrong_predictions_of_solved_steps(accuracy, guidance, monkeypatch):
    monkeypatch.setattr("fpinv.inverters.auto.iteration.GUIDED_AIM", 1.0)
    d, z, c = toy.denoiser(10, scale=1.0), toy.latents(30), toy.condition(30, guidance)
    inversion = Auto(accuracy).invert(d, z, c)
    again = inversion.calls > inversion.iterations.sum(0) + 10
    solved, errors = inversion.converged.all(0), rms(sample(d, inversion.noise, c) - z) / rms(z)
    assert (again & solved).any() and not again.all()
    assert (errors[solved] <= 10 ** (-accuracy / 20)).all()


def test_steps_solved_ahead_spare_second_climbs(monkeypatch):
    d, z, c = toy.denoiser(10, scale=1.0), toy.latents(30), toy.condition(30, guidance=3)

    def climbs_again():
        inversion = Auto().invert(d, z, c)
        return inversion.calls > inversion.iterations.sum(0) + d.schedule.steps

    assert not climbs_again().any()
    monkeypatch.setattr("fpinv.inverters.auto.iteration.GUIDED_AIM", 1.0)
    assert climbs_again().any()


def test_a_parabola_starts_closer_than_a_line(monkeypatch):
    d, z, c = toy.denoiser(50, scale=0.3), toy.latents(16), toy.condition(16)
    single = Auto(accuracy=20.0, iterations=1, descents=0)
    parabola = toy.error(single, d, z, c)
    monkeypatch.setattr("fpinv.inverters.auto.iteration.BEND", -1.0)
    line = toy.error(single, d, z, c)
    assert (parabola < line).all() and parabola.mean() < 0.7 * line.mean()


@pytest.mark.parametrize("scale", [1.5, 2.0])
def test_descents_are_repeated_stricter_where_the_error_was_not_foreseen(scale):
    d, z, c = toy.denoiser(10, scale=scale), toy.latents(30), toy.condition(30, guidance=7.5)
    inversion = Auto().invert(d, z, c)
    errors = rms(sample(d, inversion.noise, c) - z) / rms(z)
    again = inversion.calls > inversion.iterations.sum(0) + 30
    mended = again & (inversion.iterations.amax(0) > 12) & (errors <= 0.01)
    assert mended.sum() >= 10 and errors.log10().mean() < -2.5


@pytest.mark.parametrize(("guidance", "checked"), [(1.0, 0), (3.0, 6)])
def test_auto_checks_at_the_guidance_of_the_inversion(guidance, checked):
    d, z = toy.denoiser(6, scale=0.5), toy.latents(5)
    inversion = Auto(inversion_guidance=guidance).invert(d, z, toy.condition(5, guidance=7.5))
    expected = Auto().invert(d, z, toy.condition(5, guidance))
    assert torch.equal(inversion.noise, expected.noise) and torch.equal(
        inversion.calls, expected.calls
    )
    assert torch.equal(inversion.calls, inversion.iterations.sum(0) + checked)


def test_auto_takes_a_guidance_a_sample():
    d, z, scales = toy.denoiser(6, scale=1.0), toy.latents(15), torch.tensor([2.0, 3.0, 7.5])
    inversion = Auto().invert(d, z, replace(toy.condition(15, 3), guidance=scales.repeat(5)))
    for k, guidance in enumerate(scales.tolist()):
        alone = Auto().invert(d, z[k::3], toy.condition(15, guidance)[slice(k, None, 3)])
        assert torch.allclose(inversion.noise[k::3], alone.noise, rtol=1e-5, atol=1e-6)
        assert torch.equal(inversion.calls[k::3], alone.calls)


@pytest.mark.parametrize("prediction", ["v_prediction", "sample"])
def test_a_last_step_without_a_signal_is_solved_like_any_other(prediction):
    grid = toy.schedule(10, prediction)
    grid = replace(grid, alpha=(*grid.alpha[:-1], 0.0), sigma=(*grid.sigma[:-1], 1.0))
    d = Denoiser(lambda z, t, e: -0.5 * z.tanh(), grid, torch.float64)
    z, c = toy.latents(), toy.condition()
    inversion = Auto(accuracy=60.0, descents=0).invert(d, z, c)
    assert inversion.converged.all() and inversion.iterations[-1].max() < 12
    assert (toy.error(Auto(accuracy=60.0, descents=0), d, z, c) <= 1.5e-3).all()


@pytest.mark.parametrize("grid", mixture.GRIDS.values(), ids=mixture.GRIDS)
def test_auto_reaches_its_accuracy_on_full_grids(grid):
    assert mixture.decibels(Auto(), grid) > 40


def test_an_evaluation_that_overflows_spoils_its_own_step_alone():
    d, z, c = toy.denoiser(10, scale=0.3), toy.latents(), toy.condition()
    settings, accepted = Auto(descents=0), 1e-5 * rms(z)
    whole = ascend(d, z, c, Climb(settings, Goal(d, z, c, accepted)).step)
    calls, network = iter(range(1000)), d.network
    second_of_step_4 = int(whole.iterations.amax(1)[:3].sum()) + 1

    def eps(z, t, embedding):
        out = network(z, t, embedding)
        return torch.full_like(out, math.inf) if next(calls) == second_of_step_4 else out

    d.network = eps
    inversion = ascend(d, z, c, Climb(settings, Goal(d, z, c, accepted)).step)
    assert whole.converged.all() and (whole.iterations[3] > 1).all()
    assert torch.equal(inversion.converged.all(1), torch.arange(10) != 3)


def in_precision(dtype, steps=10, scale=0.5):
    """Return the toy's denoiser with a network that takes and returns numbers of a precision."""
    exact = toy.denoiser(steps, scale=scale)

    def eps(z, t, embedding):
        return exact.network(z.double(), t, embedding).to(z.dtype)

    return Denoiser(eps, exact.schedule, dtype)


def test_the_rounding_of_a_network_counts_and_not_that_of_what_surrounds_it():
    """A flow reading hands float32 latents to a network in bf16, and says so."""
    z, c = toy.latents(8).float(), toy.condition(8, guidance=torch.tensor([3] * 8))
    half = in_precision(torch.bfloat16)

    def eps(z, t, embedding):
        return half.network(z.bfloat16(), t, embedding).float()

    def calls(epsilon):
        d = Denoiser(eps, half.schedule, torch.float32, epsilon=epsilon)
        inversion = Auto().invert(d, z, c)
        return int(inversion.calls.sum()), int(inversion.gradients.sum())

    unknown, known = calls(None), calls(torch.finfo(torch.bfloat16).eps)
    assert known[1] == 0 and known[0] < unknown[0] / 2


def test_half_precision_takes_the_evaluations_of_single_where_it_is_accurate_enough():
    z, c = toy.latents(8).float(), toy.condition(8, guidance=3)
    calls = []
    for dtype in (torch.float32, torch.float16):
        d = in_precision(dtype)
        assert (toy.error(Auto(), d, z, c) <= 0.01).all()
        calls.append(Auto().invert(d, z, c).calls.sum())
    assert calls[1] <= 1.1 * calls[0]


def test_what_a_precision_rounds_away_costs_no_evaluations():
    """bf16 leaves more than the accepted error: a second climb at most, and no descent."""
    z, c = toy.latents(8).float(), toy.condition(8, guidance=3)
    single, half = (in_precision(dtype) for dtype in (torch.float32, torch.bfloat16))
    inversion, calls = Auto().invert(half, z, c), Auto().invert(single, z, c).calls.sum()
    errors = toy.error(Auto(), half, z, c)
    assert 0.01 < errors.max() < 0.05 and (errors > 0.01).sum() >= 3
    assert inversion.converged.all() and not inversion.gradients.any()
    assert inversion.calls.sum() <= 2.1 * calls


def test_descents_do_not_depend_on_the_images_beside_them():
    d, z, c = toy.denoiser(6, scale=2.0), toy.latents(6), toy.condition(6, guidance=7.5)
    inverter = Auto(descents=20)
    together = inverter.invert(d, z, c)
    again = together.calls > together.iterations.sum(0) + 3 * 6
    assert (together.iterations > 12).any() and again.any()
    for k in range(6):
        alone = inverter.invert(d, z[k : k + 1], c[slice(k, k + 1)])
        assert torch.allclose(alone.noise, together.noise[k : k + 1], rtol=1e-4, atol=1e-4)
        assert torch.equal(alone.calls, together.calls[k : k + 1])


def test_auto_returns_finite_latents_from_a_network_that_overflows():
    grid = toy.schedule(5)
    d = Denoiser(lambda z, t, e: torch.where(z.abs() < 1.5, z, math.inf), grid, torch.float64)
    inversion = Auto(descents=5).invert(d, toy.latents(), toy.condition())
    assert inversion.noise.isfinite().all() and not inversion.converged.all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accuracy": math.inf}, "accuracy=inf.*finite"),
        ({"accuracy": -1.0}, "accuracy=-1.*at least 0"),
        ({"iterations": 0}, "iterations=0.*at least 1"),
        ({"descents": -1}, "descents=-1.*at least 0"),
    ],
)
def test_auto_refuses_impossible_settings(settings, message):
    with pytest.raises(UserError, match=message):
        Auto(**settings)


def test_under_guidance_the_error_is_measured():
    d, z, c = toy.denoiser(20, scale=ROUGH), toy.latents(8), toy.condition(8, guidance=3)
    inversion = Auto(iterations=3, descents=0).invert(d, z, c)
    assert torch.allclose(inversion.expected_error, rms(sample(d, inversion.noise, c) - z))
