"""One climb of ``auto``: each step solved as far as its share of the accepted error asks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inverters.implicit import equation
from fpinv.sampling import sample
from fpinv.solvers import Acceleration, History, LeastSquares, Solution, per_sample, rms

EARLY = 4
"""Steps at the clean end that differ too much from one another to predict the next from."""

LEAST = 0.05
"""Ratio of residuals below which none is trusted: the next step's may be larger."""

JOINT = 4
"""Evaluations of descents to the image, for each of those to the latent below."""

CAREFUL = 0.1
"""First step of a descent that is to find the next minimum rather than a solution far away."""

HALF = math.sqrt(0.5)
"""Error that has half the square of the accepted one: descents leave the rest to other steps."""


@dataclass(frozen=True)
class Effort:
    """How far a climb goes for a step.

    Arguments:
        iterations: Evaluations of a step at most.
        descents: Gradients that a descent may take; 0 for no descents.
        acceleration: How the next iterate is made.
        strictness: Part of a tolerance that is aimed at; a step is solved at the whole.
    """

    iterations: int
    descents: int
    acceleration: Acceleration
    strictness: float = 1.0


@dataclass(frozen=True)
class _Aim:
    """Latents at grid index ``index`` whose errors are yet to grow by ``gain``, (B,)."""

    latent: Tensor
    gain: Tensor
    index: int

    def __getitem__(self, rows: Tensor) -> _Aim:
        return _Aim(self.latent[rows], self.gain[rows], self.index)


def _put(into: Solution, rows: Tensor, found: Solution, which: Tensor | slice) -> None:
    """Replaces the samples ``rows`` by those of ``found`` that ``which`` says."""
    into.value[rows], into.residual[rows] = found.value[which], found.residual[which]
    into.converged[rows] = found.converged[which]


