"""The rare-concept task: images of rarely seen classes, from seeds near those of references."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from typing import ClassVar

import torch
from PIL import Image
from torch import Tensor

from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.groups import Group, Groups, subsets
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inversion, Inverter
from fpinv.models.model import Model
from fpinv.reporting.grid import Tile, grid
from fpinv.seeding import normal
from fpinv.seeds.centroids import Centroid, Mean
from fpinv.seeds.optimisation import SeedSearch
from fpinv.seeds.seedselect import Prototype, SeedSelect
from fpinv.tasks.class_judge import ACCURACIES, JudgedTask, mean
from fpinv.tasks.record import Record
from fpinv.tasks.seed_pipeline import (
    GroupImages,
    GroupSeeds,
    SeedPipeline,
    Texts,
    rows_of,
)
from fpinv.tasks.stages import each, past_errors, run_stages
from fpinv.tasks.task import Settings, whole_number
from fpinv.tasks.timing import Stopwatch


@dataclass(frozen=True)
class _Start:
    """The seeds of a class's images before they are optimised.

    Arguments:
        loaded: The class with its images.
        search: One seed an image.
        inversion: The inversion of the references, where there was one.
        seconds: Time of inversion and centroid, an image; None where the inversions are saved.
    """

    loaded: GroupImages
    search: SeedSearch
    inversion: Inversion | None = None
    seconds: float | None = 0.0


@dataclass(frozen=True)
class RareConcept(JudgedTask):
    """The rare-concept task: K references -> invert -> centroid -> optimise the seed -> image.

    Every image of a class comes from a set of K references of its own; as many classes go together
    as fill a batch with their images. Both stages may be left out, which gives the rows of the
    paper's table and their baselines:

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
        | https://arxiv.org/abs/2312.12540v1
        | Generating images of rare concepts using pre-trained diffusion models
        | (Samuel et al., 2024), https://arxiv.org/abs/2304.14530
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    It also has the arguments of :class:`~fpinv.tasks.class_judge.JudgedTask`.

    Arguments:
        centroid: The centroid of K references' seeds; None starts from random seeds, and nothing
            is inverted.
        seedselect: The optimisation of the seeds; None leaves them as they are.
        images: Number of images sampled for each class.
        references: Number K of references for each image.

    Raises:
        UserError: an argument is not possible.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *(*ACCURACIES, "accuracy_sources"),
        *("seconds_init", "seconds_opt"),
        *("norm_ratio", "search_converged", "loss_start", "loss_end"),
        "different_starts",
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
        if self.seeds != "inverted" and self.centroid is None:
            raise UserError(
                f"task.seeds={self.seeds} are seeds of references, and there are none without a "
                "centroid: use task/centroid=nao"
            )
        mixed = isinstance(self.centroid, Mean) and self.seedselect is None
        if self.seeds == "crossfade" and not mixed:
            raise UserError(
                "task.seeds=crossfade is a mean of pixels, which is no seed to be optimised: use "
                "task/centroid=mean task.seedselect=null"
            )

    def group(self, dataset: Dataset, seed: int) -> Dataset:
        """Return one example a class."""
        size = self.images * self.references
        return Groups(dataset, size, self.real, seed, most=1, whole=True)

    def source_accuracy(self, loaded: GroupImages) -> float | None:
        """Return the share of references that show the class; None where none are inverted."""
        return None if self.centroid is None else super().source_accuracy(loaded)

    @property
    def inverts(self) -> bool:
        """Return whether references are inverted: not where nothing starts from a centroid."""
        return super().inverts and self.centroid is not None

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record a class, in order; that of an unreadable one holds its error.

        Raises:
            UserError: seeds are to be inverted, and the inverter needs more than z_N for its way
                back.
        """
        self.check_inverter(inverter)
        pipeline = self.pipeline(model, inverter, settings)
        return run_stages(
            examples,
            pipeline.room(self.images),
            each(pipeline.load),
            partial(self._starts, pipeline),
            partial(self._records, pipeline),
        )

    def _starts(
        self, pipeline: SeedPipeline, loaded: Sequence[GroupImages]
    ) -> list[_Start | UserError]:
        """Return one seed an image of each class, or the error of a diverged inversion."""
        if self.centroid is None:
            return [_Start(item, self._random(pipeline, item.group)) for item in loaded]
        centroid, seed = self.centroid, pipeline.settings.seed

        def start(group: GroupSeeds) -> _Start:
            sets, watch = self._sets(group.loaded.group, seed), Stopwatch(pipeline.model)
            with watch.running():
                search = centroid(group.noise[sets])
            # Encoding and warming up are no part of it, as in all other times.
            inverted = None if group.seconds is None else group.seconds * len(group.noise)
            seconds = None if inverted is None else (inverted + watch.seconds) / self.images
            return _Start(group.loaded, search, group.inversion, seconds)

        seeds = list(self.group_seeds(pipeline, loaded))
        return past_errors(seeds, lambda groups: map(start, groups))

    def _random(self, pipeline: SeedPipeline, group: Group) -> SeedSearch:
        ids = [f"{group.id}/{k}" for k in range(self.images)]
        model, seed = pipeline.model, pipeline.settings.seed
        return SeedSearch(normal(model.latent_shape, seed, ids, "seed", model.device))

    def _sets(self, group: Group, seed: int) -> Tensor:
        """Return the numbers (images, K) of the members that are each image's references."""
        endless = subsets(len(group.members), self.references, seed, group.id)
        return torch.tensor(list(islice(endless, self.images)))

    def _different_starts(self, group: Group, seed: int) -> int:
        """Return from how many different starts the images of a class come.

        Centroids of the same references are one start, so that the images are copies. A class has
        references enough for different ones from 2 K - 1 images on, as a rule.
        """
        if self.centroid is None:
            return self.images
        return len({frozenset(members) for members in self._sets(group, seed).tolist()})

    def _references(self, pipeline: SeedPipeline, loaded: GroupImages) -> Tensor:
        """Return the references of each image, (images, K, 3, H, W)."""
        return loaded.members[self._sets(loaded.group, pipeline.settings.seed)]

    def _texts(self, pipeline: SeedPipeline, group: Group) -> list[Texts]:
        """Return the prompts of each image."""
        sets = self._sets(group, pipeline.settings.seed).tolist()
        return [pipeline.texts(group, [group.members[k] for k in members]) for members in sets]

    def _records(
        self, pipeline: SeedPipeline, starts: Sequence[_Start]
    ) -> Iterator[Record | UserError]:
        texts = [self._texts(pipeline, start.loaded.group) for start in starts]
        watch = Stopwatch(pipeline.model)
        with watch.running():
            searches = self._optimised(pipeline, starts, texts)
        seconds = watch.seconds / (len(starts) * self.images)
        sampled = self.sampled(pipeline, [search.seeds for search in searches], texts)
        for start, search, images in zip(starts, searches, sampled, strict=True):
            if isinstance(images, UserError):
                yield images
            else:
                yield self._record(pipeline, start, search, images, seconds)

    def _record(
        self,
        pipeline: SeedPipeline,
        start: _Start,
        search: SeedSearch,
        images: Tensor,
        seconds: float,
    ) -> Record:
        group, references = start.loaded.group, self._references(pipeline, start.loaded)
        return Record(
            group.id,
            group.prompt,
            {
                **self.accuracy(images, group.category),
                "accuracy_sources": self.source_accuracy(start.loaded),
                "seconds_init": start.seconds,
                "seconds_opt": seconds,
                "norm_ratio": mean(self.norms(search.seeds)),
                "search_converged": mean([*start.search.stalled, *search.stalled]),
                "different_starts": self._different_starts(group, pipeline.settings.seed),
                "loss_start": mean([losses[0] for losses in search.losses]),
                "loss_end": mean([min(losses) for losses in search.losses]),
            },
            {**_curves("centroid", start.search), **_curves("seedselect", search)},
            {"sheet": _sheet(references, images)},
            inversion=start.inversion,
            image=pipeline.name(group),
            sources=group.members,
            arrays=self.arrays(images, start.loaded.real, group.category),
        )

    def _optimised(
        self, pipeline: SeedPipeline, starts: Sequence[_Start], texts: Sequence[Sequence[Texts]]
    ) -> list[SeedSearch]:
        """Return the seeds of each class after SeedSelect, those of all classes in one batch."""
        if self.seedselect is None:
            return [SeedSearch(start.search.seeds) for start in starts]
        model, select = pipeline.model, self.seedselect
        # Seeds of all classes share the batches, which are then full even where a class has few.
        condition = pipeline.condition(list(chain.from_iterable(texts)))
        target = Prototype.cat([self._target(pipeline, select, start.loaded) for start in starts])
        seeds = torch.cat([start.search.seeds for start in starts])
        searches = []
        for rows in pipeline.batches(len(seeds)):
            denoiser = model.denoiser(pipeline.settings.steps)
            searches.append(select(model, denoiser, seeds[rows], condition[rows], target[rows]))
        search = SeedSearch.cat(searches)
        return [search[rows] for rows in rows_of([len(images) for images in texts])]

    def _target(
        self, pipeline: SeedPipeline, select: SeedSelect, loaded: GroupImages
    ) -> Prototype:
        """Return the target of each image of a class."""
        references = self._references(pipeline, loaded)
        batches = pipeline.batches(*references.shape[:2])
        return Prototype.cat([select.target(pipeline.model, references[rows]) for rows in batches])


def _sheet(references: Tensor, images: Tensor) -> Image.Image:
    """Return a row for each image (B, 3, H, W): its references (B, K, 3, H, W), then itself."""
    rows = torch.cat([references, images.unsqueeze(1)], 1)
    titles = [*(f"reference {k + 1}" for k in range(references.shape[1])), "generated"]
    labels = [f"image {k + 1}" for k in range(len(images))]
    return grid([[Tile(to_pil(image)) for image in row] for row in rows], titles, labels)


def _curves(name: str, search: SeedSearch) -> dict[str, Sequence[float]]:
    """Return the losses of each seed's search by name."""
    return {f"{name}_{k}": losses for k, losses in enumerate(search.losses)}
