"""The contract of pre-trained classifiers, for tasks that ask for the class of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor


class Classifier(Protocol):
    """A network that sorts images into classes and describes them by numbers.

    Attributes:
        name: Short name for records.
    """

    name: str

    @property
    def classes(self) -> Sequence[str]:
        """Ids of the classes, as in :class:`~fpinv.datasets.classes.Category`."""

    def classify(self, images: Tensor) -> Tensor:
        """Return the numbers (B,) of the likeliest classes of images (B, 3, H, W) in [-1, 1]."""

    def features(self, images: Tensor) -> Tensor:
        """Return features (B, D) of images (B, 3, H, W) in [-1, 1], from before the decision."""
