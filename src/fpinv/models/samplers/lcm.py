"""The sampler of latent consistency models."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

from diffusers import FlowMatchEulerDiscreteScheduler, LCMScheduler

from fpinv.models.parts import Config
from fpinv.models.samplers.grids import check_steps, grid_of_labels, labels_of
from fpinv.models.samplers.sampler import not_for_flow
from fpinv.models.samplers.spacing import CONSISTENCY, OWN_SPACING, Spacing, noise_levels
from fpinv.schedule import Landing, Schedule


@dataclass(frozen=True)
class LCMSampler:
    r"""The multistep sampler of latent consistency models: the image, noised anew at every step.

    .. math::
        z_{i-1} &= \alpha_{i-1} f(z_i) + \sigma_{i-1} \xi_i, \qquad
        f(z) = c_{out}\, \hat x_0(z) + c_{skip}\, z \\
        c_{skip} &= \frac{1/4}{(10\, t)^2 + 1/4}, \qquad
        c_{out} = \frac{10\, t}{\sqrt{(10\, t)^2 + 1/4}}

    The last step ends at :math:`f(z_1)`. The grid is that of diffusers' ``LCMScheduler``: N of the
    timesteps that the model was distilled at, from the last one down. It has no other spacing.

    References:
        | Latent Consistency Models (Luo et al., 2023), Algorithm 3
        | https://arxiv.org/abs/2310.04378
    """

    name: ClassVar[str] = "lcm"
    multistep: ClassVar[bool] = False
    stochastic: ClassVar[bool] = True
    spacings: ClassVar[tuple[Spacing, ...]] = ()

    def noise_scheduler(self, shipped: Config, spacing: Spacing | None) -> LCMScheduler:
        """See :class:`Sampler`. The timesteps are its own, whatever the spacing."""
        levels = {key: shipped[key] for key in CONSISTENCY if key in shipped}
        return LCMScheduler(**noise_levels(shipped, OWN_SPACING), **levels)

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Refuse a rectified flow."""
        raise not_for_flow(self.name)

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        config = scheduler.config
        distilled = ", the steps that the model was distilled at"
        check_steps(steps, config.original_inference_steps, distilled)
        grid = LCMScheduler.from_config(config)
        grid.set_timesteps(steps)
        labels = labels_of(grid, steps)
        schedule = grid_of_labels(labels, grid.alphas_cumprod, 1.0, config.prediction_type)

        def landing(i: int) -> Landing:
            skip, out = grid.get_scalings_for_boundary_condition_discrete(labels[i - 1])
            alpha, sigma = schedule.alpha[i - 1], schedule.sigma[i - 1]
            skipped = skip * schedule.alpha[i], skip * schedule.sigma[i]
            return Landing(alpha * (out + skipped[0]), alpha * skipped[1], sigma)

        return replace(schedule, landings=tuple(landing(i) for i in range(1, steps + 1)))
