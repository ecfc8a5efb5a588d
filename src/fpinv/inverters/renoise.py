"""ReNoise inversion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.implicit import ascend
from fpinv.inverters.whitening import Whitening
from fpinv.sampling import DDIMSampling
from fpinv.solvers import Solution, per_sample, rms


@dataclass(frozen=True)
class ReNoise(DDIMSampling):
    r"""ReNoise: a step renoised several times, then taken with the average of its noises.

    From :math:`x^0 = z_{i-1}`, with :math:`M_i` the DDIM inversion step of :math:`z_{i-1}` with
    the noise in brackets,

    .. math:: \epsilon^k = \epsilon(x^k, t_i), \quad x^{k+1} = M_i(\epsilon^k), \qquad
              z_i = M_i\Big(\sum_{k=0}^{K} w_k \epsilon^k\Big)

    Where :meth:`fpinv.schedule.Schedule.form` holds the network's output, that takes the place of
    the noise. Without averaging, :math:`w = (0, \dots, 0, 1)`, it is fixed-point inversion with
    K + 1 iterations; with K = 1 and :math:`w = (1/2, 1/2)` it is two-point averaging of two, the
    last iterate of AIDI-E.

    NFE: (K + 1) N; a step takes as many as it has weights, and one more with whitening.
    Stores: nothing beyond z_N.

    References:
        | ReNoise: Real Image Inversion Through Iterative Noising (Garibi et al., 2024)
        | https://arxiv.org/abs/2403.14602

    With whitening, noises are whitened from the first one on that takes part in the average (also
    where that is the only one, K = 1), before they make the next iterate; so is the average.

    Deviations: the noise correction of stochastic samplers is left out, since ours is DDIM. The
    random draws of the whitening are the same for all images.

    Arguments:
        weights: :math:`w_0 \dots w_K`, which sum to 1.
        clean_weights: The same for the steps near the clean end.
        clean_below: Timestep below which those hold.
        whitening: Keeps the noises like those of a generated image, for the sake of editing; with
            0 steps, as for reconstruction, it lets them be.
    """

    weights: Sequence[float] = (0.0, 1.0)
    clean_weights: Sequence[float] = (0.5, 0.5)
    clean_below: int = 250
    whitening: Whitening = field(default_factory=Whitening)

    def __post_init__(self) -> None:
        for name in ("weights", "clean_weights"):
            weights = getattr(self, name)
            if not math.isclose(sum(weights), 1, abs_tol=1e-6):
                raise UserError(f"{name}={list(weights)} is not possible: weights must sum to 1")

    @property
    def starts_anywhere(self) -> bool:
        """See :class:`~fpinv.sampling.Guided`. Whitening compares with the image, noised."""
        return not self.whitening.steps

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W)."""
        condition, schedule = self.inverting(condition, denoiser), denoiser.schedule

        def solve(before: Tensor, z: Tensor, i: int) -> Solution:
            near = schedule.timestep[i] < self.clean_below
            weights = self.clean_weights if near else self.weights
            if not self.whitening.steps:
                return _renoise(denoiser, z, i, condition, weights)
            whiten = self.whitening.at(denoiser, z0, i, condition)
            solution = _renoise(denoiser, z, i, condition, weights, whiten)
            return replace(solution, steps=solution.steps + 1)

        return ascend(denoiser, z0, condition, solve)


def _renoise(
    denoiser: Denoiser,
    z: Tensor,
    i: int,
    condition: Condition,
    weights: Sequence[float],
    whiten: Callable[[Tensor], Tensor] | None = None,
) -> Solution:
    """Renoise the step from ``z`` to index i.

    Noises that take part in the average are whitened for the iterate that they make, too.
    """
    schedule, x, average, begun = denoiser.schedule, z, torch.zeros_like(z), False

    def renoised(held: Tensor) -> Tensor:
        raised = schedule.raised(z, held, i)
        if whiten is None:
            return raised
        return schedule.move(z, whiten(schedule.held_noise(raised, held, i)), i - 1, i)

    for weight in weights:
        held = denoiser.held(x, i, condition)
        raised = schedule.raised(z, held, i)
        residual = rms(x - raised) / rms(z)
        average, begun = average + weight * held, begun or weight != 0
        x = renoised(held) if begun else raised
    value = renoised(average)
    sound = rms(value).isfinite()
    steps = torch.full_like(residual, len(weights), dtype=torch.long)
    return Solution(torch.where(per_sample(sound, z), value, z), residual, steps, converged=None)
