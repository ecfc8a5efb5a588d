"""Stand-ins for pre-trained judges and data sets of classes, with no network in them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from drawn_seeds import normal
from PIL import Image
from torch import Tensor

from fpinv.datasets.classes import Category
from fpinv.datasets.example import Example
from fpinv.images import to_pil


class Brightness:
    """A classifier of dark and bright pictures, whose features are a thumbnail."""

    name = "brightness"
    classes: Sequence[str] = ("dark", "bright")

    def classify(self, images: Tensor) -> Tensor:
        return (images.mean((1, 2, 3)) > 0).long()

    def features(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 2).flatten(1)


class Thumbnails:
    """The mean colours of a grid, as the encoder of a CLIP that gradients flow through."""

    def __init__(self, side: int) -> None:
        self.side = side

    def images(self, images: Tensor) -> Tensor:
        return F.normalize(F.adaptive_avg_pool2d(images, self.side).flatten(1), dim=-1)


def picture(mean: float, seed: int, size: int = 16) -> Image.Image:
    return to_pil(mean + 0.3 * normal(3, size, size, seed=seed))


class Shades:
    """Images of three classes: dark, bright, and one that :class:`Brightness` does not know."""

    bins = {"dark": "few", "bright": "many", "checked": None}

    def __init__(self, per_class: int = 8, broken: int | None = None) -> None:
        self.per_class, self.broken = per_class, broken

    @property
    def categories(self) -> list[Category]:
        return [
            Category(name, name, f"a {name} picture", self._images(name), bin=bin)
            for name, bin in self.bins.items()
        ]

    def _images(self, name: str) -> list[Example]:
        mean = {"dark": -0.6, "bright": 0.6, "checked": 0.0}[name]
        images = [picture(mean, seed) for seed in range(self.per_class)]
        return [
            Example(f"{name}{k}", f"{name} {k}", broken if k == self.broken else image)
            for k, image in enumerate(images)
        ]

    def __len__(self) -> int:
        return 3 * self.per_class

    def __getitem__(self, index: int) -> Example:
        return [image for category in self.categories for image in category.images][index]


def broken() -> Image.Image:
    raise ZeroDivisionError("odd header")


def spread(
    count: int, width: int, scale: float = 1.0, shift: float = 0.0, seed: int = 0
) -> Tensor:
    """Return normal features with a known mean and spread."""
    return shift + scale * normal(count, width, seed=seed, dtype=torch.float64)
