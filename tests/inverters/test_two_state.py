"""The exactly invertible methods: two coupled states, or a noise map a step."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import toy
from pipelines import tiny_sd15

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.bdia import BDIA
from fpinv.inverters.belm import BELM
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.edict import EDICT
from fpinv.inverters.edit_friendly import EditFriendly
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.schedule import Schedule
from fpinv.solvers import rms

EXACT = [
    EDICT(), EDICT(leapfrog=False), EDICT(p=1.0), EDICT(strength=0.8),
    BDIA(), BDIA(gamma=0.9), BELM(),
    EditFriendly(), EditFriendly(eta=0.5, skip=0.0, inversion_guidance=None),
]  # fmt: skip


@pytest.mark.parametrize("inverter", EXACT, ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 10, 11])
@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize("family", toy.FAMILIES)
def test_round_trips_are_exact(inverter, steps, guidance, family):
    d, c = toy.denoiser(steps, family), toy.condition(guidance=guidance)
    assert toy.error(inverter, d, toy.latents(), c).max() < 1e-10


def test_round_trips_are_exact_in_single_precision_on_a_pipeline(tmp_path):
    tiny_sd15(tmp_path)
    model = StableDiffusion(str(tmp_path), name="tiny", device="cpu")
    d, c = model.denoiser(5), model.condition(["a red circle", "two squares"], 2.0)
    z = torch.randn(2, *model.latent_shape)
    for inverter in (EDICT(), BDIA(), BELM(), EditFriendly()):
        assert toy.error(inverter, d, z, c).max() < 1e-4, inverter


@pytest.mark.parametrize("inverter", EXACT, ids=repr)
def test_iterates_do_not_depend_on_the_prediction_type(inverter):
    z, c = toy.latents(), toy.condition(guidance=2)
    inversion = [inverter.invert(toy.denoiser(10, p, 0.3), z, c).noise for p in toy.PREDICTIONS]
    assert torch.allclose(inversion[0], inversion[1], rtol=1e-7, atol=1e-9)
    assert torch.allclose(inversion[0], inversion[2], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize(
    ("inverter", "up", "down", "stored"),
    [(EDICT(), 20, 20, 1), (EDICT(strength=0.8), 16, 16, 1),
     (BDIA(), 10, 9, 1), (BELM(), 10, 9, 1),
     (EditFriendly(inversion_guidance=None), 7, 7, 7),
     (EditFriendly(skip=0.0, inversion_guidance=None), 10, 10, 10)],
    ids=repr,
)  # fmt: skip
def test_evaluation_counts_and_stored_numbers(inverter, up, down, stored, guidance):
    d, c = toy.denoiser(), toy.condition(guidance=guidance)
    inversion = inverter.invert(d, toy.latents(), c)
    assert inversion.calls.tolist() == [up] * 3 and d.calls == up
    assert (
        inversion.rows.tolist() == [up * c.rows_per_sample] * 3 and d.rows == inversion.rows.sum()
    )
    assert inversion.stored_numbers == stored * 16
    d.calls = 0
    inverter.sample(d, inversion, c)
    assert d.calls == down


@pytest.mark.parametrize(
    ("inverter", "order"), [(BDIA(), 1.8), (BELM(), 1.8), (EDICT(p=1.0), 0.9)], ids=repr
)
def test_order_of_convergence_to_the_exact_flow(inverter, order):
    strides = (2, 3, 4)
    errors = toy.flow_errors(inverter, 300, strides)
    pairs = zip(pairwise(errors), pairwise(strides), strict=True)
    orders = [math.log(b / a) / math.log(t / s) for (a, b), (s, t) in pairs]
    assert min(orders) > order, (orders, errors)


def test_edict_without_mixing_and_coupling_noise_is_ddim():
    """With p = 1 and a network that does not look at its input both latents are ddim's."""
    d, c = toy.denoiser(), toy.condition()
    network = d.network
    d.network = lambda z, t, e: network(torch.zeros_like(z), t, e)
    inversion = EDICT(p=1.0).invert(d, toy.latents(), c)
    expected = DDIM().invert(d, toy.latents(), c).noise
    assert torch.allclose(inversion.noise, expected) and torch.equal(
        inversion.noise, inversion.state["coupled"]
    )


