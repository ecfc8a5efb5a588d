"""LPIPS as a distance, and its absent weights in one line."""

import socket
import urllib.request
from pathlib import Path
from typing import Any

import lpips
import pytest
import torch
from metric_images import pictures

from fpinv.errors import UserError
from fpinv.metrics.lpips import LPIPS


@pytest.fixture
def random_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """LPIPS with the linear heads of its package on a backbone that is not trained."""
    trained = lpips.LPIPS

    def untrained(**options: Any) -> lpips.LPIPS:
        torch.manual_seed(0)
        return trained(pnet_rand=True, **options)

    monkeypatch.setattr(lpips, "LPIPS", untrained)


@pytest.mark.usefixtures("random_backbone")
@pytest.mark.parametrize("net", LPIPS.backbones)
def test_lpips_of_images_that_are_too_small_is_none(net: str) -> None:
    metric, side = LPIPS(net), LPIPS.smallest[net]
    with pytest.raises(RuntimeError):
        metric._network(*2 * [torch.zeros(1, 3, side - 1, 64)])
    for height, measured in ((side - 1, False), (side, True)):
        images = torch.zeros(2, 3, height, 64)
        assert metric(images, images).isfinite().tolist() == [measured] * 2


@pytest.mark.usefixtures("random_backbone")
def test_lpips_is_a_distance_per_image() -> None:
    metric, images, reference = LPIPS(), pictures(3, 31, seed=1), pictures(3, 31, seed=2)
    assert metric.name == "lpips_alex" and metric.version == "0.1"
    values = metric(images, reference)
    assert values.shape == (3,) and (values > 0).all()
    assert values.allclose(metric(reference, images))
    assert metric(images[1:2], reference[1:2]).allclose(values[1:2])
    assert metric(images, images).tolist() == [0, 0, 0]
    assert metric(images, images.lerp(reference, 0.1)).lt(values).all()


@pytest.mark.usefixtures("random_backbone")
def test_lpips_of_the_background_is_a_mean_over_it_alone() -> None:
    metric, images, reference = LPIPS(), pictures(2, 256, seed=1), pictures(2, 256, seed=2)
    left = torch.zeros(2, 256, 256, dtype=torch.bool)
    nowhere, left[..., :128] = left.clone(), True
    # The network's own mean upsamples no layer, which leaves a mean nearly as it is.
    whole = metric.background(images, reference, nowhere)
    assert whole.allclose(metric(images, reference), rtol=0.05)
    masked = metric.background(images, reference, left)
    changed = torch.where(left[:, None], -images, images)
    assert metric.background(changed, reference, left).equal(masked)
    # A mean over all pixels would be half of it, but for receptive fields that reach the border.
    filled = torch.where(left[:, None], reference, images)
    assert (metric(filled, reference) < 0.6 * masked).all()


@pytest.mark.usefixtures("random_backbone")
def test_lpips_gives_its_network_images_from_minus_1_to_1() -> None:
    metric, images, reference = LPIPS(), pictures(2, 64, seed=1), pictures(2, 64, seed=2)
    # With normalize the network itself brings images from [0, 1] to what it was trained on.
    expected = metric._network((images + 1) / 2, (reference + 1) / 2, normalize=True)
    assert metric(images, reference).allclose(expected.flatten(), rtol=1e-4)


@pytest.mark.usefixtures("random_backbone")
def test_lpips_takes_half_precision_and_clamps() -> None:
    metric, images, reference = LPIPS(), pictures(1, 64, seed=1), pictures(1, 64, seed=2)
    assert metric(images.half(), reference).allclose(metric(images, reference), rtol=1e-2)
    assert metric(2 * images, reference).allclose(metric((2 * images).clamp(-1, 1), reference))


def test_lpips_without_weights_or_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        assert socket.getdefaulttimeout() == 10
        raise urllib.error.URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", offline)
    metric = LPIPS()
    with pytest.raises(UserError, match="torchvision's alexnet weights of lpips_alex") as error:
        metric(pictures(), pictures())
    assert "no network" in str(error.value) and "\n" not in str(error.value)
    assert str(tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth") in str(error.value)
    assert socket.getdefaulttimeout() is None


def test_lpips_with_an_unknown_net() -> None:
    with pytest.raises(UserError, match="no net 'resnet'; it has alex, vgg, squeeze"):
        LPIPS("resnet")
