"""Our inverter of samplers that look back, such as DPM-Solver++ (2M)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from fpinv.batch import PerSample, Rows
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import check_at_least
from fpinv.inversion import Inversion
from fpinv.inverters.auto.check import Closest, cost
from fpinv.inverters.auto.goal import Goal
from fpinv.sampling import DDIMSampling, spent
from fpinv.schedule import Schedule, implied, lacks_signal
from fpinv.solvers import Acceleration, Anderson, FixedPointIteration, LeastSquares, Solution, rms

EARLY = 4
"""Steps at the clean end that are climbed once more before all others: their images bend most."""
PART = 0.6
"""Part of the accepted error that a step may leave before its last iterate is taken."""


@dataclass(frozen=True)
class Sweeps(DDIMSampling):
    r"""Inversion of DPM-Solver++ (2M), in sweeps up the grid that correct one another.

    A step of the sampler looks back at the image latent :math:`\hat x_{i+1}` of the step before,
    which on the way up is yet to come:

    .. math:: z_{i-1} = \rho_i z_i + c_i \big( (1 + b_i) \hat x_i - b_i \hat x_{i+1} \big), \qquad
              \rho_i = \frac{\sigma_{i-1}}{\sigma_i}, \quad c_i = \alpha_{i-1} - \rho_i \alpha_i

    With the *bend* :math:`\kappa_i` of the images, their second difference in the log
    signal-to-noise ratio :math:`\lambda`,

    .. math:: \kappa_i = \hat x_{i+1} - \hat x_i - \frac{\hat x_i - \hat x_{i-1}}{2 b_i}
              \quad\Longrightarrow\quad
              z_{i-1} = \rho_i z_i
              + c_i \big( \tfrac12 (\hat x_i + \hat x_{i-1}) - b_i \kappa_i \big)

    because :math:`b_i` is half the ratio of two lengths in :math:`\lambda`. This is exact. But
    for the bend it is the trapezoidal rule: an equation for :math:`z_i` alone, which contracts
    better than that of a DDIM step, as it holds half of the image. A sweep solves all steps
    upwards with the bends of the last sweep, at first with none, and so with an error of second
    order in the lengths. Each further sweep brings the error down by another order or two: on the
    bundled model by 10 dB and more. (Step 1 has no :math:`\hat x_0` and takes
    :math:`\kappa_1 = \hat x_2 - \hat x_1`.)

    **A step** is started at the image that the last two lead to, extrapolated in :math:`\lambda`,
    or in later sweeps with the noise of the last one, and iterated by Anderson's rule until the
    residual is ``PART`` of the accepted error. One evaluation does that for most steps. The
    equation is solved for what :meth:`fpinv.schedule.Schedule.form` holds.

    **The last step of the sampler** is the hard one where it ends without noise: its equation
    :math:`z_0 = \hat x(z_1)` asks for a latent that a denoiser turns into an image that no
    denoiser made. No iteration contracts there, and gradients minimise the residual instead
    (L-BFGS), as for any step that the iteration does not solve.

    **Check.** The result is sampled back. An image whose error is above the accepted one is swept
    again, and the closest of its results is kept.

    NFE: about N a sweep, N for sampling back after each, and at most K + L for a step that needs
    them. A gradient is one evaluation, whose backward pass takes about twice its time. Stores:
    nothing beyond z_N.

    On a grid of DDIM, which does not look back, it is a fixed-point inversion that is checked.

    References:
        | The sampler: DPM-Solver++ (Lu et al., 2022), https://arxiv.org/abs/2211.01095
        | Another inversion of it: On Exact Inversion of DPM-Solvers (Hong et al., 2024), which
        | takes :math:`\hat x_{i+1}` from a finer grid of DDIM inversion and damped iterations or
        | gradients, up to 500 a step, https://arxiv.org/abs/2311.18387
        | The sweeps are ours.

    Arguments:
        accuracy: Acceptable error of the reconstructed latent, in dB below its power. What is
            sampled back is checked against it.
        sweeps: Sweeps at most.
        iterations: Evaluations K of a step in a sweep at most, before gradients.
        descents: Gradients L that an unsolved step may take in a sweep; 0 for none.
        acceleration: The rule that makes the next iterate.

    Raises:
        UserError: on creation, where a number is not possible.
    """

    multistep: ClassVar[bool] = True

    accuracy: float = 50.0
    sweeps: int = 4
    iterations: int = 6
    descents: int = 40
    acceleration: Acceleration = field(default_factory=lambda: Anderson(6))

    def __post_init__(self) -> None:
        check_at_least(self, accuracy=0, sweeps=1, iterations=1, descents=0)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Sweep the grid upwards from ``z0`` (B, C, H, W) until the images come back."""
        accepted = 10 ** (-self.accuracy / 20) * rms(z0)
        goal = Goal(denoiser, z0, self.inverting(condition, denoiser), accepted)
        steps, every = denoiser.schedule.steps, torch.ones_like(accepted, dtype=torch.bool)
        early, memory = self._sweep(goal, Memory(), min(EARLY, steps))
        first, memory = self._sweep(goal, memory, steps)
        best = Closest(goal, first, torch.full_like(accepted, math.inf), *cost(goal, early))
        best.offer(every, lambda rows: first)

        def again(rows: Tensor) -> Inversion:
            nonlocal memory
            inversion, swept = self._sweep(goal[rows], memory[rows], steps)
            memory = memory.put(rows, swept)
            return inversion

        for _ in range(self.sweeps - 1):
            best.offer(~(best.error <= accepted), again)
        costs = spent(goal.condition, best.calls, best.gradients)
        return replace(best.inversion, **costs, expected_error=best.error)

    def _sweep(self, goal: Goal, memory: Memory, top: int) -> tuple[Inversion, Memory]:
        """Return the inversion up to index ``top`` with the bends of the last sweep, and its own.

        ``memory`` has the steps that the last sweep came to.
        """
        schedule, z = goal.denoiser.schedule, goal.z0
        held: list[Tensor] = []
        images: list[Tensor] = []
        solutions: list[Solution] = []
        for i in range(1, top + 1):
            step = Step.of(schedule, i, images, memory)
            if i == 1 and memory.first is not None and not step.looks_back:
                none = torch.zeros_like(memory.first.steps)
                solutions.append(replace(memory.first, steps=none, gradients=none))
            else:
                start = step.start(z, schedule, images, memory)
                solutions.append(self._solve(goal, step, z, start))
            held.append(step.held(z, solutions[-1].value))
            z = solutions[-1].value
            images.append(step.image(z, held[-1]))
        residual, iterations, converged, gradients = (
            torch.stack([getattr(solution, name) for solution in solutions])
            for name in ("residual", "steps", "converged", "gradients")
        )
        inversion = Inversion(
            z,
            **spent(goal.condition, iterations.sum(0), gradients.sum(0)),
            residual=residual,
            iterations=iterations,
            converged=converged,
        )
        return inversion, Memory(held, bends(schedule, images), solutions[0])

    def _solve(self, goal: Goal, step: Step, z: Tensor, start: Tensor) -> Solution:
        """Return the solution of one step, by iteration and, where that fails, by descent."""
        denoiser, size = goal.denoiser, rms(z)

        def g(x: Tensor, rows: Rows) -> Tensor:
            held = denoiser.held(x, step.i, goal.condition[rows])
            return step.raised(z[rows], held, rows)

        tolerance = PART * 10 ** (-self.accuracy / 20)
        iteration = FixedPointIteration(self.iterations, tolerance, self.acceleration)
        solution = replace(iteration(g, start, size), trace=None, remaining=None)
        assert solution.converged is not None, "an iteration with a tolerance says which it solved"
        # Where nothing contracts, the last iterate may be worse than the point it is made from.
        unsure = ~solution.converged | (step.ratio == 0)
        rows = unsure.nonzero().squeeze(1)
        if not (self.descents and len(rows)):
            return solution
        descend = LeastSquares(self.descents)
        x = descend(lambda x, r: x - g(x, rows[r]), solution.value[rows], tolerance * size[rows])
        there = Solution(
            x.value,
            x.residual / size[rows],
            solution.steps[rows] + x.steps,
            x.converged,
            gradients=x.gradients,
        )
        return solution.put(rows, there)


