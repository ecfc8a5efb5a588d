"""The inverter to use by default: as many evaluations as a wanted accuracy takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.auto.climb import Climb, Effort
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.implicit import ascend
from fpinv.sampling import DDIMSampling, sample, spent
from fpinv.solvers import Acceleration, Anderson, rms

DOUBT = 10.0
"""Error over the accepted one from which on DDIM inversion may be closer."""

STRICT = 0.01
"""Part of a tolerance that is aimed at after a climb whose error was not foreseen; steps count as
solved at the whole."""

FORESEEN = 2.0
"""Error over the expected one up to which it counts as foreseen."""


@dataclass(frozen=True)
class Auto(DDIMSampling):
    r"""Solves each DDIM step's equation as exactly as the image needs, and no more.

    The user names the error of the reconstructed latent that is acceptable. Of it,
    :math:`\delta = 10^{-\text{accuracy}/20} |z_0| / \sqrt N` falls on a step. With
    :math:`x = g(x)` of fixed-point inversion and :math:`a_i = \alpha_i / \alpha_{i-1}`:

    **Start.** The image latent :math:`\hat x_0` that the last two moves held, extrapolated
    linearly in the log signal-to-noise ratio :math:`\lambda = \log(\alpha / \sigma)`:

    .. math:: x^0 = \tfrac{\sigma_i}{\sigma_{i-1}} z_{i-1}
              + \Big(\alpha_i - \tfrac{\sigma_i}{\sigma_{i-1}} \alpha_{i-1}\Big)
              \big(\hat x_{i-1} + q_i (\hat x_{i-1} - \hat x_{i-2})\big), \qquad
              q_i = \frac{\lambda_i - \lambda_{i-1}}{\lambda_{i-1} - \lambda_{i-2}}

    (the multistep idea of DPM-Solver++; with :math:`q_i = 0` it is the start of IFE). It
    costs nothing and makes one evaluation enough for most steps.

    **Iteration.** Anderson's, per sample, until the next iterate is predicted to be good enough:

    .. math:: \rho\, |x^k - g(x^k)| \, G_i / a_i \le \delta

    :math:`\rho` is the ratio of the last two residuals, that of the previous step until there are
    two. :math:`G_i = \max(1, G_{i-1} s_i)` is how much the sampler has magnified an error by the
    time it is at :math:`z_0`, with :math:`s_i = |\Delta(x - g(x))| / (a_i |\Delta x|)` the stretch
    of the DDIM step between the first two evaluated points (between steps with one, that of the
    last known slope of the noise). A residual that is left grows by :math:`G_{i-1}` alone; the
    step's own stretch is a reserve for that of the next, which is not known yet. At guidance 1
    G stays small (3 at most with the bundled model); under guidance it can exceed 100, so that
    the noise end must be solved better than the clean end.

    **Value.** The point of least residual, the next iterate included at its predicted one, so
    that an iteration which does not contract does no harm.

    **Descent.** A step may have no solution: the sampler's last steps but one return what a
    denoiser would make of noise, which a real image is not, and guidance folds the map. Where the
    iteration does not get there, gradients through the network minimise

    .. math:: |D_{i \to j}(x) - z_j|^2, \qquad j = i - 1

    with D the sampler, which is the step's residual, from the iteration's best point. It ends
    where the error to be expected at z_0 has half the square of the accepted one. Least squares
    have many local minima: where the first descent of a sample does not get there, another from
    the step's start is tried, and the better is taken. In the steps after that one it is not the
    residual that counts but what becomes of the image: where a descent does not solve the step,
    what it found is brought as close to the image itself, j = 0, as that came at the step before.

    **Check.** Ratio, stretch and so the expected error are predictions: they follow one
    direction, and guidance may magnify another a hundred times more. Under guidance, and where
    the expected error is above the accepted one, the sample is sampled back, at the guidance of
    the inversion. Where its error is above the accepted one although every step was solved or
    less than half of it was expected, it climbs once more: iterations and descents to the latent
    below go on to a hundredth of their tolerances, as far as they get. The closer of the two is
    kept; where its error is more than ten times the accepted one all the same, DDIM inversion if
    that comes back closer, none of whose steps counts as solved.

    NFE: between N and K N; more for a step that the iteration did not solve: at most 2 L for the
    first of a sample, 5 L for another (L + i for i > 4 L). N for sampling back; a second climb
    costs what a climb costs, and N; the comparison with DDIM 2 N. A gradient with respect to j
    takes i - j evaluations, which count as any other; its backward pass, about twice their time,
    is not counted, and their activations are held for it all at once.
    Stores: nothing beyond z_N. The record of a step that descended has the error at z_0 that was
    found or is to be expected, relative to its latent, in place of the residual.

    References:
        | Start: DPM-Solver++ (Lu et al., 2022), https://arxiv.org/abs/2211.01095
        | Anderson for inversion: Effective Real Image Editing with Accelerated Iterative Diffusion
        | Inversion (Pan et al., 2023), https://arxiv.org/abs/2309.04907
        | The method as a whole is ours.

    Arguments:
        accuracy: Acceptable error of the reconstructed latent, in dB below its power: 40 is one
            per cent. What is sampled back is checked against it; else it is an aim.
        iterations: Evaluations K of a step at most.
        descents: Gradients L that a descent of an unsolved step may take; 0 for no descents.
        acceleration: How the next iterate is made.

    Raises:
        UserError: on creation, where a number is not possible.
    """

    accuracy: float = 40.0
    iterations: int = 12
    descents: int = 80
    acceleration: Acceleration = field(default_factory=lambda: Anderson(5))

    def __post_init__(self) -> None:
        if not (math.isfinite(self.accuracy) and self.accuracy >= 0):
            raise UserError(f"accuracy={self.accuracy} is not possible: choose 0 dB or more")
        if self.iterations < 1:
            raise UserError(f"iterations={self.iterations} is not possible: choose at least 1")
        if self.descents < 0:
            raise UserError(f"descents={self.descents} is not possible: choose at least 0")

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), then checks what may have failed."""
        asked, accepted = self.inverting(condition), 10 ** (-self.accuracy / 20) * rms(z0)

        def climbed(rows: Tensor | slice, effort: Effort) -> tuple[Inversion, Tensor]:
            goal, own = z0[rows], asked[rows]
            climb = Climb(denoiser, own, goal, accepted[rows], effort)
            return ascend(denoiser, goal, own, climb.step), climb.error

        effort = Effort(self.iterations, self.descents, self.acceleration)
        found, expected = climbed(slice(None), effort)
        best = _Closest(denoiser, z0, asked, found, expected)
        best.check((best.error > accepted) | (asked.rows_per_sample > 1))
        solved = found.converged.all(0)
        unforeseen = solved | (best.error > FORESEEN * expected)
        again = (unforeseen & (best.error > accepted)).nonzero().squeeze(1)
        if len(again):
            best.offer(climbed(again, replace(effort, strictness=STRICT))[0], again)
        doubtful = (best.error > DOUBT * accepted).nonzero().squeeze(1)
        if len(doubtful):
            best.offer(DDIM().invert(denoiser, z0[doubtful], asked[doubtful]), doubtful)
        return best.found


