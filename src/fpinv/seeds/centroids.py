"""Centroids of K seeds: means of several kinds, and the norm-aware one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from fpinv.seeds.cost import NormAware, PathCost, bent_arc
from fpinv.seeds.geometry import Span, angle, mean_direction, opening, unit
from fpinv.seeds.optimisation import Minimum, SeedSearch

SAME = 1e-9  # distance of seeds, in units of the mode, below which they are one


class Centroid(Protocol):
    """A function from a set of seeds to one seed."""

    def __call__(self, seeds: Tensor) -> SeedSearch:
        """Return seeds (B, ...) for sets (B, K, ...); that of identical seeds is that seed."""


@dataclass(frozen=True)
class Mean:
    r"""The arithmetic mean: of K independent seeds shorter than they are by :math:`\sqrt K`."""

    def __call__(self, seeds: Tensor) -> SeedSearch:
        """Return the means of sets of seeds (B, K, ...)."""
        return SeedSearch(seeds.double().mean(1).to(seeds.dtype))


@dataclass(frozen=True)
class NormalisedMean:
    """The direction of the mean at the mean of the norms."""

    def __call__(self, seeds: Tensor) -> SeedSearch:
        """Return the normalised means of sets of seeds (B, K, ...).

        Raises:
            UserError: a seed is zero or not finite, or those of a set cancel.
        """
        flat = seeds.double().flatten(2)
        scaled = mean_direction(flat) * flat.norm(dim=-1).mean(1, keepdim=True)
        return SeedSearch(scaled.view_as(seeds[:, 0]).to(seeds.dtype))


@dataclass(frozen=True)
class FrechetMean:
    r"""The point of the sphere with the least :math:`\sum_k \theta_k^2`, at the mean of the norms.

    :math:`\theta_k` are the angles to the seeds. Karcher's iteration: the mean of the seeds'
    logarithms at c, then the exponential of that.

    References:
        | Riemannian center of mass and mollifier smoothing (Karcher, 1977)
        | https://doi.org/10.1002/cpa.3160300502

    Arguments:
        iterations: Number of iterations at most.
        tolerance: A step, in radians, below which the iteration has stalled.
    """

    iterations: int = 100
    tolerance: float = 1e-10

    def __call__(self, seeds: Tensor) -> SeedSearch:
        """Return the Frechet means of sets of seeds (B, K, ...).

        Raises:
            UserError: as for :class:`NormalisedMean`.
        """
        span = Span.of(seeds)
        minima = [self.direction(rows) for rows in span.coordinates.cpu()]
        directions = torch.stack([m.point for m in minima])
        norms = span.coordinates.norm(dim=-1).mean(1, keepdim=True)
        centroids = span.seeds(directions.to(norms) * norms, like=seeds)
        return SeedSearch(centroids, [m.losses for m in minima], [m.stalled for m in minima])

    def direction(self, seeds: Tensor) -> Minimum:
        """Return the direction (d,) of the mean of one set of seeds (K, d)."""
        c, losses = mean_direction(seeds), []
        while True:
            theta = opening(seeds, c).unsqueeze(-1)
            losses.append(float(theta.square().sum()))
            # sinc(theta / pi) is sin(theta) / theta, with its limit 1 where c is at a seed.
            step = ((unit(seeds) - theta.cos() * c) / torch.sinc(theta / torch.pi)).mean(0)
            length = step.norm()
            stalled = bool(length < self.tolerance)
            if stalled or len(losses) > self.iterations:
                return Minimum(c, losses, stalled)
            c = unit(length.cos() * c + torch.sinc(length / torch.pi) * step)


@dataclass(frozen=True)
class NAOCentroid(NormAware):
    r"""The norm-aware optimised centroid, which has the least summed path cost to the seeds.

    .. math:: \min_c \; \sum_k \min_{\text{paths}} L(x_k \to c) + p(|c|)

    with :math:`L, p` of :class:`~fpinv.seeds.cost.PathCost`. At the mode a path costs in
    proportion to its angle, so that c is nearly the spherical median: unlike the Frechet mean it
    does not square the distances.

    Sought together are c in the span of the seeds, K numbers, and two numbers for each inner
    point of the K paths, each in the plane of its ends. In the span, because all depends on
    ``|c|`` and on the angles to the seeds alone (see :class:`~fpinv.seeds.cost.PathCost`): its
    reflection leaves the sum as it is, so a minimum there is stationary in all of
    :math:`\mathbb R^d`; and of a c within a right angle of every seed, as any sensible centroid
    is, the projection to the span, restored to its norm, is closer in angle to each.

    The start is the Frechet mean at the prior's mode with arcs to it. Seeds that coincide are
    their own centroid, where the sum has a kink and no descent is needed.

    References and arguments: :class:`~fpinv.seeds.cost.NormAware`.
    """

    def __call__(self, seeds: Tensor) -> SeedSearch:
        """Return the norm-aware centroids of sets of seeds (B, K, ...).

        Raises:
            UserError: as for :class:`NormalisedMean`.
        """
        span = Span.of(seeds)
        cost = self.cost(seeds[:, 0])
        minima = [self._solve(cost, rows) for rows in span.coordinates.cpu()]
        centroids = span.seeds(torch.stack([m.point for m in minima]), like=seeds)
        return SeedSearch(centroids, [m.losses for m in minima], [m.stalled for m in minima])

    def _solve(self, cost: PathCost, seeds: Tensor) -> Minimum:
        """Return the centroid (K,) of the rows of ``seeds`` (K, K)."""
        mode, size = cost.prior.mode, seeds.shape[1]
        if (seeds - seeds[0]).norm(dim=-1).max() < SAME * mode:
            return Minimum(seeds[0], [float(cost.prior.price(seeds[0].norm()))], stalled=True)

        def loss(x: Tensor) -> Tensor:
            c, bends = x[:size], x[size:].view(len(seeds), 2, self.resolution - 2)
            end = c.norm().expand(len(seeds))
            norms, shares = bent_arc(seeds.norm(dim=-1), end, mode, bends)
            paths = cost.polar(norms, shares * angle(seeds, c).unsqueeze(-1))
            return paths.sum() + cost.prior.price(c.norm())

        start = mode * FrechetMean().direction(seeds).point
        bends = start.new_zeros(len(seeds) * 2 * (self.resolution - 2))
        minimum = self.descent(loss, torch.cat([start, bends]))
        return replace(minimum, point=minimum.point[:size])
