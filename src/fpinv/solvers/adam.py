"""Adam, one problem a sample."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.batch import PerSample


@dataclass(frozen=True)
class Adam(PerSample):
    r"""Points on their way down a loss each, and the moments of their gradients.

    .. math:: m \leftarrow \beta_1 m + (1 - \beta_1) \nabla, \quad
              v \leftarrow \beta_2 v + (1 - \beta_2) \nabla^2, \quad
              x \leftarrow x - \eta
              \frac{m / (1 - \beta_1^k)}{\sqrt{v / (1 - \beta_2^k)} + 10^{-8}}

    with :math:`\beta = (0.9, 0.999)`. ``torch.optim.Adam`` does not do, because a sample that is
    done leaves the batch and takes its moments with it.

    References:
        | Adam: A Method for Stochastic Optimization (Kingma and Ba, 2015)
        | https://arxiv.org/abs/1412.6980

    Arguments:
        x: The points, shape (R, ...).
        mean: First moments m, as ``x``.
        square: Second moments v, as ``x``.
    """

    x: Tensor
    mean: Tensor
    square: Tensor

    @classmethod
    def at(cls, start: Tensor) -> Adam:
        """Return the state before the first step from ``start``."""
        return cls(start, torch.zeros_like(start), torch.zeros_like(start))

    def moved(self, slope: Tensor, rate: float, k: int) -> Adam:
        """Return the state after step k, from 0, along the gradient ``slope``."""
        mean = self.mean.lerp(slope, 1 - 0.9)
        square = (self.square * 0.999).addcmul(slope, slope, value=1 - 0.999)
        spread = square.sqrt() / (1 - 0.999 ** (k + 1)) ** 0.5 + 1e-8
        x = self.x.addcdiv(mean, spread, value=-rate / (1 - 0.9 ** (k + 1)))
        return Adam(x, mean, square)
