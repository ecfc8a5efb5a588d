"""RF-Inversion, an optimal control of the flow in both directions."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion
from fpinv.inverters.velocity import length, require_flow
from fpinv.sampling import Guided, Step, part_of, spent
from fpinv.seeding import drawn


@dataclass(frozen=True)
class RFInversion(Guided):
    r"""RF-Inversion: Euler steps, pulled to a typical noise going up and to the image going down.

    With :math:`y_0` the image, :math:`y_1` a random noise, and d the length of a step,

    .. math::
        Y_{i+1} &= Y_i + d \Big[ u + \gamma \Big( \frac{y_1 - Y_i}{1 - \sigma_i} - u \Big) \Big],
        \qquad u = v(Y_i, \sigma_i) \\
        X_{i-1} &= X_i - d \Big[ v - \eta \Big( \frac{y_0 - X_i}{\sigma_i} + v \Big) \Big],
        \qquad v = v(X_i, \sigma_i)

    The second pull acts from ``start`` to ``stop``, parts of the steps counted from the noise end.
    It pulls edited images, too, which is how an edit keeps the picture. Without pulls the method
    is explicit Euler in both directions.

    NFE: N to invert, N to sample. Stores: the image latent :math:`y_0`.

    References:
        | Semantic Image Inversion and Editing using Rectified Stochastic Differential Equations
        | (Rout et al., 2025), https://arxiv.org/abs/2410.10792

    Deviations: the noise :math:`y_1` is seeded by the image (``Condition.images``), so that it
    does not depend on the batch.

    Arguments:
        gamma: Strength :math:`\gamma` of the pull to the noise, in [0, 1].
        eta: Strength :math:`\eta` of the pull to the image, in [0, 1].
        start: Part of the steps down before that pull, in [0, 1].
        stop: Part of the steps down after which it has ended, in [0, 1].
        seed: Seed of the noise.

    Raises:
        UserError: a number is outside its range, or ``start`` is after ``stop``.
    """

    gamma: float = 0.5
    eta: float = 0.9
    start: float = 0.0
    stop: float = 0.25
    seed: int = 0
    inversion_guidance: float | None = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("gamma", "eta", "start", "stop"):
            if not 0 <= (value := getattr(self, name)) <= 1:
                raise UserError(f"{name}={value} is not possible: choose 0 to 1")
        if self.start > self.stop:
            raise UserError(
                f"start={self.start} is after stop={self.stop}, so that nothing pulls to the "
                "image: use eta=0 for that, or a larger stop"
            )

    @property
    def other_end(self) -> str:
        """See :class:`~fpinv.sampling.Guided`."""
        return "noise that it is pulled to" if self.gamma > 0 else ""

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk the grid upwards from ``z0`` (B, C, H, W), one evaluation a step.

        Raises:
            UserError: the model is no rectified flow.
        """
        require_flow(denoiser)
        condition, z, steps = self.inverting(condition, denoiser), z0, denoiser.schedule.steps
        draw = drawn(z0, self.seed, condition.images, "rf_inversion")
        for i in range(steps):
            u, to_noise = denoiser(z, i, condition), (draw - z) / denoiser.schedule.alpha[i]
            z = z + length(denoiser, i, i + 1) * torch.lerp(u, to_noise, self.gamma)
        return Inversion(z, **spent(condition, steps), state={"image": z0})

    def way_back(self, denoiser: Denoiser, inversion: Inversion, condition: Condition) -> Step:
        """Return Euler's step, pulled to the image for a part of the steps."""
        image, steps = inversion.state["image"], denoiser.schedule.steps
        begin, end = part_of(steps, self.start), part_of(steps, self.stop)

        def step(z: Tensor, i: int) -> Tensor:
            v, to_image = denoiser(z, i, condition), (z - image) / denoiser.schedule.sigma[i]
            pulled = begin <= steps - i < end
            return z + length(denoiser, i, i - 1) * torch.lerp(v, to_image, self.eta * pulled)

        return step
