"""The spacing of a sampler's timesteps, and the noise levels that they are chosen from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fpinv.errors import UserError
from fpinv.models.parts import SCHEDULER_FILE, Config, read_parts, shown
from fpinv.models.rules import NOISE_LEVELS, SPACING
from fpinv.models.samplers.grids import or_euler

if TYPE_CHECKING:
    from fpinv.models.samplers.sampler import Sampler

Spacing = Literal["leading", "trailing", "linspace", "karras", "exponential"]
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)
NOISE_SPACINGS: Mapping[Spacing, str] = {
    "karras": "use_karras_sigmas",
    "exponential": "use_exponential_sigmas",
}
r"""Spacings of the noise levels :math:`\sigma / \alpha`, and the key of diffusers for each.

All steps but the last, to no noise, are equally long in log-SNR (``exponential``) or in
:math:`(\sigma / \alpha)^{1/7}` (``karras``). The timesteps follow from the levels, and may be
fractions.
"""
RANGE = ("timestep_spacing", "sigma_min", "sigma_max")
"""Keys of a scheduler that say how far noise levels with a spacing of their own reach."""
TIMESTEP_SPACINGS = tuple(spacing for spacing in SPACINGS if spacing not in NOISE_SPACINGS)
"""Spacings of the timesteps; the noise levels follow from these."""
OWN_SPACING: Spacing = "trailing"
"""The spacing, for records, of timesteps that go down from the last one by a rule of their own."""
CONSISTENCY = ("original_inference_steps", "timestep_scaling")
"""Keys that only schedulers of latent consistency models have."""


def choose_spacing(sampler: Sampler, folder: Path, asked: Spacing | None) -> Spacing:
    """Return the spacing of a sampler's timesteps on the model of noise in a folder.

    Arguments:
        sampler: The sampler.
        folder: The folder, in diffusers format.
        asked: The spacing that the user chose; None is that of the scheduler that ships, where
            the sampler has none of its own.

    Raises:
        UserError: the sampler does not have it, or the folder is not understood.
    """
    if not sampler.spacings:
        if asked is not None:
            raise UserError(
                f"sampler={sampler.name} has timesteps of its own: leave out model.spacing"
            )
        return OWN_SPACING
    choice = " or ".join(sampler.spacings)
    if asked is not None and asked not in SPACINGS:
        raise UserError(f"model.spacing={asked} is unknown: choose {choice}")
    file, shipped = folder / SCHEDULER_FILE, read_parts(folder)["scheduler"]
    _check_levels(file, shipped, asked)
    spacing = asked or spacing_of(shipped)
    if spacing not in sampler.spacings:
        key = NOISE_SPACINGS.get(spacing, "timestep_spacing")
        culprit = f"model.spacing={asked}" if asked else shown(file, key, shipped[key])
        raise UserError(
            f"{culprit} makes a grid that sampler={sampler.name} steps off: use "
            f"{or_euler(shipped['prediction_type'])}model.spacing={choice}"
        )
    return spacing


def _check_levels(file: Path, shipped: Config, asked: Spacing | None) -> None:
    """Refuse a scheduler that visits noise levels which the spacing ``asked`` would not keep."""
    levels = SPACING if asked is None else RANGE if asked in NOISE_SPACINGS else ()
    for key in levels:
        if key in shipped and not SPACING[key].accepts(shipped[key]):
            fault = f"does not go with model.spacing={asked}" if asked else "cannot be inverted"
            raise UserError(
                f"{shown(file, key, shipped[key])} {fault}: choose the timesteps with "
                "model.spacing=leading or model.spacing=trailing"
            )
    if levels and all(shipped.get(key) for key in NOISE_SPACINGS.values()):
        keys = " and ".join(NOISE_SPACINGS.values())
        raise UserError(f"{file}: {keys} exclude each other: choose with model.spacing=leading")


def spacing_of(scheduler: Config) -> Spacing:
    """Return the spacing of a scheduler, given its configuration."""
    levels = (spacing for spacing, key in NOISE_SPACINGS.items() if scheduler.get(key))
    return next(levels, _spacing_of_timesteps(scheduler))


def _spacing_of_timesteps(scheduler: Config) -> Spacing:
    """Return the spacing of a scheduler's timesteps.

    That of latent consistency models has one that it ignores: its own steps go down from the last
    timestep.
    """
    if CONSISTENCY[0] in scheduler:
        return OWN_SPACING
    spacing: Spacing = scheduler["timestep_spacing"]
    return spacing


def noise_levels(shipped: Config, spacing: Spacing | None) -> dict[str, Any]:
    """Return what schedulers take over from the one that ships.

    With a spacing of the noise levels, their range is that of the timesteps as they ship.
    """
    levels = {key: shipped[key] for key in NOISE_LEVELS if key in shipped}
    spacing = spacing or spacing_of(shipped)
    if spacing in NOISE_SPACINGS:
        timesteps = _spacing_of_timesteps(shipped)
        return {**levels, "timestep_spacing": timesteps, NOISE_SPACINGS[spacing]: True}
    return {**levels, "timestep_spacing": spacing}
