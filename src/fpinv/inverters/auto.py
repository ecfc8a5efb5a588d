"""The inverter to use by default: as many evaluations as a wanted accuracy takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import DDIMSampling, Inversion, sample, spent
from fpinv.inverters.ddim import DDIM
from fpinv.inverters.implicit import ascend, equation
from fpinv.seeding import generator
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
"""Error over the accepted one from which on DDIM inversion may be closer."""

JOINT = 4
"""Evaluations of descents to the image, for each of those to the latent below."""

CAREFUL = 0.1
"""First step of a descent that is to find the next minimum rather than a solution far away."""

STRICT = 0.01
"""Part of a tolerance that is aimed at after a climb whose error was not foreseen; steps count as
solved at the whole."""

FORESEEN = 2.0
"""Error over the expected one up to which it counts as foreseen."""

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
    guidance 1 it stays small (3 at most with the bundled model); under guidance it can exceed
    100, so that the noise end must be solved better than the clean end.

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
    the inversion. Where its error is above the accepted one although every step was solved, or
    more than twice the expected one, it climbs once more: iterations and descents to the latent
    below go on to a hundredth of their tolerances, as far as they get. Where steps were not
    solved, it climbs again ``restarts`` times, for other minima: its first descent begins at the
    step's start with noise of its level added. The best climb is kept; where its error is more
    than ten times the accepted one all the same, DDIM inversion if that comes back closer.

    NFE: between N and K N; more for a step that the iteration did not solve: at most 2 L for the
    first of a sample, 5 L for another (L + i for i > 4 L). N for sampling back; a further climb
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
            per cent. Under guidance results are checked against it; without, it is an aim.
        iterations: Evaluations K of a step at most.
        descents: Gradients L that a descent of an unsolved step may take; 0 for no descents.
        restarts: Further climbs at most of samples with unsolved steps that do not come back as
            accepted.
        acceleration: How the next iterate is made.

    Raises:
        UserError: on creation, where a number is not possible.
    """

    accuracy: float = 40.0
    iterations: int = 12
    descents: int = 80
    restarts: int = 0
    acceleration: Acceleration = field(default_factory=lambda: Anderson(5))

    def __post_init__(self) -> None:
        if not math.isfinite(self.accuracy):
            raise UserError(f"accuracy={self.accuracy} is not possible: choose a number of dB")
        if self.iterations < 1:
            raise UserError(f"iterations={self.iterations} is not possible: choose at least 1")
        if self.descents < 0:
            raise UserError(f"descents={self.descents} is not possible: choose at least 0")
        if self.restarts < 0:
            raise UserError(f"restarts={self.restarts} is not possible: choose at least 0")

    def _accepted(self, z0: Tensor) -> Tensor:
        """The error of each latent that is acceptable, rms, (B,)."""
        return 10 ** (-self.accuracy / 20) * rms(z0)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walks the grid upwards from ``z0`` (B, C, H, W), then checks what may have failed."""
        asked, accepted = self.inverting(condition), self._accepted(z0)
        climb = _Climb(self, denoiser, asked, z0)
        found = ascend(denoiser, z0, asked, climb.step)
        error = climb.error.nan_to_num(math.inf, math.inf)
        unsure = ((error > accepted) | (asked.rows_per_sample > 1)).nonzero().squeeze(1)
        if len(unsure):
            found, error = self._again(denoiser, z0, asked, found, error, unsure)
        doubtful = (error > DOUBT * accepted).nonzero().squeeze(1)
        if len(doubtful):
            other = DDIM().invert(denoiser, z0[doubtful], asked[doubtful])
            found, _ = _offered(denoiser, z0, asked, found, error, doubtful, other)
        return found

    def _again(
        self,
        denoiser: Denoiser,
        z0: Tensor,
        asked: Condition,
        found: Inversion,
        expected: Tensor,
        unsure: Tensor,
    ) -> tuple[Inversion, Tensor]:
        """Samples ``unsure`` back and lets those climb again that may; with the errors then."""
        accepted, solved = self._accepted(z0), found.converged.all(0)
        error = expected.clone()
        error[unsure] = _error(denoiser, found.noise[unsure], z0[unsure], asked[unsure])
        found = _charged(found, unsure, spent(asked[unsure], denoiser.schedule.steps))
        unforeseen = solved | (error > FORESEEN * expected)
        for attempt in range(1 + self.restarts):
            may = ~solved if attempt else unforeseen
            rows = (may & (error > accepted)).nonzero().squeeze(1)
            if not len(rows):
                continue
            goal, own = z0[rows], asked[rows]
            climb = _Climb(self, denoiser, own, goal, attempt, 1.0 if attempt else STRICT)
            other = ascend(denoiser, goal, own, climb.step)
            found, error = _offered(denoiser, z0, asked, found, error, rows, other)
        return found, error


def _error(denoiser: Denoiser, noise: Tensor, z0: Tensor, condition: Condition) -> Tensor:
    """Distance from ``z0`` of what the sampler makes of ``noise``, rms, (B,); inf for none."""
    return rms(sample(denoiser, noise, condition) - z0).nan_to_num(math.inf, math.inf)


def _offered(
    denoiser: Denoiser,
    z0: Tensor,
    asked: Condition,
    found: Inversion,
    error: Tensor,
    rows: Tensor,
    other: Inversion,
) -> tuple[Inversion, Tensor]:
    """``found`` and ``error``, with ``other``'s samples for ``rows`` where those are closer."""
    left, before = _error(denoiser, other.noise, z0[rows], asked[rows]), error[rows]
    found = _merged(found, other, rows, left < before)
    found = _charged(found, rows, spent(asked[rows], denoiser.schedule.steps))
    return found, error.index_copy(0, rows, torch.minimum(left, before))


