"""The inversion block inside a pipeline of modular diffusers."""

import diffusers
import numpy as np
import pytest
from diffusers.guiders import ClassifierFreeGuidance
from drawn_seeds import normal
from tiny_models import tiny_model

import fpinv
from fpinv.images import to_pil
from fpinv.pipelines.modular import StableDiffusion3InvertBlock, StableDiffusionXLInvertBlock

PROMPT = "a cat on a sofa"
BLOCKS = {
    "sdxl": (diffusers.StableDiffusionXLAutoBlocks, StableDiffusionXLInvertBlock),
    "sd3": (diffusers.StableDiffusion3AutoBlocks, StableDiffusion3InvertBlock),
}


@pytest.mark.parametrize("guidance", [1.0, 2.0])
@pytest.mark.parametrize("family", BLOCKS)
def test_blocks_of_text_to_image_bring_the_picture_back(family, guidance, tmp_path):
    model = tiny_model(family, tmp_path)
    picture = to_pil(model.decode(0.3 * normal(1, *model.latent_shape))[0])
    whole, block = BLOCKS[family]
    blocks = whole()
    blocks.sub_blocks.insert("invert", block(), 0)
    pipe = blocks.init_pipeline()
    pipe.set_progress_bar_config(disable=True)
    stock = diffusers.DiffusionPipeline.from_pretrained(tmp_path).components
    parts = {name: part for name, part in stock.items() if name in pipe._component_specs}
    pipe.update_components(**parts, guider=ClassifierFreeGuidance(guidance))
    height, width = model.image_size
    again = pipe(
        picture=picture,
        prompt=PROMPT,
        num_inference_steps=8,
        height=height,
        width=width,
        output="images",
    )[0]
    expected = fpinv.invert(model, picture, PROMPT, "fpi", steps=8, guidance=guidance)
    difference = np.abs(np.asarray(again, float) - np.asarray(expected.reconstruct(), float))
    assert difference.mean() < 1
