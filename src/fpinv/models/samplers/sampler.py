"""The protocol of samplers, and what those for rectified flow share."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from diffusers import FlowMatchEulerDiscreteScheduler

from fpinv.errors import UserError
from fpinv.models.parts import Config
from fpinv.models.samplers.spacing import Spacing
from fpinv.models.transformer_rules import FLOW_SCHEDULER
from fpinv.schedule import Schedule


class Sampler(Protocol):
    """A sampler of diffusion models, of rectified flow, or of both."""

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
            spacing: Spacing of the grid, of :func:`choose_spacing`; None is the shipped one.

        Raises:
            UserError: the sampler is for rectified flow alone.
        """

    def flow_scheduler(self, shipped: Config) -> FlowMatchEulerDiscreteScheduler:
        """Return the scheduler of a rectified flow, of the configuration ``shipped``.

        Raises:
            UserError: the sampler is for diffusion models alone.
        """

    def schedule(self, scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
        """Return the grid of ``steps`` steps of a scheduler of a model of noise.

        Raises:
            UserError: ``steps`` does not fit the scheduler, or its steps are others.
        """


def euler_of_flow(shipped: Config) -> FlowMatchEulerDiscreteScheduler:
    """Return the scheduler of a rectified flow, of the configuration ``shipped``."""
    return FlowMatchEulerDiscreteScheduler(
        **{key: shipped[key] for key in FLOW_SCHEDULER if key in shipped}
    )


def not_for_flow(name: str) -> UserError:
    """Return the error of a sampler that takes no rectified flow."""
    return UserError(
        f"sampler={name} is for diffusion models, and this is a rectified flow: use sampler=euler"
    )
