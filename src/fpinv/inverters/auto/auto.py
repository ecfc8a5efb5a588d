"""The inverter that spends as many evaluations as a wanted accuracy takes."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import check_at_least
from fpinv.inversion import Inversion
from fpinv.inverters.auto.check import check
from fpinv.inverters.auto.descent import StepDescent, Unsolved
from fpinv.inverters.auto.goal import Goal
from fpinv.inverters.auto.iteration import Iteration
from fpinv.inverters.implicit import ascend
from fpinv.sampling import DDIMSampling
from fpinv.solvers import Acceleration, Anderson, Solution, rms


@dataclass(frozen=True)
class Auto(DDIMSampling):
    r"""Inversion that solves each DDIM step's equation as exactly as the image needs, and no more.

    The user names the error of the reconstructed latent that is acceptable. Of it,
    :math:`\delta = 10^{-\text{accuracy}/20} |z_0| / \sqrt N` falls on a step. With
    :math:`x = g(x)` of fixed-point inversion and :math:`a_i = \alpha_i / \alpha_{i-1}`:

    **Start.** The image latent :math:`\hat x_0` that the last two moves held, extrapolated
    linearly in the log signal-to-noise ratio :math:`\lambda = \log(\alpha / \sigma)`:

    .. math:: x^0 = \tfrac{\sigma_i}{\sigma_{i-1}} z_{i-1}
              + \Big(\alpha_i - \tfrac{\sigma_i}{\sigma_{i-1}} \alpha_{i-1}\Big)
              \big(\hat x_{i-1} + q_i (\hat x_{i-1} - \hat x_{i-2})\big), \qquad
              q_i = \frac{\lambda_i - \lambda_{i-1}}{\lambda_{i-1} - \lambda_{i-2}}

    (the multistep idea of DPM-Solver++; with :math:`q_i = 0` it is the start of IFE). After the
    first steps a parabola through three takes the place of the line, in samples where it bends by
    at most half of what the line adds. The start costs nothing and makes one evaluation enough
    for most steps. Where :meth:`fpinv.schedule.Schedule.form` holds the network's output, that is
    extrapolated instead, in its own :meth:`~fpinv.schedule.Schedule.time`, and :math:`a_i` is
    :math:`1 / A_i`.

    **Iteration.** Anderson's, per sample, until the next iterate is predicted to be good enough:

    .. math:: \rho\, |x^k - g(x^k)| \, G_i / a_i \le \delta

    :math:`\rho` is the ratio of the last two residuals, that of the previous step until there are
    two. :math:`G_i = \max(1, G_{i-1} s_i)` is the factor by which the sampler has magnified an
    error by the time it is at :math:`z_0`, with the stretch
    :math:`s_i = |\Delta(x - g(x))| / (a_i |\Delta x|)` of the DDIM step between the first two
    evaluated points (between steps with one, that of the last known slope of the noise). A
    residual that is left grows by :math:`G_{i-1}` alone; the step's own stretch is a reserve for
    that of the next, which is not known yet. At guidance 1 G stays small (3 at most with the
    bundled model). Under guidance it can exceed 100, so that the noise end must be solved better
    than the clean end. Another direction may grow more than the one that is followed, so
    iterations go on there to a tenth of :math:`\delta`. The step's value is the iterate made from
    the evaluated point of least residual, so that an iteration which does not contract does little
    harm. Nor is a step solved further than the network's precision allows: it counts as solved,
    too, where the residual is within the rounding of the network's part of g,
    :math:`\varepsilon \sqrt{w^2 + (w - 1)^2}\, |g(x) - a_i z_{i-1}|`, with the machine epsilon
    :math:`\varepsilon` (.008 in bf16).

    **Descent.** A step may have no solution: the sampler's last steps but one return what a
    denoiser would make of noise, which a real image is not, and guidance folds the map. Where the
    iteration does not get there, gradients through the network minimise

    .. math:: |D_{i \to j}(x) - z_j|^2, \qquad j = i - 1

    with D the sampler, from the iteration's best point, until the error to be expected at z_0 has
    half the square of the accepted one. Least squares have many local minima. Where the descent
    does not get there and the latent below comes back as exactly as solved steps leave it, another
    descent from the step's start is tried, and the better is taken. Where that latent does not
    come back itself, the point that the first descent reached is brought as close to the image,
    j = 0, as the latent below came.

    **Check.** Ratio, stretch and so the expected error are predictions: they follow one
    direction, and guidance may magnify another a hundred times more. Under guidance, and where
    the expected error is above the accepted one, the sample is sampled back, at the guidance of
    the inversion. Where its error is above the accepted one although every step was solved or
    less than half of it was expected, it climbs once more: iterations and descents to the latent
    below go on to a hundredth of their tolerances, as far as they get. The closer of the two is
    kept; where its error is more than ten times the accepted one all the same, DDIM inversion if
    that comes back closer, none of whose steps counts as solved.

    NFE: between N and K N; more for a step that the iteration did not solve: at most 2 L for a
    descent from a latent that comes back, 5 L + 1 for one that does not (L + i + 1 for i > 4 L).
    N for sampling back; a second climb costs what a climb costs, and N; the comparison with DDIM
    2 N. A gradient with respect to j takes i - j evaluations, which count as any other; their
    number is in :attr:`fpinv.inversion.Inversion.gradients`, and their activations are held for
    the backward pass all at once. Stores: nothing beyond z_N.

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
        acceleration: The rule that makes the next iterate.

    Raises:
        UserError: on creation, where a number is not possible.
    """

    accuracy: float = 40.0
    iterations: int = 12
    descents: int = 80
    acceleration: Acceleration = field(default_factory=lambda: Anderson(5))

    def __post_init__(self) -> None:
        check_at_least(self, accuracy=0, iterations=1, descents=0)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), then check what may have failed."""
        condition, accepted = (
            self.inverting(condition, denoiser),
            10 ** (-self.accuracy / 20) * rms(z0),
        )

        def climb(goal: Goal) -> tuple[Inversion, Tensor]:
            walk = Climb(self, goal)
            steps = ascend(denoiser, goal.z0, goal.condition, walk.step)
            return steps, walk.error

        return check(Goal(denoiser, z0, condition, accepted), climb)


