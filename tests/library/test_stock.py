"""Inversion around a stock pipeline: the same z_N as from its folder, and the image again."""

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionImg2ImgPipeline
from drawn_seeds import normal
from tiny_models import tiny_model

import fpinv
from fpinv import InversionPipeline, UserError
from fpinv.images import to_pil

STEPS = 8
PROMPT = "a cat on a sofa"


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
    side = model.image_size[0]
    # A picture of the model itself, because a random autoencoder keeps no other.
    picture = to_pil(model.decode(0.3 * normal(1, *model.latent_shape))[0])
    lengths = {"max_sequence_length": 16} if family in ("sd3", "flux") else {}
    pipe = InversionPipeline.from_pipe(stock(tmp_path), **size_of(family, model), **lengths)
    latents = pipe.invert(picture, PROMPT, "fpi", num_inference_steps=STEPS)
    expected = fpinv.invert(model, picture, PROMPT, "fpi", steps=STEPS)
    plain = expected.noise
    if family == "flux":
        plain = pipe.pipe._pack_latents(plain, *plain.shape)
    torch.testing.assert_close(latents, plain, rtol=0, atol=0)
    guidance = 3.5 if family == "flux" else 1.0
    again = pipe(
        PROMPT,
        latents=latents,
        num_inference_steps=STEPS,
        guidance_scale=guidance,
        height=side,
        width=side,
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
    latents = inverting.invert(np.zeros((32, 32, 3), np.uint8), PROMPT, num_inference_steps=2)
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
