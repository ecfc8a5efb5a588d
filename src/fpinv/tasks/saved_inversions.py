"""Inversions that runs save with what they were made of, and load where that is the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fpinv.datasets.digests import image_digest
from fpinv.datasets.example import Example
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment, Unadjusted
from fpinv.models.model import Model
from fpinv.sampling import DDIMSampling
from fpinv.tasks.loading import vae_factor
from fpinv.tasks.record import Record, inversion_file
from fpinv.tasks.task import Settings


def entries_of(record: Record, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file of a record's inversion says of it, which :func:`saved_inversion` asks.

    That is the name, prompt and digest of its images, and the settings that it was made with.
    """
    about = {"id": record.image_id, "prompt": record.prompt}
    return {**about, "images": image_digest(*record.sources), **settings}


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