@pytest.mark.parametrize("leapfrog", [True, False])
def test_edict_samples_by_its_four_lines(leapfrog):
    d, c, p = toy.denoiser(5), toy.condition(guidance=3), 0.93
    x, y = toy.latents(), toy.latents(seed=5)
    inversion = Inversion(x, torch.zeros(3), torch.zeros(3), state={"coupled": y})

    def moved(z, partner, i):
        return d.schedule.move(z, d.noise(partner, i, c), i, i - 1)

    for i in (5, 4, 3, 2, 1):
        if leapfrog and i in (4, 2):
            y = moved(y, x, i)
            x = moved(x, y, i)
        else:
            x = moved(x, y, i)
            y = moved(y, x, i)
        x = p * x + (1 - p) * y
        y = p * y + (1 - p) * x
    sampled = EDICT(leapfrog=leapfrog).sample(d, inversion, c)
    assert torch.allclose(sampled, x, rtol=1e-10)


@pytest.mark.parametrize(("steps", "strength", "top"), [(10, 0.8, 8), (11, 0.75, 8), (3, 0.1, 1)])
def test_edict_of_less_strength_is_edict_on_the_lower_part_of_the_grid(steps, strength, top):
    """Whatever lies above: the same latents, and an index from which sampling starts."""
    d, z, c = toy.denoiser(steps), toy.latents(), toy.condition(guidance=3)
    grid = d.schedule
    lower = Schedule(grid.alpha[: top + 1], grid.sigma[: top + 1], grid.timestep[: top + 1])
    part = Denoiser(d.network, lower, dtype=torch.float64)
    inversion = EDICT(strength=strength).invert(d, z, c)
    expected = EDICT().invert(part, z, c)
    assert torch.equal(inversion.noise, expected.noise)
    assert torch.equal(inversion.state["coupled"], expected.state["coupled"])
    seen = []
    EDICT(strength=strength).sample(d, inversion, c, on_step=lambda x, i: seen.append(i) or x)
    assert seen[::2] == list(range(top - 1, -1, -1))


def test_bdia_is_a_step_down_and_a_step_up():
    schedule = toy.schedule(10)
    above, here, eps = (toy.latents(seed=s) for s in (3, 4, 5))
    for gamma in (1.0, 0.7):
        p, q, r = BDIA(gamma=gamma).recursion(schedule, 4)
        below = p * above + q * here + r * eps
        down, up = schedule.move(here, eps, 4, 3), schedule.move(here, eps, 4, 5)
        assert torch.allclose(below, down + gamma * (above - up), rtol=1e-12)


def test_belm_is_exact_where_the_noise_is_linear():
    """In z / alpha against sigma / alpha: a parabola, whose slope is the noise."""
    schedule = toy.schedule(10)
    grid = [s / a for a, s in zip(schedule.alpha, schedule.sigma, strict=True)]
    z = [a * (0.3 - 2 * x + 0.7 * x**2) for a, x in zip(schedule.alpha, grid, strict=True)]
    for i in range(1, 10):
        p, q, r = BELM().recursion(schedule, i)
        assert z[i - 1] == pytest.approx(p * z[i + 1] + q * z[i] + r * (1.4 * grid[i] - 2))


@pytest.mark.parametrize(("family", "steps"), [("flow", range(1, 10)), ("v at zero SNR", [9])])
def test_belm_is_exact_where_the_output_that_a_step_holds_is_linear(family, steps):
    """In the latents against a flow's noise scale, or the angle of v: a parabola and its slope."""
    schedule = toy.schedule(10, family)
    scales = list(zip(schedule.alpha, schedule.sigma, strict=True))
    time = [s if family == "flow" else math.atan2(s, a) for a, s in scales]
    z = [0.3 - 2 * t + 0.7 * t**2 for t in time]
    for i in steps:
        (a, s), slope = scales[i], 1.4 * time[i] - 2
        noise = z[i] + a * slope if family == "flow" else s * z[i] + a * slope
        p, q, r = BELM().recursion(schedule, i)
        assert z[i - 1] == pytest.approx(p * z[i + 1] + q * z[i] + r * noise)


