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

Everything else follows: a DDIM step moves that pair to another index. To undo the step is to solve
an equation; :meth:`Schedule.form` says in which form, and why. A multistep sampler adds what the
image changed since the step before (:attr:`Schedule.lookback`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

from torch import Tensor

from fpinv.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "sample", "flow"]

LABELS = 1000
"""Labels of a rectified flow for a noise scale from 0 to 1, in the models that are public."""

NO_SIGNAL = 1e-7
"""Power of the signal below which a noise level has none. Those of diffusers' Euler, ancestral and
DPM++ schedulers end at 2^-24 in place of 0."""
FORGOTTEN = 0.1
"""Share of a latent below which a step from such a level counts as one that forgets it."""

Scale = Any  # a number, or a tensor
Pairs = tuple[tuple[Any, Any], tuple[Any, Any]]


class Landing(NamedTuple):
    r"""The place where a step with noise lands before its noise is added, and that noise's scale.

    .. math:: z_{i-1} = a\, \hat x_0 + s\, \epsilon + \tau\, \xi_i, \qquad
              \xi_i \sim \mathcal{N}(0, 1)

    Arguments:
        alpha: Scale a of the image latent.
        sigma: Scale s of the noise that the network predicts.
        spread: Scale :math:`\tau` of the fresh noise.
    """

    alpha: float
    sigma: float
    spread: float


