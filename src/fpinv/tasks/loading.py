"""What tasks share: batches of examples, their pixels, the clock, columns of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby, islice
from pathlib import Path

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import square
from fpinv.inversion import Inversion
from fpinv.models.model import Model
from fpinv.tasks.record import inversion_file

Column = Tensor | Sequence[float | None] | float | None
"""The values of a metric, one an example, or the one that all share."""


def diverged(model: Model) -> str:
    """What a record says of an image whose noise, or what is sampled from it, is not finite."""
    largest = torch.finfo(model.dtype).max
    remedy = "; fp16 ends at 65504: try precision=bf16 or fp32" if largest < 1e5 else ""
    return f"the inversion diverged: its noise or what it samples is not finite{remedy}"


def batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    """Consecutive groups of at most ``size`` examples, all with an image or all without."""
    for _, kind in groupby(examples, key=lambda example: example.image is None):
        while group := list(islice(kind, size)):
            yield group


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Says of whatever goes wrong in its block that the image of this name cannot be read.

    Decoders fail in many ways on damaged files; none of them may cost the other images.

    Raises:
        UserError: whatever the decoder said.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: cannot be read as an image ({error})") from error


def open_pixels(example: Example, model: Model) -> Tensor:
    """The pixels (3, H, W) of an image in [-1, 1], at the model's size.

    Raises:
        UserError: there is no image, or it cannot be read.
    """
    with decoding(example.id):
        return square(example.open(), model.image_size)


def load_pixels(example: Example, model: Model) -> Tensor | UserError | None:
    """The pixels, None for an image yet to be generated, or why there are none."""
    if example.image is None and example.seed is None:
        return UserError(f"{example.id}: has neither an image nor a seed")
    try:
        return None if example.image is None else open_pixels(example, model)
    except UserError as error:
        return error


def saved_inversion(
    folder: str, name: str, device: torch.device, wanted: Mapping[str, object]
) -> Inversion:
    """The inversion that another run kept under a name.

    Arguments:
        folder: That run's.
        name: Of the image, or of the set of images.
        device: Where to put it.
        wanted: What it must have been made with.

    Raises:
        UserError: there is none, or it was made with something else.
    """
    file = inversion_file(Path(folder), name)
    inversion, about = Inversion.load(file, device)
    for key, value in wanted.items():
        if about.get(key) != value:
            raise UserError(f"{file} was made with {key} {about.get(key)!r}, not {value!r}")
    return inversion


def require_inversions(folder: str | None) -> None:
    """Raises UserError for the folder of a run that kept none."""
    if folder is not None and not Path(folder, "inversions").is_dir():
        raise UserError(
            f"task.inversions={folder} holds no inversions: name the folder of a run that was "
            "made with inversions=true"
        )


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
