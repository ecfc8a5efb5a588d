"""Edits of scenes in words, as one would ask for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations

from fpinv.datasets.scenes.captions import article
from fpinv.datasets.scenes.edits import SceneEdit
from fpinv.datasets.scenes.world import Object, Scene

LOOKS = ("size", "texture", "colour")
"""Looks that tell objects of one shape apart, in the order of their words."""
PLACES: Mapping[str, str] = {
    "left": "on the left",
    "right": "on the right",
    "above": "above the others",
    "below": "below the others",
}
RELATIONS: Mapping[str, str] = {
    "left": "to the left of",
    "right": "to the right of",
    "above": "above",
    "below": "below",
}


def instruction(edit: SceneEdit) -> str:
    """Return an edit as an instruction, such as ``make the cyan star green``.

    An object that is changed is named by its shape and by what is changed, and by as many of its
    other looks as tell it from the rest.
    """
    return INSTRUCTIONS[edit.change.attribute](edit)


def _named(scene: Scene, number: int, *looks: str) -> str:
    """Return ``the red star``: an object with these looks, and more where several have them."""
    item = scene.objects[number]
    others = [other for k, other in enumerate(scene.objects) if k != number]
    candidates = [
        tuple(look for look in LOOKS if look in (*looks, *more))
        for count in range(len(LOOKS) + 1)
        for more in combinations(LOOKS[::-1], count)
    ]
    unique = (
        names for names in candidates if all(not _alike(item, other, names) for other in others)
    )
    names = next(unique, LOOKS)
    return " ".join(["the", *(getattr(item, name) for name in names), item.shape])


def _alike(item: Object, other: Object, looks: tuple[str, ...]) -> bool:
    return all(getattr(item, name) == getattr(other, name) for name in ("shape", *looks))


def _changed_look(edit: SceneEdit) -> str:
    change = edit.change
    return f"make {_named(edit.source, change.object, change.attribute)} {change.value}"


def _changed_shape(edit: SceneEdit) -> str:
    name = _named(edit.source, edit.change.object, "colour")
    return f"turn {name} into {article(edit.change.value)}"


def _changed_background(edit: SceneEdit) -> str:
    before, after = map(_ground, (edit.source.background, edit.change.value))
    return f"turn the background from {before} to {after}"


def _ground(name: str) -> str:
    """Return the words for a background: a colour, or a gradient with its article."""
    return article(name) if name.endswith("gradient") else name


def _swapped(edit: SceneEdit) -> str:
    mover, anchor = (_named(edit.source, number) for number in (0, 1))
    return f"move {mover} {RELATIONS[edit.change.value]} {anchor}"


def _added(edit: SceneEdit) -> str:
    item = edit.target.objects[-1]
    texture = [] if item.texture == "plain" else [item.texture]
    phrase = article(" ".join([item.colour, *texture, item.shape]))
    return f"add {phrase} {PLACES[edit.target.relations[-1]]}"


def _removed(edit: SceneEdit) -> str:
    return f"remove {_named(edit.source, edit.change.object, 'colour')}"


INSTRUCTIONS: Mapping[str, Callable[[SceneEdit], str]] = {
    "shape": _changed_shape,
    "colour": _changed_look,
    "texture": _changed_look,
    "size": _changed_look,
    "background": _changed_background,
    "relation": _swapped,
    "add": _added,
    "remove": _removed,
}
"""The wording of each kind of change."""
