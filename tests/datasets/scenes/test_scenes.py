"""The world of scenes: the same everywhere, long-tailed, captioned in full, edited exactly."""

from collections import Counter

import numpy as np
import pytest

from fpinv.datasets.scenes import (
    BACKGROUNDS,
    COLOURS,
    OPPOSITE,
    PREVALENCE,
    SHAPES,
    SIZE_WORDS,
    SIZES,
    TEXTURES,
    Change,
    Scene,
    Scenes,
    bin_of,
    caption,
    edit,
    render_array,
    sample_scene,
    vocabulary,
)
from fpinv.errors import UserError

ALL_SHAPES = [shape for group in SHAPES.values() for shape in group]


def world(count: int, split: str = "train", **limits: int) -> list[Scene]:
    return [sample_scene(0, index, split, **limits) for index in range(count)]


def test_a_scene_is_the_same_on_every_machine() -> None:
    scene = sample_scene(0, 7, "test")
    assert scene == sample_scene(0, 7, "test")
    assert np.array_equal(render_array(scene), render_array(scene))
    assert caption(scene) == "an image of a small blue cross on a pale green background"
    assert scene.objects[0].x == pytest.approx(0.5557628572970807, abs=1e-15)


def test_splits_and_seeds_are_different_worlds() -> None:
    drawn = [
        tuple((item.x, item.y) for item in sample_scene(seed, index, split).objects)
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for index in range(300)
    ]
    assert len(set(drawn)) == len(drawn)


def test_prevalence_is_what_the_table_says() -> None:
    scenes = world(20_000)
    counts = Counter(item.shape for scene in scenes for item in scene.objects)
    total = counts.total()
    for name, group in SHAPES.items():
        p = PREVALENCE[name]
        for shape in group:
            spread = 5 * np.sqrt(p * (1 - p) / total)
            assert abs(counts[shape] / total - p) < spread + 1 / total, shape
    assert sum(PREVALENCE[bin_of(shape)] for shape in ALL_SHAPES) == pytest.approx(1)
    shown = Counter(shape for scene in scenes for shape in {item.shape for item in scene.objects})
    assert max(shown[shape] for shape in SHAPES["few"]) <= 0.001 * len(scenes)


def test_every_other_attribute_is_even() -> None:
    scenes = world(6_000)
    items = [item for scene in scenes for item in scene.objects]
    for drawn, names in (
        ([item.colour for item in items], list(COLOURS)),
        ([item.texture for item in items], list(TEXTURES)),
        ([item.size for item in items], list(SIZES)),
        ([scene.background for scene in scenes], list(BACKGROUNDS)),
    ):
        counts = Counter(drawn)
        assert set(counts) == set(names)
        assert max(counts.values()) < 1.25 * min(counts.values())


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_caption_says_everything_that_is_drawn(objects: int) -> None:
    words = set(vocabulary())
    for scene in world(300, objects=objects):
        text = caption(scene)
        said = text.replace(",", " ,").split()
        assert set(said) <= words
        assert len(said) < 40
        assert f"{scene.background} background" in text
        for item in scene.objects:
            assert item.colour in said and item.shape in said
            assert any(word in said for word in SIZE_WORDS[item.size])
            assert item.texture == "plain" or item.texture in said
        for relation in scene.relations:
            assert relation in said or OPPOSITE[relation] in said


def test_pair_is_where_the_relation_says() -> None:
    for scene in world(200, objects=2):
        first, second = scene.objects
        gap = second.x - first.x if scene.relations == ("left",) else second.y - first.y
        assert gap > 0.3


def test_objects_stay_inside_and_apart() -> None:
    for scene in world(500):
        for k, item in enumerate(scene.objects):
            assert min(item.x, item.y, 1 - item.x, 1 - item.y) > 0.75 * item.radius
            for other in scene.objects[:k]:
                apart = np.hypot(item.x - other.x, item.y - other.y)
                assert apart > 0.85 * (item.radius + other.radius)


@pytest.mark.parametrize("shape", ALL_SHAPES)
def test_every_shape_is_drawn(shape: str) -> None:
    scene = sample_scene(0, 3, objects=1, shapes=[shape])
    empty = render_array(Scene(0, "train", 3, (), (), scene.background, scene.light, 0))
    differs = np.abs(render_array(scene).astype(int) - empty).max(-1) > 25
    assert 0.01 < differs.mean() < 0.4


def test_a_larger_picture_shows_the_same_scene() -> None:
    for scene in world(10):
        small = render_array(scene, 32).astype(float)
        large = render_array(scene, 128).reshape(32, 4, 32, 4, 3).mean((1, 3))
        assert np.abs(small - large).mean() < 2.5


@pytest.mark.parametrize("attribute", ["shape", "colour", "texture", "size", "background"])
def test_edit_changes_one_attribute_and_only_masked_pixels(attribute: str) -> None:
    values = {
        "shape": ALL_SHAPES,
        "colour": list(COLOURS),
        "texture": list(TEXTURES),
        "size": list(SIZES),
        "background": list(BACKGROUNDS),
    }[attribute]
    for scene in world(30):
        which = len(scene.objects) - 1
        owner = scene if attribute == "background" else scene.objects[which]
        value = next(value for value in values if value != getattr(owner, attribute))
        changed = edit(scene, Change(attribute, value, which))
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
def test_impossible_change_is_named(change: Change) -> None:
    with pytest.raises(UserError, match=rf"{change.value}|{change.attribute}|objects"):
        edit(sample_scene(0, 0, objects=1), change)


def test_dataset_is_a_sequence_of_examples() -> None:
    data = Scenes(split="val", size=48, objects=2, shapes=["crown", "fish"], length=5)
    examples = list(data)
    assert len(data) == len(examples) == 5
    assert examples[3].id == "scenes-0-val-000003"
    assert all(example.open().size == (48, 48) for example in examples)
    assert {item["shape"] for e in examples for item in e.attributes["objects"]} == {
        "crown",
        "fish",
    }
    with pytest.raises(IndexError):
        data[5]


@pytest.mark.parametrize("wrong", [{"split": "dev"}, {"objects": 4}, {"shapes": ["teapot"]}])
def test_wrong_argument_is_named(wrong: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=r"dev|4|teapot"):
        Scenes(**wrong)
