"""The way from groups of images to their seeds, and from seeds to images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from hashlib import sha256
from itertools import accumulate, chain, pairwise
from typing import Literal

import torch
from torch import Tensor

from fpinv.batch import combine
from fpinv.datasets.example import Example
from fpinv.datasets.groups import Group
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment
from fpinv.models.model import Model
from fpinv.sampling import DDIMSampling, sample
from fpinv.tasks.columns import over_steps
from fpinv.tasks.finite import diverged, solved
from fpinv.tasks.inverting import adjust, invert
from fpinv.tasks.loading import open_pixels
from fpinv.tasks.saved_inversions import saved_inversion
from fpinv.tasks.stages import each, require_encodable
from fpinv.tasks.task import Settings
from fpinv.tasks.timing import Stopwatch, warm_up

Prompting = Literal["class", "own"]
"""``class``: the prompts of the class for all images. ``own``: each image is inverted under its
own caption, and the seeds of a set are sampled under that of its first image."""

PROMPTS = 256
"""Prompts whose conditions are held in memory."""

Texts = tuple[str, ...]
"""Prompts that ask for one image together, by the mean of their token states."""


@dataclass(frozen=True)
class GroupImages:
    """A group with its images, (B, 3, H, W) in [-1, 1].

    Arguments:
        group: The group.
        members: The images that the task works on.
        real: The images that its results are compared with.
    """

    group: Group
    members: Tensor
    real: Tensor


@dataclass(frozen=True)
class GroupSeeds:
    """The seeds of a group's B members.

    Arguments:
        loaded: The group with its images.
        noise: The latents z_N (B, C, h, w).
        inversion: The inversion that they come from; None where they come from none.
        seconds: Time of the inversion of an image; None where it was saved.
    """

    loaded: GroupImages
    noise: Tensor
    inversion: Inversion | None = None
    seconds: float | None = 0.0

    @property
    def costs(self) -> dict[str, float | None]:
        """The metrics of the inversion: means over the images."""
        if self.inversion is None:
            return {"residual": None, "nfe_calls": 0.0, "seconds_invert": 0.0}
        residual = over_steps(self.inversion.residual)
        return {
            "residual": None if residual is None else residual.mean().item(),
            "nfe_calls": self.inversion.calls.double().mean().item(),
            "seconds_invert": self.seconds,
        }


@dataclass(frozen=True)
class SeedPipeline:
    """Inversion and sampling of groups, ``settings.batch_size`` images at a time.

    Arguments:
        model: The model.
        inverter: The inverter, one whose z_N is all that the plain sampler needs.
        adjustment: Change of the encodings before the inversion.
        prompting: The prompts of images and seeds (:data:`Prompting`).
        settings: The run's numbers.

    Raises:
        UserError: the pictures are not cropped to one size.
    """

    model: Model
    inverter: Inverter
    adjustment: Adjustment
    prompting: Prompting
    settings: Settings

    def __post_init__(self) -> None:
        if self.settings.crop == "none":
            raise UserError(
                "crop=none makes latents of several sizes, between which there is no path and no "
                "mean: use crop=center"
            )

    def room(self, images: int) -> int:
        """Return how many groups of so many images each make a batch: at least one."""
        return max(1, self.settings.batch_size // images)

    def batches(self, count: int, images: int = 1) -> Iterator[slice]:
        """Yield the consecutive batches of ``count`` groups of so many images each, as rows."""
        size = self.room(images)
        return (slice(k, k + size) for k in range(0, count, size))

    def load(self, group: Group) -> GroupImages:
        """Return a group with its images.

        Raises:
            UserError: one of them cannot be read, or its prompt cannot be encoded.
        """
        for member in group.members:
            for text in self.texts(group, [member]):
                require_encodable(text)
        members = self._pixels(group.members)
        real = self._pixels(group.further) if group.further else members
        return GroupImages(group, members, real)

    def _pixels(self, examples: Sequence[Example]) -> Tensor:
        frame = Frame(self.model.image_size, self.settings.crop)
        images = [open_pixels(example, frame) for example in examples]
        return torch.stack(images).to(self.model.device)

    def texts(self, group: Group, members: Sequence[Example]) -> Texts:
        """Return the prompts of seeds that come from these members."""
        return group.category.prompts if self.prompting == "class" else (members[0].prompt,)

    def condition(self, texts: Sequence[Texts]) -> Condition:
        """Return the condition of samples at the run's guidance.

        Several prompts of a sample are averaged in their token states.
        """
        return Condition.cat([self._mean(prompts) for prompts in texts])

    @cached_property
    def _mean(self) -> Callable[[Texts], Condition]:
        """The condition of one sample, by its prompts; captions do not all stay in memory."""
        return lru_cache(PROMPTS)(self._averaged)

    def _averaged(self, prompts: Texts) -> Condition:
        """Return the condition of one sample, of the mean of its prompts' token states."""
        condition = self.model.condition(list(prompts), self.settings.guidance)
        return combine([condition], lambda x, axis: x[0].mean(axis, True))

    def seeds(
        self, loaded: Sequence[GroupImages], folder: str | None
    ) -> Iterable[GroupSeeds | UserError]:
        """Return the seeds of each group's members, inverted or from the folder of another run."""
        return (
            self.invert(loaded) if folder is None else each(partial(self._saved, folder))(loaded)
        )

    def invert(self, loaded: Sequence[GroupImages]) -> list[GroupSeeds | UserError]:
        """Return the seeds of each group's members, inverted together, or the error of one."""
        members = [(item.group, member) for item in loaded for member in item.group.members]
        images = torch.cat([item.members for item in loaded])
        texts = [self.texts(group, [member]) for group, member in members]
        inversion, seconds = self._invert(images, [member.id for _, member in members], texts)
        rows = rows_of([len(item.members) for item in loaded])
        return [
            self._of(item, inversion[part], seconds)
            for item, part in zip(loaded, rows, strict=True)
        ]

    def _of(
        self, loaded: GroupImages, inversion: Inversion, seconds: float | None
    ) -> GroupSeeds | UserError:
        if not all(solved(inversion)):
            return diverged(self.model)
        return GroupSeeds(loaded, inversion.noise, inversion, seconds)

    def name(self, group: Group) -> str:
        """Return a name for a group's inversion, with a digest of its images and prompts."""
        images = [(member.id, self.texts(group, [member])) for member in group.members]
        return f"{group.id}-{sha256(json.dumps(images).encode()).hexdigest()[:8]}"

    def _saved(self, folder: str, loaded: GroupImages) -> GroupSeeds | UserError:
        """Return the seeds of a group that another run saved.

        Raises:
            UserError: there are none, or they do not fit.
        """
        name, made_of = self.name(loaded.group), (loaded.members, loaded.group.members)
        components = self.inverter, self.adjustment
        inversion = saved_inversion(folder, name, self.model, *made_of, self.settings, *components)
        return self._of(loaded, inversion, seconds=None)

    def _invert(
        self, images: Tensor, ids: Sequence[str], texts: Sequence[Texts]
    ) -> tuple[Inversion, float]:
        """Return the inversion of images, and the time an image."""
        model, settings = self.model, self.settings
        condition, watch = self.condition(texts), Stopwatch(model)
        inversions = []
        for rows in self.batches(len(images)):
            denoiser, batch = model.denoiser(settings.steps), (condition[rows], ids[rows])
            z0 = model.encode(images[rows])
            warm_up(model, z0, batch[0], settings.steps)
            with watch.running():
                adjusted = adjust(self.adjustment, denoiser, z0, *batch, settings)
                inversions.append(invert(self.inverter, denoiser, adjusted, *batch, settings))
        return Inversion.cat(inversions), watch.seconds / len(images)

    @torch.no_grad()
    def sample(
        self, seeds: Sequence[Tensor], texts: Sequence[Sequence[Texts]]
    ) -> list[Tensor | UserError]:
        """Return the images (B, 3, H, W) in [-1, 1] of sets of seeds (B, C, h, w).

        All sets are sampled together; a set with an image that is not finite becomes an error.
        """
        noise, images = torch.cat(list(seeds)), []
        condition = self.condition(list(chain.from_iterable(texts)))
        for rows in self.batches(len(noise)):
            denoiser = self.model.denoiser(self.settings.steps)
            images.append(self.model.decode(sample(denoiser, noise[rows], condition[rows])))
        sets = torch.cat(images).split([len(noise) for noise in seeds])
        return [images if images.isfinite().all() else diverged(self.model) for images in sets]


def rows_of(lengths: Sequence[int]) -> list[slice]:
    """Return the rows of tensors of these lengths in their concatenation."""
    return [slice(*ends) for ends in pairwise(accumulate(lengths, initial=0))]


def require_seed(inverter: Inverter) -> None:
    """Raise UserError for an inverter whose z_N is not all that its way back needs."""
    if not isinstance(inverter, DDIMSampling):
        raise UserError(
            f"{type(inverter).__name__} needs more than z_N for its way back (a second latent, "
            "noise maps, embeddings), which has no meaning at a seed that is no image's own: use "
            "an inverter whose z_N is all, e.g. inverter=ddim, fpi, aidi or ife"
        )
