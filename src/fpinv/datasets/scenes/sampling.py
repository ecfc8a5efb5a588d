"""Scenes drawn from (seed, split, index) by integer hashing, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from fpinv.datasets.classes import Bin
from fpinv.datasets.scenes.captions import PHRASINGS
from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    COUNTS,
    PREVALENCE,
    SHAPES,
    SIZES,
    SPLITS,
    TEXTURES,
    Object,
    Scene,
)

T = TypeVar("T")

Place = tuple[float, float]
"""The centre (x, y) of an object as fractions of the side."""

_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """Return the finaliser of splitmix64, which spreads each bit over all 64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


class _Draws:
    """Random numbers from a key by splitmix64, which no library's version can change.

    References:
        Fast splittable pseudorandom number generators (Steele et al., 2014),
        https://doi.org/10.1145/2660193.2660195.
    """

    def __init__(self, *key: int) -> None:
        self.state = 0
        for number in key:
            self.state = _mix((self.state ^ number) + 0x9E3779B97F4A7C15 & _MASK)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """Return a number in [low, high)."""
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        return low + (high - low) * (_mix(self.state) >> 11) * 2.0**-53

    def choice(self, items: Sequence[T]) -> T:
        """Return one of the items, each as likely."""
        return items[int(self.uniform() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """Return one of the keys, as likely as its weight is large."""
        mark = self.uniform() * sum(weights.values())
        for item, weight in weights.items():
            mark -= weight
            if mark < 0:
                return item
        return next(reversed(list(weights)))


def _shape_weights(
    shapes: Sequence[str] | None, prevalence: Mapping[Bin, float]
) -> Mapping[str, float]:
    if shapes is not None:
        return dict.fromkeys(shapes, 1.0)
    return {shape: prevalence[name] for name, group in SHAPES.items() for shape in group}


def sample_scene(
    seed: int,
    index: int,
    split: str = "train",
    objects: int | None = None,
    shapes: Sequence[str] | None = None,
    prevalence: Mapping[Bin, float] = PREVALENCE,
) -> Scene:
    """Draw the scene number ``index`` of a split.

    Arguments:
        seed: Seed of the world.
        index: Number of the scene in its split.
        split: A key of ``SPLITS``.
        objects: Number of objects; None draws it from ``COUNTS``.
        shapes: Shapes to draw from evenly; None draws them with the long tail.
        prevalence: The long tail: probability of each shape of a bin.
    """
    draws = _Draws(seed, SPLITS[split], index)
    # Drawn in any case, so that a fixed number of objects changes nothing else.
    drawn_count = draws.weighted(COUNTS)
    count = drawn_count if objects is None else objects
    relations, places = _layout(draws, count)
    weights = _shape_weights(shapes, prevalence)
    things = _sample_objects(draws, places, weights)
    background = draws.choice(list(BACKGROUNDS))
    light = draws.uniform(-0.9, -0.4)
    phrasing = int(draws.uniform() * PHRASINGS)
    return Scene(seed, split, index, things, relations, background, light, phrasing)


def _sample_objects(
    draws: _Draws, places: Sequence[Place], weights: Mapping[str, float]
) -> tuple[Object, ...]:
    """Draw an object of its own colour at each place."""
    colours, scale = list(COLOURS), 1.25 if len(places) == 1 else 1.0
    objects = []
    for x, y in places:
        colour, size = draws.choice(colours), draws.choice(list(SIZES))
        colours.remove(colour)
        shape, texture = draws.weighted(weights), draws.choice(TEXTURES)
        radius = SIZES[size] * scale * draws.uniform(0.95, 1.05)
        angle = draws.uniform(-0.3, 0.3)
        objects.append(Object(shape, colour, texture, size, x, y, radius, angle))
    return tuple(objects)


def _layout(draws: _Draws, count: int) -> tuple[tuple[str, ...], list[Place]]:
    """Draw relations and centres; a pair lies along one axis, a third object beside the pair."""
    if count == 1:
        return (), [(0.5 + draws.uniform(-0.12, 0.12), 0.5 + draws.uniform(-0.12, 0.12))]
    across = draws.uniform(-0.08, 0.08)
    axis = "above" if draws.uniform() < 0.5 else "left"
    # (along, across) the axis of the pair, from the middle of the picture
    places = [(-0.25, across), (0.25, across + draws.uniform(-0.05, 0.05))]
    relations: tuple[str, ...] = (axis,)
    if count == 3:
        places, third = _with_third(draws, places, axis)
        relations = (axis, third)
    if axis == "above":
        places = [(across, along) for along, across in places]
    return relations, [
        (0.5 + x + draws.uniform(-0.025, 0.025), 0.5 + y + draws.uniform(-0.025, 0.025))
        for x, y in places
    ]


def _with_third(draws: _Draws, pair: list[Place], axis: str) -> tuple[list[Place], str]:
    """Move a pair to one side of its axis; add a third object at the other side, and name it."""
    after = draws.choice(("before", "after")) == "after"
    shift = -0.22 if after else 0.22
    places = [(along, shift + draws.uniform(-0.02, 0.02)) for along, _ in pair]
    places.append((draws.uniform(-0.12, 0.12), -shift + draws.uniform(-0.02, 0.02)))
    names = ("above", "below") if axis == "left" else ("left", "right")
    return places, names[after]
