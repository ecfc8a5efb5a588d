"""What tasks share: batches of examples, their pixels, the clock, columns of numbers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.models.model import Model

Column = Tensor | Sequence[float | None] | float | None
"""The values of a metric, one an example, or the one that all share."""

DIVERGED = "the inversion diverged: its noise or what it samples is not finite"


def batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    """Consecutive groups of at most ``size`` examples, all with an image or all without."""
    for _, kind in groupby(examples, key=lambda example: example.image is None):
        while group := list(islice(kind, size)):
            yield group


def load_pixels(example: Example, model: Model) -> Tensor | UserError | None:
    """The pixels, None for an image yet to be generated, or why there are none.

    Decoders fail in many ways on damaged files; none of them may cost the other images.
    """
    if example.image is None and example.seed is None:
        return UserError(f"{example.id}: has neither an image nor a seed")
    try:
        return None if example.image is None else square(example.open(), model.image_size)
    except UserError as error:
        return error
    except Exception as error:
        return UserError(f"{example.id}: cannot be read as an image ({error})")


def clock(model: Model) -> float:
    """Seconds now, the device's queue done."""
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    return time.perf_counter()


def over_steps(values: Tensor | None) -> Tensor | None:
    """Means (B,) over the steps of (N, B) values."""
    return None if values is None else values.double().mean(0)


def by_example(columns: Mapping[str, Column], count: int) -> dict[str, list[float | None]]:
    """Each metric's values, brought from the device at once and not image by image."""

    def listed(column: Column) -> list[float | None]:
        if isinstance(column, Tensor):
            return column.double().tolist()
        return list(column) if isinstance(column, Sequence) else [column] * count

    return {name: listed(column) for name, column in columns.items()}
