"""Judging generated images of a class: accuracy, and features for measures over all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from fpinv.datasets.classes import BINS, Category
from fpinv.inversion import Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.metrics.classifiers.classifier import Classifier
from fpinv.metrics.frechet import Choice, Features, diversity, features_of, fid
from fpinv.metrics.intervals import mean_ci95
from fpinv.models.model import Model
from fpinv.tasks.loading import require_inversions
from fpinv.tasks.seed_pipeline import Bench, Prompting, require_prompting
from fpinv.tasks.task import Settings, whole_number

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


@dataclass(frozen=True, kw_only=True)
class JudgedTask:
    """What tasks that generate images of classes share.

    Real images of the class that the task did not work on (where it has none, those that it did)
    are what the Frechet distance compares with.

    Arguments:
        classifier: The judge of the results.
        prompting: See :data:`~fpinv.tasks.seed_pipeline.Prompting`.
        real: Real images of the class that go with each example.
        features: See :func:`~fpinv.metrics.frechet.features_of`.
        adjustment: What is done to encodings before they are inverted.
        inversions: Folder of a finished run whose saved inversions are taken; None to invert.

    Raises:
        UserError: an argument is not possible.
    """

    classifier: Classifier
    prompting: Prompting = "class"
    real: int = 4
    features: Choice = "auto"
    adjustment: Adjustment = field(default_factory=Unadjusted)
    inversions: str | None = None

    def __post_init__(self) -> None:
        require_inversions(self.inversions)
        whole_number("task.real", self.real, at_least=0)
        require_prompting(self.prompting)
        self.judge  # noqa: B018 - refuses unknown features now rather than mid-run

    @cached_property
    def judge(self) -> Judge:
        """The measures."""
        return Judge(self.classifier, features_of(self.features, self.classifier))

    def bench(self, model: Model, inverter: Inverter, settings: Settings) -> Bench:
        """The model and the inverter, set up as the task asks."""
        return Bench(model, inverter, self.adjustment, self.prompting, settings)

    def pool(self, arrays: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """See :meth:`Judge.pool`."""
        return self.judge.pool(arrays)
