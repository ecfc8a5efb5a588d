"""The protocols of a task, and the numbers that every task needs."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from fpinv.errors import UserError
from fpinv.images.viewing import CROPS, Crop

if TYPE_CHECKING:
    from torch import Tensor

    from fpinv.datasets.example import Dataset, Example
    from fpinv.inversion import Inverter
    from fpinv.models.model import Model
    from fpinv.tasks.record import Record


@dataclass(frozen=True)
class Settings:
    """The numbers of a run.

    Arguments:
        steps: Number N of steps of the sampling grid.
        guidance: Guidance scale w of sampling.
        seed: Seed of everything random.
        batch_size: Number of examples that go through the network together.
        crop: The part of a picture that the model sees; see :class:`~fpinv.images.Frame`.
        noised_steps: First steps of an inversion that random noise replaces; see
            :func:`~fpinv.inverters.noised.invert_noised`.
    """

    steps: int
    guidance: float
    seed: int
    batch_size: int
    crop: Crop = "center"
    noised_steps: int = 0

    def __post_init__(self) -> None:
        whole_number("steps", self.steps, at_least=1)
        whole_number("seed", self.seed, at_least=0)
        whole_number("batch_size", self.batch_size, at_least=1)
        whole_number("noised_steps", self.noised_steps, at_least=0)
        option("crop", self.crop, CROPS)
        number = isinstance(self.guidance, (int, float)) and not isinstance(self.guidance, bool)
        if not number or not abs(self.guidance) <= sys.float_info.max:
            raise UserError(
                f"guidance={self.guidance} is not possible: give a finite number, e.g. guidance=1"
            )


def check_guidance(key: str, value: Any, negative: bool) -> None:  # noqa: ANN401
    """Check that a guidance, if it is a number, is finite and, unless ``negative``, not below 0.

    Raises:
        UserError: it is not so; the message names the key, and the one that allows it.
    """
    if not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise UserError(f"{key}={value} is not possible: give a finite number")
    if value < 0 and not negative:
        raise UserError(
            f"{key}={value} leads away from the prompt: give 0 or more, or allow it with "
            "negative_guidance=true"
        )


def weakness(guidance: float) -> str | None:
    """Return the line about a guidance from 0 to below 1, which other libraries read as 1."""
    if not 0 <= guidance < 1:
        return None
    return (
        f"guidance={guidance} gives the null prompt a weight of {1 - guidance:g}: what diffusers "
        "calls a guidance_scale of 1 or less is guidance=1 here"
    )


LARGEST = 2**63 - 1  # of a whole number that torch takes

COSTS = ("nfe_calls", "nfe_rows", "nfe_equivalents", "seconds_per_image", "stored_numbers")
"""Metrics that say what an inversion costs, with its way back."""


class Task(Protocol):
    """A function of a model, an inverter and examples that yields records.

    Attributes:
        metrics: Names of metrics that a summary has even where no example was measured.
    """

    metrics: ClassVar[Sequence[str]]

    def __call__(
        self, model: Model, inverter: Inverter, examples: Iterable[Example], settings: Settings
    ) -> Iterator[Record]:
        """Yield one record an example, in order; that of a failed example holds its error."""
        ...


@runtime_checkable
class Grouping(Protocol):
    """A task whose examples are made of several of the data set's: pairs, sets, classes."""

    def group(self, dataset: Dataset, seed: int) -> Dataset:
        """Return a data set of the task's examples.

        Raises:
            UserError: the data set cannot be grouped so.
        """
        ...


@runtime_checkable
class Choosy(Protocol):
    """A task that does not work with every inverter."""

    def check_inverter(self, inverter: Inverter) -> None:
        """Check an inverter, before anything is loaded.

        Raises:
            UserError: the task does not work with it.
        """
        ...


@runtime_checkable
class Pooling(Protocol):
    """A task with measures over all its examples together, such as the FID."""

    def pool(self, arrays: Sequence[Mapping[str, Tensor]]) -> dict[str, Any]:
        """Return entries of the summary, from the arrays of the records."""
        ...


def option(key: str, value: str, options: Sequence[str]) -> None:
    """Check that a value is one of some options.

    Raises:
        UserError: it is not; the message names the key and the options.
    """
    if value not in options:
        raise UserError(f"{key}={value} is unknown: choose {' or '.join(options)}")


def whole_number(key: str, value: Any, at_least: int) -> None:  # noqa: ANN401
    """Check that a value is a whole number of at least ``at_least``.

    Raises:
        UserError: it is not; the message names the key and the remedy.
    """
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not at_least <= value <= LARGEST:
        below = " and below 2^63" if whole and value > LARGEST else ""
        raise UserError(
            f"{key}={value} is not possible: give a whole number of at least {at_least}{below}, "
            f"e.g. {key}={max(at_least, 1)}"
        )
