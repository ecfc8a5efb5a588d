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
