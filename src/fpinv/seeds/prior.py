"""The chi law of a standard normal seed's norm, in a form that single precision can hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class NormPrior:
    r"""The chi law of the norm :math:`r = |z|` of a seed :math:`z \sim N(0, I_d)`.

    .. math:: \log f(r) = (d - 1) \log r - \tfrac{r^2}{2}
              - \big(\tfrac d2 - 1\big) \log 2 - \log \Gamma\big(\tfrac d2\big)

    As printed, numbers of the size of :math:`d \log d` cancel and float32 is left with an error of
    0.01 at d = 16384. About the mode :math:`r_0 = \sqrt{d - 1}` the same is

    .. math:: \log f(r) = \log f(r_0) + (d - 1) \big(\log(1 + u) - u - \tfrac{u^2}{2}\big),
              \qquad u = \frac{r - r_0}{r_0}

    where only the constant is large, and that is computed in double precision: near the mode the
    error in float32 is below 1e-4 for d up to 65536.

    References:
        | Norm-guided latent space exploration for text-to-image generation (Samuel et al., 2023)
        | https://arxiv.org/abs/2306.08687

    Arguments:
        dimensions: Number d of a seed's numbers, at least 2.

    Raises:
        ValueError: ``dimensions`` is below 2, where the law has no mode away from 0.
    """

    dimensions: int

    def __post_init__(self) -> None:
        if self.dimensions < 2:
            raise ValueError(f"a seed needs at least 2 numbers, not {self.dimensions}")

    @property
    def mode(self) -> float:
        r"""The likeliest norm :math:`r_0 = \sqrt{d - 1}`."""
        return math.sqrt(self.dimensions - 1)

    @cached_property
    def peak(self) -> float:
        """The log-density at the mode: negative for every d, -0.5724 in the limit."""
        d = self.dimensions
        constant = (d / 2 - 1) * math.log(2) + math.lgamma(d / 2)
        return (d - 1) * (math.log(self.mode) - 0.5) - constant

    def log_density(self, norm: Tensor) -> Tensor:
        """Return log f at norms of any shape, in their precision; -inf at 0."""
        u = (norm - self.mode) / self.mode
        return self.peak + (self.dimensions - 1) * (torch.log1p(u) - u - u.square() / 2)

    def price(self, norm: Tensor) -> Tensor:
        """Return the price -log f of a unit of length at a norm, which is positive everywhere."""
        return -self.log_density(norm)

    def project(self, seeds: Tensor) -> Tensor:
        """Return seeds (B, ...), none of them zero, moved along their rays to the mode."""
        scale = self.mode / seeds.flatten(1).norm(dim=1)
        return seeds * scale.view(-1, *[1] * (seeds.ndim - 1))
