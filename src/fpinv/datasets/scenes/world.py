"""The world of the scenes: its shapes, colours and numbers, and the attributes of a scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from fpinv.datasets.classes import Bin

SHAPES: Mapping[Bin, tuple[str, ...]] = {
    "many": ("circle", "square", "triangle", "star", "heart", "cross", "ring", "moon"),
    "med": ("diamond", "drop", "flower", "hexagon", "arrow"),
    "few": ("crown", "bolt", "fish", "house", "gear"),
}
"""Shape names by prevalence bin."""
SHAPE_NAMES = tuple(shape for group in SHAPES.values() for shape in group)

PREVALENCE: Mapping[Bin, float] = {
    "many": (1 - 5 * 0.015 - 5 * 0.0004) / 8,
    "med": 0.015,
    "few": 0.0004,
}
"""Probability that one object has one given shape of the bin."""

TRAINING_PREVALENCE: Mapping[Bin, float] = {
    "many": (1 - 5 * 0.045 - 5 * 0.004) / 8,
    "med": 0.045,
    "few": 0.004,
}
"""Probability of a shape of the bin in the scenes that the bundled denoiser is trained on."""

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

OPPOSITE: Mapping[str, str] = {
    "left": "right",
    "right": "left",
    "above": "below",
    "below": "above",
}
"""Relations of two objects, each with the relation that holds when they change places."""

SPLITS: Mapping[str, int] = {"train": 1, "val": 2, "test": 3}
"""Splits of the world, with the numbers that keep them apart."""


@cache
def bin_of(shape: str) -> Bin:
    """Return the prevalence bin of a shape: many, med or few."""
    return next(name for name, shapes in SHAPES.items() if shape in shapes)


@dataclass(frozen=True)
class Object:
    """One object of a scene; x, y and radius are fractions of the side, angle is in radians."""

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
    """The attributes of a scene: everything that ``render`` and ``caption`` need.

    Arguments:
        seed: Seed of the world.
        split: A key of :data:`SPLITS`.
        index: Number of the scene in its split.
        objects: One to three; the left or upper object of a pair comes first.
        relations: None for one object; ``left`` or ``above`` for the first object against the
            second; for three objects also the relation of the third to those two.
        background: A name of :data:`BACKGROUNDS`.
        light: Direction from which the light comes, in radians from straight up.
        phrasing: Number of the caption's phrasing.
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
        """Return the scene as plain numbers, strings and lists."""
        return asdict(self) | {
            "objects": [{**asdict(item), "bin": bin_of(item.shape)} for item in self.objects],
            "relations": list(self.relations),
            "count": len(self.objects),
        }
