"""The cost of a path of seeds: its length, priced by how unlikely the norms are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from fpinv.errors import UserError
from fpinv.seeds.geometry import chord
from fpinv.seeds.optimisation import Descent
from fpinv.seeds.prior import NormPrior

Quadrature = Literal["simpson", "midpoint"]


@dataclass(frozen=True)
class PathCost:
    r"""The norm-aware length of a polygon :math:`x_0, \dots, x_m` of seeds.

    .. math:: L = \sum_k \ell_k \bar p_k
              + \lambda \sum_k \frac{(\ell_k - \bar\ell)^2}{\bar\ell},
              \qquad \ell_k = |x_{k+1} - x_k|, \quad p(r) = -\log f(r)

    It discretises :math:`\int p(|x|) |dx|`: the price p of a unit of length is least, and still
    positive, at the prior's mode. :math:`\bar p_k` is the mean price of a segment,

    .. math:: \bar p_k = p(|\tfrac{x_k + x_{k+1}}{2}|) \;\text{(midpoint)} \qquad
              \tfrac16 \big(p(|x_k|) + 4 p(|\tfrac{x_k + x_{k+1}}{2}|) + p(|x_{k+1}|)\big)
              \;\text{(simpson)}

    The paper has the midpoint, which does not price the norms of the seeds themselves, so that a
    path may zigzag about the mode with all its midpoints on it: from ends 6 off the mode at
    d = 16384, the cheapest path of 50 points goes on at -3.9, 2.5, -1.6, 1.1, ... Simpson's rule
    prevents that.

    The second term keeps the points evenly spaced. It stands in for the paper's bound on each
    step, which leaves them free up to twice the mean.

    **It is a function of norms and angles alone.** By the cosine theorem so are :math:`\ell_k`
    and :math:`|(x_k + x_{k+1}) / 2|^2 = (|x_k|^2 + |x_{k+1}|^2) / 2 - \ell_k^2 / 4`. Three facts
    follow for a path from a to b, :math:`\theta` apart, and allow it to be sought in their plane:

    1. The gradient at a point is a combination of that point and its two neighbours. A descent
       that starts in span(a, b) stays there, and a minimum there is stationary in all of
       :math:`\mathbb R^d`: the reflection at the span leaves L as it is and every point in place.
    2. A continuous path :math:`r(t) u(t)`, of which u turns by :math:`\Phi \ge \theta` in all,
       is never better than the plane path with the same r(t) whose angle is
       :math:`\theta / \Phi` times that turned by u: of its cost
       :math:`\int p(r) \sqrt{\dot r^2 + r^2 |\dot u|^2} dt` that can only lower
       :math:`|\dot u|`.
    3. A polygon's angles can be shrunk likewise, its norms kept, and that lowers its priced length
       wherever a segment costs the more the wider it turns, which by Simpson's rule is where
       :math:`\ell^2 p'(m) / m \le p(|x_k|) + 4 p(m) + p(|x_{k+1}|)` at its midpoint's norm m:
       always at or below the mode (p' is negative there), and above it while segments are short.

    References:
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments:
        prior: The law of the norms.
        quadrature: ``simpson`` or ``midpoint``.
        spacing: Weight :math:`\lambda` of uneven spacing.

    Raises:
        UserError: the quadrature is neither.
    """

    prior: NormPrior
    quadrature: Quadrature = "simpson"
    spacing: float = 1.0

    def __post_init__(self) -> None:
        if self.quadrature not in get_args(Quadrature):
            options = " or ".join(get_args(Quadrature))
            raise UserError(f"quadrature='{self.quadrature}' is unknown: choose {options}")

    def __call__(self, path: Tensor) -> Tensor:
        """Return the costs (B,) of polygons (B, n, ...) of seeds, in double precision."""
        x = path.double().flatten(2)
        return self.of(x.norm(dim=-1), x.diff(dim=1).norm(dim=-1))

    def polar(self, norms: Tensor, angles: Tensor) -> Tensor:
        """Return the costs (...) of plane polygons at norms and angles (..., n)."""
        return self.of(norms, chord(norms[..., :-1], norms[..., 1:], angles.diff()))

    def of(self, norms: Tensor, lengths: Tensor) -> Tensor:
        """Return the costs (...) of polygons, from norms (..., n) and lengths (..., n - 1)."""
        mean = lengths.mean(-1, keepdim=True).clamp_min(torch.finfo(lengths.dtype).tiny)
        uneven = ((lengths - mean).square() / mean).sum(-1)
        return (lengths * self._prices(norms, lengths)).sum(-1) + self.spacing * uneven

    def _prices(self, norms: Tensor, lengths: Tensor) -> Tensor:
        """Return the mean price of each segment."""
        a, b = norms[..., :-1], norms[..., 1:]
        square = (a.square() + b.square()) / 2 - lengths.square() / 4
        middle = self.prior.price(square.clamp_min(torch.finfo(square.dtype).tiny).sqrt())
        if self.quadrature == "midpoint":
            return middle
        ends = self.prior.price(norms)
        return (ends[..., :-1] + 4 * middle + ends[..., 1:]) / 6


def bent_arc(start: Tensor, end: Tensor, mode: float, bend: Tensor) -> tuple[Tensor, Tensor]:
    """Return a path near the arc at the mode, in polar coordinates.

    That arc, with the ends as they are, is the closed form: ``bend`` zero.

    Arguments:
        start: Norms (...) of the path's start.
        end: Norms (...) of its end.
        mode: Norm of the arc.
        bend: Distances by which each inner point is moved outwards and along the arc, in units of
            length, shape (..., 2, n - 2).

    Returns:
        The norms (..., n), and the shares (..., n) of the angle between the ends.
    """
    norms = torch.cat([start.unsqueeze(-1), mode + bend[..., 0, :], end.unsqueeze(-1)], -1)
    even = torch.linspace(0, 1, bend.shape[-1] + 2, dtype=bend.dtype)
    return norms, even + F.pad(bend[..., 1, :] / mode, (1, 1))


@dataclass(frozen=True, kw_only=True)
class NormAware:
    """The arguments of searches for paths of least cost.

    References:
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Deviations: L-BFGS in the span of the seeds from a closed form, instead of Adam on the latents
    from a noisy straight line; the two terms of the cost deviate as :class:`PathCost` says.

    Arguments:
        resolution: Number of points of a path, ends included.
        quadrature: Rule for the price of a segment: ``simpson``, or ``midpoint`` as in the paper.
        spacing: Weight of uneven spacing.
        descent: The search for the minimum.

    Raises:
        UserError: the resolution leaves no point between the ends.
    """

    resolution: int = 50
    quadrature: Quadrature = "simpson"
    spacing: float = 1.0
    descent: Descent = field(default_factory=Descent)

    def __post_init__(self) -> None:
        if self.resolution < 3:
            raise UserError(
                f"resolution={self.resolution} leaves nothing between the ends: use at least 3"
            )

    def cost(self, seeds: Tensor) -> PathCost:
        """Return the cost that is minimised for seeds (B, ...) of this size."""
        return PathCost(NormPrior(seeds[0].numel()), self.quadrature, self.spacing)
