"""Train the autoencoder: `python experiments/training/scenes/train_vae.py`."""

from __future__ import annotations

from pathlib import Path

import common
import hydra
import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn
from torch.nn import functional as F

from fpinv.metrics.pixels import psnr


def build(cfg: DictConfig) -> AutoencoderKL:
    """Return a fresh autoencoder, or the shipped one to go on with."""
    if cfg.start:
        model = AutoencoderKL.from_pretrained(
            cfg.start, subfolder="vae", torch_dtype=torch.float32
        )
    else:
        shape = OmegaConf.to_container(cfg.model, resolve=True)
        model = AutoencoderKL(scaling_factor=1.0, **shape)  # type: ignore[arg-type]
        # Begin with little noise on the latents: a channel that begins as noise can stay unused.
        nn.init.zeros_(model.quant_conv.weight[cfg.model.latent_channels :])
        nn.init.constant_(model.quant_conv.bias[cfg.model.latent_channels :], -6.0)
    model.thumbnail = nn.Conv2d(model.config.latent_channels, 3, 1)
    if cfg.decoder_only:
        model.encoder.requires_grad_(False)
        model.quant_conv.requires_grad_(False)
    model.set_attn_processor(AttnProcessor())
    return model.to(memory_format=torch.channels_last)


def differences(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the differences of neighbouring pixels along both axes: edges and textures."""
    return x[..., 1:, :] - x[..., :-1, :], x[..., 1:] - x[..., :-1]


def distance(x: Tensor, y: Tensor, edges: float, colour: float) -> Tensor:
    """Return L1 + 0.5 L2, L1 of the differences, and L1 of pictures pooled to the latents' grid.

    The last is for colours, which are learned late: small things on large backgrounds.
    """
    pairs = zip(differences(x), differences(y), strict=True)
    rough = sum((F.l1_loss(a, b) for a, b in pairs), torch.zeros((), device=x.device))
    coarse = F.l1_loss(F.avg_pool2d(x, 4), F.avg_pool2d(y, 4))
    return F.l1_loss(x, y) + 0.5 * F.mse_loss(x, y) + edges * rough + colour * coarse


def objective(model: AutoencoderKL, x: Tensor, noise: Tensor, cfg: DictConfig) -> Tensor:
    """Return the distance of the decoded sample, and the KL divergence to a standard normal.

    And a thumbnail of the picture must be a linear function of the latents: so the encoder learns
    colours at once, without waiting for a decoder that can show them.
    """
    mean, logvar = model.quant_conv(model.encoder(x)).float().chunk(2, dim=1)
    logvar = logvar.clamp(-30, 20)
    y = model.decode(mean + (0.5 * logvar).exp() * noise).sample.float()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    thumbnail = F.l1_loss(model.thumbnail(mean).float(), F.adaptive_avg_pool2d(x, mean.shape[-1]))
    return distance(y, x, cfg.edges, cfg.colour) + cfg.kl * kl + cfg.thumbnail * thumbnail


def flipped(images: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Mirror whole batches: more edges for the price of none."""
    images = images[:, ::-1] if step % 4 >= 2 else images
    return images[:, :, ::-1] if step % 2 else images


@torch.no_grad()
def standardise(model: AutoencoderKL, images: Tensor) -> None:
    """Give the latents mean 0 and deviation 1 per channel, inside the two 1x1 convolutions.

    A change of coordinates of the latent: the pictures that the model decodes stay the same.
    """
    z = torch.cat([model.encode(batch).latent_dist.mode() for batch in images.split(64)])
    mean, deviation = z.mean((0, 2, 3)), z.std((0, 2, 3))
    into, out, half = model.quant_conv, model.post_quant_conv, len(mean)
    into.weight[:half] /= deviation[:, None, None, None]
    into.bias[:half] = (into.bias[:half] - mean) / deviation
    into.bias[half:] -= 2 * deviation.log()
    out.bias += (out.weight[:, :, 0, 0] * mean).sum(1)
    out.weight *= deviation[None, :, None, None]


def export(average: nn.Module, cfg: DictConfig, images: Tensor) -> None:
    """Write `vae/` with standardised latents, in half precision."""
    model = common.as_half(average).float()
    del model.thumbnail
    if not cfg.decoder_only:
        standardise(model, images)
    mean = psnr(common.reconstructed(model, images), images).mean().item()
    print(f"held-out PSNR {mean:.2f} dB, n = {len(images)}", flush=True)
    model.half().save_pretrained(Path(cfg.export) / "vae")


@hydra.main(config_path="conf", config_name="vae", version_base="1.3")
def main(cfg: DictConfig) -> None:
    device = common.prepare(cfg)
    images = common.pictures(cfg.data)
    held_out = OmegaConf.merge(cfg.data, {"split": "val", "count": cfg.held_out, "even": False})
    checks = common.to_tensor(common.pictures(held_out), device)
    run = common.start(build(cfg), cfg, device)
    value = torch.compile(objective) if cfg.compile else objective
    side = cfg.data.size // 2 ** (len(cfg.model.block_out_channels) - 1)
    rank, _ = common.ranks()

    def loss(step: int) -> Tensor:
        picked = common.batch_indices(step, len(images), cfg.batch, cfg.seed)
        x = common.to_tensor(flipped(images[np.sort(picked)], step), device)
        x = x.contiguous(memory_format=torch.channels_last)
        chance = torch.Generator().manual_seed(step * 1_009 + rank)
        noise = torch.randn(len(x), cfg.model.latent_channels, side, side, generator=chance)
        return value(run.model, x, noise.to(device), cfg)

    common.train(run, loss, cfg, device, lambda average: export(average, cfg, checks))


if __name__ == "__main__":
    main()