class _Closest:
    """The inversion of each sample that comes back closest, with the cost of all that were made.

    Attributes:
        found: The inversions.
        error: Their distances from z_0 once sampled back, rms, (B,): as expected where not
            measured; inf where the sampler makes nothing of them.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        z0: Tensor,
        condition: Condition,
        found: Inversion,
        expected: Tensor,
    ) -> None:
        self.denoiser, self.z0, self.condition = denoiser, z0, condition
        self.found, self.error = found, expected.nan_to_num(math.inf, math.inf)

    def check(self, which: Tensor) -> None:
        """Measures the errors of the samples ``which``, (B,), bool."""
        rows = which.nonzero().squeeze(1)
        if len(rows):
            error = self._measure(self.found.noise[rows], rows)
            self.error = self.error.index_copy(0, rows, error)

    def offer(self, other: Inversion, rows: Tensor) -> None:
        """Takes ``other``'s samples, which are those of ``rows``, where they come back closer."""
        error = self._measure(other.noise, rows)
        better = error < self.error[rows]
        self.error = self.error.index_copy(0, rows, torch.minimum(error, self.error[rows]))
        to, noise = rows[better], self.found.noise.clone()
        noise[to] = other.noise[better]
        solving = ("residual", "iterations", "converged")
        parts = {name: getattr(self.found, name).clone() for name in solving}
        if other.converged is None:
            parts["converged"][:, to] = False
        else:
            for name, part in parts.items():
                part[:, to] = getattr(other, name)[:, better]
        self.found = replace(self.found, noise=noise, **parts)
        self._charge(rows, {"calls": other.calls, "rows": other.rows})

    def _measure(self, noise: Tensor, rows: Tensor) -> Tensor:
        condition = self.condition[rows]
        self._charge(rows, spent(condition, self.denoiser.schedule.steps))
        off = sample(self.denoiser, noise, condition) - self.z0[rows]
        return rms(off).nan_to_num(math.inf, math.inf)

    def _charge(self, rows: Tensor, more: dict[str, Tensor]) -> None:
        """Adds what the samples ``rows`` cost besides."""
        cost = {k: getattr(self.found, k).index_add(0, rows, v) for k, v in more.items()}
        self.found = replace(self.found, **cost)
