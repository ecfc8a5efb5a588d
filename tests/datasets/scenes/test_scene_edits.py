"""Edits of scenes: one attribute changes, inside an exact mask."""

import pytest

from fpinv.datasets.scenes import Change, Scene, caption, edit, render_array, sample_scene
from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    OPPOSITE,
    SHAPE_NAMES,
    SIZES,
    TEXTURES,
)
from fpinv.errors import UserError


def world(count: int, **limits: int) -> list[Scene]:
    return [sample_scene(0, index, **limits) for index in range(count)]


@pytest.mark.parametrize("attribute", ["shape", "colour", "texture", "size", "background"])
def test_edit_changes_one_attribute_and_only_masked_pixels(attribute: str) -> None:
    values = {
        "shape": SHAPE_NAMES,
        "colour": list(COLOURS),
        "texture": list(TEXTURES),
        "size": list(SIZES),
        "background": list(BACKGROUNDS),
    }[attribute]
    for scene in world(30):
        number = len(scene.objects) - 1
        owner = scene if attribute == "background" else scene.objects[number]
        value = next(value for value in values if value != getattr(owner, attribute))
        changed = edit(scene, Change(attribute, value, number))
        before, after = render_array(scene), render_array(changed.target)
        differs = (before != after).any(-1)
        assert differs.any()
        assert not (differs & ~changed.mask()).any()
        assert changed.mask().mean() < 0.6 or attribute == "background"
        assert changed.prompt == caption(changed.target) != caption(scene)


def test_a_pair_changes_places() -> None:
    for scene in world(20, objects=2):
        swap = edit(scene, Change("relation", OPPOSITE[scene.relations[0]]))
        assert [item.shape for item in swap.target.objects] == [
            item.shape for item in reversed(scene.objects)
        ]
        differs = (render_array(scene) != render_array(swap.target)).any(-1)
        assert not (differs & ~swap.mask()).any()


@pytest.mark.parametrize(
    "change",
    [
        Change("shape", "teapot"),
        Change("mood", "happy"),
        Change("colour", "red", 2),
        Change("background", "purple"),
        Change("relation", "left"),
    ],
)
def test_an_impossible_change_is_named(change: Change) -> None:
    with pytest.raises(UserError, match=rf"{change.value}|{change.attribute}|objects"):
        edit(sample_scene(0, 0, objects=1), change)
