"""SeedSelect: a seed optimised through the whole sampler towards a few reference images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fpinv.batch import PerSample, Rows
from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError, check_at_least
from fpinv.metrics.clip import ImageEncoder
from fpinv.models.model import Model
from fpinv.seeds.optimisation import SeedSearch
from fpinv.seeds.prior import NormPrior
from fpinv.solvers import Adam, Trial, search

Result = TypeVar("Result")

DECAY = 0.1
"""Factor of the rate after ``decay_after`` iterations."""


@dataclass(frozen=True)
class Prototype(PerSample):
    """References of B seeds, as their means.

    Arguments:
        embedding: Mean of the unit embeddings of the references, shape (B, D).
        latent: Mean of their latents, shape (B, C, h, w).
    """

    embedding: Tensor
    latent: Tensor


@dataclass(frozen=True)
class SeedSelect:
    r"""Gradient descent on seeds, so that images sampled from them match K references.

    .. math:: \min_{z_N} \; \lambda_c \sum_{k} w_k \big(1 - \cos(\phi(D(z_k)), \bar\phi)\big)
              + \lambda_v \, \mathrm{mse}(z_0, \bar z)

    over the last latents :math:`z_2, z_1, z_0` of the sampler's trajectory; :math:`\bar\phi` is
    the mean of the references' unit embeddings and :math:`\bar z` that of their latents. After
    each step of Adam a seed is moved back to the prior's likeliest norm
    (:class:`~fpinv.seeds.prior.NormPrior`), and there is no weight decay, which would shrink it.

    With ``checkpointing`` each step of the sampler and each decoding is computed anew in the
    backward pass: the activations of one of them are held at a time instead of those of all, for
    twice as many evaluations.

    Each seed of a batch is a problem of its own: when its loss has stalled it is left alone and
    leaves the network batch. The seed of the lowest loss is returned.

    References:
        | Generating images of rare concepts using pre-trained diffusion models
        | (Samuel et al., 2024), https://arxiv.org/abs/2304.14530
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Deviations: the norm is kept, and a stalled seed stops. The authors' code lowers the rate to a
    tenth after three iterations (``decay_after``); by default it is constant.

    Arguments:
        encoder: :math:`\phi`.
        iterations: Steps of Adam, at most (papers: 30 from noise, 5 from a NAO centroid).
        rate: Their learning rate (.1 from noise, .05 from a centroid).
        decay_after: Iterations after which the rate is a tenth (authors' code: 3); None for never.
        weights: :math:`w_k` of the last latents, :math:`z_0` last.
        embedding_weight: :math:`\lambda_c`.
        latent_weight: :math:`\lambda_v`.
        tolerance: A relative decrease of the loss below which it has stalled,
        patience: over so many iterations.
        checkpointing: True to trade time for memory as described above.

    Raises:
        UserError: ``iterations``, ``patience`` or ``weights`` leaves nothing to be done.
    """

    encoder: ImageEncoder
    iterations: int = 5
    rate: float = 0.05
    decay_after: int | None = None
    weights: Sequence[float] = (0.05, 0.25, 0.7)
    embedding_weight: float = 10.0
    latent_weight: float = 1.0
    tolerance: float = 1e-3
    patience: int = 3
    checkpointing: bool = True

    def __post_init__(self) -> None:
        for key in ("iterations", "patience", "decay_after"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise UserError(f"seedselect.{key}={value} is not possible: at least 1")
        check_at_least(self, rate=0, embedding_weight=0, latent_weight=0, tolerance=0)
        if not self.weights:
            raise UserError("seedselect.weights is empty: give one weight for each last latent")

    @torch.no_grad()
    def target(self, model: Model, references: Tensor) -> Prototype:
        """Return the means of the references (B, K, 3, H, W) in [-1, 1]."""
        flat = references.flatten(0, 1)
        encoded = (self.encoder.images(flat), model.encode(flat))
        return Prototype(*(x.unflatten(0, (len(references), -1)).mean(1) for x in encoded))

    def __call__(
        self,
        model: Model,
        denoiser: Denoiser,
        seeds: Tensor,
        condition: Condition,
        target: Prototype,
    ) -> SeedSearch:
        """Return the best of the seeds met on the way from ``seeds`` (B, C, h, w).

        The losses have an entry more than there were iterations: that of the final seed.
        """
        prior = NormPrior(seeds[0].numel())

        def step(k: int, at: _Search, rows: Rows) -> tuple[_Search, Trial]:
            # The last seed is evaluated, but no step is made from it.
            moving = k < self.iterations
            with torch.set_grad_enabled(moving):
                z = at.adam.x.detach().requires_grad_(moving)
                loss = self.loss(model, denoiser, z, condition[rows], target[rows])
            at = replace(at, losses=[*at.losses, loss.detach()])
            if moving:
                # Adam takes no notice of the factor, without which fp16 would lose the slope.
                (slope,) = torch.autograd.grad(loss.sum() * z[0].numel() ** 0.5, z)
                adam = at.adam.moved(slope, self._rate(k), k)
                at = replace(at, adam=replace(adam, x=prior.project(adam.x)))
            curves = torch.stack(at.losses, 1).tolist()
            stalled = torch.tensor([self._stalled(curve) for curve in curves], device=z.device)
            return at, Trial(z.detach(), loss.detach(), loss.detach(), hopeful=~stalled)

        start = prior.project(seeds.detach())
        # No loss is low enough to end the search: a seed goes on until its loss has stalled.
        solution = search(
            step, _Search(Adam.at(start)), start, self.iterations + 1, -math.inf, traced=True
        )
        assert solution.trace is not None
        traces = zip(solution.trace.T, solution.steps.tolist(), strict=True)
        losses = [trace[:steps].tolist() for trace, steps in traces]
        return SeedSearch(solution.value, losses, [self._stalled(curve) for curve in losses])

    def _rate(self, iteration: int) -> float:
        """Return the rate of an iteration, counted from 0."""
        late = self.decay_after is not None and iteration >= self.decay_after
        return DECAY * self.rate if late else self.rate

    def loss(
        self, model: Model, denoiser: Denoiser, z: Tensor, condition: Condition, target: Prototype
    ) -> Tensor:
        """Return the losses (B,) of seeds ``z`` (B, C, h, w)."""

        def see(latents: Tensor) -> Tensor:
            return self.encoder.images(model.decode(latents))

        weights = self.weights[-denoiser.schedule.steps :]
        path = self._trajectory(denoiser, z, condition)[-len(weights) :]
        total = self.latent_weight * (path[-1] - target.latent).square().flatten(1).mean(1)
        for weight, latents in zip(weights, path, strict=True):
            likeness = torch.cosine_similarity(self._run(see, latents), target.embedding)
            total = total + self.embedding_weight * weight * (1 - likeness)
        return total

    def _trajectory(self, denoiser: Denoiser, z: Tensor, condition: Condition) -> list[Tensor]:
        """Return the latents z_N, ..., z_0 of the plain sampler."""
        trajectory, above = [z], None
        for i in range(denoiser.schedule.steps, 0, -1):
            z, above = self._run(denoiser.step, z, i, condition, above)
            trajectory.append(z)
        return trajectory

    def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401
        if not self.checkpointing or not torch.is_grad_enabled():
            return function(*arguments)
        result: Result = checkpoint(
            function, *arguments, use_reentrant=False, preserve_rng_state=False
        )
        return result

    def _stalled(self, losses: Sequence[float]) -> bool:
        """Return True where the last iterations brought nothing, and False where they diverged."""
        if len(losses) <= self.patience or not math.isfinite(losses[-1]):
            return False
        before = min(losses[: -self.patience])
        return before - min(losses) <= self.tolerance * abs(before)


@dataclass(frozen=True)
class _Search(PerSample):
    """The seeds of a search that have not stalled.

    Arguments:
        adam: The seeds and their moments.
        losses: The losses of all evaluations so far, shape (R,) each.
    """

    adam: Adam
    losses: list[Tensor] = field(default_factory=list)