@dataclass
class Climb:
    """One walk up the grid: each step iterated, and descended where that does not solve it.

    Arguments:
        auto: The settings.
        goal: The images.

    Attributes:
        error: The error at z_0 to be expected of the last latent, rms, (B,).
    """

    auto: Auto
    goal: Goal

    def __post_init__(self) -> None:
        self.iteration = Iteration(self.goal, self.auto.iterations, self.auto.acceleration)
        self.descent = StepDescent(self.auto.descents)
        self.error = torch.zeros_like(self.goal.accepted)

    def step(self, before: Tensor, z: Tensor, i: int) -> Solution:
        """Solve the step from ``z`` at index i - 1; the iteration remembers what lies below."""
        solution = self.iteration(z, i)
        error = torch.hypot(self.error, self.iteration.error)
        assert solution.converged is not None, "the iteration says which samples it solved"
        rows = (~solution.converged).nonzero().squeeze(1)
        if self.descent.gradients and len(rows):
            a, _ = self.iteration.schedule.sensitivity(i)
            start, gain = self.iteration.start, self.iteration.below
            rounded = self.iteration.rounded / a
            unsolved = Unsolved(self.goal, start, z, gain, self.error, rounded)[rows]
            descended = self.descent(unsolved, solution.value[rows], i)
            error = error.index_copy(0, rows, descended.error)
            residual = a * descended.miss / rms(unsolved.below)
            solved = descended.solves(unsolved)
            there = Solution(
                descended.value,
                residual,
                solution.steps[rows] + descended.calls,
                solved,
                gradients=descended.gradients,  # the iteration took none
            )
            solution = solution.put(rows, there)
        self.error = error
        return solution
