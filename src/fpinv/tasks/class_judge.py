"""Measures of generated images of a class: accuracy, Frechet distance and diversity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, get_args

import torch
from torch import Tensor

from fpinv.datasets.classes import BINS, Category
from fpinv.errors import UserError
from fpinv.inversion import Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.metrics.classifiers.classifier import Classifier
from fpinv.metrics.frechet import Choice, Features, diversity, features_of, fid
from fpinv.metrics.intervals import mean_ci95
from fpinv.metrics.pixels import norm_ratio
from fpinv.models.model import Model
from fpinv.tasks.saved_inversions import require_inversions
from fpinv.tasks.seed_controls import Source, known_seeds, pixel_seeds, random_seeds
from fpinv.tasks.seed_pipeline import (
    GroupImages,
    GroupSeeds,
    Prompting,
    SeedPipeline,
    Texts,
    require_seed,
)
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
        seeds: The seeds of the images: those of their inversions, or a control
            (:data:`~fpinv.tasks.seed_controls.Source`).
        real: Number of real images of the class for each example.
        features: The choice of features (:func:`~fpinv.metrics.frechet.features_of`).
        adjustment: Change of the encodings before the inversion.
        inversions: Folder of a finished run whose saved inversions are used; None to invert.

    Raises:
        UserError: an argument is not possible.
    """

    classifier: Classifier
    prompting: Prompting = "class"
    seeds: Source = "inverted"
    real: int = 4
    features: Choice = "auto"
    adjustment: Adjustment = field(default_factory=Unadjusted)
    inversions: str | None = None

    def __post_init__(self) -> None:
        require_inversions(self.inversions)
        whole_number("task.real", self.real, at_least=0)
        option("task.prompting", self.prompting, get_args(Prompting))
        option("task.seeds", self.seeds, get_args(Source))
        if self.inversions is not None and not self.inverts:
            raise UserError(
                f"task.inversions={self.inversions} has no part where no image is inverted (with "
                "task.seeds other than inverted, or without a centroid): leave it out"
            )
        self.extractor  # noqa: B018 - refuses unknown features now rather than mid-run

    @property
    def inverts(self) -> bool:
        """Return whether the task inverts images of the data set."""
        return self.seeds == "inverted"

    @cached_property
    def extractor(self) -> Features:
        """The features of the Frechet distance and the diversity."""
        return features_of(self.features, self.classifier)

    def pipeline(self, model: Model, inverter: Inverter, settings: Settings) -> SeedPipeline:
        """Return the way from images to seeds and back, with the task's adjustment and prompts."""
        return SeedPipeline(model, inverter, self.adjustment, self.prompting, settings)

    def check_inverter(self, inverter: Inverter) -> None:
        """Raise UserError where seeds are inverted and need more than z_N for their way back."""
        if self.inverts:
            require_seed(inverter)

    def group_seeds(
        self, pipeline: SeedPipeline, loaded: Sequence[GroupImages]
    ) -> Iterable[GroupSeeds | UserError]:
        """Return the seeds of each group's images, of the kind that ``seeds`` says."""
        match self.seeds:
            case "inverted":
                return pipeline.seeds(loaded, self.inversions)
            case "random":
                return random_seeds(pipeline, loaded)
            case "known":
                return known_seeds(pipeline, loaded, self._shows)
            case "crossfade":
                return pixel_seeds(loaded)

    def sampled(
        self, pipeline: SeedPipeline, seeds: Sequence[Tensor], texts: Sequence[Sequence[Texts]]
    ) -> list[Tensor | UserError]:
        """Return the images of sets of seeds, which those of a crossfade are already."""
        return list(seeds) if self.seeds == "crossfade" else pipeline.sample(seeds, texts)

    def norms(self, seeds: Tensor) -> list[float]:
        r"""Return :math:`|z| / \sqrt d` of seeds (B, C, h, w); none of a crossfade's pixels."""
        return [] if self.seeds == "crossfade" else norm_ratio(seeds).tolist()

    def source_accuracy(self, loaded: GroupImages) -> float | None:
        """Return the share of the images behind a group's seeds that show the class.

        Of real ones it should be 1, and of ``known`` seeds it is below where no draw showed the
        class. There are no images behind ``random`` seeds: None.
        """
        if self.seeds == "random":
            return None
        return self.accuracy(loaded.members, loaded.group.category)["accuracy"]

    def _shows(self, images: Tensor, category: Category) -> bool:
        """Return whether an image shows its class, or the classifier does not know the class."""
        return self.accuracy(images, category)["accuracy"] != 0

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
        return {
            "generated": self.extractor(generated),
            "real": self.extractor(real),
            "class": _digest(category.id),
            "features": _digest(self.extractor.name),
        }

    def pool(self, arrays: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """Return the Frechet distance over all examples, and the diversity within classes.

        Raises:
            UserError: the features of some examples are another network's, as of a run that
                goes on where other weights are cached.
        """
        own = _digest(self.extractor.name)
        # Runs of before the entry was added have none of it.
        if any(example.get("features", own) != own for example in arrays):
            raise UserError(
                f"some examples were measured by other features than {self.extractor.name}: "
                "choose theirs by task.features, or begin a new run"
            )
        classes: dict[int, list[Tensor]] = defaultdict(list)
        for example in arrays:
            classes[int(example["class"])].append(example["generated"])
        spreads = [diversity(torch.cat(features)) for features in classes.values()]
        distance = fid([e["real"] for e in arrays], [e["generated"] for e in arrays])
        return {"fid": distance, "diversity": mean_ci95(spreads), "features": self.extractor.name}


def _digest(text: str) -> Tensor:
    """Return 56 bits that tell a text from others, since arrays hold numbers alone."""
    digest = sha256(text.encode("utf-8", "surrogatepass")).digest()
    return torch.tensor(int.from_bytes(digest[:7], "big"))


def mean(values: Sequence[float]) -> float | None:
    """Return the mean of some numbers; None of none."""
    return sum(values) / len(values) if values else None
