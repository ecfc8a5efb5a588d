"""Train the denoiser: `python experiments/training/scenes/train_unet.py`.

The autoencoder and the text encoder are frozen; latents are computed once and kept in memory,
captions are phrased anew at every step, and most leave something out.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import common
import hydra
import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from train_clip import rephrased, tokenize
from transformers import CLIPTextModel, CLIPTokenizer

from fpinv.datasets.scenes import Scene, caption
from fpinv.run.files import replacing


def build(cfg: DictConfig) -> UNet2DConditionModel:
    """Return a fresh network, or the shipped one to go on with."""
    shape = OmegaConf.to_container(cfg.model, resolve=True)
    model = UNet2DConditionModel(**shape)  # type: ignore[arg-type]
    if cfg.start:
        shipped = UNet2DConditionModel.from_pretrained(
            cfg.start, subfolder="unet", torch_dtype=torch.float32
        )
        model.load_state_dict(shipped.state_dict())
    else:
        nn.init.zeros_(model.conv_out.weight)
        steady(model)
    if torch.cuda.is_available():
        return model.to(memory_format=torch.channels_last)
    # In bf16 on a CPU the fused attention's way back takes half of the step, and group norms are
    # faster on contiguous channels than convolutions are on channels last.
    model.set_attn_processor(AttnProcessor() if cfg.bf16 else AttnProcessor2_0())
    return model


@torch.no_grad()
def steady(model: UNet2DConditionModel, offset: float = 8.0) -> None:
    """Let the last norm pass its input on as it is.

    A group norm divides by the deviation of its group. Near pure noise that is the noise's own,
    which differs by 2 % from sample to sample on so small a grid; the predicted noise then has
    the wrong norm for a whole sampling run, and what is not taken away stays in the picture.
    Opposite offsets, larger than the features, make the deviation the same for all samples, and
    the norm's own scale and shift undo them.
    """
    signs = torch.ones(model.conv_norm_out.num_channels)
    signs[1::2] = -1
    model.up_blocks[-1].attentions[-1].proj_out.bias.copy_(offset * signs)
    model.conv_norm_out.weight.fill_(offset)
    model.conv_norm_out.bias.copy_(-offset * signs)


@torch.no_grad()
def latents(cfg: DictConfig, images: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Return scaled latents (count, 4, h, w) of the pictures, stored beside them."""
    weights = Path(cfg.parts) / "vae" / "diffusion_pytorch_model.safetensors"
    key = hashlib.sha256(weights.read_bytes()).hexdigest()[:12]
    path = Path(cfg.data.cache) / f"latents-{common.data_name(cfg.data)}-{key}.pt"
    if not path.exists():
        vae, batches = common.autoencoder(cfg.parts, device), []
        for k in range(0, len(images), 100):
            x = common.to_tensor(images[k : k + 100], device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=cfg.bf16):
                z = vae.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist.mode()
            batches.append((z.float() * vae.config.scaling_factor).cpu())
        with replacing(path) as partial:
            torch.save(torch.cat(batches), partial)
    return torch.load(path, map_location=device, weights_only=True)


def training_caption(scene: Scene, cfg: DictConfig, rng: np.random.Generator) -> str:
    """Return a caption in a new phrasing: empty, bare, or with some attributes left out."""
    if rng.random() < cfg.dropout:
        return ""
    share = 0.0 if rng.random() < cfg.bare else 1 - cfg.unsaid
    return caption(rephrased(scene, rng), keep=lambda: rng.random() < share)


