"""The plain DDIM sampler, and what inverters whose z_N it understands share."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion


def sample(
    denoiser: Denoiser,
    noise: Tensor,
    condition: Condition,
    start: int | None = None,
    stop: int = 0,
) -> Tensor:
    r"""The deterministic DDIM sampler (eta 0) from grid index ``start`` (N if None) to ``stop``.

    .. math:: z_{i-1} = A_i z_i + B_i m(z_i, t_i)
    """
    schedule = denoiser.schedule
    z = noise
    for i in range(schedule.steps if start is None else start, stop, -1):
        z = schedule.transfer(z, denoiser(z, i, condition), i, i - 1)
        z = denoiser.arrive(z, i - 1)
    return z


@dataclass(frozen=True, kw_only=True)
class Guided:
    """The guidance of an inversion, which need not be that of the sampling.

    Arguments:
        inversion_guidance: Guidance of the inversion; None for that of the sampling, which a
            fixed point needs in order to reconstruct.
    """

    inversion_guidance: float | None = None

    def inverting(self, condition: Condition) -> Condition:
        """The condition that the inversion runs under."""
        if self.inversion_guidance is None:
            return condition
        return replace(condition, guidance=self.inversion_guidance)


class DDIMSampling(Guided):
    """The way back of every method whose z_N the plain sampler understands.

    Interpolation and rare concepts, which sample from seeds near z_N, take these methods alone.
    """

    @torch.no_grad()
    def sample(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Tensor:
        """See :func:`sample`; NFE N."""
        return sample(denoiser, inversion.noise, condition)


def spent(condition: Condition, calls: Tensor | int) -> dict[str, Tensor]:
    """The ``calls`` and ``rows`` of an :class:`Inversion`, from calls per image, (B,) or one."""
    if isinstance(calls, int):
        prompts = condition.prompt
        calls = torch.full((len(prompts),), calls, device=prompts.tokens.device)
    return {"calls": calls, "rows": calls * condition.rows_per_sample}