class Climb:
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
        whole: Whether the iteration alone solved every step so far, (B,).
    """

    def __init__(
        self,
        denoiser: Denoiser,
        condition: Condition,
        z0: Tensor,
        accepted: Tensor,
        effort: Effort,
    ) -> None:
        self.denoiser, self.condition, self.effort = denoiser, condition, effort
        self.schedule = denoiser.schedule
        self.accepted = accepted
        self.budget = self.accepted / math.sqrt(self.schedule.steps)
        self.error = torch.zeros_like(self.budget)
        self.clean: list[Tensor] = []
        self.ratio, self.gain = torch.ones_like(self.error), torch.ones_like(self.error)
        self.slope, self.below = torch.zeros_like(self.error), self.gain
        self.whole = torch.ones_like(self.error, dtype=torch.bool)
        self.image = _Aim(z0, self.gain, 0)

    def step(self, before: Tensor, z: Tensor, i: int) -> Solution:
        """Solves the step from ``z`` at i - 1, reached from ``before``."""
        best, tolerance = self._iterate(before, z, i)
        left = best.left * self.gain * self.schedule.alpha[i - 1] / self.schedule.alpha[i]
        # Where nothing of the image is left, every latent solves the equation.
        iterated = (best.left <= tolerance) & (self.schedule.alpha[i] > 0)
        solved, error = iterated.clone(), torch.hypot(self.error, left)
        for whole in (True, False) if self.effort.descents else ():
            rows = (~iterated & (self.whole == whole)).nonzero().squeeze(1)
            if len(rows):
                found, cost = self._descend(
                    (best.value[rows], best.first[rows]), z, rows, i, whole
                )
                best.replace(rows, found, cost)
                solved[rows], error[rows] = found.converged, found.residual
        self.error, self.whole = error, self.whole & iterated
        return best.solution(solved, rms(z))

    def _iterate(self, before: Tensor, z: Tensor, i: int) -> tuple[_Iterates, Tensor]:
        """What Anderson's iteration finds for the step from ``z``, and the tolerances (B,)."""
        g = equation(self.denoiser, z, i, self.condition)
        a = self.schedule.alpha[i] / self.schedule.alpha[i - 1]
        weight = 1 - a * self.schedule.sigma[i - 1] / self.schedule.sigma[i]
        if i <= EARLY:
            self.ratio = torch.ones_like(self.ratio)
        stretch = (1 - weight * self.slope).abs() / a
        x, unit = self._start(before, z, i), torch.ones_like(self.budget)
        history, best = History(self.effort.acceleration), _Iterates(x)
        rows, active = None, torch.arange(len(z), device=z.device)
        last: tuple[Tensor, ...] = ()
        for k in range(self.effort.iterations):
            gx = g(x, rows)
            following, r = history.advance(x, gx, unit[active])
            if last:
                dx, dg, sound = x - last[0], gx - last[1], r.isfinite()
                self.ratio[active] = (r / last[2]).nan_to_num(1.0).clamp(LEAST, 1.0)
                if k == 1:
                    length = rms(dx).clamp_min(torch.finfo(dx.dtype).tiny)
                    slope = (dg * dx).flatten(1).mean(1) / length**2 / weight
                    stretch[active[sound]] = (rms(dx - dg) / length / a)[sound]
                    self.slope[active[sound]] = slope[sound]
            predicted = self.ratio[active] * r
            best.offer(active, x, r, following, predicted)
            tolerance = self.budget * a / (self.gain * stretch).clamp_min(1)
            going = r.isfinite() & (predicted > self.effort.strictness * tolerance[active])
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
        self, starts: tuple[Tensor, Tensor], z: Tensor, rows: Tensor, i: int, whole: bool
    ) -> tuple[Solution, Tensor]:
        """Brings samples ``rows`` back to ``z`` at i - 1 or to the image; evaluations spent.

        ``starts`` are the iteration's best point and the step's start. The residuals are the
        errors at z_0 that are to be expected, or for the image those that are.
        """
        most, near = self.effort.descents, HALF * self.accepted[rows]
        home = _Aim(z, self.below, i - 1)[rows]
        best = self._approach(starts[0], home, near, rows, i, most)
        cost = best.steps.clone()
        left = (~best.converged).nonzero().squeeze(1)
        if whole and len(left):
            start, goal = starts[1][left], home[left]
            found = self._approach(start, goal, near[left], rows[left], i, most, CAREFUL)
            cost[left] += found.steps
            better = found.residual < best.residual[left]
            _put(best, left[better], found, better)
        left = (~best.converged).nonzero().squeeze(1)
        best = replace(best, residual=torch.hypot(best.residual, self.error[rows]))
        limit = torch.hypot(near, self.error[rows])
        near = torch.where(limit.isfinite(), limit, near)
        if not whole and len(left):
            start, image = best.value[left], self.image[rows[left]]
            most = max(1, JOINT * most // i)
            found = self._approach(start, image, near[left], rows[left], i, most, CAREFUL)
            cost[left] += i * found.steps
            _put(best, left, found, slice(None))
        return best, cost

    def _approach(
        self,
        start: Tensor,
        aim: _Aim,
        near: Tensor,
        rows: Tensor,
        i: int,
        most: int,
        first: float = 1.0,
    ) -> Solution:
        """Minimises how far the samples ``rows`` of ``start`` at i come back from ``aim``."""

        def miss(x: Tensor, some: Tensor | None) -> Tensor:
            goal, own = (aim.latent, rows) if some is None else (aim.latent[some], rows[some])
            return sample(self.denoiser, x, self.condition[own], i, aim.index) - goal

        # Of the image the residual is the error itself, elsewhere what it is expected to become.
        tolerance = near * (self.effort.strictness if aim.index else 1.0)
        found = LeastSquares(most, first=first)(miss, start, tolerance / aim.gain)
        error = aim.gain * found.residual
        return replace(found, residual=error, converged=error <= near)

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


class _Iterates:
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
