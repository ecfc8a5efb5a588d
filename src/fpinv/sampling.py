"""The plain sampler, and what inverters whose z_N it understands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, TypedDict, TypeVar

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion, OnStep

Latents = TypeVar("Latents", Tensor, tuple[Tensor, ...])

Step = Callable[[Tensor, int], Tensor]
"""``step(z_i, i)``: the latents z_{i-1}, shape (B, C, H, W)."""


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
    r"""Sample from grid index ``start`` (N if None) to ``stop`` by the grid's sampler.

    .. math:: z_{i-1} = A_i z_i + B_i m(z_i, t_i)

    is a step of deterministic DDIM (eta 0), and on a grid of DPM-Solver++ the first step. Each
    further one looks back at the step before: :meth:`fpinv.schedule.Schedule.step`.

    Arguments:
        denoiser: The network.
        noise: Latents at ``start``, shape (B, C, H, W).
        condition: Prompts and guidance.
        start: Grid index to begin at.
        stop: Grid index to end at.
        on_step: Replaces each latent that the sampler comes to; None to replace none.
    """
    top = denoiser.schedule.steps if start is None else start
    return walk_down(plain_step(denoiser, condition), noise, top, stop, on_step=on_step)


def plain_step(denoiser: Denoiser, condition: Condition) -> Step:
    """Return the step ``(z_i, i) -> z_{i-1}`` of one walk of the plain sampler."""
    above: Tensor | None = None

    def step(z: Tensor, i: int) -> Tensor:
        nonlocal above
        z, above = denoiser.step(z, i, condition, above)
        return z

    return step


def part_of(steps: int, share: float) -> float:
    """Return a share of the steps, such as 29 for .58 of 50, which is 28.999... in floats."""
    return round(share * steps, 6)


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The guidance of an inversion, which need not be that of the sampling, and a way back.

    Arguments:
        inversion_guidance: Guidance of the inversion; None for that of the sampling, which a
            fixed point needs in order to reconstruct.

    Attributes:
        multistep: Whether the inverter knows samplers that look back at the step before.
        stochastic: Whether it knows samplers whose steps have noise.
    """

    multistep: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False

    inversion_guidance: float | None = None

    def inverting(self, condition: Condition, denoiser: Denoiser) -> Condition:
        """Return the condition that the inversion runs under.

        Raises:
            UserError: the inverter does not know the sampler of the grid.
        """
        if denoiser.schedule.lookback:
            require_multistep(self)
        if denoiser.schedule.landings:
            require_stochastic(self)
        if self.inversion_guidance is None:
            return condition
        return replace(condition, guidance=self.inversion_guidance)

    @property
    def starts_anywhere(self) -> bool:
        """Return whether the walk may begin at any index, as the way back needs no step below."""
        return False

    def top(self, steps: int) -> int:
        """Return the grid index of the noise: that of the last of the ``steps``."""
        return steps

    @property
    def other_end(self) -> str:
        """Return, in words, where the climb ends; empty where that is the image's own z_N."""
        return ""

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the step ``(z_i, i) -> z_{i-1}`` of the sampling: that of the plain sampler."""
        return plain_step(denoiser, condition)

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        inversion: Inversion,
        condition: Condition,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Sample from ``inversion.noise`` by the steps of :meth:`way_back`."""
        step, start = self.way_back(denoiser, inversion, condition), denoiser.schedule.steps
        return walk_down(step, inversion.noise, self.top(start), on_step=on_step)


class DDIMSampling(Guided):
    """Base of the methods whose z_N the plain sampler understands.

    Interpolation and rare concepts, which sample from seeds near z_N, take these methods alone.
    """

    @property
    def starts_anywhere(self) -> bool:
        """See :class:`Guided`."""
        return True

    @property
    def remembers(self) -> bool:
        """Return whether a step needs what the step below saw, and not its latents alone."""
        return False


def require_multistep(inverter: object) -> None:
    """Raise UserError for an inverter that does not know samplers that look back."""
    if not getattr(inverter, "multistep", False):
        raise UserError(
            f"{type(inverter).__name__} inverts the steps of DDIM, and those of DPM-Solver++ look "
            "back at the step before: use inverter=sweeps, or sampler=ddim"
        )


def require_stochastic(inverter: object) -> None:
    """Raise UserError for an inverter that does not know steps with noise."""
    if not getattr(inverter, "stochastic", False):
        raise UserError(
            f"{type(inverter).__name__} inverts steps without noise: use sampler=ddim, or, to "
            "store their noises, inverter=stored_noises (with inverter@inverter.method=<name>)"
        )


class Cost(TypedDict):
    """Network calls and rows that each image took, and rows with a gradient, shape (B,) each."""

    calls: Tensor
    rows: Tensor
    gradients: Tensor


def spent(condition: Condition, calls: Tensor | int, gradients: Tensor | int = 0) -> Cost:
    """Return the cost of an inversion from calls per image.

    Arguments:
        condition: The condition of the calls, which says how many rows each had.
        calls: Network calls, shape (B,) or a number.
        gradients: Those of them with a gradient, likewise.
    """
    tokens, rows = condition.prompt.tokens, condition.rows_per_sample
    calls, gradients = (
        count if isinstance(count, Tensor) else torch.full((len(tokens),), count).to(tokens.device)
        for count in (calls, gradients)
    )
    return {"calls": calls, "rows": calls * rows, "gradients": gradients * rows}
