"""Accelerations of a fixed-point iteration: the next iterate from the last few."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from fpinv.errors import UserError, check_at_least
from fpinv.solvers.search import per_sample


class Acceleration(Protocol):
    """Makes the next iterate from the last ``memory`` pairs (x, g(x)), oldest first."""

    @property
    def memory(self) -> int: ...

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor: ...


@dataclass(frozen=True)
class Plain:
    r"""Plain iteration :math:`x^{k+1} = g(x^k)`, damped on request.

    .. math:: x^{k+1} = (1 - d) g(x^k) + d x^k

    Arguments:
        damping: d in [0, 1); 0 is the undamped iteration.
    """

    damping: float = 0.0
    memory: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.damping < 1:
            raise UserError(f"damping={self.damping} is not possible: choose 0 <= damping < 1")

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        return torch.lerp(gs[-1], xs[-1], self.damping) if self.damping else gs[-1]


@dataclass(frozen=True)
class Averaged:
    r"""Two-point averaging :math:`x^{k+1} = (g(x^k) + g(x^{k-1})) / 2` (AIDI-E).

    Remembered evaluations make it one evaluation an iteration.

    References:
        | Effective Real Image Editing with Accelerated Iterative Diffusion Inversion
        | (Pan et al., 2023), https://arxiv.org/abs/2309.04907
    """

    memory: ClassVar[int] = 2

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        return (gs[0] + gs[-1]) / 2


@dataclass(frozen=True)
class Anderson:
    r"""Anderson acceleration (AIDI-A): the mix of remembered images with the least residual.

    .. math:: x^{k+1} = \sum_j \gamma_j g(x^j), \quad
              \gamma = \arg\min_{\sum \gamma_j = 1} \Big| \sum_j \gamma_j (g(x^j) - x^j) \Big|

    The normal equations are solved in float64 with Tikhonov regularisation, relative to their
    mean diagonal; where that gives nothing finite the sample takes a plain step. With window 1
    it is the plain iteration.

    Arguments:
        window: Number of remembered pairs (x, g(x)), the newest among them (AIDI: 3). It is one
            more than the m of Anderson's papers, which counts differences.
        regularization: Tikhonov weight relative to the mean diagonal of the normal equations.

    References:
        | Iterative Procedures for Nonlinear Integral Equations (Anderson, 1965)
        | https://doi.org/10.1145/321296.321305
        | Effective Real Image Editing with Accelerated Iterative Diffusion Inversion
        | (Pan et al., 2023), https://arxiv.org/abs/2309.04907
    """

    window: int = 3
    regularization: float = 1e-10

    def __post_init__(self) -> None:
        check_at_least(self, window=1)

    @property
    def memory(self) -> int:
        return self.window

    def __call__(self, xs: list[Tensor], gs: list[Tensor]) -> Tensor:
        if len(xs) == 1:
            return gs[-1]
        images = torch.stack(gs, 1)
        residuals = (images - torch.stack(xs, 1)).flatten(2).double()
        gram = residuals @ residuals.mT
        ridge = self.regularization * gram.diagonal(dim1=1, dim2=2).mean(1)
        gram = gram + ridge[:, None, None] * torch.eye(
            len(xs), dtype=gram.dtype, device=gram.device
        )
        # solve_ex reports failure in its result instead of waiting for the device.
        weights = torch.linalg.solve_ex(gram, torch.ones_like(gram[..., :1]))[0].squeeze(-1)
        weights = (weights / weights.sum(1, keepdim=True)).to(images.dtype)
        mixed = torch.einsum("bm,bm...->b...", weights, images)
        usable = mixed.flatten(1).isfinite().all(1)
        return torch.where(per_sample(usable, mixed), mixed, gs[-1])
