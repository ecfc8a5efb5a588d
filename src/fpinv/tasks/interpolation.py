"""The interpolation task: paths between two seeds of a class, and centroids of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import ClassVar, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.groups import Groups
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inverter
from fpinv.models.model import Model
from fpinv.reporting.grid import Tile, grid
from fpinv.seeds.centroids import Centroid, Mean, NAOCentroid
from fpinv.seeds.optimisation import SeedSearch
from fpinv.seeds.paths import Linear, NAOPath, Path
from fpinv.tasks.class_judge import ACCURACIES, JudgedTask, mean
from fpinv.tasks.record import Record
from fpinv.tasks.seed_pipeline import GroupSeeds, SeedPipeline
from fpinv.tasks.stages import each, run_stages
from fpinv.tasks.task import Settings, option, whole_number
from fpinv.tasks.timing import Stopwatch

Mode = Literal["path", "centroid"]


@dataclass(frozen=True)
class _Interpolant:
    """The path between the seeds of a group's members, or their centroid as its only point.

    Arguments:
        ends: The seeds of the members.
        seeds: The points (P, C, h, w).
        losses: The losses of the search by name, where there was one.
        converged: Whether the loss no longer fell at the end of the search; None without one.
        seconds: Time of the search.
    """

    ends: GroupSeeds
    seeds: Tensor
    losses: Mapping[str, Sequence[float]]
    converged: bool | None
    seconds: float


@dataclass(frozen=True)
class Interpolation(JudgedTask):
    """The interpolation task: invert images of a class, and sample between or amid their seeds.

    As many groups as the batch size says are inverted, searched and sampled together.

    ``path``: pairs of images; the points between the ends are judged, and the ends shown if
    ``ends`` says so.
    ``centroid``: sets of ``size`` images, one result each.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.3
        | https://arxiv.org/abs/2312.12540v1
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    It also has the arguments of :class:`~fpinv.tasks.class_judge.JudgedTask`.

    Arguments:
        mode: ``path`` or ``centroid``.
        path: The path between two seeds.
        centroid: The centroid of a set of seeds.
        points: Number of seeds on a path, both ends included.
        ends: Sample the ends of a path, too, for its picture.
        size: Number of images of a centroid's set.

    Raises:
        UserError: an argument is not possible.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *(*ACCURACIES, "accuracy_sources"),
        *("norm_ratio", "search_converged", "residual", "nfe_calls"),
        *("seconds_invert", "seconds_seeds", "seconds_sample"),
    )

    mode: Mode = "path"
    path: Path = field(default_factory=NAOPath)
    centroid: Centroid = field(default_factory=NAOCentroid)
    points: int = 7
    ends: bool = True
    size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        option("task.mode", self.mode, get_args(Mode))
        whole_number("task.points", self.points, at_least=3)
        whole_number("task.size", self.size, at_least=1)
        paths = self.mode == "path"
        straight = isinstance(self.path, Linear) if paths else isinstance(self.centroid, Mean)
        if self.seeds == "crossfade" and not straight:
            raise UserError(
                "task.seeds=crossfade is a mean of pixels, with none of their norms: use "
                "task/path=linear task/centroid=mean"
            )

    @property
    def members(self) -> int:
        """The number of an example's images: two ends of a path, or a set."""
        return 2 if self.mode == "path" else self.size

    @property
    def _between(self) -> slice:
        """The seeds whose images are judged: all but the ends of a path."""
        return slice(1, -1) if self.mode == "path" else slice(None)

    def group(self, dataset: Dataset, seed: int) -> Dataset:
        """Return pairs or sets of images of one class, the classes taking turns."""
        return Groups(dataset, self.members, self.real, seed)

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record a pair or set, in order; that of an unreadable one holds its error.

        Raises:
            UserError: the inverter needs more than z_N for its way back.
        """
        self.check_inverter(inverter)
        pipeline = self.pipeline(model, inverter, settings)
        return run_stages(
            examples,
            settings.batch_size,
            each(pipeline.load),
            partial(self.group_seeds, pipeline),
            partial(self._interpolants, pipeline),
            partial(self._records, pipeline),
        )

    def _interpolants(
        self, pipeline: SeedPipeline, ends: Sequence[GroupSeeds]
    ) -> list[_Interpolant]:
        watch = Stopwatch(pipeline.model)
        with watch.running():
            search = self._seek(torch.stack([group.noise for group in ends]))
        seconds = watch.seconds / len(ends)
        losses = [{"loss": curve} for curve in search.losses] or [{}] * len(ends)
        converged: Sequence[bool | None] = search.stalled or [None] * len(ends)
        columns = zip(ends, search.seeds, losses, converged, strict=True)
        return [_Interpolant(*column, seconds) for column in columns]

    def _seek(self, seeds: Tensor) -> SeedSearch:
        """Return paths (B, P, C, h, w) or centroids (B, 1, C, h, w) of sets (B, K, C, h, w)."""
        if self.mode == "path":
            return self.path(seeds[:, 0], seeds[:, 1], self.points)
        centroids = self.centroid(seeds)
        return replace(centroids, seeds=centroids.seeds.unsqueeze(1))

    def _records(
        self, pipeline: SeedPipeline, interpolants: Sequence[_Interpolant]
    ) -> Iterator[Record | UserError]:
        sampling = slice(None) if self.ends else self._between
        seeds = [interpolant.seeds[sampling] for interpolant in interpolants]
        groups = [interpolant.ends.loaded.group for interpolant in interpolants]
        texts = [[pipeline.texts(group, group.members)] * len(seeds[0]) for group in groups]
        watch = Stopwatch(pipeline.model)
        with watch.running():
            sampled = self.sampled(pipeline, seeds, texts)
        seconds = watch.seconds / sum(map(len, seeds))
        for interpolant, group, images in zip(interpolants, groups, sampled, strict=True):
            if isinstance(images, UserError):
                yield images
            else:
                yield self._record(pipeline.name(group), interpolant, images, seconds)

    def _record(
        self, name: str, interpolant: _Interpolant, images: Tensor, seconds: float
    ) -> Record:
        loaded, seeds = interpolant.ends.loaded, interpolant.seeds
        group, judged = loaded.group, images[self._between] if self.ends else images
        return Record(
            group.id,
            group.prompt,
            {
                **self.accuracy(judged, group.category),
                "accuracy_sources": self.source_accuracy(loaded),
                "norm_ratio": mean(self.norms(seeds[self._between])),
                "search_converged": interpolant.converged,
                **interpolant.ends.costs,
                "seconds_seeds": interpolant.seconds,
                "seconds_sample": seconds,
            },
            {"norm": self.norms(seeds), **interpolant.losses},
            {"strip": self._strip(loaded.members, images)},
            inversion=interpolant.ends.inversion,
            image=name,
            sources=loaded.group.members,
            arrays=self.arrays(judged, loaded.real, group.category),
        )

    def _strip(self, members: Tensor, images: Tensor) -> Image.Image:
        """Return the path between its two originals, or the set and then its centroid."""
        originals = [f"original {k + 1}" for k in range(len(members))]
        if self.mode == "path":
            row = torch.cat([members[:1], images, members[1:]])
            points = range(1, self.points + 1) if self.ends else range(2, self.points)
            titles = [originals[0], *(f"seed {point}" for point in points), originals[1]]
        else:
            row, titles = torch.cat([members, images]), [*originals, "centroid"]
        return grid([[Tile(to_pil(image)) for image in row]], titles)