class Draws(Dataset[tuple[Tensor, ...]]):
    """The random draws of each step: scenes, token ids of captions, noise, places in time.

    All of it depends on the step (and the rank) alone.
    """

    def __init__(
        self, cfg: DictConfig, scenes: Sequence[Scene], tokenizer: CLIPTokenizer, rank: int
    ) -> None:
        self.cfg, self.scenes, self.tokenizer, self.rank = cfg, scenes, tokenizer, rank
        side = cfg.model.sample_size
        self.shape = (cfg.model.in_channels, side, side)

    def __getitem__(self, step: int) -> tuple[Tensor, ...]:
        cfg = self.cfg
        rng = np.random.default_rng([cfg.seed, step, self.rank])
        picked = common.batch_indices(step, len(self.scenes), cfg.batch, cfg.seed)
        texts = [training_caption(self.scenes[k], cfg, rng) for k in picked]
        chance = torch.Generator().manual_seed((cfg.seed * 1_000_003 + step) * 1_009 + self.rank)
        noise = torch.randn((len(picked), *self.shape), generator=chance)
        # One timestep from each of equal parts of the grid: the loss varies less.
        spread = torch.arange(len(picked)) + torch.rand(len(picked), generator=chance)
        ids = tokenize(self.tokenizer, texts)
        return torch.from_numpy(picked), ids, noise, spread / len(picked)


def sum_of_scales(error: Tensor, scales: Mapping[int, float]) -> Tensor:
    """Return the squared error of every sample, plus that of the error pooled by the factors.

    The optimum is the same for any such quadratic, but coarse errors are learned sooner: near pure
    noise a small error of the mean decides the picture's colours.
    """
    total = error.square().mean((1, 2, 3))
    for factor, weight in scales.items():
        total = total + weight * F.avg_pool2d(error, factor).square().mean((1, 2, 3))
    return total


def loss_weights(abar: Tensor, cfg: DictConfig) -> Tensor:
    """Return the weight of the error at each timestep, larger near pure noise."""
    snr = abar / (1 - abar)
    weights = torch.ones_like(snr) if cfg.min_snr is None else snr.clamp(max=cfg.min_snr) / snr
    return weights * (cfg.far_snr / snr).clamp(min=1).sqrt()


def export(average: nn.Module, cfg: DictConfig, scheduler: DDIMScheduler) -> None:
    """Write `unet/`, `scheduler/` and `model_index.json`: with the other parts, a pipeline."""
    folder = Path(cfg.export)
    common.as_half(average).save_pretrained(folder / "unet")
    scheduler.save_pretrained(folder / "scheduler")
    common.write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionPipeline",
            "_diffusers_version": "0.30.0",
            "_domain": "scenes",
            "feature_extractor": [None, None],
            "image_encoder": [None, None],
            "requires_safety_checker": False,
            "safety_checker": [None, None],
            "scheduler": ["diffusers", "DDIMScheduler"],
            "text_encoder": ["transformers", "CLIPTextModel"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        },
    )


@hydra.main(config_path="conf", config_name="unet", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    grid: Mapping = OmegaConf.to_container(cfg.scheduler)  # type: ignore[assignment, type-arg]
    scheduler = DDIMScheduler(**grid)
    scenes = common.scenes(cfg.data)
    with common.first_rank_first():
        z0 = latents(cfg, common.pictures(cfg.data), device)
    rank, _ = common.ranks()
    print("latents", tuple(z0.shape), "deviation", round(float(z0.std()), 3), flush=True)
    tokenizer = CLIPTokenizer.from_pretrained(Path(cfg.parts) / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(
        Path(cfg.parts) / "text_encoder", dtype=torch.float32
    ).to(device)
    run = common.start(build(cfg), cfg, device)
    network = torch.compile(run.model) if cfg.compile else run.model
    abar = scheduler.alphas_cumprod.to(device)
    weights = loss_weights(abar, cfg)

    draws = Draws(cfg, scenes, tokenizer, rank)
    ahead = iter(
        DataLoader(
            draws, batch_size=None, sampler=range(run.step, cfg.steps), num_workers=cfg.workers
        )
    )

    def loss(step: int) -> Tensor:
        picked, ids, noise, spread = (part.to(device) for part in next(ahead))
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            tokens = encoder(ids).last_hidden_state
        z = z0[picked]
        t = (spread * len(abar)).long().clamp(max=len(abar) - 1)
        a = abar[t][:, None, None, None]
        noisy = a.sqrt() * z + (1 - a).sqrt() * noise
        predicted = network(noisy, t, tokens).sample.float()
        errors = sum_of_scales(predicted - noise, cfg.scales)
        return (weights[t] * errors).mean()

    common.train(run, loss, cfg, device, lambda average: export(average, cfg, scheduler))


if __name__ == "__main__":
    main()
