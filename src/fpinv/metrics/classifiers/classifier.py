"""What a pre-trained classifier offers to the tasks that ask whether a picture shows a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Classifier(Protocol):
    """Sorts pictures into classes and describes them by numbers.

    Attributes:
        name: Short name for records.
        classes: The ids of the classes (see :class:`~fpinv.datasets.classes.Category`).
    """

    name: str
    classes: Sequence[str]

    def classify(self, images: Tensor) -> Tensor:
        """Numbers (B,) of the likeliest classes of images (B, 3, H, W) in [-1, 1]."""
        ...

    def features(self, images: Tensor) -> Tensor:
        """Features (B, D) of images (B, 3, H, W) in [-1, 1], from before the decision."""
        ...
