"""The samplers against diffusers' schedulers, and a line for those that do not fit a model."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise, product

import diffusers
import pytest
import torch
import toy
from diffusers import (
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
)
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny_models import tiny_model

from fpinv.denoiser import Denoiser
from fpinv.errors import UserError
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.models.flow_reading import FlowReading
from fpinv.models.samplers import AncestralSampler, DDIMSampler, DPMSolver, EulerSampler
from fpinv.models.samplers.spacing import NOISE_SPACINGS
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.pipelines.image import load_model
from fpinv.run.build import build
from fpinv.run.console import CONF
from fpinv.run.preflight import require_sampler
from fpinv.run.stored_config import differing_keys, save_config
from fpinv.sampling import sample
from fpinv.schedule import Schedule
from fpinv.tasks.saved_inversions import require_same_entries

SD = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
SPACINGS = ("leading", "linspace", "trailing")


def scheduler(**changes):
    return DPMSolverMultistepScheduler(**(SD | changes))


def test_a_grid_that_leaves_the_training_timesteps_is_refused():
    with pytest.raises(UserError, match="use fewer steps"):
        DPMSolver().schedule(scheduler(timestep_spacing="leading"), 999)
    with pytest.raises(UserError, match="lambda_min_clipped=-5.1"):
        DPMSolver().schedule(scheduler(lambda_min_clipped=-5.1), 10)


class InDouble(DPMSolverMultistepScheduler):
    """The scheduler in double precision, whose ``step`` rounds latents to float32."""

    def use_the_scales_of(self, schedule: Schedule) -> None:
        sigmas = [s / a for a, s in zip(schedule.alpha, schedule.sigma, strict=True)][::-1]
        exact = torch.tensor(sigmas, dtype=torch.float64)
        assert torch.allclose(self.sigmas.double(), exact, rtol=1e-6)
        self.sigmas = exact

    def step(self, model_output, timestep, sample):
        self.latents = sample
        return super().step(model_output, timestep, sample)

    def dpm_solver_first_order_update(self, output, sample, noise):
        return super().dpm_solver_first_order_update(output, sample=self.latents)

    def multistep_dpm_solver_second_order_update(self, outputs, sample, noise):
        return super().multistep_dpm_solver_second_order_update(outputs, sample=self.latents)


def assert_steps_are_those_of(theirs: InDouble, sampler: DPMSolver, steps: int) -> None:
    """Assert that a sampler makes of z_N what the scheduler makes of it."""
    grid = sampler.schedule(theirs, steps)
    theirs.set_timesteps(steps)
    theirs.use_the_scales_of(grid)
    network, c, z = toy.tanh_eps(), toy.condition(), toy.latents()
    ours = sample(Denoiser(network, grid, torch.float64), z, c)
    for t in theirs.timesteps:
        z = theirs.step(network(z, t, c.prompt), t, z).prev_sample
    assert torch.allclose(ours, z, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("prediction", "final"),
    [*product(("epsilon", "v_prediction"), ("zero", "sigma_min")), ("sample", "sigma_min")],
)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 14, 15, 50])
def test_equals_diffusers(prediction, final, spacing, steps):
    theirs = InDouble(
        **SD, prediction_type=prediction, timestep_spacing=spacing, final_sigmas_type=final
    )
    assert_steps_are_those_of(theirs, DPMSolver(final), steps)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("key", ["use_karras_sigmas", "use_exponential_sigmas"])
@pytest.mark.parametrize("steps", [1, 2, 14, 50])
def test_equals_diffusers_on_noise_levels_with_a_spacing_of_their_own(prediction, key, steps):
    """Also where timesteps repeat, since the levels are closer than the timesteps."""
    theirs = InDouble(**SD, prediction_type=prediction, **{key: True})
    assert_steps_are_those_of(theirs, DPMSolver(), steps)


def test_exponential_steps_are_equally_long_in_log_snr():
    grid = DPMSolver().schedule(scheduler(use_exponential_sigmas=True), 20)
    snr = [math.log(a / s) for a, s in zip(grid.alpha[1:], grid.sigma[1:], strict=True)]
    lengths = [low - high for low, high in pairwise(snr)]
    assert min(lengths) == pytest.approx(max(lengths), rel=1e-4)


def test_timesteps_may_repeat_where_the_noise_levels_do_not():
    timesteps = DPMSolver().schedule(scheduler(use_karras_sigmas=True), 200).timestep
    assert len(set(timesteps)) < len(timesteps)


@pytest.mark.parametrize("key", ["use_karras_sigmas", "use_exponential_sigmas"])
def test_a_last_step_of_no_length_is_refused(key):
    ends_twice = scheduler(final_sigmas_type="sigma_min", **{key: True})
    with pytest.raises(UserError, match=r"use sampler\.final=zero"):
        DPMSolver("sigma_min").schedule(ends_twice, 10)


@pytest.fixture(scope="module", params=["sd15", "sd21", "sdxl"])
def folder(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param)
    tiny_model(request.param, path)
    return path


def load(folder, **options):
    return StableDiffusion(str(folder), name="tiny", device="cpu", **options)


@pytest.mark.parametrize("spacing", [None, "karras", "exponential"])
@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_equals_the_stock_pipeline(folder, guidance, spacing):
    model = load(folder, sampler=DPMSolver(), spacing=spacing)
    z, condition = torch.randn(2, *model.latent_shape), model.condition(["a", "two"], guidance)
    with torch.no_grad():
        ours = sample(model.denoiser(6), z, condition)
    model.pipeline.set_progress_bar_config(disable=True)
    stock = model.pipeline(
        ["a", "two"], latents=z, guidance_scale=guidance, num_inference_steps=6, height=64,
        width=64, output_type="latent",
    ).images  # fmt: skip
    torch.testing.assert_close(ours, stock, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "kind"),
    [(DPMSolver(), DPMSolverMultistepScheduler), (EulerSampler(), EulerDiscreteScheduler)],
)
@pytest.mark.parametrize("spacing", [None, *NOISE_SPACINGS])
def test_the_scheduler_is_the_one_that_stock_diffusers_makes_of_what_ships(
    folder, sampler, kind, spacing
):
    """The usual line, ``from_config(pipe.scheduler.config, use_karras_sigmas=True)``."""
    model = load(folder, sampler=sampler, spacing=spacing)
    shipped = StableDiffusionPipeline.load_config(folder)["scheduler"][1]
    config = getattr(diffusers, shipped).load_config(folder / "scheduler")
    keys = {NOISE_SPACINGS[spacing]: True} if spacing else {}
    theirs = kind.from_config(config, **keys)
    theirs.set_timesteps(20)
    schedule = model.denoiser(20).schedule
    assert schedule.timestep[1:] == tuple(theirs.timesteps.flip(0).tolist())
    ratios = [s / a for a, s in zip(schedule.alpha, schedule.sigma, strict=True)]
    torch.testing.assert_close(torch.tensor(ratios), theirs.sigmas.flip(0))
    assert schedule.sigma[0] == 0


def test_is_of_second_order_in_the_number_of_steps():
    """Errors on Gaussian data, whose flow is known, at steps of equal length in log-SNR."""

    def error(steps: int, second: bool) -> float:
        snr = torch.linspace(3, -2.5, steps + 1, dtype=torch.float64)
        alpha, sigma = torch.sigmoid(2 * snr).sqrt(), torch.sigmoid(-2 * snr).sqrt()
        lookback = (0.0, *[0.5] * (steps - 1), 0.0) if second else ()
        grid = Schedule(
            tuple(alpha.tolist()), tuple(sigma.tolist()), tuple(range(steps + 1)), "epsilon",
            lookback,
        )  # fmt: skip
        network = toy.Gaussian(grid)
        z = torch.linspace(-1, 1, 4, dtype=torch.float64).view(4, 1, 1, 1)
        c = toy.condition(4)
        noise = network.flow(z)
        return float((sample(Denoiser(network, grid, torch.float64), noise, c) - z).abs().max())

    for second, order in ((False, 1), (True, 2)):
        coarse, fine = error(100, second), error(200, second)
        assert coarse / fine == pytest.approx(2**order, rel=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"solver_order": 3},
        {"solver_type": "heun"},
        {"algorithm_type": "sde-dpmsolver++"},
        {"use_lu_lambdas": True},
        {"use_beta_sigmas": True},
        {"thresholding": True},
    ],
)
def test_refuses_schedulers_of_other_steps_in_one_line(changes):
    key, value = next(iter(changes.items()))
    with pytest.raises(
        UserError, match=re.escape(f"{key}={value} cannot be inverted: make it with")
    ):
        DPMSolver().schedule(scheduler(**changes), 10)


def test_refuses_a_network_that_predicts_the_image_where_the_last_step_would_forget():
    with pytest.raises(UserError, match=r"use sampler\.final=sigma_min"):
        DPMSolver().schedule(scheduler(prediction_type="sample"), 10)


@pytest.mark.parametrize("steps", [0, 1001])
def test_refuses_impossible_numbers_of_steps(steps):
    with pytest.raises(UserError, match="choose 1 to 1000"):
        DPMSolver().schedule(scheduler(), steps)


def test_refuses_a_sampler_of_another_kind_of_model(folder, tmp_path):
    with pytest.raises(UserError, match="sampler=dpm.*use sampler=euler"):
        FlowReading(str(folder), device="cpu", sampler=DPMSolver())
    with pytest.raises(UserError, match=r"sampler\.final=one is unknown"):
        DPMSolver("one")


def test_euler_is_ddim_on_a_flow(tmp_path):
    tiny_model("sd15", tmp_path)
    grids = [
        FlowReading(str(tmp_path), device="cpu", sampler=sampler).denoiser(5).schedule
        for sampler in (EulerSampler(), DDIMSampler(), None)
    ]
    assert grids[0] == grids[1] == grids[2]


ZERO_SNR = {
    **{"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"},
    **{"num_train_timesteps": 1000, "rescale_betas_zero_snr": True, "steps_offset": 1},
    **{"clip_sample": False, "set_alpha_to_one": True},
}


def zero_snr(sampler, prediction, steps):
    """Return the grid of a model that ends without a signal, where diffusers' sigmas do not."""
    shipped = {**ZERO_SNR, "prediction_type": prediction, "_class_name": "DDIMScheduler"}
    return sampler.schedule(sampler.noise_scheduler(shipped, "trailing"), steps)


