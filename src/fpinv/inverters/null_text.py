"""Null-text inversion."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.batch import Rows
from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError, check_at_least
from fpinv.inversion import Inversion
from fpinv.inverters.ddim import ddim_path
from fpinv.sampling import Guided, Step, spent
from fpinv.solvers import Adam, Equation, Trial, rms, search


@dataclass(frozen=True)
class NullText(Guided):
    r"""Null-text inversion: a null embedding a step that keeps guided sampling on its path.

    The pivots :math:`z^*_i` are DDIM inversion's at guidance 1. From the noise end down, the null
    embedding of each step minimises the distance from the guided step to the next pivot:

    .. math:: \varnothing_i = \arg\min_\varnothing
              \big\| z^*_{i-1} - \mathrm{DDIM}_i(\bar z_i; \epsilon_\varnothing
              + w (\epsilon_p - \epsilon_\varnothing)) \big\|^2, \qquad
              \bar z_{i-1} = \mathrm{DDIM}_i(\bar z_i; \varnothing_i)

    by Adam, fresh at every step, from the embedding of the step before, with learning rate
    :math:`10^{-2} (1 - k / 100)` at :math:`k = N - i`, until the image's mean squared error is
    below :math:`10^{-5} + 2 \cdot 10^{-5} k`; an image that is there leaves the batch. The half of
    the guidance that has the prompt does not change meanwhile and is evaluated once a step.
    Gradients are of the embedding alone, whether or not the network is frozen, and live for one
    evaluation.

    NFE: :math:`3 N + \sum_i n_i`, of one row each: DDIM inversion's, the prompt's, that of the
    result, and :math:`n_i \le` ``inner_steps`` with a gradient; N where there is nothing to
    optimise (no inner steps, or guidance 1). N to sample. Stores: N token embeddings.

    References:
        | Null-text Inversion for Editing Real Images using Guided Diffusion Models
        | (Mokady et al., 2023), https://arxiv.org/abs/2211.09794

    Arguments:
        inner_steps: Optimisation steps of a grid step at most; 0 leaves the null prompt alone.
        learning_rate: Of the first grid step. It falls by a hundredth of itself a step, whatever
            N, as in the authors' code: to half at N = 50. From step 100 on it stays at the last
            hundredth.
        tolerance: Mean squared error at which the first grid step is done.
        growth: Increase of that tolerance from one grid step to the next.
    """

    inner_steps: int = 10
    learning_rate: float = 1e-2
    tolerance: float = 1e-5
    growth: float = 2e-5
    inversion_guidance: float | None = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        check_at_least(self, inner_steps=0, learning_rate=0, tolerance=0, growth=0)

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Invert ``z0`` (B, C, H, W) by DDIM, then optimise an embedding a step, noise end first.

        Raises:
            UserError: there is no null prompt, or it is a label without a gradient, or the network
                runs in fp16, which loses gradients as small as these, or images differ in their
                guidance.
        """
        if isinstance(condition.guidance, Tensor):
            raise UserError("null_text takes one guidance for all images: give a number")
        optimising = self.inner_steps > 0 and condition.guidance != 1
        if optimising and not _null(condition).tokens.is_floating_point():
            raise UserError(
                "null_text optimises the states of the null prompt, but this network's are whole "
                "numbers, such as class labels, without a gradient: use inverter=negative_prompt"
            )
        if optimising and denoiser.dtype == torch.float16:
            raise UserError("null_text needs gradients that fp16 loses: use precision=fp32")
        steps, pivoting = denoiser.schedule.steps, self.inverting(condition, denoiser)
        pivots = [z0, *ddim_path(denoiser, z0, pivoting)]
        tokens, z, nulls = _null(condition).tokens.to(z0.dtype), pivots[-1], []
        cost = spent(pivoting, steps, gradients=0)
        for i in range(steps, 0, -1):
            if optimising:
                tokens, z, inner = self._step(denoiser, z, pivots[i - 1], i, condition, tokens)
                # One row a call: the prompt's, those of the null prompt, and that of the result.
                cost["calls"] = cost["calls"] + inner + 2
                cost["rows"] = cost["rows"] + inner + 2
                cost["gradients"] = cost["gradients"] + inner
            nulls.append(tokens)
        return Inversion(pivots[-1], **cost, state={"null": torch.stack(nulls[::-1], 1)})

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return the step of DDIM with the null embedding of that step."""

        def step(z: Tensor, i: int) -> Tensor:
            optimised = _with_null(condition, inversion.state["null"][:, i - 1])
            return denoiser.ddim_step(z, i, optimised)

        return step

    def _step(
        self,
        denoiser: Denoiser,
        z: Tensor,
        pivot: Tensor,
        i: int,
        condition: Condition,
        tokens: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the null tokens of step i, their latents, and the gradients taken, (B,)."""
        prompted = denoiser(z, i, replace(condition, guidance=1.0))

        def guided(tokens: Tensor, rows: Rows) -> Tensor:
            alone = replace(_with_null(condition[rows], tokens), guidance=0.0)
            null = denoiser(z[rows], i, alone)
            m = null + condition.guidance * (prompted[rows] - null)
            return denoiser.schedule.transfer(z[rows], m, i, i - 1)

        def losses(tokens: Tensor, rows: Rows) -> Tensor:
            return (guided(tokens, rows) - pivot[rows]).square().flatten(1).mean(1)

        k = denoiser.schedule.steps - i
        rate = self.learning_rate * max(100 - k, 1) / 100
        tolerance = self.tolerance + self.growth * k
        tokens, inner = _minimise(losses, tokens, rate, tolerance, self.inner_steps)
        return tokens, guided(tokens, slice(None)), inner


def _minimise(
    losses: Equation,
    start: Tensor,
    rate: float,
    tolerance: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Return Adam's last points from ``start``, and the evaluations (B,) that they took.

    A sample takes one more step at the point where its loss is within the tolerance, as in the
    authors' code.
    """

    def step(k: int, adam: Adam, rows: Rows) -> tuple[Adam, Trial]:
        with torch.enable_grad():
            x = adam.x.detach().requires_grad_()
            loss = losses(x, rows)
            (slope,) = torch.autograd.grad(loss.sum(), x)
        adam, loss = adam.moved(slope, rate, k), loss.detach()
        # The latest finite point is the result, whatever the losses before it.
        rank = torch.where(rms(adam.x).isfinite(), torch.full_like(loss, -k), math.inf)
        return adam, Trial(adam.x, rank, loss, differentiated=True)

    solution = search(step, Adam.at(start), start, steps, tolerance)
    return solution.value, solution.steps


def _with_null(condition: Condition, tokens: Tensor) -> Condition:
    """Return the condition with these tokens in its null prompt."""
    return replace(condition, null=replace(_null(condition), tokens=tokens))


def _null(condition: Condition) -> Embedding:
    if condition.null is None:
        raise UserError("null_text needs the embedding of the null prompt, even at guidance 1")
    return condition.null
