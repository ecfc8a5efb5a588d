"""Scenes with one change each, and the picture that a perfect edit would be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial

import torch

from fpinv.datasets import scenes
from fpinv.datasets.example import EditCase, Example
from fpinv.datasets.scenes import Change, Scene
from fpinv.editing.request import Edit
from fpinv.errors import UserError
from fpinv.seeding import generator

CHANGES = ("colour", "shape", "texture", "background", "add", "remove")
OBJECTS = {"add": 3, "remove": 3}
"""How many objects there must be with what is added or removed; other changes take what comes."""


class SceneEdits:
    """Edits of scenes whose outcome is known: the scene rendered with one thing changed.

    Each scene is asked one change, or ``edits_per_scene``, the kinds in turn. What it becomes is
    drawn evenly from what its object or background is not; added or removed is the third of three
    objects, so that the larger scene is laid out as scenes are. The words to blend are the shapes
    concerned; a background is edited without.

    Arguments:
        split: train, val or test; see :class:`~fpinv.datasets.scenes.Scenes`.
        seed: Another seed is another world.
        size: Side of the pictures in pixels.
        changes: Kinds of change, of colour, shape, texture, background, add and remove.
        shapes: Shapes to draw from evenly; None for the long tail.
        length: How many edits; the generator itself has no end.
        edits_per_scene: How many of each scene, one after the other, so that one inversion serves
            them all.

    Raises:
        UserError: an unknown split, change or shape, or several edits of a scene that adding or
            removing would lay out anew.
    """

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
        if isinstance(changes, str) or not changes or not set(changes) <= set(CHANGES):
            raise UserError(f"dataset.changes={changes}: give a list from {', '.join(CHANGES)}")
        own = [kind for kind in changes if kind in OBJECTS]
        if edits_per_scene < 1 or (edits_per_scene > 1 and own):
            rule = f"without {' and '.join(own)} among dataset.changes" if own else "at least 1"
            raise UserError(f"dataset.edits_per_scene={edits_per_scene} is possible only {rule}")
        self._scenes = {
            kind: scenes.Scenes(split, seed, size, OBJECTS.get(kind), shapes, length)
            for kind in changes
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
        changed = _change(world.scene(place), kind, draw)
        source = changed.source
        case = EditCase(
            Edit(changed.prompt, blend=_words(source, changed.change)),
            example.id,
            partial(changed.mask, world.size),
            partial(changed.image, world.size),
            changed.target.attributes(),
        )
        return replace(
            example,
            id="-".join([example.id, *further]),
            prompt=scenes.caption(source),
            image=partial(scenes.render, source, world.size),
            attributes={**source.attributes(), "change": kind},
            case=case,
        )


def _change(scene: Scene, kind: str, source: torch.Generator) -> scenes.SceneEdit:
    """A change of this kind that the scene allows."""
    if kind in ("add", "remove"):
        fewer = scenes.edit(scene, Change("remove", object=2))
        return fewer if kind == "remove" else _undone(fewer)
    return scenes.edit(scene, _draw(scene, kind, source))


def _undone(removal: scenes.SceneEdit) -> scenes.Edit:
    """The edit that adds what another one removes."""
    item = removal.source.objects[removal.change.object]
    change = Change("add", f"{item.colour} {item.shape}")
    return scenes.SceneEdit(removal.target, removal.source, change)


def _draw(scene: Scene, kind: str, source: torch.Generator) -> Change:
    """A change of the background or of one object."""

    def pick(options: Iterable[str], but: Iterable[str] = ()) -> str:
        left = [option for option in options if option not in but]
        return left[int(torch.randint(len(left), (), generator=source))]

    which = int(torch.randint(len(scene.objects), (), generator=source))
    item = scene.objects[which]
    match kind:
        case "background":
            return Change(kind, pick(scenes.BACKGROUNDS, [scene.background]))
        case "colour":
            colours = [other.colour for other in scene.objects]
            return Change(kind, pick(scenes.COLOURS, colours), which)
        case "shape":
            return Change(kind, pick(scenes.SHAPES["many"], [item.shape]), which)
    return Change(kind, pick(scenes.TEXTURES, [item.texture]), which)


def _words(scene: Scene, change: Change) -> tuple[str, ...]:
    """The words that the change is about."""
    shape = scene.objects[change.object].shape
    match change.attribute:
        case "background":
            return ()
        case "add":
            return (change.value.partition(" ")[2],)
        case "shape":
            return (shape, change.value)
    return (shape,)
