"""Means and shares with their 95 % intervals; without torch, so that reports load in no time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

DRAWS = 10_000  # bootstrap draws of an interval


def mean_ci95(
    values: Sequence[float | None], distinct: bool = False
) -> dict[str, float | None] | None:
    """Return the mean and the half-width of its 95 % confidence interval, by Student's t.

    A value of None marks an example that lacks the measure and is skipped. An infinite or
    undefined value (the PSNR of identical images) has no place in a mean, nor in JSON: it is
    skipped too, and the result counts those values under "nonfinite".

    Arguments:
        values: The values.
        distinct: Whether equal values are one measurement that several examples share, so that
            the interval is that of the distinct ones.

    Returns:
        {"mean", "ci95"}, with ci95 None for a single value; None when there is no value.
    """
    numbers = [float(value) for value in values if value is not None]
    if not numbers:
        return None
    finite = np.array([number for number in numbers if math.isfinite(number)])
    nonfinite = len(numbers) - len(finite)
    mean = float(finite.mean()) if len(finite) else None
    counted = {"nonfinite": nonfinite} if nonfinite else {}
    independent = np.unique(finite) if distinct else finite
    return {"mean": mean, "ci95": _half_width(independent)} | counted


def _half_width(values: NDArray[np.float64]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float(stdtrit(n - 1, 0.975) * values.std(ddof=1) / math.sqrt(n))


def percent(mean: float, draws: ArrayLike) -> str:
    """Write a share in per cent with the interval that holds 95 % of its bootstrap draws."""
    low, high = np.percentile(np.asarray(draws, dtype=float), [2.5, 97.5])
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def bootstrap(shares: Sequence[float]) -> str:
    """Write the mean of shares in per cent with the 95 % interval of its bootstrap draws."""
    if not shares:
        return "-"
    x = np.array(shares)
    indices = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    return percent(float(x.mean()), x[indices].mean(1))
