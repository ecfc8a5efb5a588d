"""The contract of learned distances between images."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class PerceptualMetric(Protocol):
    """A learned distance of images.

    Attributes:
        name: Key in the records, which names the metric and its network.
    """

    name: str

    def __call__(self, images: Tensor, reference: Tensor) -> Tensor:
        """Return the distances (B,) of images (B, 3, H, W) in [-1, 1]; lower is closer."""
