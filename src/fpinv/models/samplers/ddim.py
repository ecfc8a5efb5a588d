"""Deterministic DDIM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler

from fpinv.models.parts import Config
from fpinv.models.samplers.grids import ddim_grid
from fpinv.models.samplers.sampler import euler_of_flow
from fpinv.models.samplers.spacing import Spacing, noise_levels
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class DDIMSampler:
    """Deterministic DDIM; on a rectified flow, where it is the same, Euler's method.

    The clean end lies at the first noise level, where the last step can still be undone, and
    nothing is clipped, because a clipped step cannot be.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021)
        | https://arxiv.org/abs/2010.02502
    """

    name: ClassVar[str] = "ddim"
    multistep: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    spacings: ClassVar[tuple[Spacing, ...]] = ("leading", "trailing")

    def noise_scheduler(self, shipped: Config, spacing: Spacing | None) -> Any:  # noqa: ANN401
        """See :class:`Sampler`."""
        return DDIMScheduler(
            **noise_levels(shipped, spacing),
            steps_offset=1,
            set_alpha_to_one=False,
            clip_sample=False,
            thresholding=False,
        )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """See :class:`Sampler`."""
        return euler_of_flow(shipped)

    def schedule(self, scheduler: DDIMScheduler, steps: int) -> Schedule:
        """See :class:`Sampler`."""
        return ddim_grid(scheduler, steps)
