"""Measure the shipped weights: `python experiments/training/scenes/evaluate.py`.

Prints and writes `model_card.json`, draws the sample grids, and puts both into the model card.
Everything is measured on the test split, which no part has seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import hydra
import model_card
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor
from transformers import CLIPModel

from fpinv.datasets.scenes import SHAPES, Scene, caption, render_array, sample_scene
from fpinv.metrics.classifiers.scene_attributes import Reading, agreement
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.metrics.intervals import mean_ci95
from fpinv.metrics.pixels import psnr, ssim
from fpinv.reporting.grid import Tile, grid

Pictures = NDArray[np.uint8]
COLUMNS = 8  # of a sheet of samples
ATTRIBUTES = (
    "count", "shape", "colour", "texture", "size", "background", "relation", "bound", "all",
)  # fmt: skip


def interval(values: Tensor) -> dict[str, float]:
    """Return the mean and the half-width of its 95 % interval."""
    means = mean_ci95(values.tolist()) or {}
    return {name: round(float(value or 0), 4) for name, value in means.items()} | {
        "n": len(values)
    }


def share(hits: Sequence[bool]) -> dict[str, float]:
    """Return a proportion with its 95 % interval (Wilson)."""
    n = len(hits)
    bounds = binomtest(sum(hits), n).proportion_ci(method="wilson")
    return {
        "mean": round(sum(hits) / n, 4),
        "low": round(float(bounds.low), 4),
        "high": round(float(bounds.high), 4),
        "n": n,
    }


def shares(agreements: Sequence[Mapping[str, bool]]) -> dict[str, Any]:
    """Return the share of pictures that have each attribute right."""
    return {name: share([row[name] for row in agreements]) for name in ATTRIBUTES}


def drawn(scenes: Sequence[Scene], size: int) -> Pictures:
    """Return the scenes' own pictures (n, size, size, 3)."""
    return np.stack([render_array(scene, size) for scene in scenes])


def judged(
    judge: SceneClassifier, pictures: Pictures, scenes: Sequence[Scene], device: torch.device
) -> tuple[list[Reading], list[dict[str, bool]]]:
    """Return the classifier's reading of every picture, and where it agrees with the scene."""
    batches = [pictures[k : k + 100] for k in range(0, len(pictures), 100)]
    readings = [
        reading for batch in batches for reading in judge.read(common.to_tensor(batch, device))
    ]
    truths = [Reading.of(scene.attributes()) for scene in scenes]
    return readings, [agreement(a, b) for a, b in zip(readings, truths, strict=True)]


@torch.no_grad()
def reconstructed(pipeline: StableDiffusionPipeline, images: Tensor) -> Tensor:
    """Return pictures in [-1, 1] after the autoencoder."""
    vae = pipeline.vae
    batches = [vae.decode(vae.encode(x).latent_dist.mode()).sample for x in images.split(32)]
    return torch.cat(batches).clamp(-1, 1)


def ceiling(pipeline: StableDiffusionPipeline, pictures: Pictures) -> dict[str, Any]:
    """Return PSNR and SSIM of encode and decode, which no inversion can exceed."""
    images = common.to_tensor(pictures, pipeline.device)
    again = reconstructed(pipeline, images)
    return {
        "psnr": interval(psnr(again, images)),
        "ssim": interval(ssim(again, images)),
    }


@torch.no_grad()
def retrieval(
    folder: str, pipeline: StableDiffusionPipeline, pictures: Pictures, texts: Sequence[str]
) -> dict[str, float]:
    """Return the top-1 rate at which a picture finds its own caption among 100."""
    clip = CLIPModel.from_pretrained(f"{folder}/clip", dtype=torch.float32).to(pipeline.device)
    hits: list[bool] = []
    for k in range(0, len(texts) - 99, 100):
        tokens = pipeline.tokenizer(
            list(texts[k : k + 100]), padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids
        images = common.to_tensor(pictures[k : k + 100], pipeline.device)
        scores = clip.eval()(
            input_ids=tokens.to(pipeline.device), pixel_values=images
        ).logits_per_image
        hits += (scores.argmax(1).cpu() == torch.arange(100)).tolist()
    return share(hits)


@torch.no_grad()
def forward_time(pipeline: StableDiffusionPipeline, batch: int = 8) -> float:
    """Return the milliseconds a sample of one forward of the denoiser; median of 20."""
    unet = pipeline.unet
    side = unet.config.sample_size
    z = torch.randn(batch, 4, side, side, device=unet.device)
    tokens = torch.randn(batch, 48, unet.config.cross_attention_dim, device=unet.device)
    times = []
    for _ in range(22):
        began = time.perf_counter()
        unet(z, torch.tensor(500, device=unet.device), tokens)
        if unet.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[2:])) / batch


