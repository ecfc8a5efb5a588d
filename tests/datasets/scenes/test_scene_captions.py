"""Captions name every attribute of their scene, in words of the vocabulary."""

from itertools import pairwise

import numpy as np
import pytest

from fpinv.datasets.scenes import Scene, caption, sample_scene
from fpinv.datasets.scenes.captions import SIZE_WORDS, vocabulary
from fpinv.datasets.scenes.world import OPPOSITE, SHAPE_NAMES


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


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        (1, "an image of a cross"),
        (2, "a photo of a cross with a square"),
        (3, "an image of a moon with a star, with a moon"),
    ],
)
def test_a_caption_that_keeps_nothing_names_the_shapes(objects: int, text: str) -> None:
    assert caption(sample_scene(0, 7, "test", objects=objects), keep=lambda: False) == text


def test_a_caption_leaves_out_the_attributes_that_it_does_not_keep() -> None:
    scene = sample_scene(0, 7, "test")

    def without(attribute: str) -> str:
        answers = iter([name != attribute for name in ("size", "colour", "background")])
        return caption(scene, keep=lambda: next(answers))

    assert without("size") == "an image of a blue cross on a pale green background"
    assert without("colour") == "an image of a small cross on a pale green background"
    assert without("background") == "an image of a small blue cross"


@pytest.mark.parametrize("objects", [1, 2, 3])
def test_a_partial_caption_is_grammatical(objects: int) -> None:
    words, rng = set(vocabulary()), np.random.default_rng(0)
    for scene in world(300, objects=objects):
        text = caption(scene, keep=lambda: rng.random() < 0.5)
        tokens = text.replace(",", " ,").split()
        assert set(tokens) <= words
        assert "  " not in text and " ," not in text and text == text.strip(" ,")
        for word, following in pairwise(tokens):
            if word in ("a", "an"):
                assert (word == "an") == (following[0] in "aeiou"), text
        assert sum(word in SHAPE_NAMES for word in tokens) == objects
        for item in scene.objects:
            if f"{item.colour} {item.shape}" in text and item.texture != "plain":
                assert item.texture in tokens, text