@pytest.mark.parametrize("sampler", [DDIMSampler(), EulerSampler(), AncestralSampler()])
def test_a_level_of_next_to_no_signal_counts_as_one_of_none(sampler):
    with pytest.raises(UserError, match="says nothing of the image"):
        zero_snr(sampler, "epsilon", 8)
    grid = zero_snr(sampler, "v_prediction", 8)
    assert grid.alpha[-1] ** 2 <= 2**-24
    if sampler.stochastic:
        with pytest.raises(UserError, match="forgets its latent"):
            grid.without_noise(8)
        grid.without_noise(7)
        return
    assert grid.form(8) == "v_prediction" and grid.form(1) == "epsilon"


def test_a_single_step_from_no_signal_to_no_noise_is_refused():
    grid, z = zero_snr(EulerSampler(), "v_prediction", 1), torch.zeros(1, 4, 1, 1)
    with pytest.raises(UserError, match="from no signal to no noise forgets its latent"):
        grid.preimage(z, z, 1)


def test_an_inverter_of_ddim_refuses_a_grid_that_looks_back():
    grid = DPMSolver().schedule(scheduler(), 20)
    d = Denoiser(toy.tanh_eps(), grid, torch.float64)
    with pytest.raises(UserError, match="FixedPoint inverts the steps of DDIM.*inverter=sweeps"):
        FixedPoint().invert(d, toy.latents(), toy.condition())