def generated(
    pipeline: StableDiffusionPipeline, scenes: Sequence[Scene], cfg: DictConfig, guidance: float
) -> Pictures:
    """Return one picture for the caption of every scene, each from its own seed."""
    size = pipeline.vae.config.sample_size
    images = []
    for k in range(0, len(scenes), cfg.batch):
        batch = scenes[k : k + cfg.batch]
        seeds = [cfg.seed * 100_003 + scene.index for scene in batch]
        images += pipeline(
            [caption(scene) for scene in batch],
            num_inference_steps=cfg.steps,
            guidance_scale=guidance,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            height=size,
            width=size,
        ).images
    return np.stack([np.asarray(image) for image in images])


def by_count(scenes: Sequence[Scene], agreements: Sequence[Mapping[str, bool]]) -> dict[str, Any]:
    """Return the shares for one, two and three objects."""
    names = {1: "one object", 2: "two objects", 3: "three objects"}
    groups: dict[str, list[Mapping[str, bool]]] = {name: [] for name in names.values()}
    for scene, row in zip(scenes, agreements, strict=True):
        groups[names[len(scene.objects)]].append(row)
    return {name: shares(rows) for name, rows in groups.items() if rows}


def lone(cfg: DictConfig, name: str, count: int) -> list[Scene]:
    """Return single-object test scenes with shapes of one prevalence bin."""
    shapes = SHAPES[name]
    return [sample_scene(cfg.seed, 50_000 + k, "test", 1, shapes) for k in range(count)]


