"""The samplers: which steps go down a grid, and which diffusers scheduler takes the same ones.

A sampler is chosen with the model. It makes the stock scheduler of the model's pipeline and reads
the grid off it; the steps themselves are data of that grid (:class:`~fpinv.schedule.Schedule`), so
that whatever walks on it takes the steps of the sampler that was chosen.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LCMScheduler,
)

from fpinv.errors import UserError
from fpinv.models.parts import SCHEDULER_FILE, Config, read_parts, shown
from fpinv.models.rules import NOISE_LEVELS
from fpinv.models.transformer_rules import FLOW_SCHEDULER
from fpinv.models.weights import quiet
from fpinv.schedule import Landing, Schedule, or_euler

Spacing = Literal["leading", "trailing", "linspace"]
SPACINGS: tuple[Spacing, ...] = get_args(Spacing)
OWN_SPACING: Spacing = "trailing"
"""The spacing, for records, of timesteps that go down from the last one by a rule of their own."""
Final = Literal["zero", "sigma_min"]


class Sampler(Protocol):
    """A sampler of models of noise, of rectified flow, or of both."""

    multistep: ClassVar[bool]
    """True where a step looks back at the one before."""
    stochastic: ClassVar[bool]
    """True where steps have noise."""
    spacings: ClassVar[tuple[Spacing, ...]]
    """Spacings that its timesteps may have on a model of noise; empty where they are its own."""

    @property
    def name(self) -> str:
        """The name for records, with what else its steps depend on."""

    def noise_scheduler(self, shipped: Config, spacing: Spacing | None) -> Any:  # noqa: ANN401
        """Return the scheduler of a model of noise that takes this sampler's steps.

        Its noise levels, prediction type and spacing are those of the scheduler that ships.

        Arguments:
            shipped: Configuration of that scheduler, complete.
            spacing: Spacing of the timesteps, of :func:`choose_spacing`; None is the shipped one.

        Raises:
            UserError: the sampler is for rectified flow alone.
        """

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Return the scheduler of a rectified flow, of the configuration ``shipped``.

        Raises:
            UserError: the sampler is for models of noise alone.
        """

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """Return the grid of ``steps`` steps of a scheduler of a model of noise.

        Raises:
            UserError: ``steps`` does not fit the scheduler, or its steps are others.
        """


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
            **_noise_levels(shipped, spacing),
            steps_offset=1,
            set_alpha_to_one=False,
            clip_sample=False,
            thresholding=False,
        )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """See :class:`Sampler`."""
        return FlowMatchEulerDiscreteScheduler(
            **{key: shipped[key] for key in FLOW_SCHEDULER if key in shipped}
        )

    def schedule(self, scheduler: DDIMScheduler, steps: int) -> Schedule:
        """See :class:`Sampler`."""
        return Schedule.from_scheduler(scheduler, steps)


@dataclass(frozen=True)
class EulerSampler(DDIMSampler):
    r"""Euler's method: along the velocity of a rectified flow, or in the scale of the noise.

    On a rectified flow its steps are DDIM's. On a model of noise, with
    :math:`\varsigma = \sigma / \alpha`,

    .. math:: \frac{z_{i-1}}{\alpha_{i-1}} = \frac{z_i}{\alpha_i}
              + (\varsigma_{i-1} - \varsigma_i)\, \epsilon(z_i, t_i)

    is DDIM's step, too, but the grid is that of diffusers' ``EulerDiscreteScheduler``: it may have
    any number of steps in any spacing, and its clean end is without noise. Its ``latents`` at a
    trailing or linspace spacing are :math:`z_N / \sigma_N`.

    References:
        | Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
        | https://arxiv.org/abs/2206.00364
    """

    name: ClassVar[str] = "euler"
    spacings: ClassVar[tuple[Spacing, ...]] = SPACINGS

    def noise_scheduler(self, shipped: Config, spacing: Spacing | None) -> Any:  # noqa: ANN401
        """See :class:`Sampler`."""
        return EulerDiscreteScheduler(
            **_noise_levels(shipped, spacing), steps_offset=shipped.get("steps_offset", 0)
        )

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        return _sigma_grid(scheduler, steps)


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
    spacings: ClassVar[tuple[Spacing, ...]] = SPACINGS

    def noise_scheduler(
        self, shipped: Config, spacing: Spacing | None
    ) -> EulerAncestralDiscreteScheduler:
        """See :class:`Sampler`."""
        with quiet():
            return EulerAncestralDiscreteScheduler(
                **_noise_levels(shipped, spacing), steps_offset=shipped.get("steps_offset", 0)
            )

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Refuse a rectified flow."""
        raise _not_for_flow(self.name)

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        return _sigma_grid(scheduler, steps).stochastic(1.0)


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
        return LCMScheduler(**_noise_levels(shipped, OWN_SPACING), **levels)

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Refuse a rectified flow."""
        raise _not_for_flow(self.name)

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """See :class:`Sampler`."""
        config = scheduler.config
        if not 1 <= steps <= (most := config.original_inference_steps):
            raise UserError(
                f"steps={steps} is not possible with sampler=lcm: choose 1 to {most}, the steps "
                "that the model was distilled at"
            )
        grid = LCMScheduler.from_config(config)
        grid.set_timesteps(steps)
        labels = [int(t) for t in grid.timesteps.flip(0)]
        bars = [1.0, *(float(grid.alphas_cumprod[t].double()) for t in labels)]
        schedule = Schedule(
            alpha=tuple(bar**0.5 for bar in bars),
            sigma=tuple((1 - bar) ** 0.5 for bar in bars),
            timestep=(-1, *labels),
            prediction=config.prediction_type,
        )

        def landing(i: int) -> Landing:
            skip, out = grid.get_scalings_for_boundary_condition_discrete(labels[i - 1])
            alpha, sigma = schedule.alpha[i - 1], schedule.sigma[i - 1]
            skipped = skip * schedule.alpha[i], skip * schedule.sigma[i]
            return Landing(alpha * (out + skipped[0]), alpha * skipped[1], sigma)

        return replace(schedule, landings=tuple(landing(i) for i in range(1, steps + 1)))


