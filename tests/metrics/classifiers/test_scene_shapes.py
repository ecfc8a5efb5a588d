"""Shapes as classes: what the bundled reader says of a picture, as a class."""

import pytest
import torch

from fpinv.datasets.scenes import Scenes
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.metrics.classifiers.scene_reader import Reading, SceneClassifier, Thing
from fpinv.metrics.classifiers.scene_shapes import ShapeClassifier


def test_the_shipped_weights_know_every_class():
    classifier, right = ShapeClassifier(), []
    for category in Scenes().categories:
        images = torch.stack([square(category.images[k].open(), 64) for k in range(8)])
        number = list(classifier.classes).index(category.id)
        right.append((classifier.classify(images) == number).double().mean().item())
    assert sum(right) / len(right) > 0.95 and min(right) > 0.7
    assert classifier.features(images).shape == (8, 192)


def test_the_class_is_the_shape_of_the_first_object(monkeypatch):
    gear, star = (Thing(shape, "red", "plain", "large") for shape in ("gear", "star"))
    seen = [Reading(things, (), "white") for things in ((), (gear,), (star, gear))]
    classifier = ShapeClassifier()
    monkeypatch.setattr(SceneClassifier, "read", lambda self, images: seen)
    found = classifier.classify(torch.zeros(3, 3, 8, 8)).tolist()
    assert found[0] == -1
    assert [classifier.classes[k] for k in found[1:]] == ["gear", "star"]


def test_the_classes_are_those_of_the_data_set():
    assert list(ShapeClassifier().classes) == [c.id for c in Scenes().categories]


def test_a_folder_without_a_classifier_is_named(tmp_path):
    with pytest.raises(UserError, match="no scene classifier"):
        ShapeClassifier(str(tmp_path)).classify(torch.zeros(1, 3, 8, 8))
