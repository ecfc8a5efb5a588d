r"""Norms and angles of seeds, on which alone paths and centroids depend.

A rotation of the latent space changes neither a seed's likelihood nor a distance, so whatever is
built from these alone is a function of norms and angles. It can be computed in the span of the
given seeds, two-dimensional for a path and K-dimensional for a centroid, however many numbers d a
seed has; only the last step, from coordinates to latents, costs anything that grows with d.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.errors import UserError

OPPOSITE = 1e-6  # radians short of a straight angle within which no plane is singled out
CANCELLED = 1e-9  # norm of a mean, relative to what it is the mean of, that is rounding error


def unit(x: Tensor) -> Tensor:
    """Return the directions of vectors (..., d), none of them zero."""
    return x / x.norm(dim=-1, keepdim=True)


def direction(x: Tensor) -> Tensor:
    """Return the directions of vectors (..., d).

    Raises:
        UserError: a vector is zero or not finite.
    """
    directions = unit(x)
    if not directions.isfinite().all():
        raise UserError("a seed is zero or not finite: it has no direction")
    return directions


def mean_direction(seeds: Tensor) -> Tensor:
    """Return the directions (..., d) of the means of seeds (..., K, d).

    Raises:
        UserError: a seed has no direction, or the seeds of a set cancel.
    """
    direction(seeds)
    mean, norm = seeds.mean(-2), seeds.norm(dim=-1).mean(-1)
    if (mean.norm(dim=-1) < CANCELLED * norm).any():
        raise UserError("the seeds of a set cancel: their mean has no direction")
    return unit(mean)


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles in [0, pi] between vectors (..., d), exact also where they are small.

    References:
        | How Futile are Mindless Assessments of Roundoff in Floating-Point Computation?
        | (Kahan, 2006), https://people.eecs.berkeley.edu/~wkahan/Mindless.pdf
    """
    u, v = unit(a), unit(b)
    return 2 * torch.atan2((u - v).norm(dim=-1), (u + v).norm(dim=-1))


def opening(a: Tensor, b: Tensor) -> Tensor:
    """Return the angles between vectors (..., d) that a great circle is to join.

    Raises:
        UserError: a vector is zero or not finite, or two point in opposite directions.
    """
    theta = angle(direction(a), direction(b))
    if (theta > math.pi - OPPOSITE).any():
        raise UserError("two seeds are opposite: no great circle is the shortest way between them")
    return theta


def arc_weights(share: Tensor, opening: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the weights of the two ends at shares t of the angle between them.

    .. math:: \frac{\sin((1 - t) \theta)}{\sin \theta}, \quad \frac{\sin(t \theta)}{\sin \theta}

    in a form that has the limit 1 - t, t where the angle vanishes.
    """

    def weight(t: Tensor) -> Tensor:
        return t * torch.sinc(t * opening / math.pi) / torch.sinc(opening / math.pi)

    return weight(1 - share), weight(share)


def chord(a: Tensor, b: Tensor, turn: Tensor) -> Tensor:
    """Return the distance of points at norms ``a`` and ``b``, ``turn`` radians apart.

    It is the law of cosines without its cancellation; where the points meet its gradient is zero.
    """
    across = 2 * (a * b).sqrt() * torch.sin(turn / 2)
    return torch.stack([a - b, across], -1).norm(dim=-1)


@dataclass(frozen=True)
class Span:
    """The span of K seeds with an orthonormal basis, in double precision.

    Arguments:
        basis: Orthonormal columns, shape (B, d, K).
        coordinates: The seeds in that basis, a row each, shape (B, K, K).
    """

    basis: Tensor
    coordinates: Tensor

    @classmethod
    def of(cls, seeds: Tensor) -> Span:
        """Return the span of seeds (B, K, ...)."""
        basis, triangle = torch.linalg.qr(seeds.detach().double().flatten(2).mT)
        return cls(basis, triangle.mT)

    def seeds(self, coordinates: Tensor, like: Tensor) -> Tensor:
        """Return the seeds at coordinates (B, K), with the shape and type of those of ``like``."""
        flat = (self.basis @ coordinates.to(self.basis).unsqueeze(-1)).squeeze(-1)
        return flat.view(len(flat), *like.shape[2:]).to(like.dtype)
