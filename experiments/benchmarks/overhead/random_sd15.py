"""Write a pipeline of Stable Diffusion 1.5's classes and sizes with random weights, to time it.

    python experiments/benchmarks/overhead/random_sd15.py outputs/random_sd15
    python experiments/benchmarks/overhead/benchmark.py model=sd15 model.path=outputs/random_sd15

Sizes are those of the published configuration (860 M parameters in the UNet); where none is given
here, it is the default of diffusers or transformers. Images are noise,
and the tokenizer is the bundled one, so that only seconds and bytes mean anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from fpinv.models.weights import SCENES, local_folder


def unet() -> UNet2DConditionModel:
    """Return the denoiser; its output has a standard deviation of about 1, as noise has."""
    network = UNet2DConditionModel(sample_size=64, cross_attention_dim=768)
    with torch.no_grad():
        z, states = torch.randn(1, 4, 64, 64), torch.randn(1, 77, 768)
        output = network(z, torch.tensor(500), states).sample
        network.conv_out.weight.div_(output.std())
    return network


def autoencoder() -> AutoencoderKL:
    """Return the autoencoder: 512 px to 64 x 64 x 4."""
    widths = (128, 256, 512, 512)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=2,
        sample_size=512,
    )


def text_encoder() -> CLIPTextModel:
    """Return the text tower of CLIP ViT-L/14."""
    size = {"hidden_size": 768, "intermediate_size": 3072, "projection_dim": 768}
    return CLIPTextModel(CLIPTextConfig(**size, num_attention_heads=12))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    torch.manual_seed(0)
    scheduler = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )
    StableDiffusionPipeline(
        vae=autoencoder(),
        text_encoder=text_encoder(),
        tokenizer=CLIPTokenizer.from_pretrained(
            local_folder(SCENES) / "tokenizer", model_max_length=77
        ),
        unet=unet(),
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    print(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
