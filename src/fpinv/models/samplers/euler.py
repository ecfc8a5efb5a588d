"""Euler's method, and its ancestral relative."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from diffusers import (
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)

from fpinv.errors import UserError
from fpinv.models.parts import Config
from fpinv.models.samplers.grids import sigma_grid
from fpinv.models.samplers.sampler import euler_of_flow, not_for_flow
from fpinv.models.samplers.spacing import (
    SPACINGS,
    TIMESTEP_SPACINGS,
    Spacing,
    noise_levels,
)
from fpinv.models.weights import quiet
from fpinv.schedule import Schedule


@dataclass(frozen=True)
class EulerSampler:
    r"""Euler's method: along the velocity of a rectified flow, or in the scale of the noise.

    On a rectified flow its steps are DDIM's. On a model of noise, with
    :math:`\varsigma = \sigma / \alpha`,

    .. math:: \frac{z_{i-1}}{\alpha_{i-1}} = \frac{z_i}{\alpha_i}
              + (\varsigma_{i-1} - \varsigma_i)\, \epsilon(z_i, t_i)

    is DDIM's step, too, but the grid is that of diffusers' ``EulerDiscreteScheduler``: it may have
    nearly any number of steps in any spacing, and its clean end is without noise. Its ``latents``
    are :math:`z_N / \sigma_N` where its ``timestep_spacing`` is trailing or linspace.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
    """

    name: ClassVar[str] = "euler"
    multistep: ClassVar[bool] = False
    stochastic: ClassVar[bool] = False
    spacings: ClassVar[tuple[Spacing, ...]] = SPACINGS

    def noise_scheduler(self, shipped: Config, spacing: Spacing | None) -> Any:  # noqa: ANN401
        """See :class:`Sampler`."""
        if (final := shipped.get("final_sigmas_type", "zero")) != "zero":
            raise UserError(
                f"the scheduler that ships has final_sigmas_type={final}, and sampler=euler ends "
                "without noise: use sampler=ddim, which ends at the first noise level, too, or "
                "sampler=dpm sampler.final=sigma_min"
            )
        return EulerDiscreteScheduler(
            **noise_levels(shipped, spacing), steps_offset=shipped.get("steps_offset", 0)
        )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """See :class:`Sampler`."""
        return euler_of_flow(shipped)

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        return sigma_grid(scheduler, steps)


@dataclass(frozen=True)
class AncestralSampler:
    """Euler's ancestral sampler, that of SDXL-Turbo: stochastic DDIM at eta 1, which is DDPM.

    Its grid is that of :class:`EulerSampler`.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021), Eq. 16 at eta 1
        | https://arxiv.org/abs/2010.02502
    """

    name: ClassVar[str] = "ancestral"
    multistep: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    spacings: ClassVar[tuple[Spacing, ...]] = TIMESTEP_SPACINGS

    def noise_scheduler(
        self, shipped: Config, spacing: Spacing | None
    ) -> EulerAncestralDiscreteScheduler:
        """See :class:`Sampler`."""
        with quiet():
            return EulerAncestralDiscreteScheduler(
                **noise_levels(shipped, spacing), steps_offset=shipped.get("steps_offset", 0)
            )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Refuse a rectified flow."""
        raise not_for_flow(self.name)

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        return sigma_grid(scheduler, steps).stochastic(1.0)