def judge_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig
) -> dict[str, Any]:
    """Return the classifier's shares on real and reconstructed pictures and on rare shapes."""
    size, device = pipeline.vae.config.sample_size, pipeline.device
    card: dict[str, Any] = {"bins": {}}
    for count, name in ((1, "one object"), (2, "two objects")):
        scenes = [sample_scene(cfg.seed, k, "test", objects=count) for k in range(cfg.judged)]
        pictures = drawn(scenes, size)
        card[name] = shares(judged(judge, pictures, scenes, device)[1])
        again = common.to_bytes(reconstructed(pipeline, common.to_tensor(pictures, device)))
        card[f"{name}, reconstructed"] = shares(judged(judge, again, scenes, device)[1])
    for name in SHAPES:
        scenes = lone(cfg, name, cfg.judged // 4)
        agreements = judged(judge, drawn(scenes, size), scenes, device)[1]
        card["bins"][name] = share([row["shape"] for row in agreements])
    return card


def misread(scenes: Sequence[Scene], readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """Return the pictures that do not follow their captions, and the differences."""
    truths = [Reading.of(scene.attributes()) for scene in scenes]
    return [
        {"picture": k + 1, "caption": caption(scene), "wrong": wrong(a, b)}
        for k, (scene, a, b) in enumerate(zip(scenes, readings, truths, strict=True))
        if a != b
    ]


def wrong(reading: Reading, truth: Reading) -> list[str]:
    """Return every difference, as `red for blue`."""
    differences = []
    if len(reading.objects) != len(truth.objects):
        differences.append(f"{len(reading.objects)} objects for {len(truth.objects)}")
    pairs = [(reading.background, truth.background)]
    pairs += [
        pair
        for a, b in zip(reading.objects, truth.objects, strict=False)
        for pair in zip(a, b, strict=True)
    ]
    pairs += list(zip(reading.relations, truth.relations, strict=False))
    return differences + [f"{a} for {b}" for a, b in pairs if a != b]


def generation_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig, folder: Path
) -> dict[str, Any]:
    """Return shares and errors at every guidance, for all captions at the best; draw the grids."""
    device = pipeline.device
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.captions)]
    singles_of = {name: lone(cfg, name, cfg.per_bin) for name in SHAPES}
    pictures_at, shares_at = {}, {}
    for w in cfg.guidances:
        pictures_at[w] = generated(pipeline, scenes[: cfg.pilot], cfg, w)
        rows = judged(judge, pictures_at[w], scenes[: cfg.pilot], device)[1]
        shares_at[w] = shares(rows)
        print(
            f"w = {w:g}:",
            {name: value["mean"] for name, value in shares_at[w].items()},
            flush=True,
        )
    best = max(cfg.guidances, key=lambda w: shares_at[w]["all"]["mean"])
    if cfg.pilot < cfg.captions:
        remainder = generated(pipeline, scenes[cfg.pilot :], cfg, best)
        pictures_at[best] = np.concatenate([pictures_at[best], remainder])
    card: dict[str, Any] = {"best_guidance": f"{best:g}", "guidance": {}}
    for w, pictures in pictures_at.items():
        readings, agreements = judged(judge, pictures, scenes[: len(pictures)], device)
        singles = {name: generated(pipeline, group, cfg, w) for name, group in singles_of.items()}
        card["guidance"][f"{w:g}"] = {
            **by_count(scenes[: len(pictures)], agreements),
            "bins": {
                name: share(
                    [row["shape"] for row in judged(judge, singles[name], group, device)[1]]
                )
                for name, group in singles_of.items()
            },
            "misread of those shown": misread(scenes[: cfg.shown], readings[: cfg.shown]),
        }
        draw(folder, f"samples_w{w:g}", scenes[: cfg.shown], pictures[: cfg.shown])
        tops = [scene for group in singles_of.values() for scene in group[:16]]
        draw(folder, f"bins_w{w:g}", tops, np.concatenate([p[:16] for p in singles.values()]))
    return card


def draw(folder: Path, name: str, scenes: Sequence[Scene], pictures: Pictures) -> None:
    """Draw rows of scenes' own pictures, each over the pictures generated of their captions."""
    rows, own = [], drawn(scenes, pictures.shape[1])
    for k in range(0, len(scenes), COLUMNS):
        rows += [own[k : k + COLUMNS], pictures[k : k + COLUMNS]]
    tiles = [[Tile(Image.fromarray(picture)) for picture in row] for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    sheet = grid(tiles, labels=["scene", "generated"] * (len(rows) // 2))
    sheet.save(folder / f"{name}.jpg", quality=90)


@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    began = time.perf_counter()
    pipeline = StableDiffusionPipeline.from_pretrained(cfg.weights)
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to(device, torch.float32)
    card: dict[str, Any] = {
        "split": "test",
        "steps": cfg.steps,
        "load_seconds": round(time.perf_counter() - began, 2),
    }
    judge = SceneClassifier.from_pretrained(f"{cfg.weights}/classifier").to(device)
    size = pipeline.vae.config.sample_size
    card["parameters"] = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in {**pipeline.components, "classifier": judge}.items()
        if isinstance(network, torch.nn.Module)
    }
    card["forward_ms_per_sample"] = round(forward_time(pipeline), 2)
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.n)]
    card["ceiling"] = ceiling(pipeline, drawn(scenes, size))
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.retrieved)]
    card["retrieval_among_100"] = retrieval(
        cfg.weights, pipeline, drawn(scenes, size), [caption(scene) for scene in scenes]
    )
    card["classifier"] = judge_card(judge, pipeline, cfg)
    card["generated"] = generation_card(judge, pipeline, cfg, Path(cfg.pictures))
    common.write_json(Path(cfg.card), card)
    page = Path(cfg.page)
    page.write_text(model_card.inserted(page.read_text(), card))
    print(model_card.tables(card))


if __name__ == "__main__":
    main()
