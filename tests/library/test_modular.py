"""The inversion block inside a pipeline of modular diffusers."""

import diffusers
import numpy as np
import pytest
import torch
from diffusers.guiders import ClassifierFreeGuidance, ClassifierFreeZeroStarGuidance
from drawn_seeds import normal
from tiny_models import tiny_model

import fpinv
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.pipelines.modular import StableDiffusion3InvertBlock, StableDiffusionXLInvertBlock

PROMPT = "a cat on a sofa"
BLACK = np.zeros((32, 32, 3), np.uint8)
BLOCKS = {
    "sdxl": (diffusers.StableDiffusionXLAutoBlocks, StableDiffusionXLInvertBlock),
    "sd3": (diffusers.StableDiffusion3AutoBlocks, StableDiffusion3InvertBlock),
}


def modular(family, folder, guider, alone=False):
    """Return the modular pipeline of a folder: the inversion, and the stock blocks behind it."""
    whole, block = BLOCKS[family]
    blocks = block() if alone else whole()
    if not alone:
        blocks.sub_blocks.insert("invert", block(), 0)
    pipe = blocks.init_pipeline()
    pipe.set_progress_bar_config(disable=True)
    stock = diffusers.DiffusionPipeline.from_pretrained(folder).components
    parts = {name: part for name, part in stock.items() if name in pipe._component_specs}
    pipe.update_components(**parts, guider=guider)
    return pipe


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_of_text_to_image_bring_the_picture_back(family, guidance, tmp_path):
    model = tiny_model(family, tmp_path)
    picture = to_pil(model.decode(0.3 * normal(1, *model.latent_shape))[0])
    pipe = modular(family, tmp_path, ClassifierFreeGuidance(guidance))
    again = pipe(picture=picture, prompt=PROMPT, num_inference_steps=8, output="images")[0]
    expected = fpinv.invert(model, picture, PROMPT, "fpi", steps=8, guidance=guidance)
    difference = np.abs(np.asarray(again, float) - np.asarray(expected.reconstruct(), float))
    assert difference.mean() < 1


@pytest.mark.parametrize("family", BLOCKS)
def test_block_inverts_by_guidance_size_and_source_prompt_of_the_call(family, tmp_path):
    model = tiny_model(family, tmp_path)
    picture = to_pil(model.decode(0.3 * normal(1, *model.latent_shape))[0])
    height, width = model.image_size[0], model.image_size[1] // 2
    small = type(model)(str(tmp_path), image_size=[height, width], device="cpu")
    settings = {"picture": picture, "num_inference_steps": 2, "output": "latents"}
    settings |= {"prompt": "a dog", "source_prompt": PROMPT, "height": height, "width": width}
    starts = []
    for enabled, guidance in ((True, 2.0), (False, 1.0)):
        guider = ClassifierFreeGuidance(2.0, enabled=enabled)
        latents = modular(family, tmp_path, guider, alone=True)(**settings)
        expected = fpinv.invert(small, picture, PROMPT, "fpi", steps=2, guidance=guidance)
        torch.testing.assert_close(latents, expected.noise, rtol=0, atol=1e-5)
        starts.append(latents)
    assert not torch.allclose(*starts)


@pytest.mark.parametrize("guidance", [0.5, 0.0])
def test_a_guider_below_1_guides(guidance, tmp_path):
    model = tiny_model("sdxl", tmp_path)
    pipe = modular("sdxl", tmp_path, ClassifierFreeGuidance(guidance), alone=True)
    latents = pipe(picture=BLACK, prompt=PROMPT, num_inference_steps=2, output="latents")
    expected = fpinv.invert(model, BLACK, PROMPT, "fpi", steps=2, guidance=guidance)
    torch.testing.assert_close(latents, expected.noise, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "name", "value"),
    [
        ("sdxl", "prompt_2", "a dog"),
        ("sdxl", "original_size", (16, 16)),
        ("sdxl", "crops_coords_top_left", (0, 8)),
        ("sd3", "prompt_3", "a dog"),
        ("sd3", "max_sequence_length", 8),
        ("sd3", "sigmas", [1.0, 0.5]),
    ],
)
def test_inputs_that_the_inversion_does_not_have_are_refused(family, name, value, tmp_path):
    tiny_model(family, tmp_path)
    pipe = modular(family, tmp_path, ClassifierFreeGuidance(2.0))
    with pytest.raises(UserError, match=f"{name}=.* has no part in the inversion: leave it out"):
        pipe(picture=BLACK, prompt=PROMPT, num_inference_steps=2, **{name: value})


@pytest.mark.parametrize(
    ("guider", "message"),
    [
        (ClassifierFreeGuidance(2.0, stop=0.5), "guider's stop=0.5 cannot be inverted"),
        (ClassifierFreeGuidance(2.0, use_original_formulation=True), "use_original_formulation"),
        (ClassifierFreeZeroStarGuidance(2.0), "ClassifierFreeZeroStarGuidance cannot be inverted"),
    ],
)
def test_guiders_of_another_rule_are_refused(guider, message, tmp_path):
    tiny_model("sdxl", tmp_path)
    with pytest.raises(UserError, match=message):
        modular("sdxl", tmp_path, guider, alone=True)(picture=BLACK, prompt=PROMPT)
