"""What tasks on seeds share: loading groups, inverting, sampling, and the time it takes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import accumulate, chain, islice, pairwise
from typing import Any, Literal, TypeVar, get_args

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.datasets.groups import Group
from fpinv.denoiser import Condition
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment
from fpinv.models.model import Model
from fpinv.sampling import DDIMSampling, sample
from fpinv.seeding import normal
from fpinv.tasks.loading import diverged, open_pixels, over_steps, saved_inversion
from fpinv.tasks.record import Record
from fpinv.tasks.task import Settings
from fpinv.tasks.timing import Stopwatch, warm_up

Prompting = Literal["class", "own"]
"""``class``: everything under the prompt of the class. ``own``: each image is inverted under its
own caption, and what becomes of a set is sampled under that of its first image."""

Result = TypeVar("Result")


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
    """The seeds of a group's B members, and what finding them cost.

    Arguments:
        loaded: The group.
        inversion: Of its members.
        seconds: Time an image.
    """

    loaded: Loaded
    inversion: Inversion
    seconds: float

    @property
    def noise(self) -> Tensor:
        """The latents z_N (B, C, h, w)."""
        return self.inversion.noise

    @property
    def costs(self) -> dict[str, float | None]:
        """Metrics: means over the images; no residual where no equation was solved."""
        residual = over_steps(self.inversion.residual)
        return {
            "residual": None if residual is None else residual.mean().item(),
            "nfe_calls": self.inversion.calls.double().mean().item(),
            "seconds_invert": self.seconds,
        }


def past_errors(
    items: Sequence[Any], work: Callable[[list[Any]], Iterable[Result | UserError]]
) -> list[Result | UserError]:
    """What ``work`` makes of all items but the errors, together; those stay where they are."""
    sound = [item for item in items if not isinstance(item, UserError)]
    made = iter(work(sound) if sound else ())
    return [item if isinstance(item, UserError) else next(made) for item in items]


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

    def room(self, images: int) -> int:
        """How many things of so many images each go together: at least one."""
        return max(1, self.settings.batch_size // images)

    def batches(self, count: int, images: int = 1) -> Iterator[slice]:
        """Consecutive rows of ``count`` things of so many images each."""
        size = self.room(images)
        return (slice(k, k + size) for k in range(0, count, size))

    def records(
        self,
        groups: Iterable[Group],
        size: int,
        *stages: Callable[[Bench, list[Any]], Iterable[Any]],
    ) -> Iterator[Record]:
        """One record a group, in order.

        A group that cannot be read, or of which a stage makes an error, has that in its record and
        is in no further stage; the others do not notice.

        Arguments:
            groups: The groups.
            size: How many of them go together.
            stages: Each takes what that before it made of the groups, at first :class:`Loaded`;
                the last makes records.
        """
        rest = iter(groups)
        while batch := list(islice(rest, size)):
            results: list[Any] = [self.load(group) for group in batch]
            for stage in stages:
                results = past_errors(results, partial(stage, self))
            for group, result in zip(batch, results, strict=True):
                failed = isinstance(result, UserError)
                yield Record(group.id, group.prompt, error=str(result)) if failed else result

    def load(self, group: Group) -> Loaded | UserError:
        """The pixels of a group, or why an image of it cannot be read."""
        try:
            members = self._pixels(group.members)
            real = self._pixels(group.further) if group.further else members
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

    def invert(self, loaded: Sequence[Loaded]) -> list[Seeds | UserError]:
        """The seeds of each group's members, inverted together, or that one diverged."""
        members = [(one.group, member) for one in loaded for member in one.group.members]
        images = torch.cat([one.members for one in loaded])
        prompts = [self.prompt(group, [member]) for group, member in members]
        found, seconds = self._invert(images, [member.id for _, member in members], prompts)
        parts = rows_of([len(one.members) for one in loaded])
        return [
            self._finite(Seeds(one, found[rows], seconds), found.noise[rows])
            for one, rows in zip(loaded, parts, strict=True)
        ]

    def _finite(self, result: Result, values: Tensor) -> Result | UserError:
        return result if values.isfinite().all() else UserError(diverged(self.model))

    def name(self, group: Group) -> str:
        """The name of what :meth:`invert` makes of a group: of all that it depends on."""
        asked = [(member.id, self.prompt(group, [member])) for member in group.members]
        return f"{group.id}-{sha256(json.dumps(asked).encode()).hexdigest()[:8]}"

    def seeds(self, loaded: Sequence[Loaded], folder: str | None) -> list[Seeds | UserError]:
        """The seeds of each group's members, inverted together or taken from a run's folder."""
        if folder is None:
            return self.invert(loaded)
        return [self.load_seeds(folder, one) for one in loaded]

    def load_seeds(self, folder: str, loaded: Loaded) -> Seeds | UserError:
        """The seeds of a group that another run kept, or why they are of no use here."""
        wanted = {
            "model": self.model.name,
            "steps": self.settings.steps,
            "guidance": self.settings.guidance,
        }
        try:
            found = saved_inversion(folder, self.name(loaded.group), self.model.device, wanted)
        except UserError as error:
            return error
        return self._finite(Seeds(loaded, found, seconds=0.0), found.noise)

    def _invert(
        self, images: Tensor, ids: Sequence[str], prompts: Sequence[str]
    ) -> tuple[Inversion, float]:
        """The inversions of images, and the time of one."""
        model, steps = self.model, self.settings.steps
        condition, watch = self.condition(prompts), self.stopwatch()
        noise = normal(model.latent_shape, self.settings.seed, ids, "adjustment", model.device)
        found = []
        for rows in self.batches(len(images)):
            denoiser, asked = model.denoiser(steps), condition[rows]
            z0 = model.encode(images[rows])
            warm_up(model, z0, asked, steps)
            with watch.running():
                adjusted = self.adjustment(denoiser, z0, asked, noise[rows])
                found.append(self.inverter.invert(denoiser, adjusted, asked))
        return Inversion.cat(found), watch.seconds / len(images)

    @torch.no_grad()
    def sample(
        self, seeds: Sequence[Tensor], prompts: Sequence[Sequence[str]]
    ) -> list[Tensor | UserError]:
        """Images (B, 3, H, W) in [-1, 1] of sets of seeds (B, C, h, w), all sampled together.

        For a set of which one is not finite, an error that says so.
        """
        noise, images = torch.cat(list(seeds)), []
        condition = self.condition(list(chain.from_iterable(prompts)))
        for rows in self.batches(len(noise)):
            denoiser = self.model.denoiser(self.settings.steps)
            images.append(self.model.decode(sample(denoiser, noise[rows], condition[rows])))
        parts = torch.cat(images).split([len(one) for one in seeds])
        return [self._finite(part, part) for part in parts]


def rows_of(lengths: Sequence[int]) -> list[slice]:
    """Where each of several parts of these lengths is in their concatenation."""
    return [slice(*ends) for ends in pairwise(accumulate(lengths, initial=0))]


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
