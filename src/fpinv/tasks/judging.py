"""Judging generated images of a class: accuracy, and features for measures over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from fpinv.classifiers.classifier import Classifier
from fpinv.datasets.classes import BINS, Category
from fpinv.fidelity import Features, diversity, fid
from fpinv.metrics import mean_ci95

ACCURACIES = ("accuracy", *(f"accuracy_{name}" for name in BINS))


@dataclass(frozen=True)
class Judge:
    """A pre-trained classifier and the features of the Frechet distance.

    Arguments:
        classifier: Says what class an image shows.
        features: What the Frechet distance and the diversity are of.
    """

    classifier: Classifier
    features: Features

    def accuracy(self, images: Tensor, category: Category) -> dict[str, float | None]:
        """Share of images that show the class, over all and in the bin of the class.

        None where the classifier does not know the class, and for the other bins.
        """
        known = list(self.classifier.classes)
        if category.id not in known:
            return dict.fromkeys(ACCURACIES)
        right = self.classifier.classify(images) == known.index(category.id)
        share = right.double().mean().item()
        bins = {f"accuracy_{name}": share if name == category.bin else None for name in BINS}
        return {"accuracy": share, **bins}

    def arrays(self, generated: Tensor, real: Tensor, category: Category) -> dict[str, Tensor]:
        """What :meth:`pool` needs of one example."""
        digest = sha256(category.id.encode()).digest()
        return {
            "generated": self.features(generated),
            "real": self.features(real),
            "class": torch.tensor(int.from_bytes(digest[:7], "big")),
        }

    def pool(self, arrays: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """The Frechet distance over all examples, and how diverse each class's images are."""
        classes: dict[int, list[Tensor]] = defaultdict(list)
        for one in arrays:
            classes[int(one["class"])].append(one["generated"])
        spreads = [diversity(torch.cat(features)) for features in classes.values()]
        distance = fid([one["real"] for one in arrays], [one["generated"] for one in arrays])
        return {"fid": distance, "diversity": mean_ci95(spreads), "features": self.features.name}
