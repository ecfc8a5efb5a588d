"""Keeping the noises of an inversion like those of a generated image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import check_at_least
from fpinv.seeding import generator

PATCH = 4
COARSEST = 8  # side of the smallest picture whose autocorrelation is taken
LIMIT = 100.0  # of a coordinate of the divergence's gradient
FLOOR = 1e-6  # of a patch's variance


@dataclass(frozen=True)
class Whitening:
    r"""ReNoise's edit losses: gradient steps on a predicted noise, none through the network.

    In turn, ``steps`` times, the noise descends the divergence of its patches' statistics
    (mean :math:`\mu`, variance v) from those of a reference, and the squared correlation with
    itself at random shifts d on ever coarser scales:

    .. math::
        L_{KL} = \sum \Big| \log \frac{v'}{v} + \frac{v + (\mu - \mu')^2}{v'} - 1 \Big|, \qquad
        L_{AC} = \sum \operatorname{mean}(\epsilon \cdot \operatorname{roll}_d \epsilon)^2

    The reference is what the network predicts at the image's own latents, noised to the index of
    the step by one draw that all steps and images share.

    References:
        | ReNoise: Real Image Inversion Through Iterative Noising (Garibi et al., 2024)
        | https://arxiv.org/abs/2403.14602
        | Zero-shot Image-to-Image Translation (Parmar et al., 2023), for the autocorrelation
        | https://arxiv.org/abs/2302.03027

    Deviations: shifts are at least 1, since at 0 the authors' code lowers the noise's energy; all
    channels share them.

    Arguments:
        steps: Rounds of both losses; the authors edit with 4.
        patch_kl: Step size of the divergence.
        autocorrelation: Step size of the correlation, over all its shifts.
        shifts: Correlation steps of a round.
        seed: Seed of the noising and the shifts.

    Raises:
        UserError: a number is negative or not finite.
    """

    steps: int = 0
    patch_kl: float = 0.065
    autocorrelation: float = 20.0
    shifts: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(self, steps=0, patch_kl=0, autocorrelation=0, shifts=0)

    def at(
        self, denoiser: Denoiser, z0: Tensor, i: int, condition: Condition
    ) -> Callable[[Tensor], Tensor]:
        """Return the whitening of noises that are predicted at index i; it takes an evaluation."""
        draw = torch.randn(z0.shape[1:], generator=generator(self.seed, "whitening")).to(z0)
        reference = denoiser.noise(denoiser.schedule.noised(z0, draw, i), i, condition)
        shifts = generator(self.seed, "whitening", str(i))
        return lambda eps: self._whiten(eps, reference, shifts)

    def _whiten(self, eps: Tensor, reference: Tensor, shifts: torch.Generator) -> Tensor:
        for _ in range(self.steps):
            slope = _slope(lambda x: _divergence(x, reference), eps)
            eps = eps - self.patch_kl * slope.clamp(-LIMIT, LIMIT)
            for _ in range(self.shifts):
                slope = _slope(lambda x: _autocorrelation(x, shifts), eps)
                eps = eps - self.autocorrelation / self.shifts * slope
        return eps


def _slope(loss: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss(x), x)[0]


def _divergence(x: Tensor, reference: Tensor) -> Tensor:
    """Return the divergence summed over samples, so that each has the slope of it alone."""
    (mean, var), (mean_r, var_r) = _patches(x), _patches(reference)
    return ((var_r / var).log() + (var - FLOOR + (mean - mean_r) ** 2) / var_r - 1).abs().sum()


def _patches(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance of each channel in each patch."""
    patches = x.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH).flatten(4)
    return patches.mean(-1), patches.var(-1) + FLOOR


def _autocorrelation(x: Tensor, shifts: torch.Generator) -> Tensor:
    total = x.new_zeros(())
    while True:
        furthest = max(min(x.shape[-2:]) // 2, 2)
        shift = int(torch.randint(1, furthest, (), generator=shifts))
        for dim in (2, 3):
            total = total + (x * x.roll(shift, dim)).mean((2, 3)).square().sum()
        if min(x.shape[-2:]) <= COARSEST:
            return total
        x = avg_pool2d(x, 2)
