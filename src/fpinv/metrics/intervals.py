"""Means and shares with their 95 % intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.special import stdtrit
from torch import Tensor

DRAWS = 10_000  # bootstrap draws of an interval


def mean_ci95(values: Sequence[float | None]) -> dict[str, float | None] | None:
    """Mean and half-width of its 95 % confidence interval, by Student's t.

    None stands for a measure that an example does not have and is skipped. An infinite or
    undefined value (the PSNR of identical images) has no place in a mean, nor in JSON: it is
    skipped too, and the result then says how many were, under "nonfinite".

    Returns:
        {"mean", "ci95"}, with ci95 None for a single value; None when there is no value.
    """
    given = [float(value) for value in values if value is not None]
    finite = torch.tensor([value for value in given if math.isfinite(value)], dtype=torch.float64)
    if not given:
        return None
    skipped = {"nonfinite": len(given) - len(finite)} if len(finite) < len(given) else {}
    mean = finite.mean().item() if len(finite) else None
    return {"mean": mean, "ci95": _half_width(finite)} | skipped


def _half_width(values: Tensor) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975)) * values.std().item() / math.sqrt(n)


def percent(mean: float, draws: ArrayLike) -> str:
    """A share in per cent, with the interval of which 95 % of its bootstrap draws are."""
    low, high = np.percentile(draws, [2.5, 97.5])
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def bootstrap(shares: Sequence[float]) -> str:
    """The mean of shares in per cent, with the 95 % interval of its bootstrap draws."""
    if not shares:
        return "-"
    x = np.array(shares)
    chosen = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    return percent(float(x.mean()), x[chosen].mean(1))
