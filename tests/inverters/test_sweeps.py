"""Sweeps: the inversion of DPM-Solver++ (2M)."""

from __future__ import annotations

from dataclasses import replace

import mixture
import pytest
import torch
import toy
from diffusers import DPMSolverMultistepScheduler
from pipelines import tiny_sd15
from tiny_models import tiny_model

from fpinv.denoiser import Denoiser
from fpinv.editing.recipe import PromptToPrompt
from fpinv.editing.request import Edit
from fpinv.editing.sampling import plan_branches, sample_branches
from fpinv.errors import UserError
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.inverters.sweeps import Memory, Step, Sweeps, bends
from fpinv.models.samplers import DPMSolver
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample
from fpinv.solvers import rms

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
ENDS = [
    ("epsilon", "zero"),
    ("v_prediction", "zero"),
    ("epsilon", "sigma_min"),
    ("sample", "sigma_min"),
]


def grid(steps, prediction="epsilon", final="zero"):
    sampler = DPMSolver(final)
    scheduler = sampler.noise_scheduler(SD | {"prediction_type": prediction}, None)
    return sampler.schedule(scheduler, steps)


def denoiser(steps, prediction="epsilon", final="zero", scale=0.5):
    schedule = grid(steps, prediction, final)
    return Denoiser(toy.predicting(toy.tanh_eps(scale), schedule), schedule, torch.float64)


def error(d, inversion, z, c):
    return rms(sample(d, inversion.noise, c) - z) / rms(z)


@pytest.mark.parametrize(("prediction", "final"), ENDS)
@pytest.mark.parametrize("steps", [1, 2, 11])
def test_the_sampler_solves_the_equations_with_the_bends_of_its_own_images(
    prediction, final, steps
):
    d, c = denoiser(steps, prediction, final), toy.condition()
    schedule, z, above = d.schedule, toy.latents(), None
    path, held, images = [z], [], []
    for i in range(steps, 0, -1):
        held.insert(0, d.held(z, i, c))
        images.insert(0, d.schedule.clean(z, d(z, i, c), i))
        z, above = d.step(z, i, c, above)
        path.insert(0, z)
    memory = Memory(held, bends(schedule, images))
    for i in range(1, steps + 1):
        step = Step.of(schedule, i, images[: i - 1], memory)
        raised = step.raised(path[i - 1], held[i - 1])
        assert torch.allclose(raised, path[i], rtol=1e-9, atol=1e-9)
        assert torch.allclose(step.held(path[i - 1], path[i]), held[i - 1], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("guidance", [1, 3])
@pytest.mark.parametrize(("prediction", "final"), ENDS)
@pytest.mark.parametrize("steps", [1, 3, 16])
def test_brings_images_back_exactly_in_the_limit(prediction, final, steps, guidance):
    d, z, c = denoiser(steps, prediction, final), toy.latents(), toy.condition(guidance=guidance)
    inversion = Sweeps(accuracy=140, sweeps=20, iterations=12).invert(d, z, c)
    assert inversion.rows.sum() == d.rows
    assert error(d, inversion, z, c).max() < 2e-7


@pytest.mark.parametrize("steps", [20, 50])
def test_has_50_dB_at_5_evaluations_a_step(steps):
    schedule = replace(grid(steps), timestep=tuple(range(steps + 1)), prediction="v_prediction")
    posterior = mixture.denoiser(schedule)
    z, c = mixture.latents(16), mixture.condition(16)
    inversion = Sweeps().invert(posterior, z, c)
    assert (-20 * error(posterior, inversion, z, c).log10() >= 50).all()
    assert inversion.calls.double().mean() <= 5 * steps


def test_each_sweep_brings_the_error_down():
    d, z, c = denoiser(20), toy.latents(), toy.condition()
    one, two, three = (
        error(d, Sweeps(accuracy=200, sweeps=k, iterations=20).invert(d, z, c), z, c).mean()
        for k in (1, 2, 3)
    )
    assert two < one / 3 and three < two / 3


def test_it_states_the_error_that_it_measured():
    d, z, c = denoiser(10), toy.latents(), toy.condition()
    inversion = Sweeps().invert(d, z, c)
    torch.testing.assert_close(inversion.expected_error, rms(sample(d, inversion.noise, c) - z))


def test_on_a_grid_that_does_not_look_back_it_solves_the_steps_of_ddim():
    d, z, c = toy.denoiser(10, scale=0.3), toy.latents(), toy.condition()
    exact = FixedPoint(60, 1e-13).invert(d, z, c)
    swept = Sweeps(accuracy=160).invert(d, z, c)
    assert torch.allclose(swept.noise, exact.noise, atol=1e-6)


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl"])
def test_a_stock_pipeline_brings_the_noise_back(family, tmp_path):
    """Found in float64, and sampled by diffusers in float32."""
    tiny_model(family, tmp_path)
    model = StableDiffusion(str(tmp_path), name="tiny", device="cpu", sampler=DPMSolver())
    condition = model.condition(["a red circle"], 1.0)
    z = torch.randn(1, *model.latent_shape)
    model.pipeline.set_progress_bar_config(disable=True)
    model.pipeline.unet.double()
    model.dtype = torch.float64
    d = model.denoiser(20)
    inversion = Sweeps(sweeps=2).invert(d, z.double(), condition)
    assert error(d, inversion, z.double(), condition) < 10 ** (-40 / 20)
    ours = sample(d, inversion.noise, condition)
    model.pipeline.unet.float()
    stock = model.pipeline  # diffusers' own, with a scheduler made as its users make it
    stock.scheduler = DPMSolverMultistepScheduler.from_config(stock.scheduler.config)
    back = stock(
        "a red circle", latents=inversion.noise.float(), guidance_scale=1.0,
        num_inference_steps=20, height=64, width=64, output_type="latent",
    ).images  # fmt: skip
    assert rms(back - ours) / rms(z) < 1e-3


def test_edits_keep_their_source(tmp_path):
    model = StableDiffusion(str(tiny_sd15(tmp_path)), device="cpu", sampler=DPMSolver())
    source, target = "a red star on white", "a blue star on white"
    z = torch.randn(1, *model.latent_shape)
    inverter, condition = Sweeps(), model.condition([source], 2.0)
    inversion = inverter.invert(model.denoiser(6), z, condition)
    reconstruction = inverter.sample(model.denoiser(6), inversion, condition)
    branches = plan_branches(model, [source], [[source, Edit(target)]], PromptToPrompt())
    edited = sample_branches(model, inverter, inversion, branches, 6, 2.0)
    for latents in (edited.sources[0], edited.targets[0]):
        assert torch.allclose(latents, reconstruction[0], atol=1e-4)
    assert rms(edited.targets[1:] - reconstruction) > 1e-3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"accuracy": -1}, "accuracy=-1 is not possible: choose at least 0"),
        ({"sweeps": 0}, "sweeps=0 is not possible: choose at least 1"),
        ({"iterations": 0}, "iterations=0 is not possible: choose at least 1"),
        ({"descents": -1}, "descents=-1 is not possible: choose at least 0"),
    ],
)
def test_refuses_impossible_numbers(arguments, message):
    with pytest.raises(UserError, match=message):
        Sweeps(**arguments)
