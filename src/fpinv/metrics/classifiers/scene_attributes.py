"""Attributes of a scene as a classifier reads them, and their agreement with the truth.

A caption of :mod:`fpinv.datasets.scenes` names every attribute of its scene, so reading them back
tells whether a picture fits its caption.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fpinv.datasets.scenes.world import BACKGROUNDS, COLOURS, COUNTS, SHAPE_NAMES, SIZES, TEXTURES

NONE = "none"
SLOTS = max(COUNTS)
OBJECT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "shape": (NONE, *SHAPE_NAMES),
    "colour": tuple(COLOURS),
    "texture": TEXTURES,
    "size": tuple(SIZES),
}
"""Values of each attribute of an object; an absent object has the shape ``none``."""

SCENE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "background": tuple(BACKGROUNDS),
    "pair": (NONE, "left", "above"),
    "third": (NONE, "left", "right", "above", "below"),
}
"""Values of each attribute of a scene: its background and its two relations."""


class Thing(NamedTuple):
    """The attributes of one object that a picture tells."""

    shape: str
    colour: str
    texture: str
    size: str


@dataclass(frozen=True)
class Reading:
    """The attributes of a picture or of a caption, objects in the order of ``Scene.objects``."""

    objects: tuple[Thing, ...]
    relations: tuple[str, ...]
    background: str

    @classmethod
    def of(cls, attributes: Mapping[str, Any]) -> Reading:
        """Return the truth, from ``Scene.attributes()``."""
        things = tuple(
            Thing(*(item[name] for name in Thing._fields)) for item in attributes["objects"]
        )
        return cls(things, tuple(attributes["relations"]), attributes["background"])

    @classmethod
    def decode(cls, values: Sequence[int]) -> Reading:
        """Return the reading with these values, as numbers in the order of the fields.

        The objects end at the first absent one.
        """
        width = len(OBJECT_FIELDS)
        slots = [values[slot * width : (slot + 1) * width] for slot in range(SLOTS)]
        count = next((k for k, numbers in enumerate(slots) if numbers[0] == 0), SLOTS)
        things = [Thing(*_names(OBJECT_FIELDS, numbers)) for numbers in slots[:count]]
        background, *relations = _names(SCENE_FIELDS, values[SLOTS * width :])
        return cls(tuple(things), tuple(relations[: max(0, count - 1)]), background)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes in the words of ``Scene.attributes()``."""
        return {
            "objects": [thing._asdict() for thing in self.objects],
            "count": len(self.objects),
            "background": self.background,
            "relations": list(self.relations),
        }


def _names(fields: Mapping[str, tuple[str, ...]], numbers: Sequence[int]) -> list[str]:
    """Return the values with these numbers, one of each field."""
    return [names[number] for names, number in zip(fields.values(), numbers, strict=True)]


def agreement(reading: Reading, truth: Reading) -> dict[str, bool]:
    """Return for each attribute whether it is right, over all objects of a picture.

    ``bound`` asks for the right pairs of shape and colour, wherever the objects are; all else is
    compared object by object in the scene's order. An attribute of objects that are too many or
    too few is wrong.
    """
    complete = len(reading.objects) == len(truth.objects)
    pairs = list(zip(reading.objects, truth.objects, strict=False))
    return {
        "count": complete,
        "background": reading.background == truth.background,
        "relation": reading.relations == truth.relations,
        **{
            name: complete and all(getattr(a, name) == getattr(b, name) for a, b in pairs)
            for name in Thing._fields
        },
        "bound": _bindings(reading) == _bindings(truth),
        "all": reading == truth,
    }


def _bindings(reading: Reading) -> Counter[tuple[str, str]]:
    return Counter((thing.shape, thing.colour) for thing in reading.objects)
