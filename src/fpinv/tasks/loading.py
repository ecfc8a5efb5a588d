"""The pixels of examples, saved inversions, and columns of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inversion import Inversion, Inverter
from fpinv.models.model import Model
from fpinv.sampling import DDIMSampling
from fpinv.tasks.record import inversion_file

Column = Tensor | Sequence[float | None] | float | None
"""The values of a metric, one an example, or one value for all."""


def diverged(model: Model) -> UserError:
    """Return the error of an image whose noise, or a sample from it, is not finite."""
    largest = torch.finfo(model.dtype).max
    remedy = "; fp16 ends at 65504: try precision=bf16 or fp32" if largest < 1e5 else ""
    return UserError(f"the inversion diverged: its noise or what it samples is not finite{remedy}")


def are_finite(*values: Tensor) -> list[bool]:
    """Return for each sample whether all of its values, (B, ...) each, are finite."""
    rows = [value.flatten(1).isfinite().all(1) for value in values]
    return torch.stack(rows).all(0).tolist()


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


NARROWEST = 11  # pixels: the window of SSIM


def open_pixels(example: Example, frame: Frame) -> Tensor:
    """Return the pixels (3, H, W) in [-1, 1] of the part of an image that the model sees.

    Raises:
        UserError: there is no image, it cannot be read, or it is too narrow to be measured.
    """
    with decoding(example.id):
        pixels = frame.pixels(example.open())
    if min(pixels.shape[-2:]) < NARROWEST:
        height, width = pixels.shape[-2:]
        raise UserError(
            f"{example.id}: has {width}x{height} pixels at the model's size, which is too narrow "
            f"to be measured (at least {NARROWEST}): crop it, or use crop=center"
        )
    return pixels


def decode_like(images: Tensor, model: Model, latents: Tensor) -> Tensor:
    """Return the images (B, 3, H, W) of latents without the padding that ``images`` were given.

    Arguments:
        images: Images (..., H, W) before they were encoded.
        model: The model.
        latents: Latents (B, C, h, w).
    """
    height, width = images.shape[-2:]
    return model.decode(latents)[..., :height, :width]


def vae_factor(model: Model) -> int:
    """Return the number f of pixels on a side of a latent's cell."""
    return model.image_size[0] // model.latent_shape[1]


def saved_inversion(
    folder: str,
    name: str,
    model: Model,
    images: Tensor,
    requirements: Mapping[str, object],
    inverter: Inverter | None = None,
) -> Inversion:
    """Return an inversion that another run saved.

    Arguments:
        folder: The folder of that run.
        name: The name of the image, or of the set of images.
        model: The model.
        images: The images (..., H, W).
        requirements: Entries that the file's configuration must have, those of the model aside.
        inverter: The inverter whose way back is to be taken; None for the plain sampler's.

    Raises:
        UserError: there is no such file, or its configuration, its size or its way back differs.
    """
    file = inversion_file(Path(folder), name)
    inversion, stored = Inversion.load(file, model.device)
    require_same_entries(file, stored, model, requirements)
    multiple = model.multiple
    size = [-(-s // multiple) * multiple // vae_factor(model) for s in images.shape[-2:]]
    if (saved := list(inversion.noise.shape[-2:])) != size:
        raise UserError(
            f"{file} was made with latents of {saved}, not {size}: use the model.image_size and "
            "the crop that it was made with"
        )
    if inverter is not None:
        _require_same_way_back(file, inversion, stored, inverter)
    return inversion


def require_same_entries(
    file: Path, stored: Mapping[str, Any], model: Model, requirements: Mapping[str, object]
) -> None:
    """Refuse a saved inversion of another model or with other entries.

    Arguments:
        file: The file.
        stored: The configuration in it.
        model: The model.
        requirements: Further entries that the configuration must have.

    Raises:
        UserError: an entry differs; the message names it.
    """
    origin = {"model_digest": model.origin.digest, "spacing": model.origin.spacing}
    # Files of before these entries were added lack them.
    configuration = {"noised_steps": 0, **origin, "sampler": "ddim", **stored}
    origin["sampler"] = model.origin.sampler
    for key, value in {"model": model.name, **origin, **requirements}.items():
        if configuration.get(key) != value:
            raise UserError(
                f"{file} was made with {key} {configuration.get(key)!r}, not {value!r}"
            )


def _require_same_way_back(
    file: Path, inversion: Inversion, stored: Mapping[str, Any], inverter: Inverter
) -> None:
    """Refuse an inversion that needs another way back than an inverter has.

    The plain sampler takes any that stored nothing beyond z_N. All others are for the class and
    the arguments that made them, such as the strength of edict.
    """
    plain = isinstance(inverter, DDIMSampling)
    if plain and not inversion.state:
        return
    arguments = dict(stored.get("config", {}).get("inverter", {}))
    target = arguments.pop("_target_", "").rpartition(".")[2]
    differences = [f"{k}={v}" for k, v in arguments.items() if getattr(inverter, k, v) != v]
    if target not in ("", type(inverter).__name__):
        differences = [target]
    if plain or differences:
        words = ", ".join(differences) or "an inverter of its own way back"
        raise UserError(f"{file} was made with {words}: use the inverter that made it")


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
