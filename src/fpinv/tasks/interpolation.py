"""Paths between the seeds of two images of a class, and centroids of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.groups import Groups
from fpinv.errors import UserError
from fpinv.images import to_pil
from fpinv.inversion import Inverter
from fpinv.metrics import pixels
from fpinv.models.model import Model
from fpinv.reporting.grid import Tile, grid
from fpinv.seeds.centroids import Centroid, NAOCentroid
from fpinv.seeds.optimisation import Found
from fpinv.seeds.paths import NAOPath, Path
from fpinv.tasks.class_judge import ACCURACIES, JudgedTask
from fpinv.tasks.record import Record
from fpinv.tasks.seed_pipeline import Bench, Loaded, Seeds, require_seed
from fpinv.tasks.task import Settings, whole_number

Mode = Literal["path", "centroid"]


@dataclass(frozen=True)
class _Way:
    """The path between the seeds of a group's members, or their centroid as the only point.

    Arguments:
        ends: The seeds of the members.
        seeds: The points (P, C, h, w).
        losses: Of the search, by name, where there was one.
        seconds: Time of the search.
    """

    ends: Seeds
    seeds: Tensor
    losses: Mapping[str, Sequence[float]]
    seconds: float


@dataclass(frozen=True)
class Interpolation(JudgedTask):
    """Invert images of one class, go from seed to seed or to their centroid, and sample there.

    As many groups as the batch size says are inverted, searched and sampled together.

    ``path``: pairs of images; the points between the ends are judged, the ends are only shown.
    ``centroid``: sets of ``size`` images, one result each.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.3
        | https://arxiv.org/abs/2312.12540
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments: those of :class:`~fpinv.tasks.class_judge.JudgedTask`, and
        mode: ``path`` or ``centroid``.
        path: The way between two seeds.
        centroid: The centroid of a set of seeds.
        points: Seeds on a path, both ends included.
        size: Images of a centroid's set.

    Raises:
        UserError: an argument is not possible.
    """

    metrics: ClassVar[tuple[str, ...]] = (
        *ACCURACIES,
        "norm_ratio",
        "residual",
        "nfe_calls",
        "seconds_invert",
        "seconds_seeds",
        "seconds_sample",
    )

    mode: Mode = "path"
    path: Path = field(default_factory=NAOPath)
    centroid: Centroid = field(default_factory=NAOCentroid)
    points: int = 7
    size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in get_args(Mode):
            raise UserError(f"task.mode={self.mode} is unknown: choose path or centroid")
        whole_number("task.points", self.points, at_least=3)
        whole_number("task.size", self.size, at_least=1)

    @property
    def members(self) -> int:
        """Images of an example: two ends of a path, or a set."""
        return 2 if self.mode == "path" else self.size

    def group(self, dataset: Dataset, seed: int) -> Dataset:
        """Pairs or sets of one class, the classes taking turns."""
        return Groups(dataset, self.members, self.real, seed)

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """One record a pair or set, in order; one with an unreadable image yields its error.

        Raises:
            UserError: the inverter needs more than z_N for its way back.
        """
        require_seed(inverter)
        bench = self.bench(model, inverter, settings)
        stages = (self._inverted, self._ways, self._records)
        return bench.records(examples, settings.batch_size, *stages)

    def _inverted(self, bench: Bench, loaded: Sequence[Loaded]) -> list[Seeds | UserError]:
        return bench.seeds(loaded, self.inversions)

    def _ways(self, bench: Bench, ends: Sequence[Seeds]) -> list[_Way]:
        watch = bench.stopwatch()
        with watch.running():
            found = self._seek(torch.stack([one.noise for one in ends]))
        seconds = watch.seconds / len(ends)
        losses = [{"loss": curve} for curve in found.losses] or [{}] * len(ends)
        return [_Way(*way, seconds) for way in zip(ends, found.seeds, losses, strict=True)]

    def _seek(self, seeds: Tensor) -> Found:
        """Paths (B, points, C, h, w) or centroids (B, 1, C, h, w) of sets (B, K, C, h, w)."""
        if self.mode == "path":
            return self.path(seeds[:, 0], seeds[:, 1], self.points)
        found = self.centroid(seeds)
        return replace(found, seeds=found.seeds.unsqueeze(1))

    def _records(self, bench: Bench, ways: Sequence[_Way]) -> Iterator[Record | UserError]:
        seeds = [way.seeds for way in ways]
        groups = [way.ends.loaded.group for way in ways]
        prompts = [[bench.prompt(one, one.members)] * len(seeds[0]) for one in groups]
        watch = bench.stopwatch()
        with watch.running():
            sampled = bench.sample(seeds, prompts)
        seconds = watch.seconds / sum(map(len, seeds))
        for way, images in zip(ways, sampled, strict=True):
            failed = isinstance(images, UserError)
            yield images if failed else self._record(bench, way, images, seconds)

    def _record(self, bench: Bench, way: _Way, images: Tensor, seconds: float) -> Record:
        loaded = way.ends.loaded
        group = loaded.group
        inner = slice(1, -1) if self.mode == "path" else slice(None)
        return Record(
            group.id,
            group.prompt,
            {
                **self.judge.accuracy(images[inner], group.category),
                "norm_ratio": pixels.norm_ratio(way.seeds[inner]).mean().item(),
                **way.ends.costs,
                "seconds_seeds": way.seconds,
                "seconds_sample": seconds,
            },
            {"norm": pixels.norm_ratio(way.seeds).tolist(), **way.losses},
            {"strip": self._strip(loaded.members, images)},
            inversion=way.ends.inversion,
            image=bench.name(group),
            arrays=self.judge.arrays(images[inner], loaded.real, group.category),
        )

    def _strip(self, members: Tensor, images: Tensor) -> Image.Image:
        """Return the path between its two originals, or the set and then its centroid."""
        originals = [f"original {k + 1}" for k in range(len(members))]
        if self.mode == "path":
            shown = torch.cat([members[:1], images, members[1:]])
            seeds = [f"seed {k + 1}" for k in range(len(images))]
            titles = [originals[0], *seeds, originals[1]]
        else:
            shown, titles = torch.cat([members, images]), [*originals, "centroid"]
        return grid([[Tile(to_pil(image)) for image in shown]], titles)
