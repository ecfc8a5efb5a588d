"""Measure peak memory and time of one gradient of SeedSelect, with and without checkpointing.

    python experiments/benchmarks/seedselect_memory/memory.py steps=20

Takes the model, clip, steps, guidance, device and precision keys of run.py.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import hydra
import torch
from omegaconf import DictConfig

from fpinv.models.model import Model
from fpinv.run import main as command_line
from fpinv.run.build import build
from fpinv.seeds.seedselect import SeedSelect
from fpinv.tasks.timing import clock

MEBIBYTE = 2**20


def peak(device: torch.device) -> int:
    """Return the most bytes that this process has held so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024


def gradient(config: DictConfig, checkpointing: bool) -> tuple[float, float]:
    """Return the MiB above a forward pass, and the seconds, of one gradient at one seed."""
    model: Model = build(config, "model")
    select = SeedSelect(build(config, "clip"), checkpointing=checkpointing)
    generator = torch.Generator().manual_seed(0)
    size, shape = model.image_size, model.latent_shape
    references = torch.rand(1, 1, 3, *size, generator=generator).to(model.device) * 2 - 1
    z = torch.randn(1, *shape, generator=generator).to(model.device)
    condition = model.condition(["a photo of a star"], config.guidance)
    problem: tuple[Any, ...] = (condition, select.target(model, references))
    with torch.no_grad():
        select.loss(model, model.denoiser(1), z, *problem)
    before, began = peak(model.device), clock(model.device)
    select.loss(model, model.denoiser(config.steps), z.requires_grad_(), *problem).sum().backward()
    seconds = clock(model.device) - began
    return (peak(model.device) - before) / MEBIBYTE, seconds


@hydra.main(version_base="1.3", config_path="../../../conf", config_name="config")
def main(config: DictConfig) -> None:
    for checkpointing in (False, True):
        # a process's peak never falls, so each setting has one of its own
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            mebibytes, seconds = pool.submit(gradient, config, checkpointing).result()
        setting = "with" if checkpointing else "without"
        print(f"{setting} checkpointing: {mebibytes:.0f} MiB, {seconds:.1f} s")


if __name__ == "__main__":
    sys.exit(command_line.run(main))
