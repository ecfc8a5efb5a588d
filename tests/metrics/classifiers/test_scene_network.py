"""The bundled scene classifier: it saves and loads, and the shipped weights read scenes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from metric_images import scene_pictures

import fpinv.models.scenes
from fpinv.datasets.scenes import sample_scene
from fpinv.metrics.classifiers.scene_attributes import Reading, agreement
from fpinv.metrics.classifiers.scene_network import SceneClassifier

WEIGHTS = Path(fpinv.models.scenes.__path__[0]) / "classifier"


def test_a_saved_network_loads_with_equal_outputs(tmp_path):
    torch.manual_seed(0)
    network = SceneClassifier(width=8).eval()
    network.save_pretrained(tmp_path)
    loaded = SceneClassifier.from_pretrained(tmp_path)
    x = torch.randn(2, 3, 64, 64)
    assert loaded.config == network.config
    for before, after in zip(network(x), loaded(x), strict=True):
        assert torch.equal(before, after)


def test_an_oblong_picture_is_seen_in_its_central_square():
    network, oblong = SceneClassifier(width=8).eval(), torch.randn(2, 3, 64, 96)
    for seen, square in zip(network(oblong), network(oblong[..., 16:80]), strict=True):
        assert torch.equal(seen, square)


@pytest.fixture(scope="module")
def network():
    return SceneClassifier.from_pretrained(WEIGHTS)


@pytest.mark.parametrize("count", [1, 2])
def test_the_shipped_weights_read_held_out_scenes(network, count):
    scenes = [sample_scene(1, k, "test", objects=count) for k in range(64)]
    readings = network.read(scene_pictures(scenes))
    truths = [Reading.of(scene.attributes()) for scene in scenes]
    rows = [agreement(*pair) for pair in zip(readings, truths, strict=True)]
    for name in ("count", "shape", "colour", "texture", "size", "background", "relation"):
        assert np.mean([row[name] for row in rows]) >= 0.9, name


def test_doubt_leaves_the_surest_pictures_with_objects():
    network, x = SceneClassifier(width=8).eval(), torch.randn(6, 3, 64, 64)
    with torch.no_grad():
        empty = network(x)[0].softmax(-1)[:, 0]
    doubt = empty.median().item()
    for before, after, chance in zip(network.read(x), network.read(x, doubt), empty, strict=True):
        assert after.objects == (() if chance > doubt else before.objects)


def test_larger_pictures_are_read_as_well(network):
    scenes = [sample_scene(1, k, "test", objects=1) for k in range(32)]
    small, large = (network.read(scene_pictures(scenes, side)) for side in (64, 128))
    assert np.mean([a.objects == b.objects for a, b in zip(small, large, strict=True)]) > 0.9


def test_features_of_alike_pictures_are_alike(network):
    scenes = [sample_scene(1, k, "test", objects=1) for k in range(8)]
    x = scene_pictures(scenes)
    features = network.features(torch.cat([x, (x + 0.02).clamp(-1, 1)]))
    near = (features[:8] - features[8:]).norm(dim=1)
    far = (features[:8] - features[:8].roll(1, 0)).norm(dim=1)
    assert features.shape == (16, 192) and near.mean() < far.mean() / 2
