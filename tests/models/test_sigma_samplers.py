"""Euler's method, its ancestral sampler and LCM's on models of noise, against diffusers."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
)
from diffusers.schedulers import scheduling_euler_ancestral_discrete, scheduling_lcm
from tiny_models import tiny_model

from fpinv.errors import UserError
from fpinv.inverters.auto.auto import Auto
from fpinv.inverters.edit_friendly import EditFriendly
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.renoise import ReNoise
from fpinv.inverters.stored_noises import StoredNoises
from fpinv.models.samplers import AncestralSampler, EulerSampler, LCMSampler
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.models.weights import quiet
from fpinv.sampling import sample
from fpinv.solvers import rms

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PROMPTS = ["a red circle", "two blue squares"]
SAMPLERS = {"ancestral": AncestralSampler(), "lcm": LCMSampler()}
DRAWS = {"ancestral": scheduling_euler_ancestral_discrete, "lcm": scheduling_lcm}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The folders of tiny models that predict noise, and v."""
    families = {"epsilon": "sdxl_turbo", "v_prediction": "sd21"}
    return {
        kind: tiny_model(family, tmp_path_factory.mktemp(family)).origin.path
        for kind, family in families.items()
    }


def load(folder, sampler, **options):
    return StableDiffusion(folder, "tiny", device="cpu", sampler=sampler, **options)


def latents(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *model.latent_shape, generator=generator)


def stock(model, z, steps, guidance=1.0):
    """Return what the stock pipeline with the sampler's scheduler makes of z_N.

    A scheduler that counts noise by sigma / alpha scales its latents by the noise alone where it
    begins at the last timestep.
    """
    pipeline, schedule = model.pipeline, model.denoiser(steps).schedule
    pipeline.set_progress_bar_config(disable=True)
    size = dict(zip(("height", "width"), model.image_size, strict=True))
    options = {"num_inference_steps": steps, "output_type": "latent", **size}
    timesteps = pipeline.scheduler.config.timestep_spacing
    trailing = timesteps in ("trailing", "linspace") and model.sampler.name != "lcm"
    scaled = z / schedule.sigma[-1] if trailing else z
    with quiet():  # NumPy warns of how the schedulers make arrays
        return pipeline(PROMPTS, latents=scaled, guidance_scale=guidance, **options).images


