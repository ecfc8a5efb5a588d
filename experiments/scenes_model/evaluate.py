"""Measure the shipped weights: `python experiments/scenes_model/evaluate.py`.

Prints and writes `model_card.json`: the autoencoder's ceiling, caption retrieval among 100, cost,
and grids of real and generated test scenes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import hydra
import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from transformers import CLIPModel

from fpinv.datasets.scenes import SHAPES, Scene, caption, render_array, sample_scene


def interval(values: Tensor) -> dict[str, float]:
    """Mean and half-width of its 95 % interval."""
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    return {"mean": round(float(values.mean()), 4), "ci95": round(half, 4), "n": len(values)}


def share(hits: Tensor) -> dict[str, float]:
    """A proportion with its 95 % interval (normal approximation)."""
    p = float(hits.float().mean())
    half = 1.96 * math.sqrt(p * (1 - p) / len(hits))
    return {"mean": round(p, 4), "ci95": round(half, 4), "n": len(hits)}


def load(folder: str, device: torch.device) -> StableDiffusionPipeline:
    """The pipeline, in single precision and silent."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


@torch.no_grad()
def ceiling(pipeline: StableDiffusionPipeline, images: Tensor) -> dict[str, Any]:
    """PSNR and SSIM of encode and decode, pictures in [0, 1]; statistics of the latents."""
    vae, scale = pipeline.vae, pipeline.vae.config.scaling_factor
    psnrs, ssims, codes = [], [], []
    for part in images.split(32):
        z = vae.encode(part).latent_dist.mode()
        x = (vae.decode(z).sample.clamp(-1, 1) + 1) / 2
        y = (part + 1) / 2
        psnrs.append(-10 * torch.log10((x - y).square().mean((1, 2, 3))))
        ssims.append(ssim(x, y, data_range=1.0, reduction="none"))
        codes.append(z * scale)
    z = torch.cat(codes)
    return {
        "psnr": interval(torch.cat(psnrs)),
        "ssim": interval(torch.cat(ssims)),
        "latent_channel_means": [round(v, 3) for v in z.mean((0, 2, 3)).tolist()],
        "latent_channel_deviations": [round(v, 3) for v in z.std((0, 2, 3)).tolist()],
    }


@torch.no_grad()
def embeddings(
    clip: CLIPModel, pipeline: StableDiffusionPipeline, images: Tensor, texts: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Unit CLIP embeddings of pictures in [-1, 1] and of texts."""
    tokens = pipeline.tokenizer(
        list(texts), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids.to(images.device)
    x = clip.visual_projection(clip.vision_model(pixel_values=images).pooler_output)
    y = clip.text_projection(clip.text_model(input_ids=tokens).pooler_output)
    return torch.nn.functional.normalize(x, dim=-1), torch.nn.functional.normalize(y, dim=-1)


def retrieval(x: Tensor, y: Tensor, among: int = 100) -> dict[str, float]:
    """Top-1 rate at which a picture finds its own caption among 100."""
    hits = [
        (a @ b.T).argmax(1) == torch.arange(len(a), device=a.device)
        for a, b in zip(x.split(among), y.split(among), strict=True)
        if len(a) == among
    ]
    return share(torch.cat(hits))


@torch.no_grad()
def forward_time(pipeline: StableDiffusionPipeline, batch: int = 8) -> float:
    """Milliseconds a sample of one forward of the denoiser; median of 20."""
    unet = pipeline.unet
    z = torch.randn(batch, 4, 16, 16, device=unet.device)
    tokens = torch.randn(batch, 48, unet.config.cross_attention_dim, device=unet.device)
    times = []
    for _ in range(22):
        began = time.perf_counter()
        unet(z, torch.tensor(500, device=unet.device), tokens)
        if unet.device.type == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return 1e3 * float(np.median(times[2:])) / batch


def generate(
    pipeline: StableDiffusionPipeline, texts: Sequence[str], cfg: DictConfig, guidance: float
) -> list[Image.Image]:
    """One picture a caption, each with its own seed."""
    found: list[Image.Image] = []
    for k in range(0, len(texts), 32):
        part = list(texts[k : k + 32])
        chance = [
            torch.Generator().manual_seed(cfg.seed * 100_003 + k + i) for i in range(len(part))
        ]
        size = pipeline.vae.config.sample_size
        found += pipeline(
            part,
            num_inference_steps=cfg.steps,
            guidance_scale=guidance,
            generator=chance,
            height=size,
            width=size,
        ).images
    return found


def grid(images: Sequence[Image.Image], columns: int, gap: int = 2) -> Image.Image:
    """Pictures in rows on white."""
    side = images[0].width + gap
    rows = math.ceil(len(images) / columns)
    sheet = Image.new("RGB", (columns * side + gap, rows * side + gap), "white")
    for k, image in enumerate(images):
        sheet.paste(image, (gap + k % columns * side, gap + k // columns * side))
    return sheet


def beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two grids with a wide gap between them."""
    sheet = Image.new("RGB", (left.width + right.width + 16, left.height), "white")
    sheet.paste(left, (0, 0))
    sheet.paste(right, (left.width + 16, 0))
    return sheet


def by_bin(seed: int, each: int = 8) -> list[Scene]:
    """Single-object test scenes, `each` from every prevalence bin."""
    return [
        sample_scene(seed, 50_000 + k, "test", objects=1, shapes=shapes)
        for shapes in SHAPES.values()
        for k in range(each)
    ]


@hydra.main(config_path="conf", config_name="evaluate", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    began = time.perf_counter()
    pipeline = load(cfg.weights, device)
    card: dict[str, Any] = {"load_seconds": round(time.perf_counter() - began, 2)}
    size = pipeline.vae.config.sample_size
    card["parameters"] = {
        name: sum(p.numel() for p in getattr(pipeline, name).parameters())
        for name in ("vae", "unet", "text_encoder")
    }
    card["forward_ms_per_sample"] = round(forward_time(pipeline), 2)
    if cfg.n:
        clip = CLIPModel.from_pretrained(f"{cfg.weights}/clip", dtype=torch.float32).to(device)
        scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.n)]
        images = common.to_tensor(np.stack([render_array(s, size) for s in scenes]), device)
        card["ceiling"] = ceiling(pipeline, images)
        pair = embeddings(clip.eval(), pipeline, images, [caption(s) for s in scenes])
        card["retrieval_among_100"] = retrieval(*pair)
    if cfg.samples:
        folder = Path(cfg.pictures)
        scenes = [sample_scene(cfg.seed, k, "test") for k in range(cfg.samples)]
        bins = by_bin(cfg.seed)
        real = grid([Image.fromarray(render_array(s, size)) for s in scenes], 8)
        real_bins = grid([Image.fromarray(render_array(s, size)) for s in bins], 8)
        for w in cfg.guidances:
            made = generate(pipeline, [caption(s) for s in scenes + bins], cfg, w)
            beside(real, grid(made[: len(scenes)], 8)).save(folder / f"samples_w{w:g}.png")
            beside(real_bins, grid(made[len(scenes) :], 8)).save(folder / f"bins_w{w:g}.png")
    common.write_json(Path(cfg.card), card)
    print(Path(cfg.card).read_text())


if __name__ == "__main__":
    main()
