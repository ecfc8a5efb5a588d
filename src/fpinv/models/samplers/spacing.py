"""The spacing of a sampler's timesteps, and the noise levels that they are chosen from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fpinv.errors import UserError
from fpinv.models.parts import SCHEDULER_FILE, Config, read_parts, shown
from fpinv.models.rules import NOISE_LEVELS
from fpinv.models.samplers.grids import or_euler

if TYPE_CHECKING:
    from fpinv.models.samplers.sampler import Sampler

Spacing = Literal["leading", "trailing", "linspace"]
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)
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
    shipped = read_parts(folder, asked)["scheduler"]
    spacing = asked or _shipped_spacing(shipped)
    if spacing not in sampler.spacings:
        file, key = folder / SCHEDULER_FILE, "timestep_spacing"
        culprit = f"model.spacing={asked}" if asked else shown(file, key, spacing)
        raise UserError(
            f"{culprit} makes a grid that sampler={sampler.name} steps off: use "
            f"{or_euler(shipped['prediction_type'])}model.spacing={choice}"
        )
    return spacing


def _shipped_spacing(shipped: Config) -> Spacing:
    """Return the spacing of the scheduler that ships.

    That of latent consistency models has one that it ignores: its own steps go down from the last
    timestep.
    """
    spacing: Spacing = OWN_SPACING if CONSISTENCY[0] in shipped else shipped["timestep_spacing"]
    return spacing


def noise_levels(shipped: Config, spacing: Spacing | None) -> dict[str, Any]:
    """Return what schedulers take over from the one that ships."""
    levels = {key: shipped[key] for key in NOISE_LEVELS if key in shipped}
    return {**levels, "timestep_spacing": spacing or _shipped_spacing(shipped)}
