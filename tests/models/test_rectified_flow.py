"""Stable Diffusion 3 and FLUX against the stock pipelines, and one line for every misuse."""

import logging
from functools import partial

import pytest
import torch
from diffusers import DiffusionPipeline
from pipelines import IMAGE_SIZE, tiny_flux, tiny_sd3, tiny_sd15

from fpinv.errors import UserError
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.metrics.regions import regions
from fpinv.models import latent_model
from fpinv.models.rectified_flow import Flux, StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample
from fpinv.solvers import rms
from fpinv.tasks.editing import Editing
from fpinv.tasks.task import Settings

PROMPTS = ["a red circle", "two blue squares"]
LENGTH = 32
SETTINGS = {"device": "cpu", "max_sequence_length": LENGTH}

BUILDERS = {
    "sd3": tiny_sd3,
    "sd3 without t5": partial(tiny_sd3, t5=False),
    "flux": tiny_flux,
    "schnell": partial(tiny_flux, guidance=False),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("flows")
    return {kind: str(build(root / kind)) for kind, build in BUILDERS.items()}


def load(kind, folder, **settings):
    if kind.startswith("sd3"):
        return StableDiffusion3(folder, **SETTINGS | settings)
    told = 3.5 if kind == "flux" else None
    return Flux(
        folder, **SETTINGS | {"image_size": IMAGE_SIZE, "embedded_guidance": told} | settings
    )


@pytest.fixture(scope="module", params=list(BUILDERS))
def model(request, folders):
    return load(request.param, folders[request.param])


def stock(model, z, guidance, steps, folder=None):
    """Return the latents (B, C, h, w) and the pictures that the stock pipeline makes of noise."""
    pipeline = model.pipeline if folder is None else DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    size = {"height": model.image_size[0], "width": model.image_size[1]}
    options = {"num_inference_steps": steps, "max_sequence_length": LENGTH, **size}
    if isinstance(model, Flux):
        batch, channels, height, width = z.shape
        z = pipeline._pack_latents(z, batch, channels, height, width)
        told = model.embedded_guidance or 0.0
        options |= {
            "true_cfg_scale": guidance,
            "negative_prompt": [""] * 2,
            "guidance_scale": told,
        }
    else:
        options |= {"guidance_scale": guidance}
    latents = pipeline(PROMPTS, latents=z, output_type="latent", **options).images
    pictures = pipeline(PROMPTS, latents=z, output_type="pt", **options).images
    if isinstance(model, Flux):
        latents = pipeline._unpack_latents(latents, *model.image_size, pipeline.vae_scale_factor)
    return latents, pictures


@torch.no_grad()
def sampled(model, z, guidance, steps):
    return sample(model.denoiser(steps), z, model.condition(PROMPTS, guidance))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
def test_sampling_equals_the_stock_pipeline(model, guidance):
    z = torch.randn(2, *model.latent_shape)
    latents, pictures = stock(model, z, guidance, 4)
    ours = sampled(model, z, guidance, 4)
    torch.testing.assert_close(ours, latents, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.decode(ours) / 2 + 0.5, pictures, rtol=0, atol=1e-4)
    assert rms(ours - sampled(model, z, 2.0, 4)).min() > 1e-3  # guidance and prompt matter


@pytest.mark.parametrize("kind", ["sd3", "flux"])
def test_the_stock_pipeline_turns_our_noise_back_into_the_latent(kind, folders):
    model = load(kind, folders[kind])
    z0 = model.encode(torch.rand(2, 3, IMAGE_SIZE, IMAGE_SIZE) * 2 - 1)
    condition, denoiser, fpi = model.condition(PROMPTS, 1.0), model.denoiser(28), FixedPoint(5)
    inversion = fpi.invert(denoiser, z0, condition)
    back = fpi.sample(denoiser, inversion, condition)
    assert (rms(back - z0) < 1e-6 * rms(z0)).all()  # 120 dB
    latents, _ = stock(model, inversion.noise, 1.0, 28, folders[kind])
    assert (rms(latents - z0) < 1e-3 * rms(z0)).all()


def test_the_grid_runs_from_the_image_to_pure_noise(model):
    schedule = model.denoiser(28).schedule
    assert (schedule.sigma[0], schedule.sigma[-1], schedule.alpha[-1]) == (0.0, 1.0, 0.0)
    assert schedule.prediction == "flow" and schedule.steps == 28
    assert schedule.timestep[1:] == pytest.approx([1000 * s for s in schedule.sigma[1:]])
    with pytest.raises(UserError, match="steps=0 is not possible"):
        model.denoiser(0)


def test_the_grid_of_flux_is_shifted_by_the_size(folders):
    small, large = (load("flux", folders["flux"], image_size=s).denoiser(4) for s in (64, 128))
    assert small.schedule.sigma[2] < large.schedule.sigma[2]
    assert load("flux", folders["flux"]).origin.spacing == "flow, shift by size"
    assert load("sd3", folders["sd3"]).origin.spacing == "flow, shift 3"


def test_settings_that_change_the_network_change_the_digest(folders):
    flux = [load("flux", folders["flux"], embedded_guidance=told) for told in (1.0, 3.5)]
    sd3 = [load("sd3", folders["sd3"], t5=t5) for t5 in (True, False)]
    assert len({model.origin.digest for model in (*flux, *sd3)}) == 4


@pytest.mark.parametrize("length", [0, 513])
def test_the_t5_encoder_reads_so_many_tokens(folders, length):
    with pytest.raises(UserError, match=f"max_sequence_length={length} is not possible"):
        load("flux", folders["flux"], max_sequence_length=length)


def test_a_picture_of_odd_size_is_measured_and_its_saved_inversion_fits(model):
    pixels = torch.rand(1, 3, 52, 60) * 2 - 1
    noise = model.encode(pixels)
    masks = regions(pixels, [None], 4, noise.shape[-2:])
    assert {mask.shape for mask in masks.values()} == {noise.shape[:1] + noise.shape[-2:]}
    assert model.multiple == 8 and noise.shape[-2:] == (14, 16)


def test_slices_of_attention_are_refused_where_they_would_do_nothing(folders):
    with pytest.raises(UserError, match="attention_slicing does nothing on a FluxTransf"):
        load("flux", folders["flux"], attention_slicing=True)


def test_pictures_are_padded_to_whole_tokens(model):
    assert model.encode(torch.zeros(1, 3, 57, 64)).shape[-2:] == (16, 16)
    with pytest.raises(UserError, match="use a multiple of 8"):
        type(model)(model.origin.path, image_size=60, **SETTINGS)


def test_the_network_of_sd3_has_places_for_so_many_tokens(folders):
    with pytest.raises(UserError, match="use a multiple of 8 up to 128"):
        load("sd3", folders["sd3"], image_size=136)


def test_sd3_can_leave_out_the_t5_encoder(folders):
    whole, without = (load("sd3", folders["sd3"], t5=t5) for t5 in (True, False))
    assert without.pipeline.text_encoder_3 is None
    assert whole.embed(["a"]).tokens.shape == without.embed(["a"]).tokens.shape
    assert not whole.embed(["a"]).tokens[:, 77:].eq(0).all()
    assert without.embed(["a"]).tokens[:, 77:].eq(0).all()


def test_the_end_that_the_longest_reader_ignores_is_named(folders):
    flux, clip = load("flux", folders["flux"]), load("sd3", folders["sd3"], t5=False)
    assert flux.excess("a" * 30) == "" and flux.excess("a" * 40) == "a" * 10
    assert clip.excess("a" * 70) == "" and clip.excess("a" * 80) == "a" * 5


@pytest.mark.parametrize(
    ("kind", "encoders"), [("sd3", ["text_encoder", "text_encoder_2"]), ("flux", ["text_encoder"])]
)
def test_a_prompt_that_clip_alone_cuts_is_warned_of_once(kind, encoders, folders, caplog):
    model = load(kind, folders[kind], max_sequence_length=128)
    with caplog.at_level(logging.WARNING):
        model.embed(["a" * 70])
        assert not caplog.records
        model.embed(["a" * 80, "b" * 90])
        model.embed(["a" * 80])
    said = [record.getMessage() for record in caplog.records]
    reads = "reads 77 tokens of a prompt, fewer than 128; it ignores: 'aaaaa'"
    assert said == [f"{encoder} {reads}" for encoder in encoders]
    assert model.excess("a" * 80) == ""  # T5 reads it


def test_a_prompt_that_all_encoders_cut_is_warned_of_by_one(folders, caplog):
    model = load("sd3", folders["sd3"], t5=False)
    with caplog.at_level(logging.WARNING):
        model.embed(["a" * 80])
    assert [record.getMessage() for record in caplog.records] == [
        "prompt cut to 77 tokens; ignored: 'aaaaa'"
    ]


@pytest.mark.parametrize(("kind", "told"), [("flux", None), ("schnell", 3.5)])
def test_the_guidance_that_a_network_is_told_must_fit_it(kind, told, folders):
    with pytest.raises(UserError, match="embedded_guidance must be"):
        load(kind, folders[kind], embedded_guidance=told)


def test_a_folder_of_another_family_is_named_with_its_option(folders, tmp_path):
    with pytest.raises(UserError, match="holds a FluxPipeline: use model=flux"):
        StableDiffusion(folders["flux"])
    with pytest.raises(UserError, match="holds a StableDiffusionPipeline: use model=sd15"):
        Flux(str(tiny_sd15(tmp_path / "sd15")))


def test_edits_of_attention_are_refused_before_anything_is_computed(model):
    settings = Settings(steps=2, guidance=1.0, seed=0, batch_size=1)
    with pytest.raises(UserError, match="act on cross-attention.*model=sdxl"):
        list(Editing()(model, FixedPoint(1), [], settings))


@pytest.mark.parametrize(
    ("kind", "parts"),
    [("flux", {"FluxTransformerBlock", "FluxSingleTransformerBlock"}), ("sd3", set())],
)
def test_a_transformer_is_compiled_by_the_blocks_that_it_repeats(
    kind, parts, folders, monkeypatch
):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(self))
    network = load(kind, folders[kind], compile=True).network
    assert {type(part).__name__ for part in compiled} == (parts or {type(network).__name__})


def test_offloading_needs_a_gpu_and_is_left_to_diffusers(folders, monkeypatch):
    with pytest.raises(UserError, match="model.offload=model needs a GPU"):
        load("flux", folders["flux"], offload="model")
    with pytest.raises(UserError, match="model.offload=disk is unknown: use none, model, seq"):
        load("flux", folders["flux"], offload="disk")
    calls = []
    monkeypatch.setattr(latent_model, "check_offload", lambda offload, device: None)
    for name in ("enable_model_cpu_offload", "enable_sequential_cpu_offload"):
        monkeypatch.setattr(
            DiffusionPipeline, name, lambda self, device, name=name: calls.append((name, device))
        )
    for offload in ("model", "sequential"):
        load("flux", folders["flux"], offload=offload)
    device = torch.device("cpu")
    assert calls == [
        ("enable_model_cpu_offload", device),
        ("enable_sequential_cpu_offload", device),
    ]
