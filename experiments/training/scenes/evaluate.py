"""Measure the shipped weights: `python experiments/training/scenes/evaluate.py`.

Prints and writes `model_card.json`, draws the sample grids, and puts both into the model card.
Everything is measured on the test split, which no part has seen.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import common
import hydra
import model_card
import numpy as np
import rejects
import torch
from diffusers import StableDiffusionPipeline
from numpy.typing import NDArray
from omegaconf import DictConfig
from PIL import Image
from scipy.stats import binomtest
from torch import Tensor

from fpinv.datasets.scenes import Scene, caption, render_array, sample_scene
from fpinv.datasets.scenes.world import SHAPES
from fpinv.metrics.classifiers.scene_attributes import Reading, agreement
from fpinv.metrics.classifiers.scene_judges import DOUBT
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.metrics.clip import ScenesCLIP
from fpinv.metrics.intervals import mean_ci95
from fpinv.metrics.pixels import psnr, ssim
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.reporting.grid import Tile, grid

Pictures = NDArray[np.uint8]
COLUMNS = 8  # of a sheet of samples
COUNTS = ("one object", "two objects", "three objects")
ATTRIBUTES = (
    "count", "shape", "colour", "texture", "size", "background", "relation", "bound", "all",
)  # fmt: skip


def interval(values: Tensor) -> dict[str, float]:
    """Return the mean and the half-width of its 95 % interval."""
    means = mean_ci95(values.tolist()) or {}
    return {name: round(value or 0.0, 4) for name, value in means.items()} | {"n": len(values)}


def share(hits: Sequence[bool]) -> dict[str, float]:
    """Return a proportion with its 95 % interval (Wilson)."""
    test = binomtest(sum(hits), len(hits))
    low, high = test.proportion_ci(method="wilson")
    numbers = {"mean": test.statistic, "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in numbers.items()} | {"n": len(hits)}


def shares(agreements: Sequence[Mapping[str, bool]]) -> dict[str, Any]:
    """Return the share of pictures that have each attribute right."""
    return {name: share([row[name] for row in agreements]) for name in ATTRIBUTES}


def drawn(scenes: Sequence[Scene], size: int) -> Pictures:
    """Return the scenes' own pictures (n, size, size, 3)."""
    return np.stack([render_array(scene, size) for scene in scenes])


def judged(
    judge: SceneClassifier, pictures: Pictures, scenes: Sequence[Scene]
) -> tuple[list[Reading], list[dict[str, bool]]]:
    """Return the classifier's reading of every picture, and where it agrees with the scene."""
    batches = common.to_tensor(pictures, judge.places.device).split(100)
    readings = [reading for batch in batches for reading in judge.read(batch)]
    truths = [Reading.of(scene.attributes()) for scene in scenes]
    return readings, [agreement(a, b) for a, b in zip(readings, truths, strict=True)]


def shape_share(
    judge: SceneClassifier, pictures: Pictures, scenes: Sequence[Scene]
) -> dict[str, float]:
    """Return the share of pictures whose shapes are right."""
    return share([row["shape"] for row in judged(judge, pictures, scenes)[1]])


def ceiling(pipeline: StableDiffusionPipeline, pictures: Pictures) -> dict[str, Any]:
    """Return PSNR and SSIM of encode and decode, which no inversion can exceed."""
    images = common.to_tensor(pictures, pipeline.device)
    again = common.reconstructed(pipeline.vae, images)
    return {"psnr": interval(psnr(again, images)), "ssim": interval(ssim(again, images))}


@torch.no_grad()
def retrieval(clip: ScenesCLIP, images: Tensor, texts: Sequence[str]) -> dict[str, float]:
    """Return the top-1 rate at which a picture finds its own caption among 100."""
    hits: list[bool] = []
    for k in range(0, len(texts) - 99, 100):
        scores = clip.images(images[k : k + 100]) @ clip.texts(texts[k : k + 100]).T
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
    pipeline: StableDiffusionPipeline,
    scenes: Sequence[Scene],
    cfg: DictConfig,
    guidance: float,
    say: Callable[[Scene], str] = caption,
) -> Pictures:
    """Return one picture for the caption of every scene, each from its own seed."""
    size = pipeline.vae.config.sample_size
    images = []
    for k in range(0, len(scenes), cfg.batch):
        batch = scenes[k : k + cfg.batch]
        seeds = [cfg.seed * 100_003 + scene.index for scene in batch]
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        prompts = [say(scene) for scene in batch]
        settings = {"num_inference_steps": cfg.steps, "guidance_scale": guidance}
        images += pipeline(prompts, size, size, **settings, generator=generators).images
    return np.stack([np.asarray(image) for image in images])


