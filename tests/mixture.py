"""A mixture of Gaussians, whose denoiser is known, on grids as stock schedulers step along them.

They run from a noise scale of 0, or the first noise level, to a signal scale of 0.
"""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser, Embedding
from fpinv.inversion import Inverter
from fpinv.models.samplers.grids import ddim_grid
from fpinv.schedule import Schedule
from fpinv.solvers import rms

SHAPE, COMPONENTS, STD = (1, 6, 8), 12, 0.35


def _normal(seed: int, *shape: int) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=g, dtype=torch.float64)


MEANS, MISFIT = _normal(0, COMPONENTS, 48), _normal(1, 48, 48) / 48**0.5


def flow_grid(steps: int, shift: float) -> Schedule:
    """Return the grid of diffusers' rectified flow, whose noise scale runs from 0 to exactly 1."""
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(steps)
    sigma = tuple(float(s) for s in scheduler.sigmas.double().flip(0))
    return Schedule(tuple(1 - s for s in sigma), sigma, tuple(range(steps + 1)), "flow")


def v_grid(steps: int) -> Schedule:
    """Return the grid of a network that predicts v down to a signal scale of 0."""
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False,
        steps_offset=1, set_alpha_to_one=False, timestep_spacing="trailing",
        prediction_type="v_prediction", rescale_betas_zero_snr=True,
    )  # fmt: skip
    grid = ddim_grid(scheduler, steps)
    return Schedule(grid.alpha, grid.sigma, tuple(range(steps + 1)), "v_prediction")


def denoiser(grid: Schedule) -> Denoiser:
    """Return the posterior mean's prediction, with a misfit as a trained network has one."""

    def network(z: Tensor, label: Tensor, embedding: Embedding) -> Tensor:
        i = int(label[0])
        a, s, x = grid.alpha[i], grid.sigma[i], z.flatten(1)
        variance = (a * STD) ** 2 + s**2
        square = (x[:, None] - a * MEANS).square().sum(-1)
        mean = torch.softmax(-square / (2 * variance), 1) @ MEANS
        eps, clean = s * (x - a * mean) / variance, mean + a * STD**2 * (x - a * mean) / variance
        output = eps - clean if grid.prediction == "flow" else a * eps - s * clean
        return (output + 0.1 * torch.tanh(x @ MISFIT.T)).view_as(z)

    return Denoiser(network, grid, torch.float64)


def latents(batch: int) -> Tensor:
    """Return samples of the mixture, shape (batch, 1, 6, 8)."""
    picks = torch.randint(0, COMPONENTS, (batch,), generator=torch.Generator().manual_seed(2))
    return (MEANS[picks] + STD * _normal(3, batch, 48)).view(batch, *SHAPE)


def condition(batch: int) -> Condition:
    tokens = Embedding(torch.zeros(batch, 1, 1, dtype=torch.float64))
    return Condition(tokens, tokens)


def decibels(inverter: Inverter, grid: Schedule) -> float:
    """Return how far below the latents' power the error of their round trip lies, in dB."""
    d, z, c = denoiser(grid), latents(16), condition(16)
    back = inverter.sample(d, inverter.invert(d, z, c), c)
    return float(-20 * (rms(back - z) / rms(z)).log10().mean())


GRIDS = {
    **{
        f"flow, {steps} steps, shift {shift:g}": flow_grid(steps, shift)
        for steps in (8, 28, 50)
        for shift in (1.0, 3.0)
    },
    **{f"v, {steps} steps": v_grid(steps) for steps in (8, 25, 50)},
}
