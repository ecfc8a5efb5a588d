"""Pictures of scenes: every shape is visible, at any size."""

import numpy as np
import pytest

from fpinv.datasets.scenes import Scene, render_array, sample_scene
from fpinv.datasets.scenes.world import SHAPE_NAMES


def world(count: int, **limits: int) -> list[Scene]:
    return [sample_scene(0, index, **limits) for index in range(count)]


@pytest.mark.parametrize("shape", SHAPE_NAMES)
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
