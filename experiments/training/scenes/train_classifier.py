"""Train the attribute classifier: `python experiments/training/scenes/train_classifier.py`.

It will judge pictures that an autoencoder decoded, so it sees decoded, blurred and
noisy ones, too.
"""

from __future__ import annotations

from pathlib import Path

import common
import hydra
import numpy as np
import torch
from attributes import accuracy, labels, reading_loss
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.metrics.classifiers.scene_network import SceneClassifier


def roughened(x: Tensor, chance: torch.Generator) -> Tensor:
    """Blur half of the pictures by a little, and add a little noise to all."""
    blur = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand(len(x), 1, 1, 1, generator=chance).sub(0.5).clamp(min=0).to(x.device)
    strength = 0.06 * torch.rand(len(x), 1, 1, 1, generator=chance)
    noise = strength * torch.randn(x.shape, generator=chance)
    return x + 1.6 * share * (blur - x) + noise.to(x.device)


def decoded(folder: str, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    """Return pictures (count, size, size, 3) after the autoencoder in ``folder``."""
    vae = common.autoencoder(folder, device)
    batches = []
    for k in range(0, len(images), 50):
        x = common.to_tensor(images[k : k + 50], device)
        batches.append(common.to_bytes(common.reconstructed(vae, x)))
    return np.concatenate(batches)


@torch.no_grad()
def report(model: nn.Module, images: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the accuracy of every field on held-out pictures."""
    outputs = [model.eval()(batch) for batch in images.split(100)]
    logits = [torch.cat(field) for field in zip(*outputs, strict=True)]
    return {name: round(value, 3) for name, value in accuracy(logits, truth).items()}


@hydra.main(config_path="conf", config_name="classifier", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    images, scenes = common.pictures(cfg.data), common.scenes(cfg.data)
    images = np.concatenate([images, decoded(cfg.parts, images[: cfg.decoded], device)])
    truth = labels(scenes)
    truth = torch.cat([truth, truth[: cfg.decoded]])
    if cfg.start:
        model = SceneClassifier.from_pretrained(Path(cfg.start) / "classifier")
    else:
        model = SceneClassifier(side=cfg.data.size, **cfg.model)
    run = common.start(model.to(memory_format=torch.channels_last), cfg, device)
    held_out = OmegaConf.merge(cfg.data, {"split": "val", "count": cfg.held_out})
    held_out_truth = labels(common.scenes(held_out)).to(device)
    pictures = common.pictures(held_out)
    held_out_pictures = {
        "rendered": common.to_tensor(pictures, device),
        "decoded": common.to_tensor(decoded(cfg.parts, pictures, device), device),
    }

    network = torch.compile(run.model) if cfg.compile else run.model

    def loss(step: int) -> Tensor:
        picked = np.sort(common.batch_indices(step, len(images), cfg.batch, cfg.seed))
        chance = torch.Generator().manual_seed(cfg.seed * 1_000_003 + step)
        x = roughened(common.to_tensor(images[picked], device), chance)
        run.model.train()
        logits = network(x.contiguous(memory_format=torch.channels_last))
        return reading_loss(logits, truth[picked].to(device))

    def export(average: nn.Module) -> None:
        for name, pictures in held_out_pictures.items():
            print(name, report(average, pictures, held_out_truth), flush=True)
        common.as_half(average).save_pretrained(Path(cfg.export) / "classifier")

    common.train(run, loss, cfg, device, export)


if __name__ == "__main__":
    main()
