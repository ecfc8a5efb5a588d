"""Models distilled to a few steps: turbo and latent consistency."""

import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline, StableDiffusionPipeline
from pipelines import tiny_lcm, tiny_sdxl_turbo

from fpinv.errors import UserError
from fpinv.inverters.auto.auto import Auto
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.models.weights import quiet
from fpinv.sampling import sample
from fpinv.solvers import rms

PROMPTS = ["a red circle", "two blue squares"]


@pytest.fixture(scope="module")
def turbo(tmp_path_factory):
    return load(tiny_sdxl_turbo(tmp_path_factory.mktemp("turbo")))


@pytest.fixture(scope="module")
def lcm_folder(tmp_path_factory):
    return tiny_lcm(tmp_path_factory.mktemp("lcm"))


def load(folder, **settings):
    return StableDiffusion(str(folder), "tiny", device="cpu", **settings)


def stored(folder):
    """Return the pipeline of a folder, loaded without us."""
    with quiet():
        return DiffusionPipeline.from_pretrained(folder, safety_checker=None)


def stock(pipeline, model, z, guidance, steps):
    """Return the latents that a stock pipeline makes of the noise z."""
    pipeline.set_progress_bar_config(disable=True)
    size = dict(zip(("height", "width"), model.image_size, strict=True))
    options = {"num_inference_steps": steps, "output_type": "latent", **size}
    return pipeline(PROMPTS, latents=z, guidance_scale=guidance, **options).images


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
def test_the_stock_pipeline_brings_the_noise_of_few_steps_back(turbo, steps):
    """With diffusers' DDIM on the spacing that Turbo ships with, at "no guidance", its 0."""
    c, d = turbo.condition(PROMPTS, 1.0), turbo.denoiser(steps)
    z0 = torch.randn(2, *turbo.latent_shape, generator=torch.Generator().manual_seed(1))
    assert d.schedule.timestep[-1] == 999
    inversion = Auto(accuracy=25.0).invert(d, z0, c)
    pipeline = stored(turbo.origin.path)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config, set_alpha_to_one=False, clip_sample=False
    )
    back = stock(pipeline, turbo, inversion.noise, 0.0, steps)
    assert (rms(back - z0) / rms(z0) < 10 ** (-25 / 20)).all()


@pytest.mark.parametrize("told", [1.0, 8.0])
def test_a_network_that_is_told_the_guidance_samples_as_the_stock_pipeline(lcm_folder, told):
    model = load(lcm_folder, embedded_guidance=told)
    z = torch.randn(2, *model.latent_shape)
    ours = sample(model.denoiser(4), z, model.condition(PROMPTS, 1.0))
    parts = stored(lcm_folder).components
    with quiet():
        pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.scheduler = DDIMScheduler.from_config(
        pipeline.scheduler.config,
        **{"timestep_spacing": "trailing", "steps_offset": 1, "set_alpha_to_one": False},
    )
    theirs = stock(pipeline, model, z, told, 4)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    own = stock(model.pipeline, model, z, told, 4)
    torch.testing.assert_close(own, theirs)


def test_what_the_network_is_told_changes_its_output_and_its_digest(lcm_folder):
    z, outputs, digests = None, [], set()
    for told in (1.0, 8.0):
        model = load(lcm_folder, embedded_guidance=told)
        z = torch.randn(2, *model.latent_shape) if z is None else z
        d = model.denoiser(4)
        outputs.append(d(z, 4, model.condition(PROMPTS, 1.0)))
        digests.add(model.origin.digest)
        assert (d.calls, d.rows) == (1, 2)
    assert not torch.allclose(*outputs, atol=1e-3) and len(digests) == 2


def test_a_consistency_model_walks_from_the_last_timestep(lcm_folder):
    model = load(lcm_folder, embedded_guidance=8.0)
    assert model.denoiser(4).schedule.timestep == (0, 249, 499, 749, 999)
    assert model.origin.spacing == "trailing" and model.origin.scheduler == "LCMScheduler"


def test_guidance_that_a_network_does_not_take_is_refused(lcm_folder, turbo):
    with pytest.raises(UserError, match=r"embedded_guidance must be a number, e\.g\."):
        load(lcm_folder)
    with pytest.raises(UserError, match="embedded_guidance must be null, as its network takes"):
        load(turbo.origin.path, embedded_guidance=2.0)
