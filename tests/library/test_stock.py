"""Inversion around a stock pipeline: the same z_N as from its folder, and the image again."""

import numpy as np
import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    LatentConsistencyModelPipeline,
    StableDiffusionImg2ImgPipeline,
)
from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
from drawn_seeds import normal
from tiny_models import tiny_model
from transformers import CLIPConfig, CLIPImageProcessor

import fpinv
from fpinv import FixedPoint, InversionPipeline, UserError
from fpinv.images import to_pil
from fpinv.inverters.ddim import DDIM
from fpinv.models.samplers import EulerSampler

STEPS = 8
PROMPT = "a cat on a sofa"
BLACK = np.zeros((32, 32, 3), np.uint8)


def stock(folder):
    """Return the stock pipeline in a folder, silent."""
    pipe = DiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def size_of(family, model):
    return {"image_size": model.image_size[0]} if family == "flux" else {}


@pytest.mark.parametrize("family", ["sd15", "sd21", "sdxl", "sd3", "flux"])
def test_stock_call_makes_the_image_of_the_latents(family, tmp_path):
    model = tiny_model(family, tmp_path)
    # A picture of the model itself, because a random autoencoder keeps no other.
    picture = to_pil(model.decode(0.3 * normal(1, *model.latent_shape))[0])
    lengths = {"max_sequence_length": 16} if family in ("sd3", "flux") else {}
    pipe = InversionPipeline.from_pipe(stock(tmp_path), **size_of(family, model), **lengths)
    guidance = 3.5 if family == "flux" else 1.0
    latents = pipe.invert(
        picture, PROMPT, "fpi", num_inference_steps=STEPS, guidance_scale=guidance
    )
    expected = fpinv.invert(model, picture, PROMPT, "fpi", steps=STEPS)
    plain = expected.noise
    if family == "flux":
        plain = pipe.pipe._pack_latents(plain, *plain.shape)
    torch.testing.assert_close(latents, plain, rtol=0, atol=0)
    again = pipe(
        PROMPT,
        latents=latents,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        **lengths,
    ).images[0]
    difference = np.abs(np.asarray(again, float) - np.asarray(expected.reconstruct(), float))
    assert difference.mean() < 1


