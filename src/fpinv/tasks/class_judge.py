"""Measures of generated images of a class: accuracy, Frechet distance and diversity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, get_args

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
from fpinv.tasks.seed_pipeline import Prompting, SeedPipeline
from fpinv.tasks.task import Settings, option, whole_number

ACCURACIES = ("accuracy", *(f"accuracy_{name}" for name in BINS))


@dataclass(frozen=True, kw_only=True)
class JudgedTask:
    """The arguments and measures of tasks that generate images of classes.

    The Frechet distance compares with real images of the class that the task did not work on;
    where the class has none, with those that it did.

    Arguments:
        classifier: The judge of the results.
        prompting: The prompts of images and results
            (:data:`~fpinv.tasks.seed_pipeline.Prompting`).
        real: Number of real images of the class for each example.
        features: The choice of features (:func:`~fpinv.metrics.frechet.features_of`).
        adjustment: Change of the encodings before the inversion.
        inversions: Folder of a finished run whose saved inversions are used; None to invert.

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
        option("task.prompting", self.prompting, get_args(Prompting))
        self.extractor  # noqa: B018 - refuses unknown features now rather than mid-run

    @cached_property
    def extractor(self) -> Features:
        """The features of the Frechet distance and the diversity."""
        return features_of(self.features, self.classifier)

    def pipeline(self, model: Model, inverter: Inverter, settings: Settings) -> SeedPipeline:
        """Return the way from images to seeds and back, with the task's adjustment and prompts."""
        return SeedPipeline(model, inverter, self.adjustment, self.prompting, settings)

    def accuracy(self, images: Tensor, category: Category) -> dict[str, float | None]:
        """Return the share of images that show the class, over all and in the bin of the class.

        It is None where the classifier does not know the class, and for all other bins.
        """
        classes = list(self.classifier.classes)
        if category.id not in classes:
            return dict.fromkeys(ACCURACIES)
        right = self.classifier.classify(images) == classes.index(category.id)
        share = right.double().mean().item()
        bins = {f"accuracy_{name}": share if name == category.bin else None for name in BINS}
        return {"accuracy": share, **bins}

    def arrays(self, generated: Tensor, real: Tensor, category: Category) -> dict[str, Tensor]:
        """Return the arrays of one example that :meth:`pool` needs."""
        # Arrays hold numbers alone: the class is told from others by 56 bits of a digest.
        digest = sha256(category.id.encode("utf-8", "surrogatepass")).digest()
        return {
            "generated": self.extractor(generated),
            "real": self.extractor(real),
            "class": torch.tensor(int.from_bytes(digest[:7], "big")),
        }

    def pool(self, arrays: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """Return the Frechet distance over all examples, and the diversity within classes."""
        classes: dict[int, list[Tensor]] = defaultdict(list)
        for example in arrays:
            classes[int(example["class"])].append(example["generated"])
        spreads = [diversity(torch.cat(features)) for features in classes.values()]
        distance = fid([e["real"] for e in arrays], [e["generated"] for e in arrays])
        return {"fid": distance, "diversity": mean_ci95(spreads), "features": self.extractor.name}
