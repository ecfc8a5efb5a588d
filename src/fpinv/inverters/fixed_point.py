"""Fixed-point inversion and its accelerated relatives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.implicit import ascend, equation
from fpinv.sampling import DDIMSampling
from fpinv.solvers import Acceleration, FixedPointIteration, Plain, Solution, rms


@dataclass(frozen=True)
class FixedPoint(DDIMSampling):
    r"""Fixed-point inversion: the implicit equation of each DDIM step, solved by iteration.

    The :math:`z_i` whose DDIM step lands on :math:`z_{i-1}` satisfies :math:`z_i = g(z_i)` with

    .. math:: g(x) = \frac{\alpha_i}{\alpha_{i-1}} z_{i-1}
              + \Big(\sigma_i - \frac{\alpha_i}{\alpha_{i-1}} \sigma_{i-1}\Big)
              \epsilon(x, t_i)

    or the form that :meth:`fpinv.schedule.Schedule.form` chooses instead, started at
    :math:`x^0 = z_{i-1}`. One plain iteration is DDIM inversion with the target label;
    Anderson acceleration and two-point averaging are AIDI-A and AIDI-E.

    NFE: K N without a tolerance, at most that with one. Stores: nothing beyond z_N.

    References:
        | Fixed-Point Inversion for Text-to-Image Diffusion Models (Meiri et al., 2023)
        | https://arxiv.org/abs/2312.12540v1
        | Effective Real Image Editing with Accelerated Iterative Diffusion Inversion
        | (Pan et al., 2023), https://arxiv.org/abs/2309.04907

    Deviations: the coefficients are those of the exact inverse of the paper's Eq. 5 (its Eq. 6, 7
    and 9 print the scale of the wrong index); the tolerance, the extrapolated start and the
    damping are ours. A step's value is the iterate made from the last point (plain: g of it), so
    that damping, averaging and Anderson mixing take part in the last iterate, too. With a
    tolerance or a memory another point may be better:
    :class:`~fpinv.solvers.fixed_point.FixedPointIteration` says when.

    Arguments:
        iterations: Evaluations K of a step (at most, with a tolerance).
        tolerance: Relative residual :math:`|x - g(x)| / |z_{i-1}|` at which a sample's step is
            done and the sample leaves the batch; None for exactly K. Since steps near the clean
            end move a latent little, a large tolerance ends them after one evaluation, and the
            errors add up: of 32 scenes at w = 3, N = 20, .01 leaves 23.6 dB of the latent for 74
            evaluations, .001 leaves 31.3 for 121, and 5 fixed iterations leave 26.0 for 100
            (``experiment=baselines``). On grids of few steps, those at the noise end shrink the
            residual against the sampler's miss, by :math:`\alpha_i / \alpha_{i-1}` (Stable
            Diffusion, trailing: .29 at N = 4, .07 at N = 1): take a smaller tolerance there.
        start: ``previous`` starts at :math:`z_{i-1}`; ``extrapolated`` where the previous step's
            noise leads, from the second step on.
        acceleration: The rule that makes the next iterate.
    """

    iterations: int = 5
    tolerance: float | None = None
    start: Literal["previous", "extrapolated"] = "previous"
    acceleration: Acceleration = field(default_factory=Plain)

    def __post_init__(self) -> None:
        if self.start not in ("previous", "extrapolated"):
            raise UserError(f"start='{self.start}' is unknown: choose previous or extrapolated")
        self.solver  # noqa: B018 - validates iterations and tolerance now rather than mid-run

    @property
    def solver(self) -> FixedPointIteration:
        """Return the solver of a step's equation."""
        return FixedPointIteration(self.iterations, self.tolerance, self.acceleration)

    @property
    def remembers(self) -> bool:
        """See :class:`~fpinv.sampling.DDIMSampling`: an extrapolated start needs the last move."""
        return self.start == "extrapolated"

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one equation a step."""
        condition, schedule = self.inverting(condition, denoiser), denoiser.schedule

        def solve(before: Tensor, z: Tensor, i: int) -> Solution:
            extrapolated = self.start == "extrapolated" and i > 1
            start = schedule.extrapolate(before, z, i - 1) if extrapolated else z
            return self.solver(equation(denoiser, z, i, condition), start, rms(z))

        return ascend(denoiser, z0, condition, solve)
