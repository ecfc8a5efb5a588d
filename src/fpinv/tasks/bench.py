"""What tasks on seeds share: loading groups, inverting, sampling, and the time it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fpinv.adjustment import Adjustment
from fpinv.datasets.example import Example
from fpinv.datasets.groups import Group
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.inversion import Inversion, Inverter, sample
from fpinv.models.model import Model
from fpinv.seeding import normal
from fpinv.tasks.task import Settings

DIVERGED = "the inversion of an image diverged: its noise is not finite"

Prompting = Literal["class", "own"]
"""``class``: everything under the prompt of the class. ``own``: each image is inverted under its
own caption, and what becomes of a set is sampled under that of its first image."""


@dataclass(frozen=True)
class Loaded:
    """A group with its pixels, (B, 3, H, W) in [-1, 1].

    Arguments:
        group: The group.
        members: The images that the task works on.
        real: Those that its results are compared with.
    """

    group: Group
    members: Tensor
    real: Tensor


@dataclass(frozen=True)
class Seeds:
    """The seeds of B images, and what finding them cost.

    Arguments:
        noise: The latents z_N (B, C, h, w).
        calls: Network calls an image, shape (B,).
        residual: Mean residual of an image's equations, shape (B,); NaN where none was solved.
        seconds: Time an image.
    """

    noise: Tensor
    calls: Tensor
    residual: Tensor
    seconds: float

    def __getitem__(self, rows: slice) -> Seeds:
        """The seeds of some images."""
        return Seeds(self.noise[rows], self.calls[rows], self.residual[rows], self.seconds)

    @property
    def mean_residual(self) -> float | None:
        """Over the images; None where no equation was solved."""
        return None if self.residual.isnan().all() else self.residual.mean().item()

    @property
    def finite(self) -> bool:
        """Whether no inversion diverged."""
        return bool(self.noise.isfinite().all())


@dataclass
class Stopwatch:
    """Seconds that were spent inside its blocks, the device's queue done."""

    device: torch.device
    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Adds the time of a block."""
        began = self._now()
        yield
        self.seconds += self._now() - began

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


@dataclass(frozen=True)
class Bench:
    """A model and an inverter at work on seeds, ``settings.batch_size`` images at a time.

    Arguments:
        model: The model.
        inverter: The inverter, one whose whole result is z_N.
        adjustment: What is done to the encodings before the inversion.
        prompting: See :data:`Prompting`.
        settings: The run's numbers.
    """

    model: Model
    inverter: Inverter
    adjustment: Adjustment
    prompting: Prompting
    settings: Settings

    def stopwatch(self) -> Stopwatch:
        """A stopwatch at zero."""
        return Stopwatch(self.model.device)

    def batches(self, count: int) -> Iterator[slice]:
        """Consecutive rows of ``count`` images."""
        size = self.settings.batch_size
        return (slice(k, k + size) for k in range(0, count, size))

    def load(self, group: Group) -> Loaded | UserError:
        """The pixels of a group, or why an image of it cannot be read."""
        try:
            members = self._pixels(group.members)
            real = self._pixels(group.others) if group.others else members
        except UserError as error:
            return error
        return Loaded(group, members, real)

    def _pixels(self, examples: Sequence[Example]) -> Tensor:
        images = [_read(example, self.model.image_size) for example in examples]
        return torch.stack(images).to(self.model.device)

    def prompt(self, group: Group, members: Sequence[Example]) -> str:
        """What is asked for where something of these members is sampled."""
        return group.category.prompt if self.prompting == "class" else members[0].prompt

    def condition(self, prompts: Sequence[str]) -> Condition:
        """The condition of prompts at the run's guidance."""
        return self.model.condition(list(prompts), self.settings.guidance)

    def invert(self, loaded: Sequence[Loaded]) -> list[Seeds]:
        """The seeds of each group's members.

        Raises:
            UserError: the inverter's result is more than a seed.
        """
        if not loaded:
            return []
        members = [(one.group, member) for one in loaded for member in one.group.members]
        images = torch.cat([one.members for one in loaded])
        prompts = [self.prompt(group, [member]) for group, member in members]
        seeds = self._invert(images, [member.id for _, member in members], prompts)
        ends = torch.tensor([len(one.members) for one in loaded]).cumsum(0).tolist()
        return [seeds[slice(a, b)] for a, b in zip([0, *ends], ends, strict=False)]

    def _invert(self, images: Tensor, ids: Sequence[str], prompts: Sequence[str]) -> Seeds:
        model, condition, watch = self.model, self.condition(prompts), self.stopwatch()
        z0 = model.encode(images)
        noise = normal(model.latent_shape, self.settings.seed, ids, "adjustment", model.device)
        found = []
        for rows in self.batches(len(images)):
            denoiser, asked = model.denoiser(self.settings.steps), condition[rows]
            with watch.running():
                adjusted = self.adjustment(denoiser, z0[rows], asked, noise[rows])
                found.append(self.inverter.invert(denoiser, adjusted, asked))
            require_seed(found[-1], self.inverter)
        return Seeds(
            torch.cat([inversion.noise for inversion in found]),
            torch.cat([inversion.calls for inversion in found]),
            torch.cat([_residual(inversion) for inversion in found]),
            watch.seconds / len(images),
        )

    @torch.no_grad()
    def sample(self, noise: Tensor, prompts: Sequence[str]) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] of seeds (B, C, h, w)."""
        condition, images = self.condition(prompts), []
        for rows in self.batches(len(noise)):
            denoiser = self.model.denoiser(self.settings.steps)
            images.append(self.model.decode(sample(denoiser, noise[rows], condition[rows])))
        return torch.cat(images)


def require_seed(inversion: Inversion, inverter: Inverter) -> None:
    """Raises UserError for an inversion whose result is more than z_N."""
    if inversion.state:
        kept = ", ".join(sorted(inversion.state))
        raise UserError(
            f"{type(inverter).__name__} keeps {kept} beside z_N, which has no meaning at a seed "
            "that is not an image's own: use an inverter whose whole result is z_N, e.g. "
            "inverter=ddim, fpi, aidi or ife"
        )


def require_prompting(prompting: str) -> None:
    """Raises UserError for an unknown way of prompting."""
    if prompting not in get_args(Prompting):
        raise UserError(f"task.prompting={prompting} is unknown: choose class or own")


def _read(example: Example, size: int) -> Tensor:
    """Pixels; decoders fail in many ways on damaged files."""
    try:
        return square(example.open(), size)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{example.id}: cannot be read as an image ({error})") from error


def _residual(inversion: Inversion) -> Tensor:
    if inversion.residual is None:
        return torch.full_like(inversion.calls, torch.nan, dtype=torch.float64)
    return inversion.residual.double().mean(0)
