"""ReNoise: identities with fixed-point inversion and AIDI-E, and its whitening."""

import pytest
import torch
import toy

from fpinv.errors import UserError
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.renoise import ReNoise
from fpinv.inverters.whitening import Whitening, _autocorrelation
from fpinv.solvers import Averaged, rms


def uniform(*weights):
    return ReNoise(weights, weights)


@pytest.mark.parametrize("prediction", toy.PREDICTIONS)
@pytest.mark.parametrize(
    ("renoise", "equal"),
    [(uniform(1.0), FixedPoint(1)), (uniform(0.0, 1.0), FixedPoint(2)),
     (uniform(0.0, 0.0, 0.0, 1.0), FixedPoint(4)),
     (uniform(0.5, 0.5), FixedPoint(2, acceleration=Averaged()))],
    ids=["ddim", "fpi 2", "fpi 4", "aidi-e 2"],
)  # fmt: skip
def test_special_weights_are_other_methods(renoise, equal, prediction):
    d, z, c = toy.denoiser(10, prediction), toy.latents(), toy.condition(guidance=3)
    a, b = renoise.invert(d, z, c), equal.invert(d, z, c)
    assert torch.allclose(a.noise, b.noise, rtol=1e-10)
    assert torch.allclose(a.residual, b.residual, rtol=1e-8)
    assert torch.equal(a.calls, b.calls)


def test_clean_steps_have_weights_of_their_own():
    """With 10 steps the labels below 250 are 1, 101 and 201."""
    d, z, c = toy.denoiser(), toy.latents(), toy.condition()
    inversion = ReNoise(weights=(1.0,), clean_weights=(0.0, 0.0, 1.0)).invert(d, z, c)
    assert inversion.iterations[:, 0].tolist() == [3] * 3 + [1] * 7
    assert d.calls == 16 and inversion.calls.tolist() == [16] * 3


@pytest.mark.parametrize("guidance", [1, 3])
def test_evaluation_counts(guidance):
    d, c = toy.denoiser(), toy.condition(guidance=guidance)
    inversion = ReNoise().invert(d, toy.latents(), c)
    assert d.calls == 20 and inversion.rows.tolist() == [20 * c.rows_per_sample] * 3
    whitened = ReNoise(whitening=Whitening(4)).invert(d, toy.latents(), c)
    assert d.calls == 50 and whitened.calls.tolist() == [30] * 3


def test_renoising_beats_ddim():
    d, z, c = toy.denoiser(20, scale=0.5), toy.latents(), toy.condition()
    assert toy.error(ReNoise(), d, z, c).max() < 0.5 * toy.error(FixedPoint(1), d, z, c).max()


def noises(correlated: bool) -> torch.Tensor:
    """White noise, or the same smeared over its neighbours."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 16, 16, generator=g, dtype=torch.float64)
    return (x + x.roll(1, 2) + x.roll(1, 3)) / 3**0.5 if correlated else x


def correlation(x):
    return (x * x.roll(1, 2)).mean((1, 2, 3)).abs()


def test_whitening_takes_correlation_out_of_a_noise():
    d, c = toy.denoiser(), toy.condition()
    d.network = lambda z, t, e: noises(correlated=False)
    whiten = Whitening(4).at(d, torch.zeros(3, 4, 16, 16, dtype=torch.float64), 5, c)
    x = noises(correlated=True)
    tidy = whiten(x)
    assert (correlation(tidy) < 0.9 * correlation(x)).all()
    assert (rms(tidy - x) < rms(x)).all() and not tidy.requires_grad


def test_whitening_draws_the_statistics_of_patches_to_those_of_the_reference():
    d, c, x = toy.denoiser(), toy.condition(), noises(correlated=False)
    d.network = lambda z, t, e: x
    louder = 1.2 * x
    whiten = Whitening(autocorrelation=0.0, patch_kl=0.02, steps=20)
    z0 = torch.zeros_like(x)
    assert (rms(whiten.at(d, z0, 5, c)(louder) - x) < rms(louder - x)).all()
    assert torch.allclose(whiten.at(d, z0, 5, c)(x), x, atol=1e-3)


def test_whitening_does_not_depend_on_the_batch():
    inverter = ReNoise(whitening=Whitening(4))
    toy.assert_batch_equals_images_alone(inverter)
    d, z, c = toy.denoiser(), toy.latents(), toy.condition()
    again = inverter.invert(d, z, c).noise
    assert torch.equal(again, inverter.invert(d, z, c).noise)
    assert rms(again - ReNoise().invert(d, z, c).noise).min() > 0


def test_noises_are_whitened_from_the_first_one_in_the_average_on(monkeypatch):
    """They make the next iterate so; the average is of them as predicted, and whitened itself."""
    monkeypatch.setattr(Whitening, "at", lambda *_: torch.tanh)
    d, z, c = toy.denoiser(1), toy.latents(), toy.condition(guidance=2)
    first = d.noise(z, 1, c)
    second = d.noise(d.schedule.move(z, first, 0, 1), 1, c)
    third = d.noise(d.schedule.move(z, second.tanh(), 0, 1), 1, c)
    expected = d.schedule.move(z, (0.25 * second + 0.75 * third).tanh(), 0, 1)
    weights = (0.0, 0.25, 0.75)
    inversion = ReNoise(weights, weights, whitening=Whitening(1)).invert(d, z, c)
    assert torch.allclose(inversion.noise, expected, rtol=1e-12)


def test_whitening_of_less_than_no_steps_is_refused():
    with pytest.raises(UserError, match="steps=-1 is not possible"):
        Whitening(steps=-1)


def test_refuses_weights_that_do_not_sum_to_one():
    with pytest.raises(UserError, match="clean_weights"):
        ReNoise(clean_weights=(0.5,))
    with pytest.raises(UserError, match="weights=\\[\\]"):
        ReNoise(weights=())


def test_shifts_of_the_correlation_are_never_by_a_whole_side(monkeypatch):
    roll, remainders = torch.Tensor.roll, []

    def rolled(x, shift, dim):
        remainders.append(shift % x.shape[dim])
        return roll(x, shift, dim)

    monkeypatch.setattr(torch.Tensor, "roll", rolled)
    flat = torch.randn(1, 1, 8, 64, generator=torch.Generator().manual_seed(0))
    shifts = torch.Generator().manual_seed(0)
    for _ in range(50):
        _autocorrelation(flat, shifts)
    assert len(remainders) >= 100 and all(remainders)
