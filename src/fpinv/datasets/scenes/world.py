"""The world of the scenes: its words and numbers, and how a scene is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")

SHAPES: Mapping[str, tuple[str, ...]] = {
    "many": ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon"),
    "med": ("diamond", "drop", "flower", "hexagon", "arrow"),
    "few": ("crown", "bolt", "fish", "house", "gear"),
}
"""Shape names by prevalence bin."""
SHAPE_NAMES = tuple(shape for group in SHAPES.values() for shape in group)

PREVALENCE: Mapping[str, float] = {
    "many": (1 - 5 * 0.015 - 5 * 0.0004) / 8,
    "med": 0.015,
    "few": 0.0004,
}
"""Probability that one object has one given shape of the bin."""

COUNTS: Mapping[int, float] = {1: 0.45, 2: 0.40, 3: 0.15}
"""Probability of one, two and three objects."""

COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (214, 40, 44),
    "orange": (244, 132, 30),
    "yellow": (250, 206, 48),
    "green": (52, 158, 76),
    "cyan": (58, 198, 208),
    "blue": (44, 88, 204),
    "purple": (132, 62, 172),
    "pink": (244, 120, 176),
}
TEXTURES = ("plain", "striped", "dotted")
SIZES: Mapping[str, float] = {"small": 0.145, "large": 0.215}
"""Radius as a fraction of the picture's side; a lone object is 1.25 times as large."""

BACKGROUNDS: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int]]] = {
    "white": ((246, 244, 238), (246, 244, 238)),
    "grey": ((150, 152, 158), (150, 152, 158)),
    "black": ((38, 38, 44), (38, 38, 44)),
    "pale blue": ((182, 208, 236), (182, 208, 236)),
    "pale green": ((190, 222, 186), (190, 222, 186)),
    "pale pink": ((244, 208, 212), (244, 208, 212)),
    "sunset gradient": ((124, 96, 156), (252, 198, 150)),
    "ocean gradient": ((196, 230, 236), (36, 92, 136)),
    "meadow gradient": ((208, 230, 246), (130, 178, 92)),
    "twilight gradient": ((34, 34, 78), (164, 140, 198)),
}
"""Colours at the top and at the bottom; the gradients are named, the others are plain."""

RELATIONS: Mapping[str, str] = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}
OPPOSITE: Mapping[str, str] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
}
PREFIXES = ("", "a photo of ", "a picture of ", "an image of ", "a scene with ")
SIZE_WORDS: Mapping[str, tuple[str, str]] = {
    "small": ("small", "little"),
    "large": ("large", "big"),
}
SPLITS: Mapping[str, int] = {"train": 1, "val": 2, "test": 3}

PHRASINGS = len(PREFIXES) * 2 * 2 * 2 * 2


@cache
def bin_of(shape: str) -> str:
    """Prevalence bin of a shape: many, med or few."""
    return next(name for name, shapes in SHAPES.items() if shape in shapes)


@dataclass(frozen=True)
class Object:
    """One thing in a scene; x, y and radius are fractions of the side, angle is in radians."""

    shape: str
    colour: str
    texture: str
    size: str
    x: float
    y: float
    radius: float
    angle: float


@dataclass(frozen=True)
class Scene:
    """Everything that `render` and `caption` need.

    Args:
        objects: one to three; of a pair the left or upper one first.
        relations: none for one object; `left` or `above` for the first object against the second;
            for three objects also where the third is against those two.
        background: a name of `BACKGROUNDS`.
        light: direction the light comes from, radians from straight up.
        phrasing: which of the caption's phrasings is used.
    """

    seed: int
    split: str
    index: int
    objects: tuple[Object, ...]
    relations: tuple[str, ...]
    background: str
    light: float
    phrasing: int

    def attributes(self) -> dict[str, Any]:
        """The scene as plain numbers, strings and lists."""
        found = asdict(self)
        found["objects"] = [{**asdict(item), "bin": bin_of(item.shape)} for item in self.objects]
        found["relations"] = list(self.relations)
        found["count"] = len(self.objects)
        return found


_MASK = (1 << 64) - 1


