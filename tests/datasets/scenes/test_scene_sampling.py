"""Scenes by number: the same everywhere, long-tailed, apart from one another."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from fpinv.datasets.scenes import Scene, caption, sample_scene
from fpinv.datasets.scenes.world import (
    BACKGROUNDS,
    COLOURS,
    PREVALENCE,
    SHAPE_NAMES,
    SHAPES,
    SIZES,
    TEXTURES,
    TRAINING_PREVALENCE,
    bin_of,
)


def world(count: int, **limits: int) -> list[Scene]:
    return [sample_scene(0, index, **limits) for index in range(count)]


def test_a_scene_is_the_same_on_every_machine() -> None:
    scene = sample_scene(0, 7, "test")
    assert scene == sample_scene(0, 7, "test")
    assert caption(scene) == "an image of a small blue cross on a pale green background"
    assert scene.objects[0].x == pytest.approx(0.5557628572970807, abs=1e-15)


def test_splits_and_seeds_are_different_worlds() -> None:
    places = [
        tuple((item.x, item.y) for item in sample_scene(seed, index, split).objects)
        for seed in (0, 1)
        for split in ("train", "val", "test")
        for index in range(300)
    ]
    assert len(set(places)) == len(places)


def test_shapes_have_their_prevalence() -> None:
    scenes = world(20_000)
    counts = Counter(item.shape for scene in scenes for item in scene.objects)
    total = counts.total()
    for name, group in SHAPES.items():
        p = PREVALENCE[name]
        for shape in group:
            spread = 5 * np.sqrt(p * (1 - p) / total)
            assert abs(counts[shape] / total - p) < spread + 1 / total, shape
    assert sum(PREVALENCE[bin_of(shape)] for shape in SHAPE_NAMES) == pytest.approx(1)
    appearances = Counter(
        shape for scene in scenes for shape in {item.shape for item in scene.objects}
    )
    assert max(appearances[shape] for shape in SHAPES["few"]) <= 0.001 * len(scenes)


def test_the_training_prevalence_changes_the_shapes_alone() -> None:
    scenes = [sample_scene(0, k, "val") for k in range(4_000)]
    training = [sample_scene(0, k, "val", prevalence=TRAINING_PREVALENCE) for k in range(4_000)]
    items = [item for scene in training for item in scene.objects]
    counts = Counter(bin_of(item.shape) for item in items)
    for name, group in SHAPES.items():
        share = len(group) * TRAINING_PREVALENCE[name]
        assert counts[name] / len(items) == pytest.approx(share, abs=0.02), name
    assert sum(TRAINING_PREVALENCE[bin_of(shape)] for shape in SHAPE_NAMES) == pytest.approx(1)

    def shapeless(scene: Scene) -> Scene:
        return replace(scene, objects=tuple(replace(item, shape="star") for item in scene.objects))

    assert [shapeless(scene) for scene in training] == [shapeless(scene) for scene in scenes]


def test_attributes_but_shapes_are_even() -> None:
    scenes = world(6_000)
    items = [item for scene in scenes for item in scene.objects]
    for values, names in (
        ([item.colour for item in items], list(COLOURS)),
        ([item.texture for item in items], list(TEXTURES)),
        ([item.size for item in items], list(SIZES)),
        ([scene.background for scene in scenes], list(BACKGROUNDS)),
    ):
        counts = Counter(values)
        assert set(counts) == set(names)
        assert max(counts.values()) < 1.25 * min(counts.values())


def test_a_pair_lies_as_its_relation_says() -> None:
    for scene in world(200, objects=2):
        a, b = scene.objects
        gap = b.x - a.x if scene.relations == ("left",) else b.y - a.y
        assert gap > 0.3


def test_objects_stay_inside_and_apart() -> None:
    for scene in world(500):
        for k, item in enumerate(scene.objects):
            assert min(item.x, item.y, 1 - item.x, 1 - item.y) > 0.75 * item.radius
            for neighbour in scene.objects[:k]:
                gap = np.hypot(item.x - neighbour.x, item.y - neighbour.y)
                assert gap > 0.85 * (item.radius + neighbour.radius)