def _not_for_flow(name: str) -> UserError:
    return UserError(
        f"sampler={name} is for models of noise, and this is a rectified flow: use sampler=euler"
    )


def _sigma_grid(scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
    r"""Return the grid of a scheduler that counts noise by :math:`\varsigma = \sigma / \alpha`.

    Raises:
        UserError: ``steps`` is not possible.
    """
    config = scheduler.config
    if not 1 <= steps <= config.num_train_timesteps:
        raise UserError(f"steps={steps} is not possible: choose 1 to {config.num_train_timesteps}")
    with quiet():  # NumPy warns of how they make arrays
        grid = type(scheduler).from_config(config)
        grid.set_timesteps(steps)
    ratios = [float(ratio) for ratio in grid.sigmas.double().flip(0)]
    labels = [float(label) for label in grid.timesteps.flip(0)]
    scales = [math.hypot(1, ratio) for ratio in ratios]
    return Schedule(
        alpha=tuple(1 / scale for scale in scales),
        sigma=tuple(ratio / scale for ratio, scale in zip(ratios, scales, strict=True)),
        timestep=(-1, *(int(t) if t.is_integer() else t for t in labels)),
        prediction=config.prediction_type,
    )


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
    ships: its timesteps in the spacing ``leading``, ``linspace`` or ``trailing``.

    References:
        | DPM-Solver++: Fast Solver for Guided Sampling of Diffusion Probabilistic Models
        | (Lu et al., 2022), Algorithm 2, https://arxiv.org/abs/2211.01095

    Arguments:
        final: The clean end: ``zero`` noise, or ``sigma_min``, the first noise level.

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
            **_noise_levels(shipped, spacing),
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
        _check_second_order(config, steps)
        grid = DPMSolverMultistepScheduler.from_config(config)
        grid.set_timesteps(steps)
        labels = [int(t) for t in grid.timesteps.flip(0)]
        if len(labels) != steps or any(b <= a for a, b in pairwise(labels)):
            raise UserError(
                f"timestep_spacing '{config.timestep_spacing}' with steps={steps} repeats "
                "timesteps: use fewer steps"
            )
        zero = config.final_sigmas_type == "zero"
        clean = 1.0 if zero else float(grid.alphas_cumprod[0].double())
        bars = [clean, *(float(grid.alphas_cumprod[t].double()) for t in labels)]
        schedule = Schedule(
            alpha=tuple(bar**0.5 for bar in bars),
            sigma=tuple((1 - bar) ** 0.5 for bar in bars),
            timestep=(-1 if zero else 0, *labels),
            prediction=config.prediction_type,
        )
        few = config.lower_order_final and steps < FEW
        return replace(schedule, lookback=_weights(schedule, zero or few or config.euler_at_final))


SECOND_ORDER: Mapping[str, object] = {
    "algorithm_type": "dpmsolver++",
    "solver_order": 2,
    "solver_type": "midpoint",
    "thresholding": False,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "use_lu_lambdas": False,
    "use_flow_sigmas": False,
}
"""Keys of a ``DPMSolverMultistepScheduler`` whose steps are those of DPM-Solver++ (2M)."""
CONSISTENCY = ("original_inference_steps", "timestep_scaling")
"""Keys that only schedulers of latent consistency models have."""
FEW = 15
"""Steps below which its ``lower_order_final`` has a last step of first order."""


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


def _noise_levels(shipped: Config, spacing: Spacing | None) -> dict[str, Any]:
    """Return what schedulers take over from the one that ships."""
    levels = {key: shipped[key] for key in NOISE_LEVELS if key in shipped}
    return {**levels, "timestep_spacing": spacing or _shipped_spacing(shipped)}


def _check_second_order(config: Any, steps: int) -> None:  # noqa: ANN401
    """Refuse a scheduler whose steps are not those of DPM-Solver++ (2M), or cannot be undone."""
    for key, value in SECOND_ORDER.items():
        if config[key] != value:
            raise UserError(
                f"a DPMSolverMultistepScheduler with {key}={config[key]} cannot be inverted: make "
                f"it with {key}={value}"
            )
    if not 1 <= steps <= config.num_train_timesteps:
        raise UserError(f"steps={steps} is not possible: choose 1 to {config.num_train_timesteps}")
    if config.final_sigmas_type == "zero" and config.prediction_type == "sample":
        raise UserError(
            "with prediction type 'sample' the last step of sampler.final=zero forgets its latent "
            "and cannot be inverted: use sampler.final=sigma_min"
        )


def _weights(schedule: Schedule, lower_order_final: bool) -> tuple[float, ...]:
    """Return the weights b_i of :class:`DPMSolver` on a grid, with entry 0 for no step."""
    low = 2 if lower_order_final else 1
    scales = zip(schedule.alpha[low - 1 :], schedule.sigma[low - 1 :], strict=True)
    lengths = [a - b for a, b in pairwise(math.log(a / s) for a, s in scales)]
    inner = [h / (2 * before) for h, before in pairwise(lengths)]
    return tuple([0.0] * low + inner + [0.0])[: schedule.steps + 1]
