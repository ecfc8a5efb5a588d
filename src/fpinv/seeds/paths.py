"""Paths between two seeds: straight, along a great circle, and norm-aware."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from fpinv.seeds.cost import NormAware, PathCost, bent_arc
from fpinv.seeds.geometry import arc_weights, opening, unit
from fpinv.seeds.optimisation import Found, Minimum


class Path(Protocol):
    """A way from one seed to another."""

    def __call__(self, first: Tensor, last: Tensor, points: int) -> Found:
        """Seeds (B, points, ...) from ``first`` to ``last`` (B, ...), both ends among them."""
        ...


@dataclass(frozen=True)
class Linear:
    r"""The straight line :math:`(1 - t) a + t b`.

    Half-way between independent seeds its norm is short of the mode by a factor :math:`\sqrt2`.
    """

    def __call__(self, first: Tensor, last: Tensor, points: int) -> Found:
        """See :class:`Path`; t is evenly spaced."""
        t = torch.linspace(0, 1, points, dtype=torch.float64, device=first.device)
        return Found(_combined(first, last, 1 - t, t))


@dataclass(frozen=True)
class Slerp:
    r"""Spherical linear interpolation at evenly spaced shares t of the angle.

    .. math:: \frac{\sin((1 - t) \theta)}{\sin \theta} a + \frac{\sin(t \theta)}{\sin \theta} b

    The norm goes from that of a to that of b and stays near both, wherever the mode is.

    References:
        | Animating rotation with quaternion curves (Shoemake, 1985)
        | https://doi.org/10.1145/325165.325242
    """

    def __call__(self, first: Tensor, last: Tensor, points: int) -> Found:
        """See :class:`Path`.

        Raises:
            UserError: see :func:`fpinv.seeds.geometry.opening`.
        """
        theta = opening(_flat(first), _flat(last)).unsqueeze(-1)
        t = torch.linspace(0, 1, points, dtype=theta.dtype, device=theta.device)
        return Found(_combined(first, last, *arc_weights(t, theta)))


@dataclass(frozen=True)
class NAOPath(NormAware):
    """The norm-aware optimised path: a polygon of least :class:`~fpinv.seeds.cost.PathCost`.

    Two numbers a point are sought, its norm and its place along the arc in the plane of the ends,
    whatever the seeds' size, starting from the great circle at the prior's mode. Each pair of a
    batch is a problem of its own.

    The polygon has at least ``resolution`` points; those asked for are every so many of them.
    References and arguments: :class:`~fpinv.seeds.cost.NormAware`.
    """

    def __call__(self, first: Tensor, last: Tensor, points: int) -> Found:
        """See :class:`Path`; the ends are returned as they came, bit for bit.

        Raises:
            UserError: see :func:`fpinv.seeds.geometry.opening`.
        """
        a, b = _flat(first), _flat(last)
        theta, cost = opening(a, b), self.cost(first)
        stride = math.ceil((self.resolution - 1) / (points - 1))
        ends = torch.stack([a.norm(dim=1), b.norm(dim=1), theta], 1).cpu()
        minima = [self._solve(cost, *row, (points - 1) * stride + 1) for row in ends]
        bends = torch.stack([m.point for m in minima])
        polar = bent_arc(ends[:, 0], ends[:, 1], cost.prior.mode, bends)
        norms, shares = (part[:, ::stride].to(theta) for part in polar)
        weights = arc_weights(shares, theta.unsqueeze(-1))
        inner = _combined(unit(a), unit(b), *(norms * weight for weight in weights))
        seeds = inner.view(len(first), points, *first.shape[1:]).to(first.dtype)
        seeds[:, 0], seeds[:, -1] = first, last
        return Found(seeds, [m.losses for m in minima], [m.stalled for m in minima])

    def _solve(
        self, cost: PathCost, first: Tensor, last: Tensor, theta: Tensor, points: int
    ) -> Minimum:
        def loss(bend: Tensor) -> Tensor:
            norms, shares = bent_arc(first, last, cost.prior.mode, bend)
            return cost.polar(norms, shares * theta)

        return self.descent(loss, torch.zeros(2, points - 2, dtype=torch.float64))


def _flat(seeds: Tensor) -> Tensor:
    return seeds.detach().double().flatten(1)


def _combined(a: Tensor, b: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """Points (B, n, ...) at weights (n,) or (B, n) of ends (B, ...), as precise as those."""
    shape = (-1, first.shape[-1], *[1] * (a.ndim - 1))
    first, last = first.reshape(shape), last.reshape(shape)
    return (first * a.unsqueeze(1) + last * b.unsqueeze(1)).to(a.dtype)