def by_count(scenes: Sequence[Scene], agreements: Sequence[Mapping[str, bool]]) -> dict[str, Any]:
    """Return the shares for one, two and three objects."""
    groups: dict[str, list[Mapping[str, bool]]] = {name: [] for name in COUNTS}
    for scene, row in zip(scenes, agreements, strict=True):
        groups[COUNTS[len(scene.objects) - 1]].append(row)
    return {name: shares(rows) for name, rows in groups.items() if rows}


def lone(cfg: DictConfig, name: str, count: int) -> list[Scene]:
    """Return single-object test scenes with shapes of one prevalence bin."""
    return [sample_scene(cfg.seed, 50_000 + k, "test", 1, SHAPES[name]) for k in range(count)]


def judge_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig
) -> dict[str, Any]:
    """Return the classifier's shares on scenes, real and reconstructed, and on no scenes."""
    size = pipeline.vae.config.sample_size
    card: dict[str, Any] = {"bins": {}}
    for count, name in enumerate(COUNTS[:2], start=1):
        scenes = [sample_scene(cfg.seed, k, "test", objects=count) for k in range(cfg.judged)]
        pictures = drawn(scenes, size)
        card[name] = shares(judged(judge, pictures, scenes)[1])
        images = common.to_tensor(pictures, pipeline.device)
        again = common.to_bytes(common.reconstructed(pipeline.vae, images))
        card[f"{name}, reconstructed"] = shares(judged(judge, again, scenes)[1])
    for name in SHAPES:
        scenes = lone(cfg, name, cfg.judged // 4)
        card["bins"][name] = shape_share(judge, drawn(scenes, size), scenes)
    return card | {"no scenes": nothing_card(judge, pipeline, cfg)}


def nothing_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig
) -> dict[str, Any]:
    """Return the shares of pictures without a scene that pass for one object, by their kind."""
    model = StableDiffusion(cfg.weights, device=str(pipeline.device))
    size, photographs = pipeline.vae.config.sample_size, cfg.photographs
    material = rejects.Material(
        "test", cfg.seed, size, cfg.rejected, pipeline.vae, model, photographs
    )
    card = real_card(judge, pipeline, material)
    for trained, kinds in ((True, rejects.TRAINED), (False, rejects.HELD_OUT)):
        for name, pictures in rejects.made(material, kinds).items():
            versions = {"as they are": pictures}
            if name not in rejects.DECODED:
                versions["reconstructed"] = common.reconstructed(pipeline.vae, pictures)
            passing = {
                key: share([shape is not None for shape in classes(judge, value)])
                for key, value in versions.items()
            }
            card[name] = {"kind": "trained on" if trained else "held out", **passing}
    return card


def real_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, material: rejects.Material
) -> dict[str, Any]:
    """Return the shares of scenes with one object, of all shapes evenly, that get their class."""
    truth = [scene.objects[0].shape for scene in material.scenes]
    again = common.reconstructed(pipeline.vae, material.pictures)
    versions = {"as they are": material.pictures, "reconstructed": again}
    right = {
        key: share([a == b for a, b in zip(classes(judge, value), truth, strict=True)])
        for key, value in versions.items()
    }
    return {"scenes of one object": {"kind": "right class", **right}}


def classes(judge: SceneClassifier, pictures: Tensor) -> list[str | None]:
    """Return the class of each picture (B, 3, H, W) as tasks see it: its only object's shape."""
    readings = [reading for batch in pictures.split(100) for reading in judge.read(batch, DOUBT)]
    return [r.objects[0].shape if len(r.objects) == 1 else None for r in readings]


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
    for a, b in zip(reading.objects, truth.objects, strict=False):
        pairs += zip(a, b, strict=True)
    pairs += zip(reading.relations, truth.relations, strict=False)
    return differences + [f"{a} for {b}" for a, b in pairs if a != b]