def test_networks_are_shared_and_the_own_pipeline_keeps_its_scheduler(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = stock(tmp_path)
    scheduler = pipe.scheduler
    inverting = InversionPipeline.from_pipe(pipe)
    assert inverting.model.network is pipe.unet and inverting.pipe.unet is pipe.unet
    assert pipe.scheduler is scheduler and inverting.pipe.scheduler is not scheduler


def test_half_precision_is_that_of_the_pipeline(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = DiffusionPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    inverting = InversionPipeline.from_pipe(pipe)
    assert inverting.model.dtype == torch.bfloat16 and pipe.vae.dtype == torch.bfloat16
    latents = inverting.invert(BLACK, PROMPT, num_inference_steps=2, guidance_scale=1)
    assert latents.dtype == torch.bfloat16 and latents.isfinite().all()


def test_other_weights_have_another_digest(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = stock(tmp_path)
    before = InversionPipeline.from_pipe(pipe).model.origin.digest
    assert InversionPipeline.from_pipe(stock(tmp_path)).model.origin.digest == before
    with torch.no_grad():
        pipe.unet.conv_in.weight.add_(1e-3)
    assert InversionPipeline.from_pipe(pipe).model.origin.digest != before


def test_pipeline_of_another_family_is_refused(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = StableDiffusionImg2ImgPipeline.from_pipe(stock(tmp_path))
    with pytest.raises(UserError, match="StableDiffusionImg2ImgPipeline cannot be inverted"):
        InversionPipeline.from_pipe(pipe)


def test_guidance_is_that_of_the_call(tmp_path):
    """Stock calls take all of 1 and below as no guidance, and 0 is what turbo models are given."""
    tiny_model("sd15", tmp_path)
    pipe = InversionPipeline.from_pipe(stock(tmp_path))
    none, one, two = (
        pipe.invert(BLACK, PROMPT, num_inference_steps=2, guidance_scale=w)
        for w in (0.0, 1.0, 2.0)
    )
    assert torch.equal(none, one) and not torch.allclose(one, two)
    with pytest.raises(UserError, match="guidance_scale is missing"):
        pipe.invert(BLACK, PROMPT)
    with pytest.raises(UserError, match="true_cfg_scale is for FLUX"):
        pipe.invert(BLACK, PROMPT, guidance_scale=1.0, true_cfg_scale=2.0)


@pytest.mark.parametrize("inverter", ["edict", "bdia", "edit_friendly", "null_text", "direct"])
def test_inverters_whose_noise_is_not_all_are_refused(inverter, tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = InversionPipeline.from_pipe(stock(tmp_path))
    with pytest.raises(UserError, match="needs more or another guidance: use inverted"):
        pipe.invert(BLACK, PROMPT, inverter, num_inference_steps=2, guidance_scale=3)
    with pytest.raises(UserError, match="another guidance"):
        ddim = DDIM(inversion_guidance=1.0)
        pipe.invert(BLACK, PROMPT, ddim, num_inference_steps=2, guidance_scale=3)
    with pytest.raises(UserError, match=r"give an object, DDIM\(\)"):
        pipe.invert(BLACK, PROMPT, DDIM, num_inference_steps=2, guidance_scale=3)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_latents_of_eulers_scheduler_are_in_its_scale(spacing, tmp_path):
    model = tiny_model("sd15", tmp_path)
    euler = {"sampler": EulerSampler(), "spacing": spacing}
    pipe = InversionPipeline.from_pipe(stock(tmp_path), **euler)
    settings = {"num_inference_steps": 4, "guidance_scale": 1.0}
    latents = pipe.invert(BLACK, PROMPT, "fpi", **settings)
    again = pipe(PROMPT, latents=latents, output_type="latent", **settings).images
    denoiser, condition = pipe.model.denoiser(4), pipe.model.condition([PROMPT], 1.0)
    inversion = pipe.inverted(BLACK, PROMPT, "fpi", steps=4).inversion
    expected = FixedPoint().sample(denoiser, inversion, condition)
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-4)
    assert model.latent_shape == tuple(again.shape[1:])


def test_a_consistency_model_is_called_as_it_is_inverted(tmp_path):
    tiny_model("lcm", tmp_path)
    whole = stock(tmp_path)
    lcm = LatentConsistencyModelPipeline(**whole.components, requires_safety_checker=False)
    pipe = InversionPipeline.from_pipe(lcm, embedded_guidance=8.0)
    latents = pipe.invert(BLACK, PROMPT, "fpi", num_inference_steps=4)
    settings = {"num_inference_steps": 4, "guidance_scale": 8.0, "output_type": "latent"}
    again = pipe(PROMPT, latents=latents, **settings).images
    inversion = pipe.inverted(BLACK, PROMPT, "fpi", steps=4).inversion
    condition = pipe.model.condition([PROMPT], 1.0)
    expected = FixedPoint().sample(pipe.model.denoiser(4), inversion, condition)
    torch.testing.assert_close(again, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("negative", [{}, {"negative_prompt": None}])
def test_a_guided_call_of_flux_is_told_what_the_inversion_was(tmp_path, negative):
    model = tiny_model("flux", tmp_path)
    pipe = InversionPipeline.from_pipe(
        stock(tmp_path), max_sequence_length=16, embedded_guidance=2.5, **size_of("flux", model)
    )
    settings = {"num_inference_steps": STEPS, "true_cfg_scale": 2.0}
    latents = pipe.invert(BLACK, PROMPT, "fpi", **settings)
    again = pipe(PROMPT, latents=latents, output_type="latent", **negative, **settings).images
    with pytest.raises(UserError, match="give from_pipe embedded_guidance=3.5"):
        pipe(PROMPT, latents=latents, guidance_scale=3.5, **settings)
    inverted = pipe.inverted(BLACK, PROMPT, "fpi", steps=STEPS, guidance=2.0)
    denoiser, condition = pipe.model.denoiser(STEPS), pipe.model.condition([PROMPT], 2.0)
    expected = FixedPoint().sample(denoiser, inverted.inversion, condition)
    packed = pipe.pipe._pack_latents(expected, *expected.shape)
    torch.testing.assert_close(again, packed, rtol=0, atol=1e-4)


def test_flux_is_told_its_guidance_when_it_is_wrapped(tmp_path):
    model = tiny_model("flux", tmp_path)
    pipe = InversionPipeline.from_pipe(stock(tmp_path), **size_of("flux", model))
    plain, guided = (
        pipe.invert(BLACK, PROMPT, num_inference_steps=2, true_cfg_scale=w) for w in (1.0, 2.0)
    )
    assert not torch.allclose(plain, guided)
    with pytest.raises(UserError, match="give from_pipe embedded_guidance=2"):
        pipe.invert(BLACK, PROMPT, guidance_scale=2)
    with pytest.raises(UserError, match="give from_pipe an image_size"):
        side = 2 * model.image_size[0]
        pipe.invert(torch.zeros(3, side, side), PROMPT, num_inference_steps=2)


def test_steps_that_are_left_out_are_those_of_the_call(tmp_path):
    model = tiny_model("sd3", tmp_path)
    pipe = InversionPipeline.from_pipe(stock(tmp_path), max_sequence_length=16)
    pipe.model.denoiser = lambda steps: pytest.fail(str(steps))
    with pytest.raises(pytest.fail.Exception, match="28"):
        pipe.invert(np.zeros((*model.image_size, 3), np.uint8), PROMPT, guidance_scale=1)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"variant": "fp16"}, "variant=fp16 is for weights in files"),
        ({"revision": "main"}, "revision=main is for weights in files"),
        ({"quantization": "int8"}, "quantization=int8 is for weights in files"),
        ({"lora": "changes.safetensors"}, "lora=changes.safetensors is for weights in files"),
        ({"precision": "fp16"}, "weights of torch.float32: give that precision"),
        ({"device": "cpu"}, "use pipe.to"),
    ],
)
def test_settings_that_a_pipeline_in_memory_cannot_take_are_refused(tmp_path, settings, words):
    tiny_model("sd15", tmp_path)
    with pytest.raises(UserError, match=words):
        InversionPipeline.from_pipe(stock(tmp_path), **settings)


def test_what_a_pipeline_was_changed_to_is_not_passed_over(tmp_path):
    tiny_model("sd3", tmp_path / "sd3")
    flow = stock(tmp_path / "sd3")
    with pytest.raises(UserError, match="make the pipeline with text_encoder_3=None"):
        InversionPipeline.from_pipe(flow, t5=False)
    flow.scheduler.set_shift(5.0)
    with pytest.raises(UserError, match="make it with shift=5.0"):
        InversionPipeline.from_pipe(flow)
    flow.transformer.image_proj = torch.nn.Identity()
    with pytest.raises(UserError, match="unload_ip_adapter"):
        InversionPipeline.from_pipe(flow)
    tiny_model("sd15", tmp_path / "sd15")
    pipe = stock(tmp_path / "sd15")
    pipe.unet.encoder_hid_proj = torch.nn.Identity()
    with pytest.raises(UserError, match="unload_ip_adapter"):
        InversionPipeline.from_pipe(pipe)


def test_the_prompt_of_an_image_is_one_text(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = InversionPipeline.from_pipe(stock(tmp_path))
    settings = {"num_inference_steps": 2, "guidance_scale": 1}
    one, listed = (pipe.invert(BLACK, prompt, **settings) for prompt in (PROMPT, [PROMPT]))
    assert torch.equal(one, listed)
    with pytest.raises(UserError, match="is one text"):
        pipe.invert(BLACK, [PROMPT, PROMPT], **settings)


def test_calls_take_the_size_of_the_latents(tmp_path):
    model = tiny_model("sd15", tmp_path)
    height, width = model.image_size[0], 2 * model.image_size[1]
    pipe = InversionPipeline.from_pipe(stock(tmp_path))
    latents = pipe.invert(
        torch.zeros(3, height, width), PROMPT, num_inference_steps=2, guidance_scale=1
    )
    image = pipe(PROMPT, latents=latents, num_inference_steps=2, guidance_scale=1).images[0]
    assert image.size == (width, height)


def test_settings_of_the_pipeline_and_its_safety_checker_stay(tmp_path):
    tiny_model("sdxl", tmp_path / "xl")
    xl = stock(tmp_path / "xl")
    xl.register_to_config(force_zeros_for_empty_prompt=False)
    inverting = InversionPipeline.from_pipe(xl)
    assert not inverting.pipe.config.force_zeros_for_empty_prompt
    assert inverting.model.condition([""], 2.0).null.tokens.any()
    tiny_model("sd15", tmp_path / "sd15")
    pipe = stock(tmp_path / "sd15")
    vision = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "patch_size": 8}
    vision |= {"intermediate_size": 8, "image_size": 8}
    checker = StableDiffusionSafetyChecker(CLIPConfig(vision_config=vision, projection_dim=8))
    pipe.register_modules(safety_checker=checker, feature_extractor=CLIPImageProcessor())
    assert InversionPipeline.from_pipe(pipe).pipe.safety_checker is pipe.safety_checker


def test_offloaded_pipeline_is_refused(tmp_path):
    tiny_model("sd15", tmp_path)
    pipe = stock(tmp_path)
    pipe.unet._hf_hook = object()
    with pytest.raises(UserError, match="give offload='model' here"):
        InversionPipeline.from_pipe(pipe)
