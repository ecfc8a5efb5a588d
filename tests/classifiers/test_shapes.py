"""Shapes as classes: what the bundled reader says of a picture, as a class."""

from types import SimpleNamespace

import pytest
import torch

from fpinv.classifiers.shapes import ShapeClassifier
from fpinv.datasets.scenes import Scenes
from fpinv.errors import UserError


class Reader:
    """Says that pictures show nothing, a gear, and a star with a gear."""

    def to(self, device):
        return self

    def read(self, images):
        things = [SimpleNamespace(shape="gear"), SimpleNamespace(shape="star")]
        return [SimpleNamespace(objects=things[:k][::-1]) for k in range(len(images))]

    def features(self, images):
        return images.mean((2, 3))


def test_the_class_is_the_shape_of_the_first_object():
    classifier = ShapeClassifier()
    classifier.__dict__["_network"] = Reader()
    seen = classifier.classify(torch.zeros(3, 3, 8, 8)).tolist()
    assert seen[0] == -1
    assert [classifier.classes[k] for k in seen[1:]] == ["gear", "star"]
    assert classifier.features(torch.ones(2, 3, 8, 8)).shape == (2, 3)


def test_the_classes_are_those_of_the_data_set():
    assert list(ShapeClassifier().classes) == [c.id for c in Scenes().categories]


def test_a_folder_without_a_classifier_is_named(tmp_path):
    with pytest.raises(UserError, match="no scene classifier"):
        ShapeClassifier(str(tmp_path)).classify(torch.zeros(1, 3, 8, 8))
