"""torchvision's classifiers: preprocessing, features, and absent weights in one line."""

import pytest
import torch
from torchvision import models

from fpinv.errors import UserError
from fpinv.metrics.classifiers.imagenet import ImageNetClassifier


@pytest.fixture
def untrained(monkeypatch):
    """Random weights where the trained ones would be loaded."""
    real = models.get_model

    def get_model(name, weights):
        return real(name, weights=None)

    monkeypatch.setattr(models, "get_model", get_model)
    return ImageNetClassifier


def test_classes_are_wordnet_ids():
    classes = ImageNetClassifier().classes
    assert len(classes) == 1000 and classes[282] == "n02123159"


def test_decisions_and_features_equal_the_networks(untrained):
    classifier = untrained("resnet18")
    images = torch.rand(2, 3, 64, 64) * 2 - 1
    pixels = models.ResNet18_Weights.DEFAULT.transforms()((images + 1) / 2)
    network = classifier._network
    with torch.no_grad():
        logits = network(pixels)
        assert torch.equal(classifier.classify(images), logits.argmax(1))
        features = classifier.features(images)
        assert torch.allclose(network.fc(features), logits, atol=1e-5)
    assert not network.training and not any(p.requires_grad for p in network.parameters())


def test_a_network_without_features_is_refused(untrained):
    with pytest.raises(UserError, match="squeezenet1_1 has no linear layer"):
        untrained("squeezenet1_1").features(torch.zeros(1, 3, 64, 64))


def test_an_unknown_network_gets_a_suggestion():
    with pytest.raises(UserError, match="network=resnet5.*did you mean resnet50"):
        ImageNetClassifier("resnet5")


def test_absent_weights_are_refused_in_one_line(monkeypatch, tmp_path):
    def no_network(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(models, "get_model", no_network)
    with pytest.raises(UserError, match="no network") as error:
        ImageNetClassifier("resnet18").classify(torch.zeros(1, 3, 32, 32))
    assert "resnet18-" in str(error.value) and str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
