"""Tiny models of every family that the loader knows, with random weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pipelines

from fpinv.models.flow_reading import FlowReading
from fpinv.models.latent_model import LatentModel
from fpinv.models.rectified_flow import Flux, StableDiffusion3
from fpinv.models.stable_diffusion import StableDiffusion

FAMILIES = {
    "sd15": StableDiffusion,
    "sd21": StableDiffusion,
    "sdxl": StableDiffusion,
    "sdxl_turbo": StableDiffusion,
    "lcm": partial(StableDiffusion, embedded_guidance=8.0),
    "sd15_as_flow": FlowReading,
    "sd3": partial(StableDiffusion3, max_sequence_length=16),
    "flux": partial(Flux, image_size=pipelines.IMAGE_SIZE, max_sequence_length=16),
}


def tiny_model(family: str, folder: Path) -> LatentModel:
    """Save the pipeline of a family in a folder, and return its model."""
    getattr(pipelines, f"tiny_{family.removesuffix('_as_flow')}")(folder)
    return FAMILIES[family](str(folder), "tiny", device="cpu")
