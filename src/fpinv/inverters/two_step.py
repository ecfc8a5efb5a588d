"""Explicit two-step recursions: each new latent from the two before it, and exactly back."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion, spent
from fpinv.schedule import Schedule

Recursion = Callable[[Schedule, int], tuple[float, float, float]]
r"""``(p, q, r)`` of :math:`z_{i-1} = p z_{i+1} + q z_i + r \epsilon(z_i, t_i)` at index i."""


def invert(
    denoiser: Denoiser, z0: Tensor, condition: Condition, recursion: Recursion
) -> Inversion:
    r"""Solves the recursion for :math:`z_{i+1}` upwards; the first step is DDIM inversion's."""
    schedule = denoiser.schedule
    before, z = z0, schedule.move(z0, denoiser.noise(z0, 1, condition), 0, 1)
    for i in range(1, schedule.steps):
        p, q, r = recursion(schedule, i)
        before, z = z, (before - q * z - r * denoiser.noise(z, i, condition)) / p
    return Inversion(z, **spent(condition, schedule.steps), state={"before": before})


def sample(
    denoiser: Denoiser, inversion: Inversion, condition: Condition, recursion: Recursion
) -> Tensor:
    r"""Runs the recursion down from the pair :math:`(z_N, z_{N-1})`."""
    after, z = inversion.noise, inversion.state["before"]
    for i in range(denoiser.schedule.steps - 1, 0, -1):
        p, q, r = recursion(denoiser.schedule, i)
        after, z = z, p * after + q * z + r * denoiser.noise(z, i, condition)
        z = denoiser.arrive(z, i - 1)
    return z