def generation_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig
) -> dict[str, Any]:
    """Return the measures at every guidance, for all captions at the best; draw the grids."""
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.captions)]
    pictures_at, means_at = {}, {}
    for w in cfg.guidances:
        pictures_at[w] = generated(pipeline, scenes[: cfg.pilot], cfg, w)
        agreements = judged(judge, pictures_at[w], scenes[: cfg.pilot])[1]
        means_at[w] = {name: value["mean"] for name, value in shares(agreements).items()}
        print(f"w = {w:g}:", means_at[w], flush=True)
    best = max(cfg.guidances, key=lambda w: means_at[w]["all"])
    if cfg.pilot < cfg.captions:
        remainder = generated(pipeline, scenes[cfg.pilot :], cfg, best)
        pictures_at[best] = np.concatenate([pictures_at[best], remainder])
    cards = {
        f"{w:g}": guidance_card(judge, pipeline, cfg, w, scenes[: len(pictures)], pictures)
        for w, pictures in pictures_at.items()
    }
    return {"best_guidance": f"{best:g}", "guidance": cards}


def guidance_card(
    judge: SceneClassifier,
    pipeline: StableDiffusionPipeline,
    cfg: DictConfig,
    w: float,
    scenes: Sequence[Scene],
    pictures: Pictures,
) -> dict[str, Any]:
    """Return shares and errors of the scenes' pictures at a guidance; draw the grids."""
    readings, agreements = judged(judge, pictures, scenes)
    lone_scenes = {name: lone(cfg, name, cfg.per_bin) for name in SHAPES}
    singles = {name: generated(pipeline, group, cfg, w) for name, group in lone_scenes.items()}
    draw(cfg, f"samples_w{w:g}", scenes[: cfg.shown], pictures[: cfg.shown])
    tops = [scene for group in lone_scenes.values() for scene in group[:16]]
    draw(cfg, f"bins_w{w:g}", tops, np.concatenate([p[:16] for p in singles.values()]))
    return {
        **by_count(scenes, agreements),
        "bins": {name: shape_share(judge, singles[name], lone_scenes[name]) for name in SHAPES},
        "misread of those shown": misread(scenes[: cfg.shown], readings[: cfg.shown]),
    }


def draw(cfg: DictConfig, name: str, scenes: Sequence[Scene], pictures: Pictures) -> None:
    """Draw rows of scenes' own pictures, each over the pictures generated of their captions."""
    rows, own = [], drawn(scenes, pictures.shape[1])
    for k in range(0, len(scenes), COLUMNS):
        rows += [own[k : k + COLUMNS], pictures[k : k + COLUMNS]]
    tiles = [[Tile(Image.fromarray(picture)) for picture in row] for row in rows]
    sheet = grid(tiles, labels=["scene", "generated"] * (len(rows) // 2))
    Path(cfg.pictures).mkdir(parents=True, exist_ok=True)
    sheet.save(f"{cfg.pictures}/{name}.jpg", quality=90)


def whole_card(
    judge: SceneClassifier, pipeline: StableDiffusionPipeline, cfg: DictConfig, seconds: float
) -> dict[str, Any]:
    """Return the measures of all parts, which took so long to load."""
    card: dict[str, Any] = {
        "split": "test",
        "steps": cfg.steps,
        "load_seconds": round(seconds, 2),
    }
    card["parameters"] = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in {**pipeline.components, "classifier": judge}.items()
        if isinstance(network, torch.nn.Module)
    }
    card["forward_ms_per_sample"] = round(forward_time(pipeline), 2)
    size = pipeline.vae.config.sample_size
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.n)]
    card["ceiling"] = ceiling(pipeline, drawn(scenes, size))
    scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.retrieved)]
    images = common.to_tensor(drawn(scenes, size), pipeline.device)
    card["retrieval_among_100"] = retrieval(
        ScenesCLIP(cfg.weights), images, list(map(caption, scenes))
    )
    card["classifier"] = judge_card(judge, pipeline, cfg)
    card["generated"] = generation_card(judge, pipeline, cfg)
    return card


@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    began = time.perf_counter()
    pipeline = StableDiffusionPipeline.from_pretrained(cfg.weights)
    pipeline.set_progress_bar_config(disable=True)
    pipeline = pipeline.to(device, torch.float32)
    seconds = time.perf_counter() - began
    judge = SceneClassifier.from_pretrained(f"{cfg.weights}/classifier").to(device)
    if cfg.classifier_only:
        card = json.loads(Path(cfg.card).read_text())
        card["classifier"] = judge_card(judge, pipeline, cfg)
    else:
        card = whole_card(judge, pipeline, cfg, seconds)
    common.write_json(Path(cfg.card), card)
    page = Path(cfg.page)
    page.write_text(model_card.inserted(page.read_text(), card))
    print(model_card.tables(card))


if __name__ == "__main__":
    main()
