"""Train the attribute classifier: `python experiments/training/scenes/train_classifier.py`.

It will judge pictures that an autoencoder decoded, so it sees decoded, blurred and
noisy ones, too; and pictures that show no scene (`rejects.py`), on which it must see no object.
"""

from __future__ import annotations

from pathlib import Path

import common
import hydra
import numpy as np
import rejects
import torch
from attributes import NOTHING, accuracy, labels, reading_loss
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.datasets.scenes import Scene, caption, sample_scene
from fpinv.metrics.classifiers.scene_attributes import Reading, agreement
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.sampling import sample

FIRST = 4_000_000
"""Number of the first scene that is sampled, far from those that are rendered."""
GUIDANCE = 3.0
"""Guidance of the samples: at it the bundled model follows most captions."""


def roughened(x: Tensor, chance: torch.Generator) -> Tensor:
    """Blur half of the pictures by a little, and add a little noise to all."""
    blur = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand(len(x), 1, 1, 1, generator=chance).sub(0.5).clamp(min=0).to(x.device)
    strength = 0.06 * torch.rand(len(x), 1, 1, 1, generator=chance)
    noise = strength * torch.randn(x.shape, generator=chance)
    return x + 1.6 * share * (blur - x) + noise.to(x.device)


def crossfaded(
    x: Tensor, truth: Tensor, count: int, chance: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return a batch with `count` crossfades of its pictures, which show no scene, at its end."""
    rows = torch.randperm(len(x), generator=chance)
    first, second = rows[:count], rows.roll(1)[:count]
    weight = rejects.FAINTEST + (1 - 2 * rejects.FAINTEST) * torch.rand(
        count, 1, 1, 1, generator=chance
    )
    fades = x[first].lerp(x[second], weight.to(x.device))
    return torch.cat([x, fades]), torch.cat([truth, torch.tensor([NOTHING]).expand(count, -1)])


def decoded(folder: str, images: NDArray[np.uint8], device: torch.device) -> NDArray[np.uint8]:
    """Return pictures (count, size, size, 3) after the autoencoder in ``folder``."""
    vae = common.autoencoder(folder, device)
    batches = []
    for k in range(0, len(images), 50):
        x = common.to_tensor(images[k : k + 50], device)
        batches.append(common.to_bytes(common.reconstructed(vae, x)))
    return np.concatenate(batches)


def scenes(cfg: DictConfig, device: torch.device) -> tuple[NDArray[np.uint8], Tensor]:
    """Return the pictures of scenes, the first of them decoded as well, and their labels."""
    images, truth = common.pictures(cfg.data), labels(common.scenes(cfg.data))
    images = np.concatenate([images, decoded(cfg.parts, images[: cfg.decoded], device)])
    return images, torch.cat([truth, truth[: cfg.decoded]])


@torch.no_grad()
def finished(cfg: DictConfig, device: torch.device) -> tuple[NDArray[np.uint8], Tensor]:
    """Return samples of the denoiser, and their labels.

    A judge of samples must know how shapes look that are softer than rendered ones. Every second
    caption is plain, every other one full. The classifier in ``start`` labels the samples. Those
    whose shape it does not read as the caption says are left out, because the denoiser, too, errs.
    """
    model = StableDiffusion(cfg.denoiser, device=str(device))
    reader = SceneClassifier.from_pretrained(Path(cfg.start) / "classifier").to(device)
    drawn = [sample_scene(cfg.data.seed, FIRST + k, "train", 1) for k in range(cfg.finished)]
    captions = [common.plain(scene) if k % 2 else caption(scene) for k, scene in enumerate(drawn)]
    batches = []
    for k in range(0, len(drawn), 50):
        condition = model.condition(captions[k : k + 50], GUIDANCE)
        chance = torch.Generator().manual_seed(cfg.seed * 1_000_003 + k)
        noise = torch.randn(len(condition.prompt), *model.latent_shape, generator=chance)
        latents = sample(model.denoiser(rejects.STEPS), noise.to(device), condition)
        batches.append(model.decode(latents))
    pictures = torch.cat(batches)
    readings = reader.read(pictures)
    right = [
        k for k, scene in enumerate(drawn) if agreement(readings[k], truth_of(scene))["shape"]
    ]
    print(f"finished samples with the right shape: {len(right)} of {len(drawn)}", flush=True)
    return common.to_bytes(pictures[right]), labels([readings[k] for k in right])


def truth_of(scene: Scene) -> Reading:
    """Return what a classifier should read of a scene."""
    return Reading.of(scene.attributes())


def no_scenes(
    cfg: DictConfig, device: torch.device, split: str, count: int
) -> dict[str, NDArray[np.uint8]]:
    """Return `count` pictures of each kind that shows no scene, every second one decoded."""
    vae = common.autoencoder(cfg.parts, device)
    model = StableDiffusion(cfg.denoiser, device=str(device)) if cfg.denoiser else None
    material = rejects.Material(split, cfg.data.seed, cfg.data.size, count, vae, model)
    kinds = rejects.made(material, rejects.TRAINED) if count else {}
    for pictures in kinds.values():
        pictures[::2] = common.reconstructed(vae, pictures[::2])
    return {name: common.to_bytes(pictures) for name, pictures in kinds.items()}


@torch.no_grad()
def logits_of(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Return the logits (B, values) of every field."""
    outputs = [model.eval()(batch) for batch in images.split(100)]
    return [torch.cat(field) for field in zip(*outputs, strict=True)]


def report(model: nn.Module, images: Tensor, truth: Tensor) -> dict[str, float]:
    """Return the accuracy of every field on held-out pictures."""
    measured = accuracy(logits_of(model, images), truth)
    return {name: round(value, 3) for name, value in measured.items()}


@hydra.main(config_path="conf", config_name="classifier", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    images, truth = scenes(cfg, device)
    if cfg.finished:
        samples, captioned = finished(cfg, device)
        images, truth = np.concatenate([images, samples]), torch.cat([truth, captioned])
    count = round(len(images) * cfg.rejects / (1 - cfg.rejects) / len(rejects.TRAINED))
    nothing = no_scenes(cfg, device, "train", count)
    images = np.concatenate([images, *nothing.values()])
    truth = torch.cat([truth, torch.tensor([NOTHING]).expand(len(images) - len(truth), -1)])
    if cfg.start:
        model = SceneClassifier.from_pretrained(Path(cfg.start) / "classifier")
    else:
        model = SceneClassifier(side=cfg.data.size, **cfg.model)
    model.trunk.requires_grad_(cfg.trunk)
    run = common.start(model.to(memory_format=torch.channels_last), cfg, device)
    held_out = OmegaConf.merge(cfg.data, {"split": "val", "count": cfg.held_out})
    held_out_truth = labels(common.scenes(held_out)).to(device)
    pictures = common.pictures(held_out)
    held_out_pictures = {
        "rendered": common.to_tensor(pictures, device),
        "decoded": common.to_tensor(decoded(cfg.parts, pictures, device), device),
    }
    held_out_nothing = {
        name: common.to_tensor(pictures, device)
        for name, pictures in no_scenes(cfg, device, "val", cfg.held_out // 4).items()
    }

    network = torch.compile(run.model) if cfg.compile else run.model

    def loss(step: int) -> Tensor:
        picked = np.sort(common.batch_indices(step, len(images), cfg.batch, cfg.seed))
        chance = torch.Generator().manual_seed(cfg.seed * 1_000_003 + step)
        x, y = common.to_tensor(images[picked], device), truth[picked]
        x, y = crossfaded(x, y, round(cfg.crossfades * len(x)), chance)
        x = roughened(x, chance)
        run.model.train()
        # With its statistics held, too, the trunk gives the features that it gave before.
        model.trunk.train(cfg.trunk)
        logits = network(x.contiguous(memory_format=torch.channels_last))
        return reading_loss(logits, y.to(device))

    def export(average: nn.Module) -> None:
        for name, pictures in held_out_pictures.items():
            print(name, report(average, pictures, held_out_truth), flush=True)
        for name, pictures in held_out_nothing.items():
            empty = logits_of(average, pictures)[0].argmax(-1) == 0
            print(name, f"without an object: {empty.double().mean():.3f}", flush=True)
        common.as_half(average).save_pretrained(Path(cfg.export) / "classifier")

    common.train(run, loss, cfg, device, export)


if __name__ == "__main__":
    main()
