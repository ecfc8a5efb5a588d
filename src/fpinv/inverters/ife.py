"""The iteration-free estimator of the fixed point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.ddim import ddim_path, require_label
from fpinv.sampling import DDIMSampling, spent
from fpinv.solvers import rms

Variant = Literal["cached", "corrected", "literal"]


@dataclass(frozen=True)
class IFE(DDIMSampling):
    r"""Iteration-free fixed-point estimator: an explicit guess of the fixed point, used once.

    With the data-prediction error :math:`e_i = \hat x_0(z_i, t_i) - z_0` the implicit step has
    the explicit solution

    .. math:: z_i = r_i z_{i-1} + c_i (z_0 + e_i), \qquad
              r_i = \frac{\sigma_i}{\sigma_{i-1}}, \quad
              c_i = \alpha_i - \alpha_{i-1} \frac{\sigma_i}{\sigma_{i-1}}

    in which only :math:`e_i` is unknown. The previous step's error, which is known, takes its
    place and gives the estimate :math:`\hat z_i = r_i z_{i-1} + c_i (z_0 + e_{i-1})`. Its bias
    :math:`c_i E[e_{i-1} - e_i]` is zero for a denoiser that is a posterior mean. In the sum
    :math:`z_0` cancels: :math:`\hat z_i = r_i z_{i-1} + c_i \hat x_{i-1}`, with the image latent
    that the step before saw. The variants differ in where they read it.

    Variants:
        corrected: The step's one evaluation is made at the estimate, and the step taken with it:
            :math:`z_i = g(\hat z_i)` with g of fixed-point inversion; :math:`\hat x_i` is that of
            :math:`z_i` with that evaluation's noise. The first step's estimate is :math:`z_0`.
            This is fixed-point inversion of one iteration from the extrapolated start (``fpi``
            with ``iterations=1 start=extrapolated``).
        cached: As corrected, with :math:`\hat x_i` read at :math:`\hat z_i`, where the network was
            evaluated.
        literal: :math:`z_i = \hat z_i`, with :math:`\hat x_{i-1}` evaluated at
            :math:`(z_{i-1}, t_{i-1})`. This is DDIM inversion with the source label.

    NFE: N. Stores: nothing beyond z_N.

    On a rectified flow ``corrected`` is Uni-Inv (UniEdit-Flow), but for its first step: the
    velocity is read at :math:`z_{i-1} + d\, v_{i-1}`, d the length of the step, and the step taken
    with it.

    References:
        | An Iteration-Free Fixed-Point Estimator for Diffusion Inversion (Chen et al., 2025)
        | https://arxiv.org/abs/2512.08547
        | UniEdit-Flow: Unleashing Inversion and Editing in the Era of Flow Models
        | (Jiao et al., 2026), https://arxiv.org/abs/2504.13109

    Deviations: the derivation and the variants are ours, made from the paper's abstract; its
    exact update was not available.

    Arguments:
        variant: One of the variants above. ``cached`` is the best by measurement: against
            ``corrected``, on 64 scenes of val, it gains 1.5 and 1.8 dB of the latent at w = 1,
            N = 20 and 50, and .9 (with an interval of .9) and .3 (.7) dB at w = 3.
    """

    variant: Variant = "cached"

    def __post_init__(self) -> None:
        if self.variant not in get_args(Variant):
            choices = ", ".join(get_args(Variant))
            raise UserError(f"variant='{self.variant}' is unknown: choose one of {choices}")

    @property
    def remembers(self) -> bool:
        """See :class:`~fpinv.sampling.DDIMSampling`: a step takes over the last one's error."""
        return True

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one evaluation a step.

        Raises:
            UserError: variant ``literal`` where the clean end has no timestep.
        """
        condition = self.inverting(condition, denoiser)
        walk = self._literal if self.variant == "literal" else self._corrected
        z, residual = walk(denoiser, z0, condition)
        return Inversion(z, **spent(condition, denoiser.schedule.steps), residual=residual)

    def _literal(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition
    ) -> tuple[Tensor, None]:
        require_label(denoiser, 0)
        *_, z = ddim_path(denoiser, z0, condition, lag=1)
        return z, None

    def _corrected(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition
    ) -> tuple[Tensor, Tensor]:
        schedule, z, estimate, residuals = denoiser.schedule, z0, z0, []
        for i in range(1, schedule.steps + 1):
            m = denoiser(estimate, i, condition)
            held = schedule.held(estimate, m, i)
            before, z = z, schedule.raised(z, held, i)
            residuals.append(rms(estimate - z) / rms(before))
            if i < schedule.steps:
                estimate = (
                    schedule.extrapolate(before, z, i)
                    if self.variant == "corrected"
                    else schedule.aim(z, schedule.clean(estimate, m, i), i, i + 1)
                )
        return z, torch.stack(residuals)
