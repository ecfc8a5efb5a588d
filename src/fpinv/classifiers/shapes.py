"""The bundled scene classifier as a judge of shapes, which are the classes of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpinv.datasets.scenes import SHAPES
from fpinv.errors import UserError
from fpinv.weights import package_folder


class ShapeClassifier:
    """The shape of a scene's first object, as the bundled classifier reads it.

    Arguments:
        path: Folder of the classifier, or that of an installed package as
            ``pkg://package.module/folder``. Read on the first use.

    Raises:
        UserError: on the first use, where the folder has no classifier.
    """

    name = "scenes"

    def __init__(self, path: str = "pkg://fpinv.models.scenes/classifier") -> None:
        self.path = path

    @property
    def classes(self) -> Sequence[str]:
        """All shapes, in the order of the bins."""
        return [shape for shapes in SHAPES.values() for shape in shapes]

    def classify(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.classifiers.classifier.Classifier`; -1 where nothing is seen."""
        numbers = {shape: k for k, shape in enumerate(self.classes)}
        seen = [reading.objects for reading in self._network.to(images.device).read(images)]
        return torch.tensor([numbers[things[0].shape] if things else -1 for things in seen])

    def features(self, images: Tensor) -> Tensor:
        """See :class:`~fpinv.classifiers.classifier.Classifier`."""
        return self._network.to(images.device).features(images)

    @cached_property
    def _network(self) -> Any:  # noqa: ANN401
        folder = Path(package_folder(self.path))
        if not (folder / "config.json").is_file():
            raise UserError(f"classifier.path={self.path}: there is no scene classifier")
        from fpinv.classifiers.scenes import SceneClassifier

        return SceneClassifier.from_pretrained(folder)
