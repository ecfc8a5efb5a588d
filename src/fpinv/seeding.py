"""Random numbers that depend on what they are for, never on batch, order, shard or device."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

import torch
from torch import Tensor


def generator(seed: int, *purpose: str) -> torch.Generator:
    """Return a CPU generator seeded by run seed, image id, purpose and whatever else is named."""
    key = "\x1f".join([str(seed), *purpose]).encode("utf-8", "surrogatepass")
    return torch.Generator().manual_seed(int.from_bytes(sha256(key).digest()[:7], "big"))


def normal(
    shape: Sequence[int], seed: int, ids: Sequence[str], purpose: str, device: torch.device | str
) -> Tensor:
    """Return standard normal latents ``(len(ids), *shape)``, float32, one generator an id."""
    latents = [torch.randn(tuple(shape), generator=generator(seed, i, purpose)) for i in ids]
    return torch.stack(latents).to(device)


def numbers(ids: Sequence[str], device: torch.device | str) -> Tensor:
    """Return a number for each image id, (B,), int64: ids in a form that batches can hold."""
    return torch.tensor([generator(0, id).initial_seed() for id in ids], device=device)


def drawn(z: Tensor, seed: int, images: Tensor | None, purpose: str) -> Tensor:
    """Return standard normal latents as ``z`` (B, C, H, W), one draw an image.

    Arguments:
        z: Latents of the wanted shape, precision and device.
        seed: The run's seed.
        images: Numbers of the images, (B,), int64; None gives all of them the same draw.
        purpose: What the draw is for.
    """
    if images is None:
        return torch.randn(z.shape[1:], generator=generator(seed, purpose)).to(z).expand_as(z)
    return normal(z.shape[1:], seed, [str(n) for n in images.tolist()], purpose, z.device).to(z)
