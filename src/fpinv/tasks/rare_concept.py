"""Images of classes that the model has hardly met, from seeds found with a few examples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
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
from fpinv.metrics import pixels
from fpinv.models.model import Model
from fpinv.reporting.grid import Tile, grid
from fpinv.seeding import normal
from fpinv.seeds.centroids import Centroid
from fpinv.seeds.optimisation import Found
from fpinv.seeds.seedselect import SeedSelect, Target
from fpinv.tasks.class_judge import ACCURACIES, JudgedTask
from fpinv.tasks.record import Record
from fpinv.tasks.seed_pipeline import Bench, Loaded, Seeds, past_errors, require_seed, rows_of
from fpinv.tasks.task import Settings, whole_number


@dataclass(frozen=True)
class _Start:
    """The seeds of a class's images before they are optimised.

    Arguments:
        loaded: The class.
        found: A seed an image.
        inversion: Of the references, where there was one.
        seconds: Time an image.
    """

    loaded: Loaded
    found: Found
    inversion: Inversion | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class RareConcept(JudgedTask):
    """K references of a class -> invert -> centroid -> optimise the seed -> image.

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
        | https://arxiv.org/abs/2312.12540
        | Generating images of rare concepts using pre-trained diffusion models
        | (Samuel et al., 2024), https://arxiv.org/abs/2304.14530
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments: those of :class:`~fpinv.tasks.class_judge.JudgedTask`, and
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
        return bench.records(examples, bench.room(self.images), self._starts, self._records)

    def _starts(self, bench: Bench, loaded: Sequence[Loaded]) -> list[_Start | UserError]:
        watch = bench.stopwatch()
        with watch.running():
            found = self._initial(bench, loaded)
        seconds = watch.seconds / (len(loaded) * self.images)
        return past_errors(found, lambda starts: (replace(s, seconds=seconds) for s in starts))

    def _initial(self, bench: Bench, loaded: Sequence[Loaded]) -> list[_Start | UserError]:
        """A seed an image of each class, or that an inversion diverged."""
        if self.centroid is None:
            return [_Start(one, self._random(bench, one.group)) for one in loaded]
        centroid, seed = self.centroid, bench.settings.seed

        def centroids(inverted: Sequence[Seeds]) -> Iterator[_Start]:
            for one in inverted:
                sets = self._sets(one.loaded.group, seed)
                yield _Start(one.loaded, centroid(one.noise[sets]), one.inversion)

        return past_errors(bench.seeds(loaded, self.inversions), centroids)

    def _random(self, bench: Bench, group: Group) -> Found:
        ids = [f"{group.id}/{k}" for k in range(self.images)]
        model, seed = bench.model, bench.settings.seed
        return Found(normal(model.latent_shape, seed, ids, "seed", model.device))

    def _sets(self, group: Group, seed: int) -> Tensor:
        """The numbers (images, K) of the members that each image has as references."""
        endless = subsets(len(group.members), self.references, seed, group.id)
        return torch.tensor(list(islice(endless, self.images)))

    def _references(self, bench: Bench, loaded: Loaded) -> Tensor:
        """Those of each image: (images, K, 3, H, W)."""
        return loaded.members[self._sets(loaded.group, bench.settings.seed)]

    def _prompts(self, bench: Bench, group: Group) -> list[str]:
        """What each image is asked for."""
        sets = self._sets(group, bench.settings.seed).tolist()
        return [bench.prompt(group, [group.members[k] for k in chosen]) for chosen in sets]

    def _records(self, bench: Bench, starts: Sequence[_Start]) -> Iterator[Record | UserError]:
        prompts = [self._prompts(bench, start.loaded.group) for start in starts]
        watch = bench.stopwatch()
        with watch.running():
            optimised = self._optimised(bench, starts, prompts)
        seconds = watch.seconds / (len(starts) * self.images)
        sampled = bench.sample([found.seeds for found in optimised], prompts)
        for start, found, images in zip(starts, optimised, sampled, strict=True):
            failed = isinstance(images, UserError)
            yield images if failed else self._record(bench, start, found, images, seconds)

    def _record(
        self, bench: Bench, start: _Start, found: Found, images: Tensor, seconds: float
    ) -> Record:
        group, references = start.loaded.group, self._references(bench, start.loaded)
        return Record(
            group.id,
            group.prompt,
            {
                **self.judge.accuracy(images, group.category),
                "seconds_init": start.seconds,
                "seconds_opt": seconds,
                "norm_ratio": pixels.norm_ratio(found.seeds).mean().item(),
                "loss_start": _mean([losses[0] for losses in found.losses]),
                "loss_end": _mean([min(losses) for losses in found.losses]),
            },
            {**_curves("centroid", start.found), **_curves("seedselect", found)},
            {"sheet": _sheet(references, images)},
            inversion=start.inversion,
            image=bench.name(group),
            arrays=self.judge.arrays(images, start.loaded.real, group.category),
        )

    def _optimised(
        self, bench: Bench, starts: Sequence[_Start], prompts: Sequence[Sequence[str]]
    ) -> list[Found]:
        """The seeds of each class after SeedSelect, those of all classes together."""
        if self.seedselect is None:
            return [Found(start.found.seeds) for start in starts]
        model, select = bench.model, self.seedselect
        condition = bench.condition(list(chain.from_iterable(prompts)))
        target = Target.cat([self._target(bench, select, start.loaded) for start in starts])
        seeds = torch.cat([start.found.seeds for start in starts])
        parts = []
        for rows in bench.batches(len(seeds)):
            denoiser = model.denoiser(bench.settings.steps)
            parts.append(select(model, denoiser, seeds[rows], condition[rows], target[rows]))
        found = Found.cat(parts)
        return [found[rows] for rows in rows_of([len(one) for one in prompts])]

    def _target(self, bench: Bench, select: SeedSelect, loaded: Loaded) -> Target:
        """What the images of a class should be like."""
        references = self._references(bench, loaded)
        parts = bench.batches(*references.shape[:2])
        return Target.cat([select.target(bench.model, references[rows]) for rows in parts])


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _sheet(references: Tensor, images: Tensor) -> Image.Image:
    """Return a row for each image (B, 3, H, W): its references (B, K, 3, H, W), then itself."""
    rows = torch.cat([references, images.unsqueeze(1)], 1)
    titles = [*(f"reference {k + 1}" for k in range(references.shape[1])), "generated"]
    labels = [f"image {k + 1}" for k in range(len(images))]
    return grid([[Tile(to_pil(image)) for image in row] for row in rows], titles, labels)


def _curves(name: str, found: Found) -> dict[str, Sequence[float]]:
    """The losses of each seed's search."""
    return {f"{name}_{k}": losses for k, losses in enumerate(found.losses)}
