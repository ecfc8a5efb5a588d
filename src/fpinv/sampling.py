"""The plain DDIM sampler, and what inverters whose z_N it understands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypedDict, TypeVar

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion, OnStep

Latents = TypeVar("Latents", Tensor, tuple[Tensor, ...])


def walk_down(
    step: Callable[[Latents, int], Latents],
    latents: Latents,
    start: int,
    stop: int = 0,
    *,
    on_step: OnStep | None,
) -> Latents:
    """Take a sampler's steps from grid index ``start`` down to ``stop``.

    Every sampler walks with this function, which is what makes ``on_step`` see all its latents.

    Arguments:
        step: ``step(z_i, i)`` returns z_{i-1}.
        latents: z_start, shape (B, C, H, W); a tuple of such tensors for a method that samples
            several latents at once.
        start: Grid index of ``latents``.
        stop: Grid index of the result.
        on_step: Replaces each latent that the sampler comes to; None to replace none.
    """
    for i in range(start, stop, -1):
        latents = step(latents, i)
        if on_step is None:
            continue
        if isinstance(latents, Tensor):
            latents = on_step(latents, i - 1)
        else:
            latents = tuple(on_step(z, i - 1) for z in latents)
    return latents


def sample(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition,
    start: int | None = None,
    stop: int = 0,
    on_step: OnStep | None = None,
) -> Tensor:
    r"""Sample from grid index ``start`` (N if None) to ``stop`` by deterministic DDIM (eta 0).

    .. math:: z_{i-1} = A_i z_i + B_i m(z_i, t_i)

    Arguments:
        denoiser: The network.
        noise: Latents at ``start``, shape (B, C, H, W).
        condition: Prompts and guidance.
        start: Grid index to begin at.
        stop: Grid index to end at.
        on_step: Replaces each latent that the sampler comes to; None to replace none.
    """
    schedule = denoiser.schedule

    def step(z: Tensor, i: int) -> Tensor:
        return schedule.transfer(z, denoiser(z, i, condition), i, i - 1)

    top = schedule.steps if start is None else start
    return walk_down(step, noise, top, stop, on_step=on_step)


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The guidance of an inversion, which need not be that of the sampling.

    Arguments:
        inversion_guidance: Guidance of the inversion; None for that of the sampling, which a
            fixed point needs in order to reconstruct.
    """

    inversion_guidance: float | None = None

    def inverting(self, condition: Condition) -> Condition:
        """Return the condition that the inversion runs under."""
        if self.inversion_guidance is None:
            return condition
        return replace(condition, guidance=self.inversion_guidance)


class DDIMSampling(Guided):
    """The way back of every method whose z_N the plain sampler understands.

    Interpolation and rare concepts, which sample from seeds near z_N, take these methods alone.
    """

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        inversion: Inversion,
        condition: Condition,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Sample from ``inversion.noise`` with :func:`sample`; NFE N."""
        return sample(denoiser, inversion.noise, condition, on_step=on_step)


class Cost(TypedDict):
    """Network calls and rows that each image took, shape (B,) each."""

    calls: Tensor
    rows: Tensor


def spent(condition: Condition, calls: Tensor | int) -> Cost:
    """Return the ``calls`` and ``rows`` of an inversion from calls per image, (B,) or a number."""
    if isinstance(calls, int):
        prompts = condition.prompt
        calls = torch.full((len(prompts),), calls, device=prompts.tokens.device)
    return {"calls": calls, "rows": calls * condition.rows_per_sample}