@dataclass(frozen=True)
class Memory(PerSample):
    r"""The steps of a sweep as the next one needs them, clean end first.

    Arguments:
        held: What each step holds of the network's output, shape (B, C, H, W).
        bends: The bend :math:`\kappa_i` of the images at each step but the last, as ``held``.
        first: The solution of step 1, whose equation stays the same unless it looks back.
    """

    held: list[Tensor] = field(default_factory=list)
    bends: list[Tensor] = field(default_factory=list)
    first: Solution | None = None


@dataclass(frozen=True)
class Step:
    r"""The equation :math:`z_{i-1} = \rho x + w (p x + q h(x)) + k` of the step to index i.

    Arguments:
        i: Grid index of the solution x.
        ratio: :math:`\rho`.
        weight: w, of the image at x.
        constant: k, of the images below and the bend; (B, C, H, W), or a number.
        p, q: The image is :math:`p x + q h`, with h what the step holds.
        looks_back: Whether the step takes an image from above.
    """

    i: int
    ratio: float
    weight: float
    constant: Tensor | float
    p: float
    q: float
    looks_back: bool

    @classmethod
    def of(cls, schedule: Schedule, i: int, images: list[Tensor], memory: Memory) -> Step:
        """Return the equation, given the ``images`` of the steps below."""
        (p, q), _ = implied(schedule.form(i), schedule.alpha[i], schedule.sigma[i])
        ratio, c = schedule.sigma[i - 1] / schedule.sigma[i], schedule.image_weight(i)
        b, weight = schedule.lookback[i] if schedule.lookback else 0.0, c
        constant: Tensor | float = 0.0
        if b and i > 1:
            weight, constant = c / 2, c / 2 * images[-1]
        if b and i <= len(memory.bends):
            constant = constant - c * b * memory.bends[i - 1]
        return cls(i, ratio, weight, constant, p, q, b != 0)

    def raised(self, z: Tensor, held: Tensor, rows: Rows = slice(None)) -> Tensor:
        """Return the x of which the step that holds ``held`` makes ``z``, of the samples."""
        k = self.constant[rows] if isinstance(self.constant, Tensor) else self.constant
        return (z - k - self.weight * self.q * held) / (self.ratio + self.weight * self.p)

    def held(self, z: Tensor, x: Tensor) -> Tensor:
        """Return what the step from ``x`` to ``z`` holds: the inverse of :meth:`raised`."""
        remainder = z - self.constant - (self.ratio + self.weight * self.p) * x
        return remainder / (self.weight * self.q)

    def image(self, x: Tensor, held: Tensor) -> Tensor:
        """Return the image latent at ``x``."""
        return self.p * x + self.q * held

    def start(self, z: Tensor, schedule: Schedule, images: list[Tensor], memory: Memory) -> Tensor:
        """Return the first point: with what the last sweep held, or where the images lead."""
        if self.i <= len(memory.held):
            return self.raised(z, memory.held[self.i - 1])
        if not images:
            return z
        image = images[-1]
        ends = schedule.sigma[self.i - 2] == 0 or lacks_signal(schedule.alpha[self.i])
        if len(images) > 1 and not ends:  # a ratio of 0, or without a bound
            low, middle, high = (_snr(schedule, j) for j in range(self.i - 2, self.i + 1))
            image = torch.lerp(images[-2], image, (high - low) / (middle - low))
        return (z - self.constant - self.weight * image) / self.ratio


def bends(schedule: Schedule, images: list[Tensor]) -> list[Tensor]:
    """Return the bends of the images of steps 1, 2, ..., of all but the last; 0 where b_i is."""
    all_bends: list[Tensor] = []
    for i in range(1, len(images)):
        b = schedule.lookback[i] if schedule.lookback else 0.0
        bend = images[i] - images[i - 1] if b else torch.zeros_like(images[0])
        if b and i > 1:
            bend = bend - (images[i - 1] - images[i - 2]) / (2 * b)
        all_bends.append(bend)
    return all_bends


def _snr(schedule: Schedule, i: int) -> float:
    """Return the log signal-to-noise ratio at index i."""
    return math.log(schedule.alpha[i] / schedule.sigma[i])
