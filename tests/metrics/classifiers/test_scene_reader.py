"""Reading scenes: the truth agrees with itself, every change is seen, the shipped weights know."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fpinv.models.scenes
from fpinv.datasets.scenes import Change, Scene, edit, render_array, sample_scene
from fpinv.datasets.scenes.edit_cases import SceneEdits
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.metrics.classifiers.scene_reader import (
    Reading,
    SceneClassifier,
    ScenesFeatures,
    ScenesReader,
    Thing,
    agreement,
)
from fpinv.metrics.edit_accuracy import accuracy

WEIGHTS = Path(fpinv.models.scenes.__path__[0]) / "classifier"


def truth(scene: Scene) -> Reading:
    return Reading.of(scene.attributes())


def pictures(scenes, size=64):
    arrays = np.stack([render_array(scene, size) for scene in scenes])
    return torch.from_numpy(arrays).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_scene_agrees_with_itself(count):
    said = truth(sample_scene(0, 5, "test", objects=count))
    assert len(said.objects) == count and len(said.relations) == count - 1
    assert all(agreement(said, said).values())


@pytest.mark.parametrize(
    ("attribute", "value"),
    [("shape", "gear"), ("colour", "pink"), ("texture", "dotted"), ("background", "black")],
)
def test_one_changed_attribute_is_the_one_that_disagrees(attribute, value):
    scene = next(
        scene
        for scene in (sample_scene(0, k, "test", objects=2) for k in range(99))
        if value not in (scene.background, *scene.objects[0].__dict__.values())
    )
    found = agreement(truth(edit(scene, Change(attribute, value)).target), truth(scene))
    wrong = {name for name, right in found.items() if not right}
    bound = {"bound"} if attribute in ("shape", "colour") else set()
    assert wrong == {attribute, "all"} | bound


def test_a_missing_object_is_wrong_in_every_attribute_of_objects():
    said = truth(sample_scene(0, 0, "test", objects=2))
    found = agreement(replace(said, objects=said.objects[:1], relations=()), said)
    assert found["background"] and not any(v for k, v in found.items() if k != "background")


def test_binding_cares_for_pairs_and_not_for_places():
    a, b = Thing("star", "red", "plain", "small"), Thing("ring", "blue", "plain", "small")
    c, d = a._replace(colour="blue"), b._replace(colour="red")
    said = Reading((a, b), ("left",), "white")
    swapped, crossed = replace(said, objects=(b, a)), replace(said, objects=(c, d))
    assert agreement(swapped, said)["bound"] and not agreement(swapped, said)["shape"]
    assert agreement(crossed, said)["shape"] and not agreement(crossed, said)["bound"]


def test_a_saved_network_is_the_same_network(tmp_path):
    torch.manual_seed(0)
    network = SceneClassifier(width=8).eval()
    network.save_pretrained(tmp_path)
    again = SceneClassifier.from_pretrained(tmp_path)
    x = torch.randn(2, 3, 64, 64)
    assert again.config == network.config
    for one, other in zip(network(x), again(x), strict=True):
        assert torch.equal(one, other)


@pytest.fixture(scope="module")
def judge():
    return SceneClassifier.from_pretrained(WEIGHTS)


@pytest.mark.parametrize("count", [1, 2])
def test_the_shipped_weights_read_held_out_scenes(judge, count):
    scenes = [sample_scene(1, k, "test", objects=count) for k in range(64)]
    seen = judge.read(pictures(scenes))
    found = [agreement(a, truth(b)) for a, b in zip(seen, scenes, strict=True)]
    for name in ("count", "shape", "colour", "texture", "size", "background", "relation"):
        assert np.mean([row[name] for row in found]) >= 0.9, name


def test_larger_pictures_are_read_as_well(judge):
    scenes = [sample_scene(1, k, "test", objects=1) for k in range(32)]
    small, large = judge.read(pictures(scenes)), judge.read(pictures(scenes, 128))
    assert np.mean([a.objects == b.objects for a, b in zip(small, large, strict=True)]) > 0.9


def test_features_of_alike_pictures_are_alike(judge):
    scenes = [sample_scene(1, k, "test", objects=1) for k in range(8)]
    x = pictures(scenes)
    features = judge.features(torch.cat([x, (x + 0.02).clamp(-1, 1)]))
    near = (features[:8] - features[8:]).norm(dim=1)
    far = (features[:8] - features[:8].roll(1, 0)).norm(dim=1)
    assert features.shape == (16, 192) and near.mean() < far.mean() / 2


def test_a_reading_in_words_is_the_scenes_own():
    scene = sample_scene(0, 5, "test", objects=3)
    words = truth(scene).attributes()
    for name, value in words.items():
        if name != "objects":
            assert scene.attributes()[name] == value
    for item, known in zip(words["objects"], scene.attributes()["objects"], strict=True):
        assert item == {name: known[name] for name in Thing._fields}


def test_perfect_edits_are_read_as_such_and_the_originals_are_not():
    """Over all kinds of change, on rendered pictures."""
    edits = [SceneEdits()[k] for k in range(36)]
    after = torch.stack([square(example.case.truth(), 64) for example in edits])
    before = torch.stack([square(example.open(), 64) for example in edits])
    read = ScenesReader()
    perfect, undone = (
        [
            accuracy(seen, example.attributes, example.case.attributes)
            for seen, example in zip(read(pictures), edits, strict=True)
        ]
        for pictures in (after, before)
    )
    assert np.mean([found.edit for found in perfect]) >= 0.9
    assert np.mean([found.kept for found in perfect]) >= 0.9
    assert np.mean([found.edit for found in undone]) <= 0.1
    assert np.mean([found.kept for found in undone]) >= 0.9


def test_the_distance_grows_with_the_change_and_with_each_picture_alone():
    scene = sample_scene(1, 3, "test", objects=1)
    changes = Change("colour", "pink"), Change("background", "black")
    x = pictures([scene, *(edit(scene, change).target for change in changes)])
    distance = ScenesFeatures()
    same, colour, background = distance(x, x[:1].expand_as(x)).tolist()
    assert same == 0 and 0 < colour and 0 < background
    near = (x[:1] + 0.01).clamp(-1, 1)
    assert distance(near, x[:1]).item() < min(colour, background)
    assert distance(x[1:2], x[:1]).item() == pytest.approx(colour, rel=1e-4)


def test_a_folder_without_a_classifier_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match="there is no scene classifier"):
        ScenesReader(str(tmp_path))(torch.zeros(1, 3, 64, 64))
