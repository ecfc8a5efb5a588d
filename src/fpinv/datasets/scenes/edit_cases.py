"""Edits of scenes with their true outcome, as a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch

from fpinv.datasets.example import Dataset, EditCase, Example
from fpinv.datasets.scenes.captions import caption
from fpinv.datasets.scenes.dataset import Scenes
from fpinv.datasets.scenes.edits import Change, SceneEdit, edit
from fpinv.datasets.scenes.render import render
from fpinv.datasets.scenes.wording import instruction
from fpinv.datasets.scenes.world import BACKGROUNDS, COLOURS, SHAPES, TEXTURES, Scene
from fpinv.editing.request import Edit
from fpinv.errors import UserError
from fpinv.seeding import generator

CHANGES = ("colour", "shape", "texture", "background", "add", "remove")
OBJECTS = {"add": 3, "remove": 3}
"""Number of objects with the added or removed one; other changes allow any number."""


class SceneEdits(Dataset):
    """Edits of scenes whose outcome is known: the scene rendered with one change.

    Each scene has one edit, or ``edits_per_scene``, the kinds of change in turn. The new value is
    drawn evenly from all others; the third of three objects is added or removed, so that the
    larger scene is laid out as scenes are. The words to blend are the shapes concerned; a
    background is edited without a blend.

    Arguments:
        split: train, val or test; see :class:`~fpinv.datasets.scenes.Scenes`.
        seed: Seed of the world.
        size: Side of the pictures in pixels.
        changes: Kinds of change, of colour, shape, texture, background, add and remove.
        shapes: Shapes to draw from evenly; None for the long tail.
        length: Number of edits; the generator itself has no end.
        edits_per_scene: Number of edits of each scene, one after the other, so that one inversion
            serves them all.

    Raises:
        UserError: an unknown split, change or shape, or several edits of a scene that adding or
            removing would lay out anew.
    """

    domain = "scenes"

    def __init__(
        self,
        split: str = "test",
        seed: int = 0,
        size: int = 64,
        changes: Sequence[str] = CHANGES,
        shapes: Sequence[str] | None = None,
        length: int = 10_000,
        edits_per_scene: int = 1,
    ) -> None:
        _check(changes, edits_per_scene)
        self._scenes = {
            kind: Scenes(split, seed, size, OBJECTS.get(kind), shapes, length) for kind in changes
        }
        self._changes, self._edits = tuple(changes), edits_per_scene

    def __len__(self) -> int:
        return len(self._scenes[self._changes[0]])

    def __getitem__(self, index: int) -> Example:
        kind = self._changes[index % len(self._changes)]
        world = self._scenes[kind]
        place, number = divmod(index, self._edits)
        example = world[place]
        # An edit after the first has a draw and a name of its own; the image is the same.
        further = [str(number)] if number else []
        draw = generator(world.seed, example.id, *further, kind)
        changed = _edit(world.scene(place), kind, draw)
        return replace(
            example,
            id="-".join([example.id, *further]),
            prompt=caption(changed.source),
            image=partial(render, changed.source, world.size),
            attributes={**changed.source.attributes(), "change": kind},
            case=_case(changed, example.id, world.size),
        )


def _check(changes: Sequence[str], edits_per_scene: int) -> None:
    """Refuse unknown changes, and several edits of a scene that one of them would lay out anew."""
    if isinstance(changes, str) or not changes or not set(changes) <= set(CHANGES):
        raise UserError(f"dataset.changes={changes}: give a list from {', '.join(CHANGES)}")
    alone = [kind for kind in changes if kind in OBJECTS]
    if edits_per_scene < 1 or (edits_per_scene > 1 and alone):
        rule = f"without {' and '.join(alone)} among dataset.changes" if alone else "at least 1"
        raise UserError(f"dataset.edits_per_scene={edits_per_scene} is possible only {rule}")


def _case(changed: SceneEdit, image: str, size: int) -> EditCase:
    """Return the case of an edit of the image with this name, in pictures of this size."""
    return EditCase(
        Edit(changed.prompt, blend=_words(changed.source, changed.change)),
        image,
        partial(changed.mask, size),
        partial(changed.image, size),
        changed.target.attributes(),
        instruction(changed),
    )


def _edit(scene: Scene, kind: str, draw: torch.Generator) -> SceneEdit:
    """Return an edit of this kind; adding is the removal of the third object undone."""
    if kind not in OBJECTS:
        return edit(scene, _change(scene, kind, draw))
    removal = edit(scene, Change("remove", object=2))
    if kind == "remove":
        return removal
    item = scene.objects[2]
    return SceneEdit(removal.target, scene, Change("add", f"{item.colour} {item.shape}"))


def _change(scene: Scene, kind: str, draw: torch.Generator) -> Change:
    """Draw a change of the background or of one object."""
    number = int(torch.randint(len(scene.objects), (), generator=draw))
    item = scene.objects[number]
    values: Mapping[str, tuple[Iterable[str], list[str]]] = {
        "background": (BACKGROUNDS, [scene.background]),
        "colour": (COLOURS, [thing.colour for thing in scene.objects]),
        "shape": (SHAPES["many"], [item.shape]),
        "texture": (TEXTURES, [item.texture]),
    }
    candidates, excluded = values[kind]
    options = [value for value in candidates if value not in excluded]
    value = options[int(torch.randint(len(options), (), generator=draw))]
    return Change(kind, value, 0 if kind == "background" else number)


def _words(scene: Scene, change: Change) -> tuple[str, ...]:
    """Return the words to blend: the shapes that the change concerns."""
    shape = scene.objects[change.object].shape
    match change.attribute:
        case "background":
            return ()
        case "add":
            return (change.value.partition(" ")[2],)
        case "shape":
            return (shape, change.value)
    return (shape,)
