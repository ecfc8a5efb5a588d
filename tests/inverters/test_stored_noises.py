"""Steps with noise, inverted with stored noises."""

import math
from dataclasses import replace

import pytest
import torch
import toy

from fpinv.errors import UserError
from fpinv.inverters.auto.auto import Auto
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.ife import IFE
from fpinv.inverters.newton import Newton
from fpinv.inverters.renoise import ReNoise
from fpinv.inverters.stored_noises import StoredNoises
from fpinv.inverters.whitening import Whitening
from fpinv.solvers import rms

CONVERGED = FixedPoint(80)


def trip(inverter, steps=10, family="epsilon", guidance=2):
    """Return the inversion, what comes back, and the latents that were inverted."""
    d, z, c = toy.denoiser(steps, family, 0.3), toy.latents(), toy.condition(guidance=guidance)
    inversion = inverter.invert(d, z, c)
    assert d.rows == inversion.rows.sum()
    return inversion, inverter.sample(d, inversion, c), z


@pytest.mark.parametrize("family", toy.PREDICTIONS)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_solved_steps_come_back_with_their_noises(family, eta):
    inversion, back, z = trip(StoredNoises(CONVERGED, eta=eta), family=family)
    assert torch.allclose(back, z, rtol=0, atol=1e-8)
    assert (inversion.residual < 1e-9).all() and inversion.residual.shape == (10, 3)
    assert inversion.stored_numbers == 10 * z[0].numel()


def test_with_hardly_any_noise_it_is_the_method():
    alone, _, _ = trip(CONVERGED)
    inversion, _, _ = trip(StoredNoises(CONVERGED, eta=1e-9))
    assert torch.allclose(inversion.noise, alone.noise, rtol=0, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("method", [DDIM(), Newton(), ReNoise(), Auto()], ids=lambda m: str(m)[:4])
def test_noises_that_are_corrected_in_full_make_any_method_exact(method, steps):
    _, back, z = trip(StoredNoises(method, correction=math.inf), steps)
    assert torch.allclose(back, z, rtol=0, atol=1e-9)


def test_a_correction_moves_noises_so_far_and_no_latent():
    plain, before, z = trip(StoredNoises(DDIM()), 4)
    moved, after, _ = trip(StoredNoises(DDIM(), correction=0.14), 4)
    full, _, _ = trip(StoredNoises(DDIM(), correction=math.inf), 4)
    assert torch.equal(plain.noise, moved.noise)
    one, all_ = (i.state["noises"] - plain.state["noises"] for i in (moved, full))
    lengths, most = (move.flatten(0, 1).square().mean((1, 2, 3)).sqrt() for move in (one, all_))
    assert torch.allclose(lengths, most.clamp(max=0.14))
    assert (rms(after - z) < rms(before - z)).all()
    assert (moved.calls - plain.calls).tolist() == [4] * 3


def test_each_image_has_noises_of_its_own():
    d, z, c = toy.denoiser(4), toy.latents(), toy.condition()
    inverter = StoredNoises()
    numbered = replace(c, images=torch.tensor([1, 2, 3]))
    inversion = inverter.invert(d, z, numbered)
    noises = inversion.state["noises"]
    assert not torch.equal(noises[0], noises[1])
    rows = torch.tensor([1])
    alone = inverter.invert(d, z[rows], numbered[rows])
    assert torch.allclose(alone.state["noises"], noises[rows])
    assert torch.allclose(alone.noise, inversion.noise[rows])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"eta": 0.0}, "eta=0.0 is not possible"),
        ({"correction": -1.0}, "correction=-1.0 is not possible"),
        ({"method": EDICT()}, "EDICT brings images back in a way of its own"),
        ({"method": IFE()}, "IFE with these settings needs more than one step"),
        ({"method": FixedPoint(start="extrapolated")}, "FixedPoint with these settings needs"),
        ({"method": ReNoise(whitening=Whitening(1))}, "ReNoise with these settings needs"),
    ],
)
def test_refuses_what_is_not_possible(arguments, message):
    with pytest.raises(UserError, match=message):
        StoredNoises(**arguments)


def test_a_label_that_the_landing_place_lacks_is_refused():
    with pytest.raises(UserError, match="use inverter.label=target"):
        trip(StoredNoises(DDIM(label="source")))


def test_a_step_that_forgets_its_latent_is_refused():
    with pytest.raises(UserError, match="forgets its latent and cannot be inverted"):
        trip(StoredNoises(), family="v at zero SNR")
