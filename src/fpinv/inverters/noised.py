"""Inversions whose steps near the clean end are replaced by random noise."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion, Inverter
from fpinv.sampling import DDIMSampling, spent


def invert_noised(
    inverter: Inverter,
    denoiser: Denoiser,
    z0: Tensor,
    condition: Condition,
    noise: Tensor,
    steps: int,
) -> Inversion:
    r"""Return an inversion whose first ``steps`` = k steps are those of the forward process.

    .. math:: z_k = \alpha_k z_0 + \sigma_k \epsilon, \qquad
              z_k \to z_{k+1} \to \dots \to z_N \text{ by the inverter}

    The network's noise near the clean end is a poor guess in plain areas, where it is less diverse
    than random noise, and the climb carries this up to :math:`z_N`. Random noise in its place
    makes :math:`z_N` more like noise. It costs detail of the image: sampling back, which takes all
    N steps, comes through :math:`z_k` as exactly as the inverter solves its steps, but leads from
    there to one of the images that :math:`z_k` may be of.

    The inverter works on the grid above index k, as if :math:`z_k` were the image. So an
    inverter's accuracy is that of :math:`z_k`, and its residuals, iterations and evaluations are
    those of N - k steps. With k = 0 it is the inverter alone, with k = N the noised image alone.

    References:
        | There and Back Again: On the relation between Noise and Image Inversions in Diffusion
        | Models (Staniszewski et al., 2024), https://arxiv.org/abs/2410.23530

    Deviations: the authors replace steps of DDIM inversion alone, in their code 3 of 100 and, for
    edits, 2 of 50.

    Arguments:
        inverter: The inverter.
        denoiser: The network, on the whole grid.
        z0: The image latents, shape (B, C, H, W).
        condition: Prompts and guidance of the sampling.
        noise: Standard normal latents :math:`\epsilon`, as ``z0``, independent for each image:
            what two images share stays in both their :math:`z_N`.
        steps: The number k, 0 to N; N - 1 at most where z_N is not all of an inversion.

    Raises:
        UserError: the inverter cannot begin above the image, or there are fewer steps.
    """
    schedule = denoiser.schedule
    require_start(inverter, steps, schedule.steps)
    if steps == 0:
        return inverter.invert(denoiser, z0, condition)
    noised = schedule.noised(z0, noise.to(z0), steps)
    if steps == schedule.steps:
        return Inversion(noised, **spent(condition, 0))
    with denoiser.on(schedule.above(steps)) as upper:
        inversion = inverter.invert(upper, noised, condition)
    return replace(inversion, expected_error=None)  # it would be that of the noised image


def require_start(inverter: Inverter, noised: int, steps: int) -> None:
    """Check that an inverter can begin above ``noised`` steps of a grid of ``steps``.

    Raises:
        UserError: it needs something of every step from the image on, or there are fewer steps.
    """
    if noised and not getattr(inverter, "starts_anywhere", False):
        raise UserError(
            f"noised_steps={noised} is not possible with {type(inverter).__name__} as it is set, "
            "which needs something of every step from the image on: use noised_steps=0, or "
            "another inverter, e.g. ddim, fpi or auto"
        )
    # Where z_N is not all of an inversion, its second latent comes of a step.
    most = steps if isinstance(inverter, DDIMSampling) else steps - 1
    if noised > most:
        raise UserError(f"noised_steps={noised} is not possible: choose 0 to {most}")
