"""DPM-Solver++ (2M), a sampler of second order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, ClassVar, Literal, get_args

from diffusers import DPMSolverMultistepScheduler, FlowMatchEulerDiscreteScheduler

from fpinv.errors import UserError
from fpinv.models.parts import Config
from fpinv.models.samplers.grids import sigma_grid
from fpinv.models.samplers.spacing import (
    NOISE_SPACINGS,
    SPACINGS,
    Spacing,
    noise_levels,
)
from fpinv.schedule import Schedule

Final = Literal["zero", "sigma_min"]

SECOND_ORDER: Mapping[str, object] = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "thresholding": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
    "lambda_min_clipped": -math.inf,
}
"""Keys of a ``DPMSolverMultistepScheduler`` whose steps are those of DPM-Solver++ (2M)."""
FEW = 15
"""Steps below which ``lower_order_final`` has a last step of first order."""


@dataclass(frozen=True)
class DPMSolver:
    r"""DPM-Solver++ (2M): steps of second order at one evaluation each.

    With the image latent :math:`\hat x_i` that the output at :math:`z_i` implies,

    .. math::
        z_{i-1} = \frac{\sigma_{i-1}}{\sigma_i} z_i
                  + \alpha_{i-1} \big(1 - e^{-h_i}\big)
                  \big((1 + b_i)\, \hat x_i - b_i\, \hat x_{i+1}\big), \qquad
        b_i = \frac{h_i}{2 h_{i+1}}, \quad
        h_i = \lambda_{i-1} - \lambda_i, \quad \lambda_i = \log \frac{\alpha_i}{\sigma_i}

    The first step has nothing to look back at, :math:`b_N = 0`, and the last one does not, as in
    diffusers where it ends without noise. Where it ends at the first noise level it does not
    either (diffusers' ``euler_at_final``): it is longer than the step before, so that it would
    weigh the change there more than twice. With :math:`b_i = 0` a step is DDIM's.

    The grid is that of diffusers' ``DPMSolverMultistepScheduler``, made of the configuration that
    ships. Its timesteps are spaced as they ship, or as ``model.spacing`` says; ``karras`` and
    ``exponential`` space all noise levels of the training, and name the timesteps to the network
    in whole numbers.

    References:
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
        | (Lu et al., 2022), Algorithm 2, https://arxiv.org/abs/2211.01095

    Arguments:
        final: The clean end: ``zero`` noise, or ``sigma_min``, the first noise level. It outranks
            that of the scheduler that ships.

    Raises:
        UserError: the clean end is unknown, or the model is a rectified flow.
    """

    multistep: ClassVar[bool] = True
    stochastic: ClassVar[bool] = False
    spacings: ClassVar[tuple[Spacing, ...]] = SPACINGS

    final: Final = "zero"

    def __post_init__(self) -> None:
        if self.final not in get_args(Final):
            raise UserError(
                f"sampler.final={self.final} is unknown: choose {' or '.join(get_args(Final))}"
            )

    @property
    def name(self) -> str:
        """See :class:`Sampler`."""
        return "dpm" if self.final == "zero" else f"dpm, {self.final}"

    def noise_scheduler(
        self, shipped: Config, spacing: Spacing | None
    ) -> DPMSolverMultistepScheduler:
        """See :class:`Sampler`."""
        return DPMSolverMultistepScheduler(
            **noise_levels(shipped, spacing),
            steps_offset=shipped.get("steps_offset", 0),
            final_sigmas_type=self.final,
            euler_at_final=self.final == "sigma_min",
        )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Refuse a rectified flow."""
        raise UserError(
            "sampler=dpm takes steps in the signal-to-noise ratio, which is 0 at the end of a "
            "rectified flow: use sampler=euler"
        )

    def schedule(self, scheduler: DPMSolverMultistepScheduler, steps: int) -> Schedule:
        """See :class:`Sampler`."""
        config = scheduler.config  # type: ignore[attr-defined]  # diffusers adds it at run time
        _check_second_order(config)
        schedule, zero = sigma_grid(scheduler, steps), config.final_sigmas_type == "zero"
        few = config.lower_order_final and steps < FEW
        return replace(schedule, lookback=_weights(schedule, zero or few or config.euler_at_final))


def _check_second_order(config: Any) -> None:  # noqa: ANN401
    """Refuse a scheduler whose steps are not those of DPM-Solver++ (2M), or cannot be undone."""
    for key, value in SECOND_ORDER.items():
        if config[key] != value:
            raise UserError(
                f"a DPMSolverMultistepScheduler with {key}={config[key]} cannot be inverted: make "
                f"it with {key}={value}"
            )
    zero = config.final_sigmas_type == "zero"
    if zero and config.prediction_type == "sample":
        raise UserError(
            "with prediction type 'sample' the last step of sampler.final=zero forgets its latent "
            "and cannot be inverted: use sampler.final=sigma_min"
        )
    for spacing, key in NOISE_SPACINGS.items():
        if config[key] and not zero:
            raise UserError(
                f"a grid of spacing {spacing} comes to the first noise level anyway, so that a "
                "step to it would be none: use sampler.final=zero or model.spacing=leading"
            )


def _weights(schedule: Schedule, lower_order_final: bool) -> tuple[float, ...]:
    """Return the weights b_i of :class:`DPMSolver` on a grid, with entry 0 for no step."""
    low = 2 if lower_order_final else 1
    scales = zip(schedule.alpha[low - 1 :], schedule.sigma[low - 1 :], strict=True)
    lengths = [a - b for a, b in pairwise(math.log(a / s) for a, s in scales)]
    inner = [h / (2 * before) for h, before in pairwise(lengths)]
    return tuple([0.0] * low + inner + [0.0])[: schedule.steps + 1]
