"""Paths between two seeds: straight, along a great circle, and norm-aware."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fpinv.seeds.cost import NormAware, PathCost, bent_arc
from fpinv.seeds.geometry import arc_weights, opening, unit
from fpinv.seeds.optimisation import Minimum, SeedSearch


class Path(Protocol):
    """A function from two seeds to seeds between them."""

    def __call__(self, start: Tensor, end: Tensor, points: int) -> SeedSearch:
        """Return seeds (B, points, ...) from ``start`` to ``end`` (B, ...), both included."""


@dataclass(frozen=True)
class Linear:
    r"""The straight line :math:`(1 - t) a + t b`.

    Half-way between independent seeds its norm is short of the mode by a factor :math:`\sqrt2`.
    """

    def __call__(self, start: Tensor, end: Tensor, points: int) -> SeedSearch:
        """Return seeds (B, points, ...) at evenly spaced t."""
        t = torch.linspace(0, 1, points, dtype=torch.float64, device=start.device)
        return SeedSearch(_combined(start, end, 1 - t, t))


@dataclass(frozen=True)
class Slerp:
    r"""Spherical linear interpolation at evenly spaced shares t of the angle.

    .. math:: \frac{\sin((1 - t) \theta)}{\sin \theta} a + \frac{\sin(t \theta)}{\sin \theta} b

    The norm goes from that of a to that of b and stays near both, wherever the mode is.

    References:
        | Animating rotation with quaternion curves (Shoemake, 1985)
        | https://doi.org/10.1145/325165.325242
    """

    def __call__(self, start: Tensor, end: Tensor, points: int) -> SeedSearch:
        """Return seeds (B, points, ...) at evenly spaced t.

        Raises:
            UserError: a seed is zero or not finite, or two seeds are opposite.
        """
        theta = opening(_flat(start), _flat(end)).unsqueeze(-1)
        t = torch.linspace(0, 1, points, dtype=theta.dtype, device=theta.device)
        return SeedSearch(_combined(start, end, *arc_weights(t, theta)))


@dataclass(frozen=True)
class NAOPath(NormAware):
    """The norm-aware optimised path: a polygon of least :class:`~fpinv.seeds.cost.PathCost`.

    Two numbers a point are sought, its norm and its place along the arc in the plane of the ends,
    whatever the seeds' size, starting from the great circle at the prior's mode. Each pair of a
    batch is a problem of its own.

    The polygon has at least ``resolution`` points; those asked for are every so many of them.
    References and arguments: :class:`~fpinv.seeds.cost.NormAware`.
    """

    def __call__(self, start: Tensor, end: Tensor, points: int) -> SeedSearch:
        """Return seeds (B, points, ...) on the path; the ends are copied bit for bit.

        Raises:
            UserError: a seed is zero or not finite, or two seeds are opposite.
        """
        a, b = _flat(start), _flat(end)
        theta, cost = opening(a, b), self.cost(start)
        # So many steps of the optimised polygon make one of the returned path.
        stride = math.ceil((self.resolution - 1) / (points - 1))
        ends = torch.stack([a.norm(dim=1), b.norm(dim=1), theta], 1).cpu()
        minima = [self._solve(cost, (points - 1) * stride + 1, *row) for row in ends]
        bends = torch.stack([m.point for m in minima])
        polar = bent_arc(ends[:, 0], ends[:, 1], cost.prior.mode, bends)
        norms, shares = (coordinate[:, ::stride].to(theta) for coordinate in polar)
        weights = arc_weights(shares, theta.unsqueeze(-1))
        inner = _combined(unit(a), unit(b), *(norms * weight for weight in weights))
        seeds = inner.view(len(start), points, *start.shape[1:]).to(start.dtype)
        seeds[:, 0], seeds[:, -1] = start, end
        return SeedSearch(seeds, [m.losses for m in minima], [m.stalled for m in minima])

    def _solve(
        self, cost: PathCost, points: int, start: Tensor, end: Tensor, theta: Tensor
    ) -> Minimum:
        """Return the bends of the cheapest path between ends at two norms, ``theta`` apart."""

        def loss(bend: Tensor) -> Tensor:
            norms, shares = bent_arc(start, end, cost.prior.mode, bend)
            return cost.polar(norms, shares * theta)

        return self.descent(loss, torch.zeros(2, points - 2, dtype=torch.float64))


def _flat(seeds: Tensor) -> Tensor:
    return seeds.detach().double().flatten(1)


def _combined(a: Tensor, b: Tensor, weight_a: Tensor, weight_b: Tensor) -> Tensor:
    """Return points (B, n, ...) at weights (n,) or (B, n) of ends (B, ...), typed as those."""
    shape = (-1, weight_a.shape[-1], *[1] * (a.ndim - 1))
    weight_a, weight_b = weight_a.reshape(shape), weight_b.reshape(shape)
    return (weight_a * a.unsqueeze(1) + weight_b * b.unsqueeze(1)).to(a.dtype)
