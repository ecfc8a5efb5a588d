"""The pixels of examples, saved inversions, and columns of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
"""The values of a metric, one an example, or one value for all."""


def diverged(model: Model) -> UserError:
    """Return the error of an image whose noise, or a sample from it, is not finite."""
    largest = torch.finfo(model.dtype).max
    remedy = "; fp16 ends at 65504: try precision=bf16 or fp32" if largest < 1e5 else ""
    return UserError(f"the inversion diverged: its noise or what it samples is not finite{remedy}")


@contextmanager
def decoding(name: str) -> Iterator[None]:
    """Turn any failure of a block into the error that the image ``name`` cannot be read.

    Decoders fail in many ways on damaged files; none of them may cost the other images.

    Raises:
        UserError: the block failed.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{name}: cannot be read as an image ({error})") from error


def open_pixels(example: Example, model: Model) -> Tensor:
    """Return the pixels (3, H, W) of an image in [-1, 1], at the model's size.

    Raises:
        UserError: there is no image, or it cannot be read.
    """
    with decoding(example.id):
        return square(example.open(), model.image_size)


def saved_inversion(
    folder: str, name: str, device: torch.device, requirements: Mapping[str, object]
) -> Inversion:
    """Return an inversion that another run saved.

    Arguments:
        folder: The folder of that run.
        name: The name of the image, or of the set of images.
        device: The device of the tensors.
        requirements: Entries that the file's configuration must have.

    Raises:
        UserError: there is no such file, or its configuration differs.
    """
    file = inversion_file(Path(folder), name)
    inversion, configuration = Inversion.load(file, device)
    for key, value in requirements.items():
        if configuration.get(key) != value:
            raise UserError(
                f"{file} was made with {key} {configuration.get(key)!r}, not {value!r}"
            )
    return inversion


def require_inversions(folder: str | None) -> None:
    """Raise UserError for the folder of a run that saved no inversions."""
    if folder is not None and not Path(folder, "inversions").is_dir():
        raise UserError(
            f"task.inversions={folder} holds no inversions: name the folder of a run that was "
            "made with inversions=true"
        )


def over_steps(values: Tensor | None) -> Tensor | None:
    """Return the means (B,) over the steps of (N, B) values."""
    return None if values is None else values.double().mean(0)


def by_example(columns: Mapping[str, Column], count: int) -> list[dict[str, float | None]]:
    """Return the metrics of each of ``count`` examples as numbers.

    A tensor comes from the device in one piece, since each read of a GPU waits for its queue.
    """

    def listed(column: Column) -> list[float | None]:
        if isinstance(column, Tensor):
            return column.double().tolist()
        return list(column) if isinstance(column, Sequence) else [column] * count

    rows = zip(*map(listed, columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]