def test_the_grid_above_an_index_takes_the_same_steps():
    grid = DPMSolver().schedule(scheduler(), 20)
    d, c, z = Denoiser(toy.tanh_eps(), grid, torch.float64), toy.condition(), toy.latents()
    upper = Denoiser(toy.tanh_eps(), grid.above(5), torch.float64)
    assert torch.equal(sample(upper, z, c), sample(d, z, c, stop=5))


def test_a_model_is_loaded_with_a_sampler_by_its_name(folder):
    model = load_model(str(folder), device="cpu", sampler="dpm")
    assert model.origin.sampler == "dpm" and model.denoiser(20).schedule.lookback
    with pytest.raises(UserError, match="no sampler 'dpmm'.*dpm"):
        load_model(str(folder), device="cpu", sampler="dpmm")


@pytest.mark.parametrize("name", ["fpi", "sweeps"])
def test_a_run_refuses_inverters_of_ddim_before_the_model_is_loaded(name):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", overrides=["sampler=dpm", f"inverter={name}"])
    inverter = build(config, "inverter")
    if name == "sweeps":
        require_sampler(config, inverter)
        return
    with pytest.raises(UserError, match="FixedPoint inverts.*inverter=sweeps, or sampler=ddim"):
        require_sampler(config, inverter)


def test_a_run_goes_on_with_its_own_sampler_alone(tmp_path):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        ddim, dpm = (
            compose("config", overrides=[f"sampler={name}", "inverter=sweeps"])
            for name in ("ddim", "dpm")
        )
    for config in (ddim, dpm):
        # Hydra's own keys and what it resolves at run time are no part of a job's configuration.
        OmegaConf.set_struct(config, False)
    save_config(ddim, {}, tmp_path)
    assert not differing_keys(ddim, tmp_path) and differing_keys(dpm, tmp_path)


@pytest.mark.parametrize(("stored", "sampler"), [({}, "dpm"), ({"sampler": "dpm"}, "ddim")])
def test_a_saved_inversion_is_for_its_own_sampler(stored, sampler, tmp_path):
    """One that was saved before there was a choice is DDIM's."""
    model = toy.ToyModel()
    model.origin = replace(model.origin, sampler=sampler)
    with pytest.raises(UserError, match=f"made with sampler .*, not '{sampler}'"):
        require_same_entries(tmp_path, {"model": "toy", **stored}, model, {})
