"""Scenes with one attribute changed: the true outcome of an edit, and its exact mask."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fpinv.datasets.scenes.captions import caption
from fpinv.datasets.scenes.render import object_layer, render
from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    OPPOSITE,
    SHAPE_NAMES,
    SIZES,
    TEXTURES,
    Object,
    Scene,
)
from fpinv.errors import UserError


@dataclass(frozen=True)
class Change:
    """One attribute to change, or one object to add or remove.

    Arguments:
        attribute: shape, colour, texture, size, background, relation, add or remove.
        value: The new value. A relation swaps the pair's places, so it must be the opposite one.
            ``add`` puts a small plain object, say "blue star", beside a pair.
        object: Number of the object, for the first four and for remove.
    """

    attribute: str
    value: str = ""
    object: int = 0


@dataclass(frozen=True)
class SceneEdit:
    """A scene before and after one change, and the pixels where the two pictures may differ."""

    source: Scene
    target: Scene
    change: Change

    @property
    def prompt(self) -> str:
        """The target's caption, in the source's phrasing."""
        return caption(self.target)

    def image(self, size: int = 64) -> Image.Image:
        """Return the ground truth, which a perfect edit equals."""
        return render(self.target, size)

    def mask(self, size: int = 64) -> NDArray[np.bool_]:
        """Return the mask, True where the change may show, shadows and soft edges included."""
        if self.change.attribute == "background":
            return _free(self.source, size)
        return _touched(self.source, self.target, size) | _touched(self.target, self.source, size)


def _free(scene: Scene, size: int) -> NDArray[np.bool_]:
    """Return the pixels that no object covers fully."""
    mask = np.ones((size, size), bool)
    for item in scene.objects:
        layer = object_layer(item, scene.light, size)
        mask[layer.rows, layer.columns] &= layer.cover < 1
    return mask


def _touched(scene: Scene, reference: Scene, size: int) -> NDArray[np.bool_]:
    """Return the pixels of objects and their shadows that a reference lacks in this form."""
    mask = np.zeros((size, size), bool)
    for item in scene.objects:
        if item not in reference.objects:
            layer = object_layer(item, scene.light, size)
            mask[layer.rows, layer.columns] |= layer.cover + layer.shadow > 0
    return mask


def edit(scene: Scene, change: Change) -> SceneEdit:
    """Return the edit that changes one attribute of a scene and leaves everything else.

    Raises:
        UserError: the scene cannot be changed so.
    """
    apply = CHANGES.get(change.attribute, _with_look)
    return SceneEdit(scene, apply(scene, change), change)


def _with_background(scene: Scene, change: Change) -> Scene:
    """Exchange the background."""
    if change.value not in BACKGROUNDS:
        raise UserError(f"no background {change.value!r}; known: {', '.join(BACKGROUNDS)}")
    return replace(scene, background=change.value)


def _swapped(scene: Scene, change: Change) -> Scene:
    """Exchange the places of a pair; the one now on the left or above comes first."""
    relation = change.value
    if len(scene.objects) != 2 or relation != OPPOSITE[scene.relations[0]]:
        raise UserError(
            f"only a pair can change places, to the opposite relation; not {relation!r}"
        )
    a, b = scene.objects
    moved = (replace(b, x=a.x, y=a.y), replace(a, x=b.x, y=b.y))
    return replace(scene, objects=moved)


def _with_another(scene: Scene, change: Change) -> Scene:
    """Put a third object beside a pair, at the side with more room."""
    colour, _, shape = change.value.partition(" ")
    if len(scene.objects) != 2 or colour not in COLOURS or shape not in SHAPE_NAMES:
        raise UserError(
            f"an object of a colour and a shape is added to a pair, e.g. 'blue star'; "
            f"not {change.value!r} to {len(scene.objects)}"
        )
    horizontal = scene.relations[0] == "left"
    middle = sum(item.y if horizontal else item.x for item in scene.objects) / 2
    after = middle < 0.5
    across = min(0.83, middle + 0.4) if after else max(0.17, middle - 0.4)
    x, y = (0.5, across) if horizontal else (across, 0.5)
    added = Object(shape, colour, "plain", "small", x, y, SIZES["small"], 0.0)
    relation = (("above", "below") if horizontal else ("left", "right"))[after]
    return replace(scene, objects=(*scene.objects, added), relations=(*scene.relations, relation))


def _without(scene: Scene, change: Change) -> Scene:
    """Take away one of a pair, or the third object; everything else stays."""
    count = len(scene.objects)
    if (count, change.object) not in ((2, 0), (2, 1), (3, 2)):
        raise UserError(
            "only one of a pair (0 or 1) or the third object (2) can be removed; "
            f"not {change.object} of {count}"
        )
    objects = scene.objects[: change.object] + scene.objects[change.object + 1 :]
    return replace(scene, objects=objects, relations=scene.relations[: count - 2])


CHANGES: Mapping[str, Callable[[Scene, Change], Scene]] = {
    "background": _with_background,
    "relation": _swapped,
    "add": _with_another,
    "remove": _without,
}
LOOKS: Mapping[str, Sequence[str]] = {
    "shape": SHAPE_NAMES,
    "colour": list(COLOURS),
    "texture": TEXTURES,
    "size": list(SIZES),
}
"""Attributes of an object that a change may replace, with their values."""


def _with_look(scene: Scene, change: Change) -> Scene:
    """Exchange one look of one object."""
    if change.attribute not in LOOKS:
        names = ", ".join([*LOOKS, *CHANGES])
        raise UserError(f"no attribute {change.attribute!r} to change; known: {names}")
    if change.value not in LOOKS[change.attribute]:
        names = ", ".join(LOOKS[change.attribute])
        raise UserError(f"no {change.attribute} {change.value!r}; known: {names}")
    if not 0 <= change.object < len(scene.objects):
        raise UserError(f"the scene has {len(scene.objects)} objects, none is {change.object}")
    objects = list(scene.objects)
    item = objects[change.object]
    looks: dict[str, Any] = {change.attribute: change.value}
    if change.attribute == "size":
        looks["radius"] = item.radius * SIZES[change.value] / SIZES[item.size]
    objects[change.object] = replace(item, **looks)
    return replace(scene, objects=tuple(objects))