def _mix(value: int) -> int:
    """The finaliser of splitmix64."""
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & _MASK
    return value ^ (value >> 31)


class _Draws:
    """Uniform numbers from a key: splitmix64, the same on every machine and for ever."""

    def __init__(self, *key: int) -> None:
        self.state = 0
        for part in key:
            self.state = _mix((self.state ^ part) + 0x9E3779B97F4A7C15 & _MASK)

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        self.state = self.state + 0x9E3779B97F4A7C15 & _MASK
        return low + (high - low) * (_mix(self.state) >> 11) * 2.0**-53

    def choice(self, items: Sequence[T]) -> T:
        return items[int(self.uniform() * len(items))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        mark = self.uniform() * sum(weights.values())
        for item, weight in weights.items():
            mark -= weight
            if mark < 0:
                return item
        return next(reversed(list(weights)))


@cache
def _shape_weights(shapes: tuple[str, ...] | None) -> Mapping[str, float]:
    if shapes is not None:
        return dict.fromkeys(shapes, 1.0)
    return {shape: PREVALENCE[name] for name, group in SHAPES.items() for shape in group}


def sample_scene(
    seed: int,
    index: int,
    split: str = "train",
    objects: int | None = None,
    shapes: Sequence[str] | None = None,
) -> Scene:
    """Draw the scene number `index` of a split.

    Args:
        objects: how many objects; None draws the number from `COUNTS`.
        shapes: draw shapes evenly from these; None draws them with the long tail.
    """
    draws = _Draws(seed, SPLITS[split], index)
    drawn = draws.weighted(COUNTS)
    count = drawn if objects is None else objects
    relations, places = _layout(draws, count)
    free = list(COLOURS)
    weights = _shape_weights(None if shapes is None else tuple(shapes))
    things = []
    for x, y in places:
        colour = draws.choice(free)
        free.remove(colour)
        things.append(_sample_object(draws, colour, x, y, weights, alone=count == 1))
    return Scene(
        seed=seed,
        split=split,
        index=index,
        objects=tuple(things),
        relations=relations,
        background=draws.choice(list(BACKGROUNDS)),
        light=draws.uniform(-0.9, -0.4),
        phrasing=int(draws.uniform() * PHRASINGS),
    )


def _sample_object(
    draws: _Draws,
    colour: str,
    x: float,
    y: float,
    weights: Mapping[str, float],
    alone: bool,
) -> Object:
    size = draws.choice(list(SIZES))
    return Object(
        shape=draws.weighted(weights),
        colour=colour,
        texture=draws.choice(TEXTURES),
        size=size,
        x=x,
        y=y,
        radius=SIZES[size] * (1.25 if alone else 1.0) * draws.uniform(0.95, 1.05),
        angle=draws.uniform(-0.3, 0.3),
    )


def _layout(draws: _Draws, count: int) -> tuple[tuple[str, ...], list[tuple[float, float]]]:
    """Relations and centres; a pair lies along one axis, a third object beside the pair."""
    if count == 1:
        return (), [(0.5 + draws.uniform(-0.12, 0.12), 0.5 + draws.uniform(-0.12, 0.12))]
    along, across = "left", draws.uniform(-0.08, 0.08)
    if draws.uniform() < 0.5:
        along = "above"
    places = [(-0.25, across), (0.25, across + draws.uniform(-0.05, 0.05))]
    relations: tuple[str, ...] = (along,)
    if count == 3:
        side = draws.choice(("before", "after"))
        shift = -0.22 if side == "after" else 0.22
        places = [(place, shift + draws.uniform(-0.02, 0.02)) for place, _ in places]
        places.append((draws.uniform(-0.12, 0.12), -shift + draws.uniform(-0.02, 0.02)))
        names = ("above", "below") if along == "left" else ("left", "right")
        relations = (along, names[side == "after"])
    if along == "above":
        places = [(across, along_) for along_, across in places]
    return relations, [
        (0.5 + x + draws.uniform(-0.025, 0.025), 0.5 + y + draws.uniform(-0.025, 0.025))
        for x, y in places
    ]
