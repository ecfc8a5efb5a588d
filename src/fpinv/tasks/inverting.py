"""The adjustment and the inversion of a batch, each with random numbers of its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.adjustment import Adjustment
from fpinv.inverters.noised import invert_noised
from fpinv.seeding import normal, numbers
from fpinv.tasks.task import Settings


def adjust(
    adjustment: Adjustment,
    denoiser: Denoiser,
    z0: Tensor,
    condition: Condition,
    ids: Sequence[str],
    settings: Settings,
) -> Tensor:
    """Return the latents ``z0`` (B, C, H, W) of the images ``ids``, adjusted."""
    noise = normal(z0.shape[1:], settings.seed, ids, "adjustment", z0.device)
    return adjustment(denoiser, z0, condition, noise)


def invert(
    inverter: Inverter,
    denoiser: Denoiser,
    z0: Tensor,
    condition: Condition,
    ids: Sequence[str],
    settings: Settings,
) -> Inversion:
    """Return the inversion of the latents ``z0`` (B, C, H, W) of the images ``ids``.

    Its first steps are replaced by noise, as many as ``settings.noised_steps`` says.
    """
    noise = normal(z0.shape[1:], settings.seed, ids, "noised_steps", z0.device)
    condition = replace(condition, images=numbers(ids, z0.device))
    return invert_noised(inverter, denoiser, z0, condition, noise, settings.noised_steps)
