"""Inversion of steps with noise, whose noises are stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.sampling import DDIMSampling, Guided, Step, spent
from fpinv.schedule import Schedule
from fpinv.seeding import drawn
from fpinv.solvers import per_sample, rms


@dataclass(frozen=True)
class StoredNoises(Guided):
    r"""Steps with noise, inverted one at a time by another method, with noises that are stored.

    A step lands at :math:`\mu_i` before noise is added (:class:`~fpinv.schedule.Landing`). With
    its noise drawn beforehand, what is left to solve is a step without noise, in which the latent
    less its noise takes the place of the image:

    .. math:: z_{i-1} - \tau_i \xi_i = \mu_i(z_i), \qquad
              \mu_i(z) = a_i \hat x_0(z) + s_i \epsilon(z)

    Then :math:`\xi_i` may be corrected towards the noise
    :math:`(z_{i-1} - \mu_i(z_i)) / \tau_i`, with which the step comes back exactly. A step that
    ends without noise cannot be corrected. The edit-friendly inversion is the other extreme: it
    solves nothing, and leaves all to the noises.

    The method sees each step alone, on a grid of its own. ``accuracy`` of ``auto`` is then that of
    a step, and methods that carry something from one step to the next are refused.

    NFE: those of the method, on N grids of one step; N more with a correction. N to sample.
    Stores: N noises.

    References:
        | ReNoise: Real Image Inversion Through Iterative Noising (Garibi et al., 2024), for noises
        | that are drawn beforehand and corrected, https://arxiv.org/abs/2403.14602

    Deviations: the authors correct by ten gradient steps of length 1.8; we go as far at once,
    unless the exact noise is nearer.

    Arguments:
        method: An inverter whose way back is the plain sampler.
        eta: Stochasticity in (0, 1] of the steps on a grid of DDIM; that of a sampler with noise
            outranks it.
        correction: Root mean square by which a noise may move: 0 for not at all, infinite for as
            far as the step needs. The authors' is 0.14.
        seed: Seed of the noises.

    Raises:
        UserError: a number is not possible, or the method has a way back of its own or needs the
            step before.
    """

    stochastic: ClassVar[bool] = True

    method: Inverter = field(default_factory=FixedPoint)
    eta: float = 1.0
    correction: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.eta <= 1:
            raise UserError(f"eta={self.eta} is not possible: choose 0 < eta <= 1")
        if not self.correction >= 0:
            raise UserError(f"correction={self.correction} is not possible: choose 0 or more")
        if not isinstance(self.method, DDIMSampling):
            raise UserError(
                f"{type(self.method).__name__} brings images back in a way of its own: choose "
                "another method for stored_noises, e.g. fpi, renoise, newton or auto"
            )
        if self.method.remembers or not self.method.starts_anywhere:
            raise UserError(
                f"{type(self.method).__name__} with these settings needs more than one step at a "
                "time, the step before or the image: choose another method for stored_noises, "
                "e.g. fpi with start=previous, renoise without whitening, or auto"
            )

    @property
    def other_end(self) -> str:
        """See :class:`~fpinv.sampling.Guided`."""
        return "noise that it draws itself"

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one step of the method at a time."""
        schedule, climbing = (
            denoiser.schedule.stochastic(self.eta),
            self.inverting(condition, denoiser),
        )
        # Drawn before the first evaluation, because a draw waits for the device.
        draws = [
            drawn(z0, self.seed, condition.images, f"stored_noises {i}")
            for i in range(1, schedule.steps + 1)
        ]
        z, steps, noises = z0, [], []
        for i, noise in enumerate(draws, 1):
            below = z - schedule.landings[i - 1].spread * noise
            step = self._step(denoiser, schedule.without_noise(i), below, climbing)
            if self.correction and schedule.landings[i - 1].spread:
                noise = self._corrected(denoiser, schedule, noise, z, step.noise, i, condition)
            z = step.noise
            steps.append(step)
            noises.append(noise)
        corrections = spent(condition, self._corrections(schedule))
        gradients = [step.gradients for step in steps if step.gradients is not None]
        return Inversion(
            z,
            calls=sum((s.calls for s in steps), corrections["calls"]),
            rows=sum((s.rows for s in steps), corrections["rows"]),
            residual=_joined([s.residual for s in steps]),
            iterations=_joined([s.iterations for s in steps]),
            converged=_joined([s.converged for s in steps]),
            state={"noises": torch.stack(noises, 1)},
            gradients=sum(gradients, corrections["gradients"]),
        )

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the step with the stored noises."""
        schedule, noises = denoiser.schedule.stochastic(self.eta), inversion.state["noises"]

        def step(z: Tensor, i: int) -> Tensor:
            landed = schedule.landed(z, denoiser(z, i, condition), i)
            return landed + schedule.landings[i - 1].spread * noises[:, i - 1]

        return step

    def _step(
        self, denoiser: Denoiser, step: Schedule, below: Tensor, condition: Condition
    ) -> Inversion:
        """Return the method's inversion of the one step that lands on ``below``."""
        with denoiser.on(step) as single:
            return self.method.invert(single, below, condition)

    def _corrected(
        self,
        denoiser: Denoiser,
        schedule: Schedule,
        noise: Tensor,
        below: Tensor,
        z: Tensor,
        i: int,
        condition: Condition,
    ) -> Tensor:
        """Return the noise of the step from ``z`` to ``below``, nearer to the exact one."""
        landed = schedule.landed(z, denoiser(z, i, condition), i)
        move = (below - landed) / schedule.landings[i - 1].spread - noise
        share = (self.correction / rms(move)).clamp(max=1)
        return noise + per_sample(share, move) * move

    def _corrections(self, schedule: Schedule) -> int:
        """Return how many steps are corrected."""
        return sum(bool(self.correction and landing.spread) for landing in schedule.landings)


def _joined(columns: Sequence[Tensor | None]) -> Tensor | None:
    """Return a column of all steps (N, B) of those of each, where the method has it."""
    measured = [column for column in columns if column is not None]
    return torch.cat(measured) if measured else None
