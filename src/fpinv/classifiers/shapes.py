"""The bundled scene classifier as a judge of shapes, which are the classes of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from fpinv.classifiers.scenes import SceneClassifier
from fpinv.datasets.scenes import SHAPE_NAMES
from fpinv.errors import UserError
from fpinv.weights import SCENES, local_folder


class ShapeClassifier:
    """The shape of a scene's first object, as :class:`SceneClassifier` reads it.

    Arguments:
        path: Folder of the classifier, or that of an installed package as
            ``pkg://package.module/folder``. Read on the first use.

    Raises:
        UserError: on the first use, where the folder has no classifier.
    """

    name = "scenes"
    classes: Sequence[str] = SHAPE_NAMES

    def __init__(self, path: str = f"{SCENES}/classifier") -> None:
        self._path = path

    def classify(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.classifiers.classifier.Classifier`; -1 where nothing is seen."""
        seen = [reading.objects for reading in self._network.to(images.device).read(images)]
        numbers = [self.classes.index(things[0].shape) if things else -1 for things in seen]
        return torch.tensor(numbers)

    def features(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.classifiers.classifier.Classifier`: 192 numbers."""
        return self._network.to(images.device).features(images)

    @cached_property
    def _network(self) -> SceneClassifier:
        folder = local_folder(self._path)
        if not (folder / "config.json").is_file():
            raise UserError(f"classifier.path={self._path}: there is no scene classifier")
        return SceneClassifier.from_pretrained(folder)
