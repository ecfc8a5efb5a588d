"""Captions name every attribute of their scene, in words of the vocabulary."""

import pytest

from fpinv.datasets.scenes import Scene, caption, sample_scene
from fpinv.datasets.scenes.captions import SIZE_WORDS, vocabulary
from fpinv.datasets.scenes.world import OPPOSITE


def world(count: int, **limits: int) -> list[Scene]:
    return [sample_scene(0, index, **limits) for index in range(count)]


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_a_caption_names_every_attribute(objects: int) -> None:
    words = set(vocabulary())
    for scene in world(300, objects=objects):
        text = caption(scene)
        tokens = text.replace(",", " ,").split()
        assert set(tokens) <= words
        assert len(tokens) < 40
        assert f"{scene.background} background" in text
        for item in scene.objects:
            assert item.colour in tokens and item.shape in tokens
            assert any(word in tokens for word in SIZE_WORDS[item.size])
            assert item.texture == "plain" or item.texture in tokens
        for relation in scene.relations:
            assert relation in tokens or OPPOSITE[relation] in tokens
