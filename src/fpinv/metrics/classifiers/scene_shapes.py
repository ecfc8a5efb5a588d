"""The bundled scene classifier as a judge of shapes, which are the classes of scenes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fpinv.datasets.scenes import SHAPE_NAMES
from fpinv.metrics.classifiers.scene_reader import BUNDLED, judge


class ShapeClassifier:
    """The shape of a scene's first object, as the bundled classifier reads it.

    Arguments:
        path: Folder of the classifier, or that of an installed package as
            ``pkg://package.module/folder``. Read on the first use.

    Raises:
        UserError: on the first use, where the folder has no classifier.
    """

    name = "scenes"
    classes: Sequence[str] = SHAPE_NAMES

    def __init__(self, path: str = BUNDLED) -> None:
        self._path = path

    def classify(self, images: Tensor) -> Tensor:
        """Return the class of each image (B,), or -1 where no object is seen."""
        seen = [reading.objects for reading in judge(self._path).to(images.device).read(images)]
        numbers = [self.classes.index(things[0].shape) if things else -1 for things in seen]
        return torch.tensor(numbers)

    def features(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.metrics.classifiers.classifier.Classifier`: 192 numbers."""
        return judge(self._path).to(images.device).features(images)
