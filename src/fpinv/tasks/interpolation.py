"""Paths between the seeds of two images of a class, and centroids of several."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import ClassVar, Literal, get_args

import torch
from PIL import Image
from torch import Tensor

from fpinv import metrics
from fpinv.datasets.example import Dataset, Example
from fpinv.datasets.groups import Groups
from fpinv.errors import UserError
from fpinv.images import sheet
from fpinv.inversion import Inverter
from fpinv.models.model import Model
from fpinv.records import Record
from fpinv.seeds.centroids import Centroid, NAOCentroid
from fpinv.seeds.paths import NAOPath, Path
from fpinv.tasks.batching import diverged, require_inversions
from fpinv.tasks.bench import Bench, Loaded, Seeds, require_seed
from fpinv.tasks.judging import ACCURACIES, JudgedTask
from fpinv.tasks.task import Settings, whole_number

Mode = Literal["path", "centroid"]


@dataclass(frozen=True)
class Interpolation(JudgedTask):
    """Invert images of one class, go from seed to seed or to their centroid, and sample there.

    ``path``: pairs of images; the points between the ends are judged, the ends are only shown.
    ``centroid``: sets of ``size`` images, one result each.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023), 4.3
        | https://arxiv.org/abs/2312.12540
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments: those of :class:`~fpinv.tasks.judging.JudgedTask`, and
        mode: ``path`` or ``centroid``.
        path: The way between two seeds.
        centroid: The centroid of a set of seeds.
        points: Seeds on a path, both ends included.
        size: Images of a centroid's set.
        inversions: Folder of a finished run whose saved inversions are taken; None to invert.

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
    inversions: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in get_args(Mode):
            raise UserError(f"task.mode={self.mode} is unknown: choose path or centroid")
        whole_number("task.points", self.points, at_least=3)
        whole_number("task.size", self.size, at_least=1)
        require_inversions(self.inversions)

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
        groups = iter(examples)
        while batch := list(islice(groups, settings.batch_size)):
            loaded = [bench.load(group) for group in batch]
            seeds = self._seeds(bench, [one for one in loaded if isinstance(one, Loaded)])
            for group, one in zip(batch, loaded, strict=True):
                found = next(seeds) if isinstance(one, Loaded) else one
                if isinstance(one, Loaded) and isinstance(found, Seeds):
                    yield self._record(bench, one, found)
                else:
                    yield Record(group.id, group.prompt, error=str(found))

    def _seeds(self, bench: Bench, loaded: Sequence[Loaded]) -> Iterator[Seeds | UserError]:
        """The seeds of each group's members, inverted together or taken from a folder."""
        if self.inversions is None:
            yield from bench.invert(loaded)
        else:
            for one in loaded:
                yield bench.load_seeds(self.inversions, one.group)

    def _record(self, bench: Bench, loaded: Loaded, inverted: Seeds) -> Record:
        group = loaded.group
        failed = Record(group.id, group.prompt, error=diverged(bench.model))
        if not inverted.finite:
            return failed
        seeking, sampling = bench.stopwatch(), bench.stopwatch()
        with seeking.running():
            seeds, losses = self._seek(inverted.noise)
        with sampling.running():
            prompt = bench.prompt(group, group.members)
            images = bench.sample(seeds, [prompt] * len(seeds))
        if not images.isfinite().all():
            return failed
        inner = slice(1, -1) if self.mode == "path" else slice(None)
        return Record(
            group.id,
            group.prompt,
            {
                **self.judge.accuracy(images[inner], group.category),
                "norm_ratio": metrics.norm_ratio(seeds[inner]).mean().item(),
                **inverted.costs,
                "seconds_seeds": seeking.seconds,
                "seconds_sample": sampling.seconds / len(images),
            },
            {"norm": metrics.norm_ratio(seeds).tolist(), **losses},
            {"strip": self._strip(loaded.members, images)},
            inversion=inverted.inversion,
            image=bench.name(group),
            arrays=self.judge.arrays(images[inner], loaded.real, group.category),
        )

    def _seek(self, seeds: Tensor) -> tuple[Tensor, dict[str, Sequence[float]]]:
        """The path (points, C, h, w) between two seeds, or the centroid (1, C, h, w) of many.

        With the losses of the search, where there was one.
        """
        if self.mode == "path":
            found = self.path(seeds[:1], seeds[1:], self.points)
        else:
            found = self.centroid(seeds.unsqueeze(0))
        path = found.seeds.view(-1, *seeds.shape[1:])
        return path, {"loss": found.losses[0]} if found.losses else {}

    def _strip(self, members: Tensor, images: Tensor) -> Image.Image:
        """The path between its two originals, or the set and then its centroid."""
        if self.mode == "path":
            return sheet(torch.cat([members[:1], images, members[1:]]))
        return sheet(torch.cat([members, images]))
