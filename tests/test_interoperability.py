"""Stock diffusers uses our latents: nothing of ours but a file is needed."""

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DiffusionPipeline
from PIL import Image
from pipelines import tiny_sd15, tiny_sd21, tiny_sdxl
from safetensors.torch import load_file

from fpinv.datasets.example import Example
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.run.folder import RunFolder
from fpinv.tasks.reconstruction import Reconstruction
from fpinv.tasks.task import Settings


@pytest.mark.parametrize("build", [tiny_sd15, tiny_sd21, tiny_sdxl], ids=lambda f: f.__name__)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_a_stock_pipeline_turns_our_noise_into_our_image(build, guidance, tmp_path):
    build(tmp_path / "model")
    model = StableDiffusion(str(tmp_path / "model"), name="tiny", device="cpu")
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    example = Example("x", "a red circle", Image.fromarray(pixels).resize(model.image_size))
    settings = Settings(steps=10, guidance=guidance, seed=0, batch_size=1)
    (record,) = Reconstruction()(model, FixedPoint(20, 1e-6), [example], settings)
    folder = RunFolder(tmp_path / "run")
    folder.append(record)

    stock = DiffusionPipeline.from_pretrained(tmp_path / "model", safety_checker=None)
    stock.set_progress_bar_config(disable=True)
    stock.scheduler = DDIMScheduler.from_config(
        stock.scheduler.config,
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
        timestep_spacing="leading",
    )
    latents = load_file(folder.inversion("x"))["noise"]
    picture = stock(
        example.prompt,
        latents=latents,
        guidance_scale=guidance,
        num_inference_steps=10,
        height=model.image_size[0],
        width=model.image_size[1],
        output_type="np",
    ).images[0]
    ours = model.decode(
        FixedPoint().sample(
            model.denoiser(10),
            record.inversion,
            model.condition([example.prompt], guidance),
        )
    )
    ours = (ours[0].permute(1, 2, 0).numpy() + 1) / 2
    assert np.abs(picture - ours).max() < 1e-3
    saved = np.asarray(Image.open(folder.picture("x", "reconstruction"))) / 255
    assert np.abs(picture - saved).max() < 1e-3 + 0.5 / 255
    assert torch.equal(latents, record.inversion.noise)
