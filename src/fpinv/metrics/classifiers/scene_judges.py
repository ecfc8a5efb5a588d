"""The bundled scene classifier in its three uses: attributes, shapes as classes, a distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from fpinv.datasets.scenes.world import SHAPE_NAMES
from fpinv.metrics.classifiers.scene_attributes import Thing
from fpinv.metrics.classifiers.scene_network import BUNDLED, SceneClassifier, load_classifier

DOUBT = 0.1
"""Probability that a picture shows nothing above which it has no class. On 300 test pictures of
each kind it leaves 1 % of crossfades a class and takes it from 1.3 % of reconstructed scenes."""


@dataclass(frozen=True)
class _SceneJudge:
    """A user of the classifier in a folder, which is loaded on the first use.

    Arguments:
        path: Folder of the classifier, or that of an installed package as
            ``pkg://package.module/folder``.

    Raises:
        UserError: (on the first use) the folder holds no classifier.
    """

    domain: ClassVar[str] = "scenes"

    path: str = BUNDLED

    def _network(self, images: Tensor) -> SceneClassifier:
        """Return the classifier on the device of the images."""
        return load_classifier(self.path).to(images.device)


class ScenesReader(_SceneJudge):
    """An :class:`~fpinv.metrics.edit_accuracy.AttributeReader` of scenes."""

    def __call__(self, images: Tensor) -> list[dict[str, Any]]:
        """Return the attributes of each picture of (B, 3, H, W) in [-1, 1]."""
        readings = self._network(images).read(images.float().clamp(-1, 1))
        return [reading.attributes() for reading in readings]


class ShapeClassifier(_SceneJudge):
    """The shape of a scene's only object as its class.

    A picture without an object has no class, nor has one with several. The bundled weights were
    also trained on pictures that show no scene, such as noise and crossfades, and find no object
    in such.

    See :class:`~fpinv.metrics.classifiers.classifier.Classifier` for the contract.
    """

    name = "scenes"
    classes: ClassVar[Sequence[str]] = SHAPE_NAMES

    def classify(self, images: Tensor) -> Tensor:
        """Return the class (B,) of each image, or -1 unless it has exactly one object."""
        objects = [reading.objects for reading in self._network(images).read(images, DOUBT)]
        return torch.tensor([_only(things, self.classes) for things in objects])

    def features(self, images: Tensor) -> Tensor:
        """Return the 192 features (B, 192) of images (B, 3, H, W) in [-1, 1]."""
        return self._network(images).features(images)


def _only(things: Sequence[Thing], classes: Sequence[str]) -> int:
    """Return the class of the only object, or -1."""
    return classes.index(things[0].shape) if len(things) == 1 else -1


class ScenesFeatures(_SceneJudge):
    r"""Distance of pictures in the classifier's features; lower is closer.

    It is computed as LPIPS is, but without learned weights: with :math:`f_l` the maps of layer l,
    each place's vector scaled to length 1,

    .. math:: d(x, y) = \sum_l \frac{1}{h_l w_l} \sum_p \| f_l(x)_p - f_l(y)_p \|^2

    It stands in for LPIPS where that one's weights cannot be fetched. It knows scenes only, and
    its numbers are not LPIPS's.
    """

    name = "features_scenes"

    @torch.no_grad()
    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        """Return the distances (B,) of pictures (B, 3, H, W) in [-1, 1]."""
        pictures = torch.cat([images, reference]).float().clamp(-1, 1)
        stages = self._network(images).stages(pictures)
        return torch.stack([_distance(*stage.chunk(2)) for stage in stages]).sum(0)


def _distance(maps: Tensor, reference: Tensor) -> Tensor:
    """Return the mean squared distance (B,) of the unit vectors of two maps (B, C, h, w)."""
    difference = F.normalize(maps, dim=1) - F.normalize(reference, dim=1)
    return difference.square().sum(1).mean((1, 2))
