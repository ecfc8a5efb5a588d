"""The inverter to use by default: as many evaluations as a wanted accuracy takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import DDIMSampling, Inversion, sample, spent
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.implicit import ascend, equation
from fpinv.solvers import (
    Acceleration,
    Anderson,
    History,
    LeastSquares,
    Solution,
    per_sample,
    rms,
)

EARLY = 4
"""Steps at the clean end that differ too much from one another to predict the next from."""

LEAST = 0.05
"""Ratio of residuals below which none is trusted: the next step's may be larger."""

DOUBT = 10.0
"""Predicted over accepted error from which on a result is checked against the sampler."""


JOINT = 4
"""Evaluations that the steps since j may take together, for each that a step may take alone."""

HALF = math.sqrt(0.5)
"""Error that has half the square of the accepted one: descents leave the rest to other steps."""


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

    .. math:: \rho\, |x^k - g(x^k)| \, \max(1, G_i) / a_i \le \delta

    :math:`\rho` is the ratio of the last two residuals, that of the previous step until there are
    two. :math:`G_i` is how much the sampler has magnified an error by the time it is at
    :math:`z_0`: the product over the steps so far of
    :math:`|\Delta(x - g(x))| / (a_i |\Delta x|)`, the stretch of the DDIM step between the first
    two evaluated points (between steps with one, that of the last known slope of the noise). At
    guidance 1 it stays below 1; under guidance it can exceed 100, so that the noise end must be
    solved better than the clean end.

    **Value.** The point of least residual, the next iterate included at its predicted one, so
    that an iteration which does not contract does no harm.

    **Descent.** A step may have no solution: the sampler's last steps but one return what a
    denoiser would make of noise, which a real image is not, and guidance folds the map. Where the
    iteration does not get there, gradients through the network minimise

    .. math:: |D_{i \to j}(x) - z_j|^2, \qquad j = i - 1

    with D the sampler, which is the step's residual. Above a step without a solution it is not
    the residual that counts but what becomes of the image: there the same is then minimised with
    j the highest index that the sampler does bring back as it should. The first ends where the
    error to be expected at z_0 of it has half the square of the accepted one, the second where it
    adds that to the square of what was left already. Least squares have many local minima there:
    where Anderson's best point does not lead to a good one, a descent from the step's start is
    tried as well, and the better of the two is taken.

    **Check.** Where the errors left are more than ten times the accepted one all the same, the
    sample is sampled back, and so is its DDIM inversion; it keeps the one with the smaller error.

    NFE: between N and K N; more for a step that the iteration did not solve, at most 2 L, above
    another without a solution at most 9 L (for i - j > 4 L: L + 2 (i - j)); and 3 N more for
    samples that are checked. A gradient with respect to j takes i - j evaluations, which count as
    any other; its backward pass, about twice their time, is not counted, and their activations
    are held for it all at once.
    Stores: nothing beyond z_N. The record of a step that descended has the error at z_0 that was
    found there, relative to its latent, in place of the residual.

    References:
        | Start: DPM-Solver++ (Lu et al., 2022), https://arxiv.org/abs/2211.01095
        | Anderson for inversion: Effective Real Image Editing with Accelerated Iterative Diffusion
        | Inversion (Pan et al., 2023), https://arxiv.org/abs/2309.04907
        | The method as a whole is ours.

    Arguments:
        accuracy: Acceptable error of the reconstructed latent, in dB below its power: 40 is one
            per cent. An aim rather than a bound, since ratio and stretch are predictions.
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
        if not math.isfinite(self.accuracy):
            raise UserError(f"accuracy={self.accuracy} is not possible: choose a number of dB")
        if self.iterations < 1:
            raise UserError(f"iterations={self.iterations} is not possible: choose at least 1")
        if self.descents < 0:
            raise UserError(f"descents={self.descents} is not possible: choose at least 0")

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), then checks what was not solved."""
        asked = self.inverting(condition)
        climb = _Climb(self, denoiser, asked, z0)
        found = ascend(denoiser, z0, asked, climb.step)
        doubtful = (climb.error > DOUBT * climb.accepted).nonzero().squeeze(1)
        if not len(doubtful):
            return found
        return self._checked(denoiser, z0, condition, found, doubtful)

    def _checked(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, found: Inversion, rows: Tensor
    ) -> Inversion:
        """``found``, where its samples ``rows`` are DDIM's if those come back closer to z0."""
        steps, asked = denoiser.schedule.steps, condition[rows]
        ddim = DDIM(inversion_guidance=self.inversion_guidance)
        other = ddim.invert(denoiser, z0[rows], asked)

        def error(noise: Tensor) -> Tensor:
            off = rms(sample(denoiser, noise, asked) - z0[rows])
            return torch.where(off.isfinite(), off, math.inf)

        ours = found.noise[rows]
        better = error(other.noise) < error(ours)
        noise, calls, cost = found.noise.clone(), found.calls.clone(), found.rows.clone()
        noise[rows] = torch.where(per_sample(better, ours), other.noise, ours)
        sampled = spent(asked, 2 * steps)
        calls[rows] += other.calls + sampled["calls"]
        cost[rows] += other.rows + sampled["rows"]
        return Inversion(noise, calls, cost, found.residual, found.iterations, found.converged)