@pytest.mark.parametrize(
    ("kind", "spacing", "steps"),
    [
        *product(("epsilon", "v_prediction"), ("trailing",), (1, 2, 3, 7)),
        *product(("epsilon",), ("leading", "linspace"), (4,)),
        *product(("epsilon", "v_prediction"), ("karras", "exponential"), (1, 2, 7)),
    ],
)
def test_euler_equals_the_stock_pipeline_on_any_number_of_steps(folders, kind, spacing, steps):
    model = load(folders[kind], EulerSampler(), spacing=spacing)
    assert isinstance(model.pipeline.scheduler, EulerDiscreteScheduler)
    z = latents(model)
    ours = sample(model.denoiser(steps), z, model.condition(PROMPTS, 2.0))
    torch.testing.assert_close(ours, stock(model, z, steps, 2.0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", [EulerSampler(), AncestralSampler()])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_a_grid_has_as_many_steps_as_asked_for_or_is_refused(sampler, spacing):
    """Rounding makes one timestep too many of 61, 103, 121 or 122 trailing ones."""
    scheduler = sampler.noise_scheduler(BETAS | {"steps_offset": 1}, spacing)
    refused = []
    for steps in range(1, 130):
        try:
            schedule = sampler.schedule(scheduler, steps)
        except UserError as error:
            assert "use another number of steps" in str(error)
            refused.append(steps)
        else:
            assert schedule.steps == steps and min(schedule.timestep[1:]) >= 0
    assert refused == ([61, 103, 121, 122] if spacing == "trailing" else [])


def test_a_shipped_scheduler_that_ends_with_noise_is_no_eulers():
    shipped = BETAS | {"final_sigmas_type": "sigma_min"}
    with pytest.raises(UserError, match="use sampler=ddim, which ends at the first noise level"):
        EulerSampler().noise_scheduler(shipped, "leading")


def test_a_grid_that_ddim_steps_off_is_one_of_eulers(folders):
    model = load(folders["epsilon"], EulerSampler())
    assert model.denoiser(3).schedule.timestep == (-1, 332, 666, 999)
    with pytest.raises(UserError, match="step off its own grid: use sampler=euler"):
        load(folders["epsilon"], None).denoiser(3)


@pytest.mark.parametrize("steps", [3, 8])
def test_euler_brings_back_what_was_inverted(folders, steps):
    model = load(folders["epsilon"], EulerSampler())
    z, c = latents(model), model.condition(PROMPTS, 1.0)
    inversion = Auto().invert(model.denoiser(steps), z, c)
    assert (rms(stock(model, inversion.noise, steps) - z) / rms(z) < 0.02).all()


@pytest.mark.parametrize("spacing", ["trailing", "linspace"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_ancestral_step_is_ddims_at_eta_1(prediction, spacing):
    with quiet():
        scheduler = EulerAncestralDiscreteScheduler(
            **BETAS, prediction_type=prediction, timestep_spacing=spacing
        )
        scheduler.set_timesteps(4)
    schedule = AncestralSampler().schedule(scheduler, 4)
    z, m = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for i, t in zip(range(4, 0, -1), scheduler.timesteps, strict=True):
        x = z / schedule.alpha[i]
        scheduler.scale_model_input(x, t)
        theirs = scheduler.step(m, t, x, torch.Generator().manual_seed(i)).prev_sample
        noise = torch.randn(m.shape, generator=torch.Generator().manual_seed(i))
        ours = schedule.landed(z, m, i) + schedule.landings[i - 1].spread * noise
        torch.testing.assert_close(
            ours, schedule.alpha[i - 1] * theirs, rtol=1e-4, atol=1e-4 * float(x.abs().max())
        )


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 4, 8])
def test_the_lcm_step_is_diffusers(prediction, steps):
    scheduler = LCMScheduler(**BETAS, prediction_type=prediction)
    scheduler.set_timesteps(steps)
    if prediction == "sample":
        with pytest.raises(UserError, match="prediction type 'sample'"):
            LCMSampler().schedule(scheduler, steps)
        return
    schedule = LCMSampler().schedule(scheduler, steps)
    z, m = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    for i, t in zip(range(steps, 0, -1), scheduler.timesteps, strict=True):
        assert schedule.timestep[i] == t
        theirs = scheduler.step(m, t, z, torch.Generator().manual_seed(i)).prev_sample
        noise = torch.randn(m.shape, generator=torch.Generator().manual_seed(i))
        ours = schedule.landed(z, m, i) + schedule.landings[i - 1].spread * noise
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def stored_pipeline_draws(monkeypatch, sampler, noises):
    """Have a stock scheduler draw the stored noises, the last step's first."""
    order = iter(noises.unbind(1)[::-1])
    monkeypatch.setattr(DRAWS[sampler], "randn_tensor", lambda *a, **k: next(order))


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_stock_pipeline_with_the_stored_noises_samples_as_we_do(
    folders, monkeypatch, sampler, steps
):
    """Whatever the noises are: here those of the edit-friendly inversion, which is exact."""
    model = load(folders["epsilon"], SAMPLERS[sampler])
    z, c, d = latents(model), model.condition(PROMPTS, 1.0), model.denoiser(steps)
    inverter = EditFriendly(skip=0, inversion_guidance=1.0)
    inversion = inverter.invert(d, z, c)
    torch.testing.assert_close(inverter.sample(d, inversion, c), z, rtol=0, atol=1e-3)
    maps = inversion.state["maps"]
    stored_pipeline_draws(monkeypatch, sampler, maps)
    back = stock(model, inversion.noise, steps) + maps[:, 0]  # theirs ends without noise
    torch.testing.assert_close(back, z, rtol=0, atol=1e-3 * float(maps[:, 0].abs().max() + 1))


def test_the_stock_ancestral_pipeline_brings_solved_steps_back(folders, monkeypatch):
    """From z_N and the noises of a converged iteration, at eight steps."""
    model = load(folders["epsilon"], AncestralSampler())
    z, c, d = latents(model), model.condition(PROMPTS, 1.0), model.denoiser(8)
    inversion = StoredNoises(Auto(60.0)).invert(d, z, c)
    stored_pipeline_draws(monkeypatch, "ancestral", inversion.state["noises"])
    back = stock(model, inversion.noise, 8)
    assert (rms(back - z) / rms(z) < 0.02).all()


@pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=SAMPLERS)
def test_steps_with_noise_are_refused_where_noises_are_not_stored(folders, sampler):
    model = load(folders["epsilon"], sampler)
    z, c, d = latents(model), model.condition(PROMPTS, 1.0), model.denoiser(4)
    for inverter in (FixedPoint(), ReNoise(), Auto()):
        with pytest.raises(UserError, match=r"inverts steps without noise.*stored_noises"):
            inverter.invert(d, z, c)
    with pytest.raises(UserError, match="z_N alone makes no image"):
        sample(d, z, c)


def test_steps_that_a_consistency_model_does_not_know_are_refused(folders):
    model = load(folders["epsilon"], LCMSampler())
    with pytest.raises(UserError, match="steps=51 is not possible: choose 1 to"):
        model.denoiser(51)
    with pytest.raises(UserError, match=r"leave out model\.spacing"):
        load(folders["epsilon"], LCMSampler(), spacing="trailing")
