"""Inversions whose first steps are those of the forward process, with every inverter."""

import pytest
import torch
import toy
from named_inverters import NAMES, build_inverter, needs_flow

from fpinv.errors import UserError
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.direct import Direct
from fpinv.inverters.edict import EDICT
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.noised import invert_noised
from fpinv.inverters.renoise import ReNoise
from fpinv.inverters.whitening import Whitening
from fpinv.sampling import sample
from fpinv.solvers import rms

STEPS = 10
PER_STEP = {"direct", "edit_friendly", "null_text", "rf_inversion", "stored_noises"}
EXACT = {"auto": 1e-2, "fpi": 1e-2, "aidi": 1e-2, "edict": 1e-10, "bdia": 1e-10, "belm": 1e-10}
"""Relative errors within which a latent comes back."""


@pytest.fixture(params=NAMES)
def named(request):
    return request.param, build_inverter(request.param)


def inverted(inverter, steps, d=None, prediction="epsilon"):
    d = d or toy.denoiser(STEPS, prediction, 0.3)
    noise = toy.latents(seed=3)
    return d, invert_noised(inverter, d, toy.latents(), toy.condition(guidance=2), noise, steps)


def test_no_step_is_the_inverter_alone(named):
    name, inverter = named
    family = "flow" if needs_flow(name) else "epsilon"
    d = toy.denoiser(STEPS, family, 0.3)
    alone = inverter.invert(d, toy.latents(), toy.condition(guidance=2))
    _, inversion = inverted(inverter, 0, prediction=family)
    assert torch.equal(inversion.noise, alone.noise) and torch.equal(inversion.rows, alone.rows)


@pytest.mark.parametrize("prediction", toy.FAMILIES)
def test_sampling_comes_through_the_noised_latent(named, prediction):
    """The latents of every index above k are a climb's; what comes back at k was noised there."""
    name, inverter = named
    if name in PER_STEP:
        with pytest.raises(UserError, match="noised_steps=3 is not possible with"):
            inverted(inverter, 3)
        return
    if needs_flow(name) and prediction != "flow":
        pytest.skip("the inverter needs a rectified flow")
    d, inversion = inverted(inverter, 3, prediction=prediction)
    assert d.rows == inversion.rows.sum() and d.calls > 0
    trail = []
    hook = lambda z, i: trail.append(z) or z if i == 3 else z  # noqa: E731
    inverter.sample(d, inversion, toy.condition(guidance=2), on_step=hook)
    noised = d.schedule.noised(toy.latents(), toy.latents(seed=3), 3)
    error = rms(trail[0] - noised) / rms(noised)
    assert (error < EXACT.get(name, 0.5)).all(), error


def test_costs_the_steps_above_alone():
    _, whole = inverted(FixedPoint(4), 0)
    _, inversion = inverted(FixedPoint(4), 3)
    assert inversion.residual.shape == (STEPS - 3, 3)
    assert whole.calls.tolist() == [40] * 3 and inversion.calls.tolist() == [28] * 3


def test_solves_the_equations_above():
    """From the noised latent on, each step of the sampler undoes one of a converged climb."""
    d, inversion = inverted(FixedPoint(60), 4)
    noised = d.schedule.noised(toy.latents(), toy.latents(seed=3), 4)
    back = sample(d, inversion.noise, toy.condition(guidance=2), stop=4)
    assert torch.allclose(back, noised, rtol=0, atol=1e-9)
    assert (inversion.residual < 1e-9).all()


def test_all_steps_are_noise():
    d, inversion = inverted(DDIM(), STEPS)
    noised = d.schedule.noised(toy.latents(), toy.latents(seed=3), STEPS)
    assert torch.equal(inversion.noise, noised) and d.calls == 0
    assert inversion.calls.tolist() == inversion.rows.tolist() == [0] * 3


@pytest.mark.parametrize(
    ("inverter", "steps", "message"),
    [
        (DDIM(), STEPS + 1, "noised_steps=11 is not possible: choose 0 to 10"),
        (EDICT(), STEPS, "noised_steps=10 is not possible: choose 0 to 9"),
        (EDICT(strength=0.8), 1, "noised_steps=1 is not possible with EDICT as it is set"),
        (Direct(), 1, "noised_steps=1 is not possible with Direct"),
        (ReNoise(whitening=Whitening(steps=1)), 1, "not possible with ReNoise as it is set"),
    ],
)
def test_refuses_what_is_not_possible(inverter, steps, message):
    with pytest.raises(UserError, match=message):
        inverted(inverter, steps)


def test_what_is_foretold_of_a_noised_image_is_not_said_of_the_image():
    d, c, noise = toy.denoiser(STEPS), toy.condition(), toy.latents(seed=3)
    whole, part = (
        invert_noised(FixedPoint(5), d, toy.latents(), c, noise, steps) for steps in (0, 2)
    )
    assert whole.expected_error is not None and part.expected_error is None