@dataclass(frozen=True)
class _Target:
    """Latents at grid index ``index`` whose errors are yet to grow by ``gain``, (B,)."""

    latent: Tensor
    gain: Tensor
    index: int

    def __getitem__(self, rows: Tensor) -> _Target:
        return _Target(self.latent[rows], self.gain[rows], self.index)


def _better(found: Solution, again: Solution, rows: Tensor) -> Solution:
    """``found``, where its samples ``rows`` are ``again``'s if those have the smaller residual."""
    value, residual = found.value.clone(), found.residual.clone()
    better = again.residual < residual[rows]
    value[rows[better]], residual[rows[better]] = again.value[better], again.residual[better]
    return replace(found, value=value, residual=residual)


class _Climb:
    r"""What one step of a batch learns from those before it.

    Attributes:
        accepted: The error at z_0 that is acceptable, rms, (B,).
        budget: A step's share of it, (B,).
        clean: The image latents that the last moves held, at most two.
        ratio: Ratio of successive residuals, (B,).
        slope: :math:`\sigma \, d\epsilon / dx` along the last known difference, (B,).
        error: What is to be expected at z_0 of the residuals left so far, rms, (B,).
        gain: How much an error at the last latent grows on the way down to z_0, (B,).
        below: The gain of the latent before it.
        foot: Index j of the highest latent that the sampler brings back as it should, (B,).
        goal: That latent, z_j.
        foot_gain: The gain at it, (B,).
    """

    def __init__(
        self, inverter: Auto, denoiser: Denoiser, condition: Condition, z0: Tensor
    ) -> None:
        self.inverter, self.denoiser, self.condition = inverter, denoiser, condition
        self.schedule = denoiser.schedule
        self.accepted = 10 ** (-inverter.accuracy / 20) * rms(z0)
        self.budget = self.accepted / math.sqrt(self.schedule.steps)
        self.error = torch.zeros_like(self.budget)
        self.clean: list[Tensor] = []
        self.ratio, self.gain = torch.ones_like(self.error), torch.ones_like(self.error)
        self.slope = torch.zeros_like(self.error)
        self.foot = torch.zeros_like(self.error, dtype=torch.long)
        self.goal, self.foot_gain, self.below = z0, self.gain, self.gain

    def step(self, before: Tensor, z: Tensor, i: int) -> Solution:
        """Solves the step from ``z`` at i - 1, reached from ``before``."""
        best, tolerance = self._iterate(before, z, i)
        solved = best.left <= tolerance
        higher = solved & (self.foot == i - 1)
        left = best.left * self.gain * self.schedule.alpha[i - 1] / self.schedule.alpha[i]
        error = torch.hypot(self.error, left)
        for j in self.foot[~solved].unique().tolist() if self.inverter.descents else ():
            rows = (~solved & (self.foot == j)).nonzero().squeeze(1)
            found, cost = self._descend((best.value[rows], best.first[rows]), z, rows, i, j)
            best.replace(rows, found, cost)
            error[rows] = found.residual
            higher[rows] = solved[rows] = found.residual <= HALF * self.accepted[rows]
        self.error = error
        solution = best.solution(solved, rms(z))
        self.foot = torch.where(higher, i, self.foot)
        self.goal = torch.where(per_sample(higher, z), solution.value, self.goal)
        self.foot_gain = torch.where(higher, self.gain, self.foot_gain)
        return solution

    def _iterate(self, before: Tensor, z: Tensor, i: int) -> tuple[_Best, Tensor]:
        """What Anderson's iteration finds for the step from ``z``, and the tolerances (B,)."""
        g = equation(self.denoiser, z, i, self.condition)
        a = self.schedule.alpha[i] / self.schedule.alpha[i - 1]
        weight = 1 - a * self.schedule.sigma[i - 1] / self.schedule.sigma[i]
        if i <= EARLY:
            self.ratio = torch.ones_like(self.ratio)
        stretch = (1 - weight * self.slope).abs() / a
        x, unit = self._start(before, z, i), torch.ones_like(self.budget)
        history, best = History(self.inverter.acceleration), _Best(x)
        rows, active = None, torch.arange(len(z), device=z.device)
        last: tuple[Tensor, ...] = ()
        for k in range(self.inverter.iterations):
            gx = g(x, rows)
            following, r = history.advance(x, gx, unit[active])
            if last:
                dx, dg = x - last[0], gx - last[1]
                self.ratio[active] = (r / last[2]).nan_to_num(1.0).clamp(LEAST, 1.0)
                if k == 1:
                    length = rms(dx).clamp_min(torch.finfo(dx.dtype).tiny)
                    stretch[active] = rms(dx - dg) / length / a
                    self.slope[active] = (dg * dx).flatten(1).mean(1) / length**2 / weight
            predicted = self.ratio[active] * r
            best.offer(active, x, r, following, predicted)
            tolerance = self.budget * a / (self.gain * stretch).clamp_min(1)
            going = r.isfinite() & (predicted > tolerance[active])
            x, last = following, (x, gx, r)
            if not going.all():
                keep = going.nonzero().squeeze(1)
                rows = active = active[keep]
                if not len(active):
                    break
                x, last = x[keep], tuple(part[keep] for part in last)
                history.keep(keep)
        self.below, self.gain = self.gain, (self.gain * stretch).clamp_min(1)
        return best, tolerance

    def _descend(
        self, starts: Sequence[Tensor], z: Tensor, rows: Tensor, i: int, j: int
    ) -> tuple[Solution, Tensor]:
        """Brings samples ``rows`` back to ``goal`` at j, from the best of ``starts``; its cost.

        The first start is brought back to ``z`` at i - 1 before, where that is not j. The
        residuals are those at z_0.
        """
        most, near = self.inverter.descents, HALF * self.accepted[rows]
        (point, other), cost = starts, torch.zeros_like(rows)
        if j < i - 1:
            home = _Target(z[rows], self.below[rows], i - 1)
            nearby = self._approach(point, home, near, rows, i, most)
            point, cost = nearby.value, nearby.steps
            most, near = max(1, JOINT * most // (i - j)), torch.hypot(near, self.error[rows])
        goal = _Target(self.goal[rows], self.foot_gain[rows], j)
        found = self._approach(point, goal, near, rows, i, most)
        cost = cost + (i - j) * found.steps
        left = (found.residual > near).nonzero().squeeze(1)
        if len(left):
            again = self._approach(other[left], goal[left], near[left], rows[left], i, most)
            cost[left] += (i - j) * again.steps
            found = _better(found, again, left)
        return found, cost

    def _approach(
        self, start: Tensor, target: _Target, near: Tensor, rows: Tensor, i: int, most: int
    ) -> Solution:
        """Minimises how far the samples ``rows`` of ``start`` at i come back from ``target``."""

        def miss(x: Tensor, some: Tensor | None) -> Tensor:
            aim, own = (target, rows) if some is None else (target[some], rows[some])
            off = sample(self.denoiser, x, self.condition[own], i, target.index) - aim.latent
            return per_sample(aim.gain, off) * off

        return LeastSquares(most)(miss, start, near)

    def _start(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        """The first point of the step from ``z`` at index i - 1."""
        if i == 1:
            return z
        schedule = self.schedule
        self.clean = [*self.clean, schedule.aimed_at(before, z, i - 1)][-2:]
        clean = self.clean[-1]
        if len(self.clean) == 2 and schedule.alpha[i] > 0:
            low, mid, high = (
                math.log(schedule.alpha[j] / schedule.sigma[j]) for j in (i - 2, i - 1, i)
            )
            clean = clean + (high - mid) / (mid - low) * (clean - self.clean[0])
        return schedule.aim(z, clean, i - 1, i)


class _Best:
    """Of each sample the point of least residual, the iterate that came last and the first."""

    def __init__(self, first: Tensor) -> None:
        self.first, self.point, self.following = first, first.clone(), first.clone()
        self.least, self.made_from, self.predicted = first.new_full((3, len(first)), math.inf)
        self.steps = torch.zeros_like(self.least, dtype=torch.long)

    def offer(self, rows: Tensor, x: Tensor, r: Tensor, following: Tensor, left: Tensor) -> None:
        """Takes in the samples ``rows``: residual r at x, predicted to be left at following."""
        self.steps[rows] += 1
        better = r < self.least[rows]
        self.point[rows[better]], self.least[rows[better]] = x[better], r[better]
        self.following[rows], self.made_from[rows], self.predicted[rows] = following, r, left

    @property
    def left(self) -> Tensor:
        """The residual of the better of the two, (B,)."""
        return torch.minimum(self.predicted, self.least)

    @property
    def value(self) -> Tensor:
        """The better of the two."""
        ahead = per_sample(self.predicted < self.least, self.point)
        return torch.where(ahead, self.following, self.point)

    def replace(self, rows: Tensor, found: Solution, spent: Tensor) -> None:
        """Takes the samples ``rows`` from another solver, that ``spent`` so many evaluations."""
        self.steps[rows] += spent
        self.point[rows], self.least[rows] = found.value, found.residual
        self.predicted[rows] = math.inf

    def solution(self, solved: Tensor, scale: Tensor) -> Solution:
        """The better of the two of each sample."""
        ahead = self.predicted < self.least
        residual = torch.where(ahead, self.made_from, self.least) / scale
        return Solution(self.value, residual, self.steps, solved)