@dataclass(frozen=True)
class Schedule:
    r"""Time grid of a sampler, index 0 (clean) to N (noise), and the linear maps on it.

    Coefficients are Python floats computed in double precision, so they take the precision and the
    device of the latents they meet and never cause a transfer.

    Arguments:
        alpha: Signal scales :math:`\alpha_i = \sqrt{\bar\alpha_i}`, ``N + 1`` values, decreasing.
        sigma: Noise scales :math:`\sigma_i = \sqrt{1 - \bar\alpha_i}` (``1 - alpha`` for flow).
        timestep: The labels the network was trained with, whole numbers or not; entry 0 is -1
            where the clean end has no label (:math:`\bar\alpha_0 = 1`).
        prediction: The quantity that the network predicts: ``epsilon``, ``v_prediction``,
            ``sample`` or ``flow``.
        lookback: Weights :math:`b_i`, ``N + 1`` values, of the image's change since the step
            before, in :meth:`step`; entry 0 belongs to no step. Empty for DDIM.
        landings: Where each of the ``N`` steps lands before noise is added; empty for steps
            without noise.

    References:
        | Denoising Diffusion Implicit Models (Song et al., 2021)
        | https://arxiv.org/abs/2010.02502
    """

    alpha: tuple[float, ...]
    sigma: tuple[float, ...]
    timestep: tuple[float, ...]
    prediction: Prediction = "epsilon"
    lookback: tuple[float, ...] = ()
    landings: tuple[Landing, ...] = ()

    def __post_init__(self) -> None:
        if self.prediction not in get_args(Prediction):
            raise UserError(
                f"prediction type '{self.prediction}' is unknown; use one of "
                f"{', '.join(get_args(Prediction))}"
            )
        if any(later >= earlier for earlier, later in pairwise(self.alpha)):
            raise UserError(
                "the signal scale must fall at every step of the grid: use fewer steps, or "
                "steps_offset 1 in a DDIMScheduler with steps_offset 0 and set_alpha_to_one False"
            )
        if self.prediction == "sample" and self.sigma[0] == 0:
            raise UserError(
                "with prediction type 'sample' a last step to no noise forgets its latent and "
                "cannot be inverted: use sampler=ddim, or set_alpha_to_one False in a "
                "DDIMScheduler of your own"
            )
        if self.prediction == "epsilon" and lacks_signal(self.alpha[-1]):
            raise UserError(
                "with prediction type 'epsilon' a step from a signal scale of 0 says nothing of "
                "the image: use sampler=ddim with model.spacing=leading"
            )

    @classmethod
    def flow(cls, steps: int, shift: float = 1.0) -> Schedule:
        r"""Return the grid of a rectified flow, from :math:`\sigma = 0` to 1, both included.

        .. math:: \sigma_i = \frac{\text{shift}\; i / N}{1 + (\text{shift} - 1)\, i / N}

        Its labels are :math:`1000\, \sigma_i`.

        Raises:
            UserError: ``steps`` or ``shift`` is not possible.
        """
        if steps < 1:
            raise UserError(f"steps={steps} is not possible: choose at least 1")
        if not (math.isfinite(shift) and shift > 0):
            raise UserError(f"shift={shift} is not possible: choose a number above 0")
        inner = (shift * i / (steps + (shift - 1) * i) for i in range(steps))
        sigma = (*inner, 1.0)  # rounding would leave the last signal scale at some 1e-16
        labels = tuple(LABELS * s for s in sigma)
        return cls(tuple(1 - s for s in sigma), sigma, labels, "flow")

    @property
    def steps(self) -> int:
        """Return the number of sampling steps N."""
        return len(self.alpha) - 1

    def above(self, k: int) -> Schedule:
        """Return the grid of the steps above index ``k``, which is its own index 0."""
        parts = ("alpha", "sigma", "timestep", "lookback", "landings")
        return replace(self, **{part: getattr(self, part)[k:] for part in parts})

    def stochastic(self, eta: float) -> Schedule:
        r"""Return the grid with the steps of stochastic DDIM, or as it is if its steps have noise.

        .. math:: \tau_i = \eta \frac{\sigma_{i-1}}{\sigma_i}
                  \sqrt{\sigma_i^2 - \sigma_{i-1}^2 \alpha_i^2 / \alpha_{i-1}^2}, \qquad
                  a_i = \alpha_{i-1}, \quad s_i = \sqrt{\sigma_{i-1}^2 - \tau_i^2}

        At :math:`\eta = 1` they are those of DDPM, and of Euler's ancestral sampler: in the scale
        of the noise, :math:`s_i / \alpha_{i-1}` is its ``sigma_down``, and :math:`\tau_i /
        \alpha_{i-1}` its ``sigma_up``.
        """
        if self.landings:
            return self

        def landing(i: int) -> Landing:
            sigma, (_, variance) = self.sigma[i - 1], self.noising(i)
            spread = eta * sigma / self.sigma[i] * variance**0.5
            return Landing(self.alpha[i - 1], (sigma**2 - spread**2) ** 0.5, spread)

        return replace(self, landings=tuple(landing(i) for i in range(1, self.steps + 1)))

    def landed(self, z: Tensor, m: Tensor, i: int) -> Tensor:
        """Return where the step with noise from ``z`` at index i lands before it is added."""
        landing = self.landings[i - 1]
        return landing.alpha * self.clean(z, m, i) + landing.sigma * self.noise(z, m, i)

    def without_noise(self, i: int) -> Schedule:
        """Return the grid of the one step from index i, down to where it lands.

        That place is no level of the network, so it has no label.

        Raises:
            UserError: the step keeps nothing of its latent but what the network sees in it.
        """
        alpha, sigma, _ = self.landings[i - 1]
        scales = (alpha, self.alpha[i]), (sigma, self.sigma[i])
        step = Schedule(*scales, (-1, self.timestep[i]), self.prediction)
        if lacks_signal(self.alpha[i]) and abs(step.coefficients(1, 0)[0]) < FORGOTTEN:
            raise UserError(
                "a step with noise from a signal scale of 0 forgets its latent and cannot be "
                "inverted: use model.spacing=leading, or inverter=edit_friendly"
            )
        return step

    def implied(self, i: int) -> tuple[tuple[float, float], tuple[float, float]]:
        """Return :func:`implied` at index i."""
        return implied(self.prediction, self.alpha[i], self.sigma[i])

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

    def step(
        self, z: Tensor, m: Tensor, i: int, above: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        r"""Return the sampler's latents at index i - 1, and the image latent of output ``m``.

        .. math:: z_{i-1} = \mathrm{DDIM}_i(z_i, m) + c_i b_i (\hat x_i - \hat x_{i+1}), \qquad
                  c_i = \alpha_{i-1} - \frac{\sigma_{i-1}}{\sigma_i} \alpha_i

        Arguments:
            z: The latents :math:`z_i`, shape (B, C, H, W).
            m: The output at ``z``.
            i: Grid index of ``z``.
            above: The image latent :math:`\hat x_{i+1}` of the step before; None where the
                walk begins.

        Returns:
            :math:`z_{i-1}`, and :math:`\hat x_i` for the next step; None in its place where the
            sampler never looks back.

        Raises:
            UserError: the steps have noise.
        """
        if self.landings:
            raise UserError(
                "the steps of this sampler have noise, so that z_N alone makes no image: use "
                "sampler=ddim"
            )
        below = self.transfer(z, m, i, i - 1)
        if not self.lookback:
            return below, None
        clean = self.clean(z, m, i)
        if above is not None and self.lookback[i]:
            below = below + self.lookback[i] * self.image_weight(i) * (clean - above)
        return below, clean

    def image_weight(self, i: int) -> float:
        """Return the weight of the image latent in the step from index i with the latents held."""
        return self.alpha[i - 1] - self.sigma[i - 1] / self.sigma[i] * self.alpha[i]

    def preimage(self, z: Tensor, m: Tensor, i: int) -> Tensor:
        r"""Return the :math:`z_i` whose DDIM step with this ``m`` lands on ``z``, :math:`z_{i-1}`.

        .. math:: z_i = (z_{i-1} - B m) / A

        Raises:
            UserError: the step keeps nothing of its latent but what the network sees in it.
        """
        A, B = self._invertible(i)
        return (z - B * m) / A

    def _invertible(self, i: int) -> tuple[float, float]:
        """Return ``(A, B)`` of the step from index i.

        Raises:
            UserError: A is next to 0.
        """
        A, B = self.coefficients(i, i - 1)
        if lacks_signal(A):
            raise UserError(
                "a step from no signal to no noise forgets its latent and cannot be inverted: use "
                "more steps, or model.spacing=leading"
            )
        return A, B

    def noised(self, z0: Tensor, eps: Tensor, i: int) -> Tensor:
        r"""Return ``z0`` noised to index ``i``, :math:`\alpha_i z_0 + \sigma_i \epsilon`."""
        return self.alpha[i] * z0 + self.sigma[i] * eps

    def noising(self, i: int) -> tuple[float, float]:
        r"""Return the scale of the mean and the variance of the forward process's step to index i.

        .. math:: z_i \sim \mathcal{N}\Big(\frac{\alpha_i}{\alpha_{i-1}} z_{i-1},
                  \sigma_i^2 - \frac{\alpha_i^2}{\alpha_{i-1}^2} \sigma_{i-1}^2\Big)
        """
        ratio = self.alpha[i] / self.alpha[i - 1]
        return ratio, self.sigma[i] ** 2 - (ratio * self.sigma[i - 1]) ** 2

    def move(self, z: Tensor, eps: Tensor, i: int, j: int) -> Tensor:
        r"""Move a latent from index ``i`` to ``j`` with its noise held: the step in epsilon form.

        .. math:: z_j = \frac{\alpha_j}{\alpha_i} z_i
                        + \Big(\sigma_j - \frac{\alpha_j}{\alpha_i} \sigma_i\Big) \epsilon

        """
        ratio = self.alpha[j] / self.alpha[i]
        return ratio * z + (self.sigma[j] - ratio * self.sigma[i]) * eps

    def form(self, i: int) -> Prediction:
        r"""Return the type of what the implicit step to i holds: ``epsilon`` or the network's own.

        The x whose DDIM step lands on :math:`z_{i-1}` solves :math:`x = g(x)`, which can be
        iterated in two forms. Both have the same solution, but they do not contract alike.

        *Epsilon form* holds the noise :math:`\epsilon = r x + t m` that the output implies:

        .. math:: g(x) = \frac{\alpha_i}{\alpha_{i-1}} z_{i-1} + k\, \epsilon(x), \qquad
                  g' = k r + k t\, m', \qquad
                  k = \sigma_i - \frac{\alpha_i}{\alpha_{i-1}} \sigma_{i-1}

        *Native form* holds the output itself, with :math:`(A, B)` of :meth:`coefficients`:

        .. math:: g(x) = (z_{i-1} - B\, m(x)) / A, \qquad g' = -(B / A)\, m'

        The part :math:`k r` of the first is there whatever the network has learned.

        - ``epsilon``: both forms are one.
        - ``flow``: :math:`k r = (\sigma_i - \sigma_{i-1}) / (1 - \sigma_{i-1})` tends to 1 with
          :math:`\sigma_i`, where the equation becomes :math:`x = x`: any latent solves it.
          :math:`-B / A = \sigma_i - \sigma_{i-1}` is small at every step, so all are native.
        - ``v_prediction``: :math:`k r = k \sigma_i` tends to 1 with :math:`\sigma_i`, too, while
          :math:`-B / A` is the tangent of the angle :math:`\arctan(\sigma / \alpha)` that the
          step turns by. Steps of which the first exceeds one half are native if they
          turn by less than 45 degrees, :math:`A^2 > 1/2`. On Stable Diffusion's noise levels there
          are none for 5 steps or more, so that one network written as eps, v or sample gives the
          same iterates there. Of steps with noise at :math:`\eta = 1` there are none at all, as
          :math:`A^2 = 1 - k r`.
        - ``sample``: :math:`|B / A| = \alpha_{i-1} \sigma_i / \sigma_{i-1} - \alpha_i` is 2.4 at
          50 steps and 7.0 at 10 at the clean end, where the native form diverges. The step to a
          signal scale of 0, whose epsilon form is :math:`x = x`, is the one native step.
        """
        if self.prediction == "flow" or lacks_signal(self.alpha[i]):
            return self.prediction
        if self.prediction == "v_prediction":
            k = self.sigma[i] - self.alpha[i] / self.alpha[i - 1] * self.sigma[i - 1]
            native = k * self.sigma[i] > 0.5 and self.coefficients(i, i - 1)[0] ** 2 > 0.5
            return "v_prediction" if native else "epsilon"
        return "epsilon"

    def held(self, x: Tensor, m: Tensor, i: int) -> Tensor:
        """Return what the implicit step to i holds of output ``m`` at ``(x, i)``, as ``x``."""
        return self.noise(x, m, i) if self.form(i) == "epsilon" else m

    def held_noise(self, z: Tensor, held: Tensor, i: int) -> Tensor:
        """Return the noise at ``z``, at index i, with which the DDIM step down holds ``held``."""
        return held if self.form(i) == "epsilon" else self.noise(z, held, i)

    def raised(self, z: Tensor, held: Tensor, i: int) -> Tensor:
        """Return the latents at index i of which the step that holds ``held`` makes ``z``."""
        if self.form(i) == "epsilon":
            return self.move(z, held, i - 1, i)
        return self.preimage(z, held, i)

    def lowered(self, z: Tensor, held: Tensor, i: int) -> Tensor:
        """Return the latents at index i - 1 that the step holding ``held`` makes of ``z`` at i."""
        if self.form(i) == "epsilon":
            return self.move(z, held, i, i - 1)
        return self.transfer(z, held, i, i - 1)

    def sensitivity(self, i: int) -> tuple[float, float]:
        r"""Return ``(a, weight)`` of the step to index i: how its equation reacts to changes.

        .. math:: x - g(x) = a\, (\mathrm{DDIM}_i(x) - z_{i-1}), \qquad g' = \text{weight} \cdot s

        The slope s is that of the output in native form, and :math:`\sigma_i \epsilon'` in
        epsilon form: both vary little from one step to the next.
        """
        if self.form(i) == "epsilon":
            a = self.alpha[i] / self.alpha[i - 1]
            return a, 1 - a * self.sigma[i - 1] / self.sigma[i]
        A, B = self._invertible(i)
        return 1 / A, -B / A

    def time(self, i: int, prediction: Prediction) -> tuple[float, float]:
        r"""Return the scale c and the time :math:`\tau` in which an output is the latents' slope.

        .. math:: \frac{d (z / c)}{d \tau} = m

        on the path of the sampler's limit of many steps, with m of the ``prediction`` type.
        """
        a, s = self.alpha[i], self.sigma[i]
        match prediction:
            case "epsilon":
                return a, s / a
            case "v_prediction":
                return 1.0, math.atan2(s, a)
            case "sample":
                return s, a / s
            case "flow":
                return 1.0, s

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

    def output(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        r"""Return the output at :math:`z_i` with which its DDIM step lands on :math:`z_{i-1}`.

        .. math:: m = (z_{i-1} - A z_i) / B
        """
        A, B = self.coefficients(i, i - 1)
        return (before - A * z) / B

    def extrapolate(self, before: Tensor, z: Tensor, i: int) -> Tensor:
        r"""Continue the move :math:`z_{i-1} \to z_i` to index ``i + 1``, image and noise held."""
        return self.aim(z, self.aimed_at(before, z, i), i, i + 1)


def lacks_signal(alpha: float) -> bool:
    """Return whether a signal scale is that of a noise level without signal."""
    return alpha**2 < NO_SIGNAL


def implied(prediction: Prediction, alpha: Scale, sigma: Scale) -> Pairs:
    """Return ``((p, q), (r, t))`` of ``x_0 = p z + q m`` and ``eps = r z + t m``.

    The scales are numbers or tensors.
    """
    match prediction:
        case "epsilon":
            return (1 / alpha, -sigma / alpha), (0.0, 1.0)
        case "v_prediction":
            return (alpha, -sigma), (sigma, alpha)
        case "sample":
            return (0.0, 1.0), (1 / sigma, -alpha / sigma)
        case "flow":
            return (1.0, -sigma), (1.0, alpha)
