"""The bundled classifier as a reader of edits, a classifier of shapes and a distance."""

import numpy as np
import pytest
import torch
from drawn_seeds import normal
from metric_images import scene_pictures
from torch.nn import functional as F

from fpinv.datasets.scenes import Change, Scenes, edit, sample_scene
from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.metrics.classifiers.scene_attributes import Reading, Thing
from fpinv.metrics.classifiers.scene_judges import ScenesFeatures, ScenesReader, ShapeClassifier
from fpinv.metrics.classifiers.scene_network import SceneClassifier
from fpinv.metrics.edit_accuracy import accuracy


def test_reader_tells_perfect_edits_from_originals():
    """All kinds of change are covered, on rendered pictures."""
    edits = [SceneEdits()[k] for k in range(36)]
    after = torch.stack([square(example.case.truth(), 64) for example in edits])
    before = torch.stack([square(example.open(), 64) for example in edits])
    read = ScenesReader()
    perfect, undone = (
        [
            accuracy(attributes, example.attributes, example.case.attributes)
            for attributes, example in zip(read(pictures), edits, strict=True)
        ]
        for pictures in (after, before)
    )
    assert np.mean([result.edit for result in perfect]) >= 0.9
    assert np.mean([result.preserved for result in perfect]) >= 0.9
    assert np.mean([result.edit for result in undone]) <= 0.1
    assert np.mean([result.preserved for result in undone]) >= 0.9


def test_distance_grows_with_the_change_and_is_one_per_picture():
    scene = sample_scene(1, 3, "test", objects=1)
    changes = Change("colour", "pink"), Change("background", "black")
    x = scene_pictures([scene, *(edit(scene, change).target for change in changes)])
    distance = ScenesFeatures()
    unchanged, colour, background = distance(x, x[:1].expand_as(x)).tolist()
    assert unchanged == 0 and 0 < colour and 0 < background
    near = (x[:1] + 0.01).clamp(-1, 1)
    assert distance(near, x[:1]).item() < min(colour, background)
    assert distance(x[1:2], x[:1]).item() == pytest.approx(colour, rel=1e-4)


def test_the_shipped_weights_know_every_shape():
    classifier, accuracies = ShapeClassifier(), []
    for category in Scenes().categories:
        images = torch.stack([square(category.images[k].open(), 64) for k in range(8)])
        number = list(classifier.classes).index(category.id)
        accuracies.append((classifier.classify(images) == number).double().mean().item())
    assert np.mean(accuracies) > 0.95 and min(accuracies) > 0.7
    assert classifier.features(images).shape == (8, 192)


def test_what_shows_no_scene_has_no_class():
    """Crossfades of two pictures of a shape, noise, and blurred pictures have no class."""
    judge = ShapeClassifier()
    originals = [[category.images[k].open() for k in range(4)] for category in Scenes().categories]
    pictures = torch.stack([square(image, 64) for images in originals for image in images])
    pictures = pictures.unflatten(0, (18, 4))
    mixed = torch.cat([pictures[:, 0].lerp(pictures[:, k], 0.5) for k in (1, 2, 3)])
    noise = normal(54, 3, 64, 64).clamp(-1, 1)
    blurred = F.avg_pool2d(pictures.flatten(0, 1), 21, 1, 10, count_include_pad=False)
    for images in (mixed, noise, blurred):
        assert (judge.classify(images) >= 0).double().mean() < 0.1


def test_the_class_is_the_shape_of_the_only_object(monkeypatch):
    gear, star = (Thing(shape, "red", "plain", "large") for shape in ("gear", "star"))
    readings = [Reading(things, (), "white") for things in ((), (gear,), (star, gear))]
    classifier = ShapeClassifier()
    monkeypatch.setattr(SceneClassifier, "read", lambda self, images, doubt: readings)
    numbers = classifier.classify(torch.zeros(3, 3, 8, 8)).tolist()
    assert numbers == [-1, list(classifier.classes).index("gear"), -1]


def test_the_classes_are_those_of_the_data_set():
    assert list(ShapeClassifier().classes) == [c.id for c in Scenes().categories]


@pytest.mark.parametrize("judge", [ScenesReader, ScenesFeatures, ShapeClassifier])
def test_a_folder_without_a_classifier_is_named(tmp_path, judge):
    images = torch.zeros(1, 3, 64, 64)
    call = {
        ScenesReader: lambda reader: reader(images),
        ScenesFeatures: lambda distance: distance(images, images),
        ShapeClassifier: lambda classifier: classifier.classify(images),
    }[judge]
    with pytest.raises(UserError, match="there is no scene classifier"):
        call(judge(str(tmp_path)))
