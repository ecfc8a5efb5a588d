"""Null-text inversion."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.inversion import Inversion, OnStep
from fpinv.inverters.ddim import ddim_path
from fpinv.sampling import Guided, spent, walk_down


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
    :math:`10^{-2} (1 - k / 2N)` at :math:`k = N - i`, until the image's mean squared error is
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
        learning_rate: Of the first grid step; it falls linearly to half.
        tolerance: Mean squared error at which the first grid step is done.
        growth: What every further grid step adds to that.
    """

    inner_steps: int = 10
    learning_rate: float = 1e-2
    tolerance: float = 1e-5
    growth: float = 2e-5
    inversion_guidance: float | None = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        if self.inner_steps < 0:
            raise UserError(f"inner_steps={self.inner_steps} is not possible: choose at least 0")

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """DDIM inversion of ``z0`` (B, C, H, W), then one embedding a step, noise end first.

        Raises:
            UserError: there is no null prompt, or the network runs in fp16, which loses gradients
                as small as these.
        """
        optimising = self.inner_steps > 0 and condition.guidance != 1
        if optimising and denoiser.dtype == torch.float16:
            raise UserError("null_text needs gradients that fp16 loses: use precision=fp32")
        steps, pivoting = denoiser.schedule.steps, self.inverting(condition)
        pivots = [z0, *ddim_path(denoiser, z0, pivoting)]
        tokens, z, nulls = _null(condition).tokens.to(z0.dtype), pivots[-1], []
        cost = spent(pivoting, steps)
        for i in range(steps, 0, -1):
            if optimising:
                tokens, z, calls = self._step(denoiser, z, pivots[i - 1], i, condition, tokens)
                cost = {name: count + calls for name, count in cost.items()}
            nulls.append(tokens)
        return Inversion(pivots[-1], **cost, state={"null": torch.stack(nulls[::-1], 1)})

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        inversion: Inversion,
        condition: Condition,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """The plain sampler with the null embedding of each step."""
        schedule = denoiser.schedule

        def step(z: Tensor, i: int) -> Tensor:
            optimised = _with_null(condition, inversion.state["null"][:, i - 1])
            return schedule.transfer(z, denoiser(z, i, optimised), i, i - 1)

        return walk_down(step, inversion.noise, schedule.steps, on_step=on_step)

    def _step(
        self,
        denoiser: Denoiser,
        z: Tensor,
        pivot: Tensor,
        i: int,
        condition: Condition,
        tokens: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The null tokens of step i, where it leads with them, and its calls per image."""
        prompted = denoiser(z, i, replace(condition, guidance=1.0))

        def guided(tokens: Tensor, rows: Tensor | slice) -> Tensor:
            alone = replace(_with_null(condition[rows], tokens), guidance=0.0)
            null = denoiser(z[rows], i, alone)
            m = null + condition.guidance * (prompted[rows] - null)
            return denoiser.schedule.transfer(z[rows], m, i, i - 1)

        def losses(tokens: Tensor, rows: Tensor) -> Tensor:
            return (guided(tokens, rows) - pivot[rows]).square().flatten(1).mean(1)

        steps, k = denoiser.schedule.steps, denoiser.schedule.steps - i
        rate = self.learning_rate * (1 - k / (2 * steps))
        tolerance = self.tolerance + self.growth * k
        tokens, calls = _minimise(losses, tokens, rate, tolerance, self.inner_steps)
        return tokens, guided(tokens, slice(None)), calls + 2


def _minimise(
    losses: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    rate: float,
    tolerance: float,
    steps: int,
) -> tuple[Tensor, Tensor]:
    """Adam on each sample until its loss was below the tolerance, and the evaluations it took.

    Samples are parameters of their own: one without a gradient is skipped, moments and all.
    """
    samples = [sample.clone().requires_grad_() for sample in start.split(1)]
    adam = torch.optim.Adam(samples, lr=rate)
    calls = torch.zeros(len(samples), dtype=torch.long, device=start.device)
    active = list(range(len(samples)))
    for _ in range(steps):
        chosen, rows = [samples[k] for k in active], torch.tensor(active, device=start.device)
        with torch.enable_grad():
            loss = losses(torch.cat(chosen), rows)
            gradients = torch.autograd.grad(loss.sum(), chosen)
        adam.zero_grad()
        for sample, gradient in zip(chosen, gradients, strict=True):
            sample.grad = gradient
        adam.step()
        calls[rows] += 1
        active = [k for k, value in zip(active, loss.tolist(), strict=True) if value >= tolerance]
        if not active:
            break
    return torch.cat(samples).detach(), calls


def _with_null(condition: Condition, tokens: Tensor) -> Condition:
    """The condition with these tokens in its null prompt."""
    return replace(condition, null=replace(_null(condition), tokens=tokens))


def _null(condition: Condition) -> Embedding:
    if condition.null is None:
        raise UserError("null_text needs the embedding of the null prompt, even at guidance 1")
    return condition.null
