"""What tasks on seeds share: loading groups, inverting, sampling, and the time it takes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate, pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from fpinv.adjustment import Adjustment
from fpinv.datasets.example import Example
from fpinv.datasets.groups import Group
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.inversion import DDIMSampling, Inversion, Inverter, sample
from fpinv.models.model import Model
from fpinv.seeding import normal
from fpinv.tasks.batching import Stopwatch, open_pixels, over_steps, saved_inversion, warm_up
from fpinv.tasks.task import Settings

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
        inversion: Of the images.
        seconds: Time an image.
    """

    inversion: Inversion
    seconds: float

    @property
    def noise(self) -> Tensor:
        """The latents z_N (B, C, h, w)."""
        return self.inversion.noise

    def __getitem__(self, rows: slice) -> Seeds:
        """The seeds of some images."""
        return Seeds(self.inversion[rows], self.seconds)

    @property
    def finite(self) -> bool:
        """Whether no inversion diverged."""
        return bool(self.noise.isfinite().all())

    @property
    def costs(self) -> dict[str, float | None]:
        """Metrics: means over the images; no residual where no equation was solved."""
        residual = over_steps(self.inversion.residual)
        return {
            "residual": None if residual is None else residual.mean().item(),
            "nfe_calls": self.inversion.calls.double().mean().item(),
            "seconds_invert": self.seconds,
        }


@dataclass(frozen=True)
class Bench:
    """A model and an inverter at work on seeds, ``settings.batch_size`` images at a time.

    Arguments:
        model: The model.
        inverter: The inverter, one whose z_N is all that the plain sampler needs.
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
        return Stopwatch(self.model)

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
        images = [open_pixels(example, self.model) for example in examples]
        return torch.stack(images).to(self.model.device)

    def prompt(self, group: Group, members: Sequence[Example]) -> str:
        """What is asked for where something of these members is sampled."""
        return group.category.prompt if self.prompting == "class" else members[0].prompt

    def condition(self, prompts: Sequence[str]) -> Condition:
        """The condition of prompts at the run's guidance."""
        return self.model.condition(list(prompts), self.settings.guidance)

    def invert(self, loaded: Sequence[Loaded]) -> list[Seeds]:
        """The seeds of each group's members."""
        if not loaded:
            return []
        members = [(one.group, member) for one in loaded for member in one.group.members]
        images = torch.cat([one.members for one in loaded])
        prompts = [self.prompt(group, [member]) for group, member in members]
        found = self._invert(images, [member.id for _, member in members], prompts)
        ends = list(accumulate(len(one.members) for one in loaded))
        return [found[slice(*part)] for part in pairwise([0, *ends])]

    def name(self, group: Group) -> str:
        """The name of what :meth:`invert` makes of a group: of all that it depends on."""
        asked = [(member.id, self.prompt(group, [member])) for member in group.members]
        return f"{group.id}-{sha256(json.dumps(asked).encode()).hexdigest()[:8]}"

    def load_seeds(self, folder: str, group: Group) -> Seeds | UserError:
        """The seeds of a group that another run kept, or why they are of no use here."""
        wanted = {
            "model": self.model.name,
            "steps": self.settings.steps,
            "guidance": self.settings.guidance,
        }
        try:
            found = saved_inversion(folder, self.name(group), self.model.device, wanted)
        except UserError as error:
            return error
        return Seeds(found, seconds=0.0)

    def _invert(self, images: Tensor, ids: Sequence[str], prompts: Sequence[str]) -> Seeds:
        model, steps = self.model, self.settings.steps
        condition, watch = self.condition(prompts), self.stopwatch()
        z0 = model.encode(images)
        noise = normal(model.latent_shape, self.settings.seed, ids, "adjustment", model.device)
        found = []
        for rows in self.batches(len(images)):
            denoiser, asked = model.denoiser(steps), condition[rows]
            warm_up(model, z0[rows], asked, steps)
            with watch.running():
                adjusted = self.adjustment(denoiser, z0[rows], asked, noise[rows])
                found.append(self.inverter.invert(denoiser, adjusted, asked))
        return Seeds(Inversion.cat(found), watch.seconds / len(images))

    @torch.no_grad()
    def sample(self, noise: Tensor, prompts: Sequence[str]) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] of seeds (B, C, h, w)."""
        condition, images = self.condition(prompts), []
        for rows in self.batches(len(noise)):
            denoiser = self.model.denoiser(self.settings.steps)
            images.append(self.model.decode(sample(denoiser, noise[rows], condition[rows])))
        return torch.cat(images)


def require_seed(inverter: Inverter) -> None:
    """Raises UserError for an inverter whose z_N is not all that its way back needs."""
    if not isinstance(inverter, DDIMSampling):
        raise UserError(
            f"{type(inverter).__name__} needs more than z_N for its way back (a second latent, "
            "noise maps, embeddings), which has no meaning at a seed that is no image's own: use "
            "an inverter whose z_N is all, e.g. inverter=ddim, fpi, aidi or ife"
        )


def require_prompting(prompting: str) -> None:
    """Raises UserError for an unknown way of prompting."""
    if prompting not in get_args(Prompting):
        raise UserError(f"task.prompting={prompting} is unknown: choose class or own")
