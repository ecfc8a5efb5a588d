"""Images of classes that the model has hardly met, from seeds found with a few examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import torch
from torch import Tensor

from fpinv import metrics
from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.groups import Groups, subsets
from fpinv.errors import UserError
from fpinv.images import sheet
from fpinv.inversion import Inverter
from fpinv.models.model import Model
from fpinv.records import Record
from fpinv.seeding import normal
from fpinv.seeds.centroids import Centroid
from fpinv.seeds.optimisation import Found
from fpinv.seeds.seedselect import SeedSelect
from fpinv.tasks.batching import diverged
from fpinv.tasks.bench import Bench, Loaded, require_seed
from fpinv.tasks.judging import ACCURACIES, JudgedTask
from fpinv.tasks.task import Settings, whole_number


@dataclass(frozen=True)
class RareConcept(JudgedTask):
    """K references of a class -> invert -> centroid -> optimise the seed -> image.

    Every image of a class comes from a set of K references of its own. Both stages may be left
    out, which gives the rows of the paper's table and their baselines:

    ==========  ===========  ===================================================
    centroid    seedselect   seeds
    ==========  ===========  ===================================================
    None        None         random: plain sampling
    a centroid  None         centroids of inverted references
    None        SeedSelect   random, optimised towards the references
    a centroid  SeedSelect   centroids, optimised
    ==========  ===========  ===================================================

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.3
        | https://arxiv.org/abs/2312.12540
        | Generating images of rare concepts using pre-trained diffusion models
        | (Samuel et al., 2024), https://arxiv.org/abs/2304.14530
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments: those of :class:`~fpinv.tasks.judging.JudgedTask`, and
        centroid: Makes one seed of those of K references; None starts from random seeds, and
            nothing is inverted.
        seedselect: Optimises the seeds; None leaves them as they are.
        images: Images made of each class.
        references: K, references of each image.

    Raises:
        UserError: an argument is not possible.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *ACCURACIES,
        "seconds_init",
        "seconds_opt",
        "norm_ratio",
        "loss_start",
        "loss_end",
    )

    centroid: Centroid | None = None
    seedselect: SeedSelect | None = None
    images: int = 4
    references: int = 5
    real: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number("task.images", self.images, at_least=1)
        whole_number("task.references", self.references, at_least=1)

    def group(self, dataset: Dataset, seed: int) -> Dataset:
        """One example a class."""
        size = self.images * self.references
        return Groups(dataset, size, self.real, seed, most=1, whole=True)

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """One record a class, in order; one with an unreadable image yields its error.

        Raises:
            UserError: seeds are to be inverted, and the inverter needs more than z_N for its way
                back.
        """
        if self.centroid is not None:
            require_seed(inverter)
        bench = self.bench(model, inverter, settings)
        for group in examples:
            loaded = bench.load(group)
            if isinstance(loaded, UserError):
                yield Record(group.id, group.prompt, error=str(loaded))
            else:
                yield self._record(bench, loaded)

    def _record(self, bench: Bench, loaded: Loaded) -> Record:
        group, sets = loaded.group, self._sets(loaded, bench.settings.seed)
        prompts = [bench.prompt(group, [group.members[k] for k in chosen]) for chosen in sets]
        initial, optimising = bench.stopwatch(), bench.stopwatch()
        with initial.running():
            start = self._start(bench, loaded, sets)
        failed = Record(group.id, group.prompt, error=diverged(bench.model))
        if start is None:
            return failed
        references = loaded.members[torch.tensor(sets)]
        with optimising.running():
            found = self._optimised(bench, references, start, prompts)
        images = bench.sample(found.seeds, prompts)
        if not images.isfinite().all():
            return failed
        return Record(
            group.id,
            group.prompt,
            {
                **self.judge.accuracy(images, group.category),
                "seconds_init": initial.seconds / len(sets),
                "seconds_opt": optimising.seconds / len(sets),
                "norm_ratio": metrics.norm_ratio(found.seeds).mean().item(),
                "loss_start": _mean([losses[0] for losses in found.losses]),
                "loss_end": _mean([min(losses) for losses in found.losses]),
            },
            {**_curves("centroid", start), **_curves("seedselect", found)},
            {"sheet": sheet(*torch.cat([references, images.unsqueeze(1)], 1))},
            arrays=self.judge.arrays(images, loaded.real, group.category),
        )

    def _sets(self, loaded: Loaded, seed: int) -> list[tuple[int, ...]]:
        """The numbers of the members that each image has as references."""
        group = loaded.group
        endless = subsets(len(group.members), self.references, seed, group.id)
        return list(islice(endless, self.images))

    def _start(
        self, bench: Bench, loaded: Loaded, sets: Sequence[tuple[int, ...]]
    ) -> Found | None:
        """A seed an image, before it is optimised; None where an inversion diverged."""
        if self.centroid is None:
            ids = [f"{loaded.group.id}/{k}" for k in range(len(sets))]
            model, seed = bench.model, bench.settings.seed
            return Found(normal(model.latent_shape, seed, ids, "seed", model.device))
        (seeds,) = bench.invert([loaded])
        return self.centroid(seeds.noise[torch.tensor(sets)]) if seeds.finite else None

    def _optimised(
        self, bench: Bench, references: Tensor, start: Found, prompts: Sequence[str]
    ) -> Found:
        """The seeds after SeedSelect, as many at a time as the batch size says."""
        if self.seedselect is None:
            return Found(start.seeds)
        model, condition = bench.model, bench.condition(prompts)
        target = self.seedselect.target(model, references)
        parts = [
            self.seedselect(
                model,
                model.denoiser(bench.settings.steps),
                start.seeds[rows],
                condition[rows],
                target[rows],
            )
            for rows in bench.batches(len(prompts))
        ]
        losses = [curve for part in parts for curve in part.losses]
        return Found(torch.cat([part.seeds for part in parts]), losses)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _curves(name: str, found: Found) -> dict[str, Sequence[float]]:
    """The losses of each seed's search."""
    return {f"{name}_{k}": losses for k, losses in enumerate(found.losses)}
