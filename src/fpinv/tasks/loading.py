"""The pixels of examples, saved inversions, and columns of metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fpinv.datasets.digests import image_digest
from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.images import Frame
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.models.model import Model
from fpinv.sampling import DDIMSampling
from fpinv.tasks.record import inversion_file
from fpinv.tasks.task import Settings

Column = Tensor | Sequence[float | None] | float | None
"""The values of a metric, one an example, or one value for all."""


def diverged(model: Model, subject: str = "the inversion") -> UserError:
    """Return the error of an image whose noise, or a sample from it, is not finite.

    Arguments:
        model: The model.
        subject: What was computed.
    """
    largest = torch.finfo(model.dtype).max
    remedy = "; fp16 ends at 65504: try precision=bf16 or fp32" if largest < 1e5 else ""
    return UserError(f"{subject} diverged: its noise or what it samples is not finite{remedy}")


def are_finite(*values: Tensor) -> list[bool]:
    """Return for each sample whether all of its values, (B, ...) each, are finite."""
    rows = [value.flatten(1).isfinite().all(1) for value in values]
    return torch.stack(rows).all(0).tolist()


def solved(inversion: Inversion) -> list[bool]:
    """Return for each sample whether its noise is finite, and so is the residual of every step.

    Iterations keep the last finite latent where the network's output is none.
    """
    residual = inversion.residual
    extra = () if residual is None else (residual.movedim(-1, 0),)
    return are_finite(inversion.noise, *extra)


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
    sources: Sequence[Example],
    settings: Settings,
    inverter: Inverter,
    adjustment: Adjustment,
    **entries: object,
) -> Inversion:
    """Return an inversion that another run saved.

    Arguments:
        folder: The folder of that run.
        name: The name of the image, or of the set of images.
        model: The model.
        images: The images (..., H, W).
        sources: The examples that the images are of.
        settings: The run's numbers.
        inverter, adjustment: Those of this run, which must be those that made the inversion.
        entries: Further entries that the file's configuration must have.

    Raises:
        UserError: there is no such file, or its configuration or its size differs.
    """
    file = inversion_file(Path(folder), name)
    inversion, stored = Inversion.load(file, model.device)
    keys = ["steps", "guidance", "noised_steps", "crop"]
    if settings.noised_steps or not isinstance(adjustment, Unadjusted):
        keys.append("seed")  # they draw noise
    numbers = {key: getattr(settings, key) for key in keys}
    requirements = {**entries, "images": image_digest(*sources), **numbers}
    require_same_entries(file, stored, model, requirements)
    multiple = model.multiple
    size = [-(-s // multiple) * multiple // vae_factor(model) for s in images.shape[-2:]]
    if (saved := list(inversion.noise.shape[-2:])) != size:
        raise UserError(
            f"{file} was made with latents of {saved}, not {size}: use the model.image_size and "
            "the crop that it was made with"
        )
    for key, component in (("inverter", inverter), ("adjustment", adjustment)):
        _require_same_component(file, key, stored, component)
    if inversion.state and isinstance(inverter, DDIMSampling):
        raise UserError(f"{file} has a way back of its own: use the inverter that made it")
    # Older files lack it, and could not be joined with others.
    return replace(inversion, expected_error=None)


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
    images = requirements.get("images")
    # Files of before these entries were added lack them.
    required = {k: requirements[k] for k in ("images", "crop", "seed") if k in requirements}
    added = {"noised_steps": 0, "sampler": "ddim", **required}
    configuration = {**added, **origin, **stored}
    if images is not None and configuration["images"] != images:
        raise UserError(
            f"{file} was made of another picture of this name: invert it again, with "
            "inversions=true"
        )
    origin["sampler"] = model.origin.sampler
    for key, value in {"model": model.name, **origin, **requirements}.items():
        if configuration.get(key) != value:
            raise UserError(
                f"{file} was made with {key} {configuration.get(key)!r}, not {value!r}"
            )


def _require_same_component(
    file: Path, key: str, stored: Mapping[str, Any], component: object
) -> None:
    """Refuse an inversion that another inverter or adjustment made, or one with other arguments.

    Files of before the configuration was stored pass.
    """
    made_with = dict(stored.get("config", {}).get(key, {}))
    target = made_with.pop("_target_", "").rpartition(".")[2]
    if target and target != type(component).__name__:
        words = target
    else:
        words = ", ".join(f"{k}={v}" for k, v in made_with.items() if not _has(component, k, v))
    if words:
        raise UserError(f"{file} was made with {words}: use the {key} that made it")


def _has(component: object, name: str, value: object) -> bool:
    """Return whether a component has the argument that a configuration gives it."""
    argument = getattr(component, name, value)
    if isinstance(value, Mapping):
        target = value.get("_target_", "").rpartition(".")[2]
        return target in ("", type(argument).__name__) and all(
            _has(argument, k, v) for k, v in value.items() if k != "_target_"
        )
    if isinstance(value, list) and isinstance(argument, Sequence):
        return list(argument) == value
    return bool(argument == value)


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
