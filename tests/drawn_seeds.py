"""Seeds with known norms and angles."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def pair(
    norm_a: float, norm_b: float, theta: float, d: int, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Return two float64 seeds (1, d) of these norms, ``theta`` apart, in a random plane."""
    g = torch.Generator().manual_seed(seed)
    plane = torch.linalg.qr(torch.randn(d, 2, generator=g, dtype=torch.float64)).Q.T
    turned = math.cos(theta) * plane[0] + math.sin(theta) * plane[1]
    return norm_a * plane[:1], norm_b * turned.unsqueeze(0)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return standard normal seeds."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