def test_edit_friendly_latents_are_noisings_of_the_image():
    """Far from the image, near white noise, and the same whatever the network and the batch."""
    d = toy.denoiser(50)
    z = torch.randn(4, 4, 32, 32, dtype=torch.float64)
    d.network = lambda x, t, e: torch.zeros_like(x)
    inversion = EditFriendly(skip=0.0).invert(d, z, toy.condition(4))
    a, s = d.schedule.alpha[50], d.schedule.sigma[50]
    noise = (inversion.noise - a * z) / s
    assert noise.std() == pytest.approx(1, abs=0.05) and abs(noise.mean()) < 0.05
    assert torch.allclose(noise[0], noise[3])
    reseeded = EditFriendly(skip=0.0, seed=1).invert(d, z, toy.condition(4)).noise
    assert rms(reseeded - inversion.noise).min() > 1


def test_edit_friendly_is_the_stochastic_sampler():
    """Its step equals diffusers' with the map as the noise."""
    from diffusers import DDIMScheduler

    d, z, c = toy.denoiser(), toy.latents().float(), toy.condition()
    d.dtype = torch.float32
    d.network = lambda x, t, e: x.sin()
    inverter = EditFriendly(eta=0.8, skip=0.0, inversion_guidance=None)
    inversion = inverter.invert(d, z, c)
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        steps_offset=1, set_alpha_to_one=False, clip_sample=False,
    )  # fmt: skip
    scheduler.set_timesteps(10)
    x = inversion.noise
    for i in range(10, 0, -1):
        t = d.schedule.timestep[i]
        noise = inversion.state["maps"][:, i - 1]
        x = scheduler.step(x.sin(), t, x, eta=0.8, variance_noise=noise).prev_sample
    assert torch.allclose(x, z, atol=1e-4)


def test_edit_friendly_sources_come_back_under_their_own_guidance():
    d, z, c = toy.denoiser(), toy.latents(), toy.condition(guidance=9.0)
    inversion = EditFriendly().invert(d, z, c)
    rows = torch.tensor([0, 0, 1, 1])
    twice = replace(inversion[rows], source=torch.tensor([True, False, True, False]))
    back = EditFriendly().sample(d, twice, c[rows])
    assert rms(back[::2] - z[:2]).max() < 1e-10
    alone = EditFriendly(inversion_guidance=None).sample(d, inversion, c)
    assert torch.allclose(back[1::2], alone[:2]) and rms(alone - z).min() > 1e-3


def test_a_clean_end_without_noise_comes_back_exactly():
    grid = toy.schedule(10)
    grid = Schedule((1.0, *grid.alpha[1:]), (0.0, *grid.sigma[1:]), (-1, *grid.timestep[1:]))
    d = Denoiser(toy.predicting(toy.tanh_eps(0.3), grid), grid, dtype=torch.float64)
    for inverter in (EDICT(), BDIA(), BELM(), EditFriendly()):
        assert toy.error(inverter, d, toy.latents(), toy.condition()).max() < 1e-10


@pytest.mark.parametrize(
    "wrong",
    [lambda: EDICT(p=0), lambda: EDICT(strength=0), lambda: EDICT(strength=1.1),
     lambda: BDIA(gamma=0), lambda: BDIA(gamma=1.5),
     lambda: EditFriendly(eta=0), lambda: EditFriendly(skip=1)],
)  # fmt: skip
def test_refuses_impossible_settings(wrong):
    with pytest.raises(UserError, match="is not possible"):
        wrong()


@pytest.mark.parametrize(
    ("skip", "steps", "top"), [(0.36, 50, 32), (0.58, 50, 21), (0.29, 100, 71), (0.5, 5, 3)]
)
def test_the_part_that_is_skipped_is_counted_exactly(skip, steps, top):
    assert EditFriendly(skip=skip).top(steps) == top
