r"""The time grid, its linear step, and that step's preimage.

A latent at grid index ``i`` (0 clean, ``N`` noise) is ``z_i = alpha_i x_0 + sigma_i eps``. The
network's output ``m`` at ``(z_i, i)`` fixes both unknowns, linearly and in a way that depends on
what it was trained to predict:

============  =====================  =========================
prediction    clean image ``x_0``    noise ``eps``
============  =====================  =========================
epsilon       (z - sigma m) / alpha  m
v_prediction  alpha z - sigma m      sigma z + alpha m
sample        m                      (z - alpha m) / sigma
flow          z - sigma m            z + alpha m
============  =====================  =========================

Everything else follows: a DDIM step moves that pair to another index.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

from torch import Tensor

from fpinv.errors import UserError

if TYPE_CHECKING:
    from diffusers.schedulers import DDIMScheduler

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]


@dataclass(frozen=True)
class Schedule:
    r"""Time grid of a sampler, index 0 (clean) to N (noise), and the linear maps on it.

    Coefficients are Python floats computed in double precision, so they take the precision and the
    device of the latents they meet and never cause a transfer.

    Arguments:
        alpha: Signal scales :math:`\alpha_i = \sqrt{\bar\alpha_i}`, ``N + 1`` values, decreasing.
        sigma: Noise scales :math:`\sigma_i = \sqrt{1 - \bar\alpha_i}` (``1 - alpha`` for flow).
        timestep: The labels the network was trained with; entry 0 is -1 where the clean end has
            no label (:math:`\bar\alpha_0 = 1`).
        prediction: The quantity that the network predicts: ``epsilon``, ``v_prediction``,
            ``sample`` or ``flow``.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021)
        | https://arxiv.org/abs/2010.02502
    """

    alpha: tuple[float, ...]
    sigma: tuple[float, ...]
    timestep: tuple[int, ...]
    prediction: Prediction = "epsilon"

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            raise UserError(
                f"prediction type '{self.prediction}' is unknown; use one of "
                f"{', '.join(get_args(Prediction))}"
            )
        if any(later >= earlier for earlier, later in pairwise(self.alpha)):
            raise UserError(
                "the signal scale must fall at every step of the grid; with steps_offset 0 and "
                "set_alpha_to_one False the last step does nothing: set steps_offset to 1"
            )
        if self.prediction == "sample" and self.sigma[0] == 0:
            raise UserError(
                "with prediction type 'sample' and set_alpha_to_one True the last step forgets "
                "its latent and cannot be inverted: set set_alpha_to_one to False"
            )

    @classmethod
    def from_scheduler(cls, scheduler: DDIMScheduler, steps: int) -> Schedule:
        """Read the grid of ``steps`` steps off a diffusers ``DDIMScheduler``.

        The pairs ``(t_i, t_{i-1})`` are those that the scheduler itself steps between. It steps
        to ``t - T // N`` whatever the grid, so spacings whose grid does not have that stride
        (linspace; trailing where N does not divide T) are refused: an inverse on adjacent pairs
        would not invert them.

        Raises:
            UserError: it is another scheduler or clips its steps, or ``steps`` or the spacing does
                not fit it.
        """
        _check_steps_can_be_undone(scheduler)
        config = scheduler.config  # type: ignore[attr-defined]  # diffusers adds it at run time
        train = config.num_train_timesteps
        if not 1 <= steps <= train:
            raise UserError(f"steps={steps} is not possible: choose 1 to {train}")
        grid = type(scheduler).from_config(config)
        grid.set_timesteps(steps)
        labels = [int(t) for t in grid.timesteps.flip(0)]
        if labels[-1] >= train:
            raise UserError(
                f"steps={steps} with steps_offset {config.steps_offset} leaves the {train} "
                f"training timesteps: use at most {train - config.steps_offset} steps"
            )
        stride = train // steps
        below = labels[0] - stride
        joins = below < 0 or grid.alphas_cumprod[below] == grid.final_alpha_cumprod
        if any(b - a != stride for a, b in pairwise(labels)) or not joins:
            raise UserError(
                f"timestep_spacing '{config.timestep_spacing}' with steps={steps} makes the DDIM "
                "sampler step off its own grid: use timestep_spacing 'leading' "
                "(model.spacing=leading)"
            )
        clean = float(grid.final_alpha_cumprod)
        bars = [clean, *(float(grid.alphas_cumprod[t].double()) for t in labels)]
        return cls(
            alpha=tuple(bar**0.5 for bar in bars),
            sigma=tuple((1 - bar) ** 0.5 for bar in bars),
            timestep=(-1 if clean == 1 else 0, *labels),
            prediction=config.prediction_type,
        )

    @property
    def steps(self) -> int:
        """Return the number of sampling steps N."""
        return len(self.alpha) - 1

    def above(self, k: int) -> Schedule:
        """Return the grid of the steps above index ``k``, which is its own index 0."""
        return replace(
            self, alpha=self.alpha[k:], sigma=self.sigma[k:], timestep=self.timestep[k:]
        )

    def implied(self, i: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return ``((p, q), (r, t))`` of ``x_0 = p z + q m`` and ``eps = r z + t m``."""
        a, s = self.alpha[i], self.sigma[i]
        match self.prediction:
            case "epsilon":
                return (1 / a, -s / a), (0.0, 1.0)
            case "v_prediction":
                return (a, -s), (s, a)
            case "sample":
                return (0.0, 1.0), (1 / s, -a / s)
            case "flow":
                return (1.0, -s), (1.0, a)

    def clean(self, z: Tensor, m: Tensor, i: int) -> Tensor:
        """Return the image latent ``x_0`` that output ``m`` at ``(z, i)`` implies, as ``z``."""
        (p, q), _ = self.implied(i)
        return p * z + q * m

    def noise(self, z: Tensor, m: Tensor, i: int) -> Tensor:
        """Return the noise ``eps`` that output ``m`` at ``(z, i)`` implies, as ``z``."""
        if self.prediction == "epsilon":
            return m
        _, (r, t) = self.implied(i)
        return r * z + t * m

    def coefficients(self, i: int, j: int) -> tuple[float, float]:
        """Return ``(A, B)`` of ``transfer(z, m, i, j) = A z + B m``."""
        (p, q), (r, t) = self.implied(i)
        a, s = self.alpha[j], self.sigma[j]
        return a * p + s * r, a * q + s * t

    def transfer(self, z: Tensor, m: Tensor, i: int, j: int) -> Tensor:
        r"""Move the image and noise that output ``m`` at ``(z, i)`` implies to index ``j``.

        .. math:: z_j = \alpha_j x_0(z, m, i) + \sigma_j \epsilon(z, m, i) = A z + B m

        ``j = i - 1`` is the DDIM step, ``j = i + 1`` explicit DDIM inversion.
        """
        A, B = self.coefficients(i, j)
        return A * z + B * m

    def preimage(self, z: Tensor, m: Tensor, i: int) -> Tensor:
        r"""Return the :math:`z_i` whose DDIM step with this ``m`` lands on ``z``, :math:`z_{i-1}`.

        .. math:: z_i = (z_{i-1} - B m) / A
        """
        A, B = self.coefficients(i, i - 1)
        return (z - B * m) / A

    def noised(self, z0: Tensor, eps: Tensor, i: int) -> Tensor:
        r"""Return ``z0`` noised to index ``i``, :math:`\alpha_i z_0 + \sigma_i \epsilon`."""
        return self.alpha[i] * z0 + self.sigma[i] * eps

    def move(self, z: Tensor, eps: Tensor, i: int, j: int) -> Tensor:
        r"""Move a latent from index ``i`` to ``j`` with its noise held: the step in epsilon form.

        .. math:: z_j = \frac{\alpha_j}{\alpha_i} z_i
                        + \Big(\sigma_j - \frac{\alpha_j}{\alpha_i} \sigma_i\Big) \epsilon

        The same for every prediction type, which is why implicit steps are iterated in this form:
        one network written as eps, v or sample then gives the same iterates.
        """
        ratio = self.alpha[j] / self.alpha[i]
        return ratio * z + (self.sigma[j] - ratio * self.sigma[i]) * eps

    def aim(self, z: Tensor, clean: Tensor, i: int, j: int) -> Tensor:
        r"""Move a latent from index ``i`` to ``j`` with its image latent held.

        .. math:: z_j = \frac{\sigma_j}{\sigma_i} z_i
                        + \Big(\alpha_j - \frac{\sigma_j}{\sigma_i} \alpha_i\Big) x_0
        """
        ratio = self.sigma[j] / self.sigma[i]
        return ratio * z + (self.alpha[j] - ratio * self.alpha[i]) * clean

    def aimed_at(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        r"""Return the image latent of which, with some noise, both :math:`z_{i-1}, z_i` are made.

        .. math:: x_0 = \frac{\sigma_{i-1} z_i - \sigma_i z_{i-1}}
                             {\alpha_i \sigma_{i-1} - \alpha_{i-1} \sigma_i}
        """
        (a, b), (s, t) = self.alpha[i - 1 : i + 1], self.sigma[i - 1 : i + 1]
        return (s * z - t * before) / (b * s - a * t)

    def extrapolate(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        r"""Continue the move :math:`z_{i-1} \to z_i` to index ``i + 1``, image and noise held."""
        return self.aim(z, self.aimed_at(before, z, i), i, i + 1)


def _check_steps_can_be_undone(scheduler: DDIMScheduler) -> None:
    """Refuse a scheduler that is not DDIM's, and one whose steps clip."""
    kind = type(scheduler).__name__
    if kind != "DDIMScheduler":
        raise UserError(
            f"the grid of a {kind} cannot be read: give a DDIMScheduler, such as "
            "DDIMScheduler.from_config(scheduler.config, clip_sample=False)"
        )
    for key in ("clip_sample", "thresholding"):
        if scheduler.config[key]:  # type: ignore[attr-defined]  # diffusers adds it at run time
            raise UserError(
                f"a step of a DDIMScheduler with {key}=True cannot be undone: make it with "
                f"{key}=False"
            )
