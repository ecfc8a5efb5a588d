"""A variance-preserving model read as a rectified flow, without training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fpinv.denoiser import Denoiser, Embedding
from fpinv.errors import UserError
from fpinv.models.pipeline import Weights
from fpinv.models.samplers import DDIMSampler
from fpinv.models.stable_diffusion import StableDiffusion
from fpinv.schedule import LABELS, Schedule, implied, lacks_signal


class FlowReading(StableDiffusion):
    r"""Stable Diffusion, its network read as the velocity of a rectified flow.

    A latent :math:`z = (1 - \sigma) x_0 + \sigma \epsilon` of the straight path is one that the
    network knows, but for its scale. With :math:`\theta = \arctan(\sigma / (1 - \sigma))`

    .. math:: \frac{z}{\sqrt{(1 - \sigma)^2 + \sigma^2}} = \cos\theta\, x_0 + \sin\theta\, \epsilon

    is its latent at the label t where :math:`\tan\theta = \sigma_t / \alpha_t`: a fraction between
    two whole labels, linear in the angle. What the network predicts there gives the velocity
    :math:`v = \epsilon - x_0`. So both readings follow the same differential equation, from the
    same images to the same noise, by steps of other lengths.

    The grid runs from :math:`\sigma = 0` to 1 (:meth:`fpinv.schedule.Schedule.flow`). Its ends lie
    beyond the network's labels: below the first one and above the last one (:math:`\sigma` = 0.01
    and 0.98 for the bundled model) the network is told the nearest label, and :math:`x_0` and
    :math:`\epsilon` are read with the scales of that label. A grid that ends at 0.98 instead gives
    the same pictures and round trips (4 scenes, 28 steps, w = 1: fpi-5 59.4 against 58.7 dB), but
    its z_N are further from noise of variance 1 (0.93 against 0.95 in standard deviation).

    References:
        | Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow
        | (Liu et al., 2022), https://arxiv.org/abs/2209.03003
        | Scaling Rectified Flow Transformers for High-Resolution Image Synthesis
        | (Esser et al., 2024), 3.1 for the path, https://arxiv.org/abs/2403.03206

    Arguments:
        path: See :class:`~fpinv.models.latent_model.LatentModel`, as for all further settings.
        shift: Shift of the grid; above 1 it has more steps at the noise end.

    Raises:
        UserError: as there; or ``spacing`` is set, which this grid does not have, or ``precision``
            is fp16, in which gradients of the velocity are lost.
    """

    def __init__(
        self,
        path: str,
        name: str | None = None,
        *,
        shift: float = 1.0,
        **settings: Any,  # noqa: ANN401
    ) -> None:
        if settings.get("spacing") is not None:
            raise UserError("a rectified flow has no spacing: use model.shift, not model.spacing")
        if settings.get("precision") == "fp16":
            raise UserError("a flow reading cannot run in fp16: use precision=bf16 or fp32")
        super().__init__(path, name, **settings)
        self.shift = shift
        bars = self._scheduler.alphas_cumprod.double()
        if self._scheduler.config.prediction_type == "epsilon" and lacks_signal(
            float(bars[-1]) ** 0.5
        ):
            raise UserError(
                f"model {self.name} predicts the noise where there is no signal, which says "
                "nothing of the image: it has no reading as a flow"
            )
        # Computed once, where the network is, so that no step waits for the host.
        self._angles = torch.atan2((1 - bars).sqrt(), bars.sqrt()).to(self.device)

    def _choose(self, weights: Weights) -> Weights:
        weights.sampler.flow_scheduler({})  # refuses one that is not for flows
        # The pipeline's scheduler has some spacing, which no step of a flow follows.
        return weights._replace(sampler=DDIMSampler(), spacing="leading")

    @property
    def spacing(self) -> str:
        """The shift of the grid, for records."""
        return f"flow, shift {self.shift:g}"

    def denoiser(self, steps: int) -> Denoiser:
        """Return a denoiser on a flow's grid of ``steps`` steps, its counts at zero."""
        # In float32 around a network in bf16: the velocity divides by small signal scales.
        precise = torch.promote_types(self.dtype, torch.float32)
        grid = Schedule.flow(steps, self.shift)
        return Denoiser(self._velocity, grid, precise, self.device, self.epsilon)

    def _velocity(self, z: Tensor, timestep: Tensor, embedding: Embedding) -> Tensor:
        """Return the velocity (R, C, H, W) at latents of the straight path and a flow's labels."""
        sigma = timestep[0].double() / LABELS  # all rows have the same
        angle = torch.atan2(sigma, 1 - sigma)
        label, angle_known = self._nearest(angle)
        scale = torch.hypot(sigma, 1 - sigma)
        latents = z / scale.to(z.dtype)
        m = self._network(latents.to(self.dtype), label.float(), embedding).to(z.dtype)
        alpha, noise = angle_known.cos(), angle_known.sin()
        (p, q), (r, t) = implied(self._scheduler.config.prediction_type, alpha, noise)
        return (r - p) * latents + (t - q) * m

    def _nearest(self, angle: Tensor) -> tuple[Tensor, Tensor]:
        """Return the label of an angle, or of the nearest that has one, and the angle of that."""
        nearest = angle.clamp(self._angles[0], self._angles[-1])
        above = torch.searchsorted(self._angles, nearest).clamp(1, len(self._angles) - 1)
        low, high = self._angles.take(torch.stack([above - 1, above]))  # an index would wait
        return above - 1 + (nearest - low) / (high - low), nearest