def _charged(found: Inversion, rows: Tensor, more: dict[str, Tensor]) -> Inversion:
    """``found`` with the cost of its samples ``rows`` increased."""
    calls, cost = found.calls.clone(), found.rows.clone()
    calls[rows] += more["calls"]
    cost[rows] += more["rows"]
    return replace(found, calls=calls, rows=cost)


def _merged(found: Inversion, other: Inversion, rows: Tensor, better: Tensor) -> Inversion:
    """``found``, where its samples ``rows`` are ``other``'s if ``better``; both are paid for."""
    to, parts = rows[better], {"noise": found.noise.clone()}
    parts["noise"][to] = other.noise[better]
    if other.residual is not None:
        for name in ("residual", "iterations", "converged"):
            parts[name] = getattr(found, name).clone()
            parts[name][:, to] = getattr(other, name)[:, better]
    return _charged(replace(found, **parts), rows, {"calls": other.calls, "rows": other.rows})


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
        whole: Whether the iteration alone solved every step so far, (B,).
    """

    def __init__(
        self,
        inverter: Auto,
        denoiser: Denoiser,
        condition: Condition,
        z0: Tensor,
        attempt: int = 0,
        strictness: float = 1.0,
    ) -> None:
        self.inverter, self.denoiser, self.condition = inverter, denoiser, condition
        self.attempt, self.strictness = attempt, strictness
        self.schedule = denoiser.schedule
        self.accepted = inverter._accepted(z0)
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
        iterated = best.left <= tolerance
        solved, error = iterated.clone(), torch.hypot(self.error, left)
        for whole in (True, False) if self.inverter.descents else ():
            rows = (~iterated & (self.whole == whole)).nonzero().squeeze(1)
            if len(rows):
                found, cost = self._descend(
                    (best.value[rows], best.first[rows]), z, rows, i, whole
                )
                best.replace(rows, found, cost)
                solved[rows], error[rows] = found.converged, found.residual
        self.error, self.whole = error, self.whole & iterated
        return best.solution(solved, rms(z))

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
            going = r.isfinite() & (predicted > self.strictness * tolerance[active])
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
        most, near = self.inverter.descents, HALF * self.accepted[rows]
        home = _Aim(z, self.below, i - 1)[rows]
        if whole and self.attempt:
            starts = self._beside(starts[1], i), starts[0]
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

    def _beside(self, start: Tensor, i: int) -> Tensor:
        """``start`` at i with the noise of this attempt, the same for all samples."""
        noise = torch.randn(start.shape[1:], generator=generator(self.attempt, "auto", str(i)))
        return start + self.schedule.sigma[i] * noise.to(start)

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
            to, own = (aim, rows) if some is None else (aim[some], rows[some])
            off = sample(self.denoiser, x, self.condition[own], i, to.index) - to.latent
            return per_sample(to.gain, off) * off

        # Of the image the residual is the error itself, elsewhere what it is expected to become.
        tolerance = near * (self.strictness if aim.index else 1.0)
        found = LeastSquares(most, first=first)(miss, start, tolerance)
        return replace(found, converged=found.residual <= near)

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
