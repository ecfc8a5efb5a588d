"""Scenes with one attribute changed: the truth of an edit, and its exact mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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

    Args:
        attribute: shape, colour, texture, size, background, relation, add or remove.
        value: the new value; a relation swaps the pair's places, so it must be the opposite one.
            To add is to put a small plain object, say "blue star", beside a pair.
        object: which object, for the first four and for remove.
    """

    attribute: str
    value: str = ""
    object: int = 0


@dataclass(frozen=True)
class SceneEdit:
    """A scene, the same scene after one change, and where the two pictures may differ."""

    source: Scene
    target: Scene
    change: Change

    @property
    def prompt(self) -> str:
        """The target's caption, in the source's phrasing."""
        return caption(self.target)

    def image(self, size: int = 64) -> Image.Image:
        """The ground truth: what a perfect edit would show."""
        return render(self.target, size)

    def mask(self, size: int = 64) -> NDArray[np.bool_]:
        """True where the change may show: all of it, shadows and a little edge included."""
        if self.change.attribute == "background":
            return _cover(self.source, range(len(self.source.objects)), size, inside=True)
        gone, new = _lost(self.source, self.target), _lost(self.target, self.source)
        return _cover(self.source, gone, size) | _cover(self.target, new, size)


def _lost(scene: Scene, other: Scene) -> list[int]:
    """The objects of a scene that another one does not have as they are."""
    return [k for k, item in enumerate(scene.objects) if item not in other.objects]


def _cover(
    scene: Scene, which: Sequence[int] | range, size: int, inside: bool = False
) -> NDArray[np.bool_]:
    """Pixels that the objects or their shadows touch; `inside`: all but those fully covered."""
    mask = np.full((size, size), inside)
    for k in which:
        layer = object_layer(scene.objects[k], scene.light, size)
        part = mask[layer.rows, layer.columns]
        part[...] = part & (layer.cover < 1) if inside else part | (layer.cover + layer.shadow > 0)
    return mask


def edit(scene: Scene, change: Change) -> SceneEdit:
    """Change one attribute of a scene and leave everything else where it is."""
    if change.attribute == "background":
        if change.value not in BACKGROUNDS:
            raise UserError(f"no background {change.value!r}; known: {', '.join(BACKGROUNDS)}")
        return SceneEdit(scene, replace(scene, background=change.value), change)
    others = {"relation": _swapped, "add": _with_another, "remove": _without}
    return SceneEdit(scene, others.get(change.attribute, _with_object)(scene, change), change)


def _swapped(scene: Scene, change: Change) -> Scene:
    """Exchange the places of a pair; the one now on the left or above comes first."""
    relation = change.value
    if len(scene.objects) != 2 or relation != OPPOSITE[scene.relations[0]]:
        raise UserError(
            f"only a pair can change places, to the opposite relation; not {relation!r}"
        )
    first, second = scene.objects
    moved = (replace(second, x=first.x, y=first.y), replace(first, x=second.x, y=second.y))
    return replace(scene, objects=moved)


def _with_another(scene: Scene, change: Change) -> Scene:
    """Put a third object beside a pair, where there is more room."""
    colour, _, shape = change.value.partition(" ")
    if len(scene.objects) != 2 or colour not in COLOURS or shape not in SHAPE_NAMES:
        raise UserError(
            f"an object of a colour and a shape is added to a pair, e.g. 'blue star'; "
            f"not {change.value!r} to {len(scene.objects)}"
        )
    beside = scene.relations[0] == "left"
    middle = sum(item.y if beside else item.x for item in scene.objects) / 2
    after = middle < 0.5
    across = min(0.83, middle + 0.4) if after else max(0.17, middle - 0.4)
    x, y = (0.5, across) if beside else (across, 0.5)
    new = Object(shape, colour, "plain", "small", x, y, SIZES["small"], 0.0)
    where = (("above", "below") if beside else ("left", "right"))[after]
    return replace(scene, objects=(*scene.objects, new), relations=(*scene.relations, where))


def _without(scene: Scene, change: Change) -> Scene:
    """Take away one of a pair, or the third object; the others stay as they are."""
    count = len(scene.objects)
    if (count, change.object) not in ((2, 0), (2, 1), (3, 2)):
        raise UserError(
            "only one of a pair (0 or 1) or the third object (2) can be removed; "
            f"not {change.object} of {count}"
        )
    left = scene.objects[: change.object] + scene.objects[change.object + 1 :]
    return replace(scene, objects=left, relations=scene.relations[: count - 2])


def _with_object(scene: Scene, change: Change) -> Scene:
    known: Mapping[str, Sequence[str]] = {
        "shape": SHAPE_NAMES,
        "colour": list(COLOURS),
        "texture": TEXTURES,
        "size": list(SIZES),
    }
    if change.attribute not in known:
        names = ", ".join([*known, "background", "relation", "add", "remove"])
        raise UserError(f"no attribute {change.attribute!r} to change; known: {names}")
    if change.value not in known[change.attribute]:
        names = ", ".join(known[change.attribute])
        raise UserError(f"no {change.attribute} {change.value!r}; known: {names}")
    if not 0 <= change.object < len(scene.objects):
        raise UserError(f"the scene has {len(scene.objects)} objects, none is {change.object}")
    item = scene.objects[change.object]
    changed = replace(item, **{change.attribute: change.value})
    if change.attribute == "size":
        changed = replace(changed, radius=item.radius * SIZES[change.value] / SIZES[item.size])
    things = list(scene.objects)
    things[change.object] = changed
    return replace(scene, objects=tuple(things))
