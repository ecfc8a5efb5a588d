"""Means and shares with their 95 % intervals; without torch, so that reports load in no time."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

K = TypeVar("K", bound=Hashable)

DRAWS = 10_000  # bootstrap draws of an interval


def mean_ci95(
    values: Sequence[float | None],
    clusters: Sequence[Hashable] | None = None,
    share: bool = False,
) -> dict[str, float | None] | None:
    r"""Return the mean and the half-width of its 95 % confidence interval.

    Of G clusters g of n values x, by Student's t:

    .. math:: t_{G-1} \frac{1}{n} \sqrt{\frac{G}{G-1} \sum_g
              \Big(\sum_{i \in g} (x_i - \bar x)\Big)^2}

    which is the usual interval where every value is a cluster of its own. A value of None, an
    infinite or an undefined one (the PSNR of identical images) has no place in a mean: it is left
    out, and the result says how many are behind the mean.

    Arguments:
        values: The values.
        clusters: A label for each value; those of one label are one observation, such as the edits
            of one image. None: all are independent.
        share: Whether the values are shares of 1. Where all of them are 0, or all are 1, Student's
            t has no width; the interval then reaches, to one side, as far as the share could be
            from there if this is to happen by chance once in 40 times: :math:`1 - .025^{1/G}`.

    Returns:
        {"mean", "ci95"}, with ci95 None for a single cluster, and "n" where values were left out;
        None when there is no value.
    """
    x = np.array(values, dtype=float)
    places = np.flatnonzero(np.isfinite(x))
    if not len(places):
        return None
    finite = x[places]
    groups = np.arange(len(places)) if clusters is None else _numbered(clusters, places)
    count, mean = 1 + int(groups.max()), float(finite.mean())
    half = _half_width(finite - mean, groups, count)
    if share and half is not None and (_all(finite, 0) or _all(finite, 1)):
        half = reach(count)
    counted = {"n": len(places)} if len(places) < len(x) else {}
    return {"mean": mean, "ci95": half} | counted


def _numbered(labels: Sequence[Hashable], places: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return a number for the label at each of some places, the same for equal labels."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(labels[k], len(numbers)) for k in places])


def _half_width(
    deviations: NDArray[np.float64], groups: NDArray[np.intp], count: int
) -> float | None:
    if count < 2:
        return None
    sums = np.bincount(groups, deviations)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(deviations)
    return float(stdtrit(count - 1, 0.975) * error)


def _all(values: NDArray[np.float64], value: float) -> bool:
    return bool((values == value).all())


def percent(mean: float, draws: ArrayLike) -> str:
    """Write a share in per cent with the interval that holds 95 % of its bootstrap draws."""
    low, high = np.percentile(np.asarray(draws, dtype=float), [2.5, 97.5])
    return in_percent(mean, float(low), float(high))


def in_percent(mean: float, low: float, high: float) -> str:
    """Write a share in per cent with the ends of its interval."""
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def reach(count: int) -> float:
    """Return how far a share can be from where ``count`` observations all are, at 0 or at 1."""
    return float(1 - 0.025 ** (1 / count))


def paired_differences(values: Mapping[K, float], reference: Mapping[K, float]) -> list[float]:
    """Return by how much each example is above its value in a reference, where both have it."""
    return [value - reference[key] for key, value in values.items() if key in reference]


def bootstrap(values: Sequence[float], least: int = 0) -> str:
    """Write the mean of shares in per cent with the 95 % interval of its bootstrap draws.

    Where all are 0 or all are 1, draws have no width; see :func:`mean_ci95` for what is taken
    then.

    Arguments:
        values: Shares of 1, or differences of them.
        least: The least that a value can be: 0, or -1 for differences.
    """
    if not values:
        return "-"
    x = np.array(values)
    for end in (-1, 0, 1):
        if _all(x, end):
            far = reach(len(x))
            return in_percent(end, max(least, end - far), min(1, end + far))
    indices = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    return percent(float(x.mean()), x[indices].mean(1))
