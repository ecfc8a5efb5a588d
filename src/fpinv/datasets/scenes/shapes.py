"""Shapes as signed distances: negative inside a shape, which fits the unit circle."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Distance = Callable[[Array, Array], Array]
"""Signed distances at points (x, y), with y pointing down."""


def smooth(low: float, high: float, value: Array) -> Array:
    """Return the cubic step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _box(x: Array, y: Array, wide: float, high: float) -> Array:
    """Return the distance to a rectangle of half sides ``wide`` and ``high``."""
    dx, dy = np.abs(x) - wide, np.abs(y) - high
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    return outside + np.minimum(np.maximum(dx, dy), 0)


def _polygon(xs: Sequence[float], ys: Sequence[float], rounding: float = 0.0) -> Distance:
    """Return the exact distance to a polygon with corners (x, y), grown by ``rounding``.

    The distance is that to the nearest edge; a point is inside if a ray from it crosses the
    edges an odd number of times.
    """
    corners = np.array([xs, ys], np.float32).T
    edges = np.roll(corners, 1, axis=0) - corners
    lengths = (edges**2).sum(1)
    ends = np.roll(corners, 1, axis=0)

    def distance(x: Array, y: Array) -> Array:
        wx = x[..., None] - corners[:, 0]
        wy = y[..., None] - corners[:, 1]
        t = np.clip((wx * edges[:, 0] + wy * edges[:, 1]) / lengths, 0, 1)
        squared = ((wx - t * edges[:, 0]) ** 2 + (wy - t * edges[:, 1]) ** 2).min(-1)
        above = y[..., None] >= corners[:, 1]
        below = y[..., None] < ends[:, 1]
        side = edges[:, 0] * wy > edges[:, 1] * wx
        crossings = ((above & below & side) | (~above & ~below & ~side)).sum(-1)
        sign = np.where(crossings % 2 == 1, -1, 1).astype(np.float32)
        return sign * np.sqrt(squared) - rounding

    return distance


def _polar(
    radii: Sequence[float], angles: Sequence[float]
) -> tuple[Sequence[float], Sequence[float]]:
    """Return the corners x and y at these radii and angles, clockwise from the top."""
    pairs = list(zip(radii, angles, strict=True))
    return [r * math.sin(a) for r, a in pairs], [-r * math.cos(a) for r, a in pairs]


def _heart(x: Array, y: Array) -> Array:
    """Return the distance to a heart of two discs and a tip, by a formula of Inigo Quilez."""
    x, y = np.abs(x) / 1.62, (0.92 - y) / 1.62
    top = np.hypot(x - 0.25, y - 0.75) - math.sqrt(2) / 4
    slant = 0.5 * np.maximum(x + y, 0)
    low = np.minimum(x**2 + (y - 1) ** 2, (x - slant) ** 2 + (y - slant) ** 2)
    return 1.62 * np.where(y + x > 1, top, np.sqrt(low) * np.sign(x - y))


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - 0.68) - 0.27


def _moon(x: Array, y: Array) -> Array:
    x = x - 0.12
    return np.maximum(np.hypot(x, y) - 0.95, 0.8 - np.hypot(x - 0.5, y + 0.08))


def _cross(x: Array, y: Array) -> Array:
    return np.minimum(_box(x, y, 0.86, 0.26), _box(x, y, 0.26, 0.86)) - 0.05


def _drop(x: Array, y: Array) -> Array:
    """Return the distance to a disc whose tangents meet in a tip above it."""
    centre, radius = 0.34, 0.62
    sine = radius / (1 + centre)
    cosine = math.sqrt(1 - sine * sine)
    slant = np.abs(x) * cosine - (y + 1) * sine
    past = (y + 1) * cosine + np.abs(x) * sine > (1 + centre) * cosine
    return np.where(past, np.hypot(x, y - centre) - radius, np.maximum(slant, -1 - y))


def _flower(x: Array, y: Array) -> Array:
    """Return the distance to five round petals around a disc."""
    angle = np.arctan2(x, -y)
    fold = 2 * math.pi / 5
    angle = np.mod(angle + fold / 2, fold) - fold / 2
    far = np.hypot(x, y)
    petal = np.hypot(far * np.sin(angle), far * np.cos(angle) - 0.57) - 0.4
    return np.minimum(petal, far - 0.4)


def _fish(x: Array, y: Array) -> Array:
    """Return the distance to an oval body that swims to the right, and a tail."""
    body = (np.hypot((x - 0.16) / 0.84, y / 0.52) - 1) * 0.52
    return np.minimum(body, _TAIL(x, y))


_TAIL = _polygon((-0.45, -1, -0.86, -1), (0, -0.56, 0, 0.56))
_TEETH = [k * math.pi / 4 + turn for k in range(8) for turn in (-0.24, -0.16, 0.16, 0.24)]
_WHEEL = _polygon(*_polar((0.7, 0.98, 0.98, 0.7) * 8, _TEETH))


def _gear(x: Array, y: Array) -> Array:
    return np.maximum(_WHEEL(x, y), 0.3 - np.hypot(x, y))


DISTANCES: Mapping[str, Distance] = {
    "circle": lambda x, y: np.hypot(x, y) - 0.9,
    "square": lambda x, y: _box(x, y, 0.68, 0.68) - 0.08,
    "triangle": _polygon((0, 0.88, -0.88), (-0.9, 0.66, 0.66), rounding=0.07),
    "star": _polygon(
        *_polar((1.0, 0.44) * 5, [2 * math.pi * k / 10 for k in range(10)]), rounding=0.04
    ),
    "heart": _heart,
    "cross": _cross,
    "ring": _ring,
    "moon": _moon,
    "diamond": _polygon((0, 0.6, 0, -0.6), (-0.98, 0, 0.98, 0), rounding=0.04),
    "drop": _drop,
    "flower": _flower,
    "hexagon": _polygon(
        *_polar((0.9,) * 6, [2 * math.pi * k / 6 + math.pi / 6 for k in range(6)]), rounding=0.05
    ),
    "arrow": _polygon(
        (-0.92, 0.02, 0.02, 0.94, 0.02, 0.02, -0.92),
        (-0.24, -0.24, -0.72, 0, 0.72, 0.24, 0.24),
        rounding=0.04,
    ),
    "crown": _polygon(
        (-0.8, -0.92, -0.42, 0, 0.42, 0.92, 0.8),
        (0.66, -0.6, 0.02, -0.8, 0.02, -0.6, 0.66),
        rounding=0.04,
    ),
    "bolt": _polygon(
        (0.3, -0.62, -0.06, -0.34, 0.64, 0.08),
        (-0.98, 0.14, 0.14, 0.98, -0.22, -0.22),
        rounding=0.03,
    ),
    "fish": _fish,
    "house": _polygon(
        (0, 0.94, 0.66, 0.66, -0.66, -0.66, -0.94),
        (-0.94, -0.12, -0.12, 0.8, 0.8, -0.12, -0.12),
        rounding=0.03,
    ),
    "gear": _gear,
}
