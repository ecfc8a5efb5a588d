"""SeedSelect: a seed optimised through the whole sampler towards a few reference images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.metrics.clip import ImageEncoder
from fpinv.models.model import Model
from fpinv.seeds.optimisation import Found
from fpinv.seeds.prior import NormPrior


@dataclass(frozen=True)
class Target:
    """What the images of B seeds should be like.

    Arguments:
        embedding: Mean of the unit embeddings of the references, shape (B, D).
        latent: Mean of their latents, shape (B, C, h, w).
    """

    embedding: Tensor
    latent: Tensor

    def __getitem__(self, rows: Tensor | slice) -> Target:
        """The targets of some seeds."""
        return Target(self.embedding[rows], self.latent[rows])

    @staticmethod
    def cat(parts: Sequence[Target]) -> Target:
        """Several targets, in order, as one."""
        embedding = torch.cat([part.embedding for part in parts])
        return Target(embedding, torch.cat([part.latent for part in parts]))


@dataclass(frozen=True)
class SeedSelect:
    r"""Gradient descent on seeds, so that what is sampled from them matches K references.

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

    Deviations: the norm is kept, the rate is constant, and a stalled seed stops.

    Arguments:
        encoder: :math:`\phi`.
        iterations: Steps of Adam, at most (papers: 30 from noise, 5 from a NAO centroid).
        rate: Their learning rate (.1 from noise, .05 from a centroid).
        weights: :math:`w_k` of the last latents, :math:`z_0` last.
        embedding_weight: :math:`\lambda_c`.
        latent_weight: :math:`\lambda_v`.
        tolerance: A relative decrease of the loss below which it has stalled,
        patience: over so many iterations.
        checkpointing: Whether to trade time for memory as said above.

    Raises:
        UserError: ``iterations``, ``patience`` or ``weights`` leaves nothing to be done.
    """

    encoder: ImageEncoder
    iterations: int = 5
    rate: float = 0.05
    weights: Sequence[float] = (0.05, 0.25, 0.7)
    embedding_weight: float = 10.0
    latent_weight: float = 1.0
    tolerance: float = 1e-3
    patience: int = 3
    checkpointing: bool = True

    def __post_init__(self) -> None:
        for key in ("iterations", "patience"):
            if getattr(self, key) < 1:
                raise UserError(
                    f"seedselect.{key}={getattr(self, key)} is not possible: at least 1"
                )
        if not self.weights:
            raise UserError("seedselect.weights is empty: give one weight for each last latent")

    @torch.no_grad()
    def target(self, model: Model, references: Tensor) -> Target:
        """What the references (B, K, 3, H, W) in [-1, 1] have in common."""
        flat = references.flatten(0, 1)
        seen = (self.encoder.images(flat), model.encode(flat))
        return Target(*(part.unflatten(0, (len(references), -1)).mean(1) for part in seen))

    def __call__(
        self, model: Model, denoiser: Denoiser, seeds: Tensor, condition: Condition, target: Target
    ) -> Found:
        """The best of the seeds met on the way from ``seeds`` (B, C, h, w).

        The losses have one entry more than there were iterations: that of the last seed.
        """
        prior = NormPrior(seeds[0].numel())
        search = _Search.of(prior.project(seeds.detach()))
        adam = torch.optim.Adam(search.current, lr=self.rate)
        for iteration in range(self.iterations + 1):
            rows = [k for k, losses in enumerate(search.losses) if not self._stalled(losses)]
            moving = iteration < self.iterations
            if not rows:
                break
            with torch.set_grad_enabled(moving):
                z, index = torch.stack([search.current[k] for k in rows]), torch.tensor(rows)
                loss = self.loss(model, denoiser, z, condition[index], target[index])
            search.keep(rows, loss)
            if moving:
                self._step(adam, loss, [search.current[k] for k in rows], prior)
        stalled = [self._stalled(losses) for losses in search.losses]
        return Found(torch.stack(search.best), search.losses, stalled)

    def loss(
        self, model: Model, denoiser: Denoiser, z: Tensor, condition: Condition, target: Target
    ) -> Tensor:
        """Losses (B,) of seeds ``z`` (B, C, h, w)."""

        def see(latents: Tensor) -> Tensor:
            return self.encoder.images(model.decode(latents))

        weights = self.weights[-denoiser.schedule.steps :]
        last = self._trajectory(denoiser, z, condition)[-len(weights) :]
        total = self.latent_weight * (last[-1] - target.latent).square().flatten(1).mean(1)
        for weight, latents in zip(weights, last, strict=True):
            likeness = torch.cosine_similarity(self._run(see, latents), target.embedding)
            total = total + self.embedding_weight * weight * (1 - likeness)
        return total

    def _trajectory(self, denoiser: Denoiser, z: Tensor, condition: Condition) -> list[Tensor]:
        """The latents z_N, ..., z_0 of the plain sampler."""
        schedule, trajectory = denoiser.schedule, [z]

        def step(z: Tensor, i: int) -> Tensor:
            return schedule.transfer(z, denoiser(z, i, condition), i, i - 1)

        for i in range(schedule.steps, 0, -1):
            trajectory.append(self._run(step, trajectory[-1], i))
        return trajectory

    def _run(self, function: Callable[..., Tensor], *arguments: Any) -> Tensor:  # noqa: ANN401
        if not self.checkpointing or not torch.is_grad_enabled():
            return function(*arguments)
        return checkpoint(function, *arguments, use_reentrant=False, preserve_rng_state=False)

    def _step(
        self, adam: torch.optim.Adam, loss: Tensor, seeds: Sequence[Tensor], prior: NormPrior
    ) -> None:
        """Moves the seeds whose loss this is; Adam passes over those without a gradient."""
        adam.zero_grad()
        loss.sum().backward()
        adam.step()
        with torch.no_grad():
            for seed in seeds:
                seed.copy_(prior.project(seed.unsqueeze(0))[0])

    def _stalled(self, losses: Sequence[float]) -> bool:
        """Whether the last iterations brought nothing, or a loss that is no number."""
        if losses and not math.isfinite(losses[-1]):
            return True
        if len(losses) <= self.patience:
            return False
        before = min(losses[: -self.patience])
        return before - min(losses) <= self.tolerance * abs(before)


@dataclass(frozen=True)
class _Search:
    """B seeds on their way, the best that each has been, and the losses of all it has been."""

    current: list[Tensor]
    best: list[Tensor]
    losses: list[list[float]]

    @classmethod
    def of(cls, seeds: Tensor) -> _Search:
        current = [seed.clone().requires_grad_() for seed in seeds]
        return cls(current, list(seeds), [[] for _ in seeds])

    def keep(self, rows: Sequence[int], loss: Tensor) -> None:
        for k, value in zip(rows, loss.tolist(), strict=True):
            if value < min(self.losses[k], default=math.inf):
                self.best[k] = self.current[k].detach().clone()
            self.losses[k].append(value)
