"""The grids of diffusers' schedulers, read off them as they stand.

A scheduler is asked for its timesteps and noise levels; the pairs that its own steps join are the
neighbours of the grid, or the scheduler is refused.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from fpinv.errors import UserError
from fpinv.models.weights import quiet
from fpinv.schedule import Prediction, Schedule

if TYPE_CHECKING:
    import numpy as np
    from diffusers.schedulers import DDIMScheduler

log = logging.getLogger(__name__)

NOISY = 0.85
"""The part of the training timesteps up to which a grid should reach at least."""


def ddim_grid(scheduler: DDIMScheduler, steps: int) -> Schedule:
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
    check_steps(steps, config.num_train_timesteps)
    grid = type(scheduler).from_config(config)
    grid.set_timesteps(steps)
    labels = labels_of(grid, steps)
    stride = config.num_train_timesteps // steps
    below = labels[0] - stride
    joins = below < 0 or grid.alphas_cumprod[below] == grid.final_alpha_cumprod
    if any(b - a != stride for a, b in pairwise(labels)) or not joins:
        raise UserError(
            f"timestep_spacing '{config.timestep_spacing}' with steps={steps} makes the DDIM "
            f"sampler step off its own grid: use {or_euler(config.prediction_type)}"
            "model.spacing=leading"
        )
    clean = float(grid.final_alpha_cumprod)
    return grid_of_labels(labels, grid.alphas_cumprod, clean, config.prediction_type)


def grid_of_labels(
    labels: Sequence[int], bars: Tensor, clean: float, prediction: Prediction
) -> Schedule:
    r"""Return the grid of some timesteps of a model's noise levels.

    Arguments:
        labels: The timesteps, N values, increasing.
        bars: :math:`\bar\alpha` of each timestep of the training.
        clean: :math:`\bar\alpha_0`, that of the clean end.
        prediction: The quantity that the network predicts.
    """
    levels = [clean, *(float(bars[label].double()) for label in labels)]
    return Schedule(
        alpha=tuple(level**0.5 for level in levels),
        sigma=tuple((1 - level) ** 0.5 for level in levels),
        timestep=(-1 if clean == 1 else 0, *labels),
        prediction=prediction,
    )


def sigma_grid(scheduler: Any, steps: int) -> Schedule:  # noqa: ANN401
    r"""Return the grid of a scheduler that counts noise by :math:`\varsigma = \sigma / \alpha`.

    The noise levels are its own, whatever timesteps it names to the network.

    Raises:
        UserError: ``steps`` is not possible, or makes no grid of as many timesteps.
    """
    config = scheduler.config
    check_steps(steps, config.num_train_timesteps)
    with quiet():  # NumPy warns of how they make arrays
        grid = type(scheduler).from_config(config)
        grid.set_timesteps(steps)
    ratios = [float(ratio) for ratio in grid.sigmas.double().flip(0)]
    scales = [math.hypot(1, ratio) for ratio in ratios]
    return Schedule(
        alpha=tuple(1 / scale for scale in scales),
        sigma=tuple(ratio / scale for ratio, scale in zip(ratios, scales, strict=True)),
        timestep=(0 if ratios[0] else -1, *labels_of(grid, steps, len({*ratios}) == len(ratios))),
        prediction=config.prediction_type,
    )


def flow_grid(
    scheduler: Any,  # noqa: ANN401
    steps: int,
    tokens: int,
    sigmas: np.ndarray[Any, Any] | None,
) -> Schedule:
    """Return the grid of a rectified flow that the stock pipeline samples on.

    Arguments:
        scheduler: The ``FlowMatchEulerDiscreteScheduler`` of the pipeline.
        steps: Number N of steps.
        tokens: Number of tokens of the picture, by which a dynamic shift goes.
        sigmas: Noise scales (N,) before the shift, noise first; None for the scheduler's own.

    Raises:
        UserError: ``steps`` is not possible.
    """
    config = scheduler.config
    check_steps(steps, config.num_train_timesteps)
    grid = FlowMatchEulerDiscreteScheduler.from_config(config)
    shift = {"mu": _dynamic_shift(config, tokens)} if config.use_dynamic_shifting else {}
    grid.set_timesteps(
        **({"num_inference_steps": steps} if sigmas is None else {"sigmas": sigmas}), **shift
    )
    sigma = [float(value) for value in grid.sigmas.flip(0)]
    labels = [0.0, *(float(label) for label in grid.timesteps.flip(0))]
    return Schedule(tuple(1 - s for s in sigma), tuple(sigma), tuple(labels), "flow")


def _dynamic_shift(config: Any, tokens: int) -> float:  # noqa: ANN401
    """Return the shift of the grid for a picture of so many tokens, linear between two sizes."""
    low, high = config.base_image_seq_len, config.max_image_seq_len
    slope = (config.max_shift - config.base_shift) / (high - low)
    return float(config.base_shift + slope * (tokens - low))


def check_steps(steps: int, most: int, reason: str = "") -> None:
    """Raise UserError for a number of steps that is not from 1 to ``most``, and say why."""
    if not 1 <= steps <= most:
        raise UserError(f"steps={steps} is not possible: choose 1 to {most}{reason}")


@cache
def _warn_of_signal(steps: int, label: int, train: int) -> None:
    """Say, once, that a grid ends where the image still shows."""
    log.warning(
        "steps=%d ends at timestep %d of %d, where latents are no pure noise yet: choose a number "
        "of steps that divides %d",
        *(steps, label, train, train),
        extra={"notice": True},  # for the terminal, too, which a run keeps free of warnings
    )


def labels_of(scheduler: Any, steps: int, repeating: bool = False) -> list[Any]:  # noqa: ANN401
    """Return the timesteps of a diffusers scheduler that was set to ``steps``, clean end first.

    They are whole numbers, but for Euler's.

    Arguments:
        scheduler: The scheduler.
        steps: Number N of steps.
        repeating: Whether timesteps may repeat, rounded from noise levels that do not.

    Raises:
        UserError: there are more or fewer of them or they repeat, by rounding, or they leave those
            of the training.
    """
    config, labels = scheduler.config, [float(t) for t in scheduler.timesteps.flip(0)]
    train = config.num_train_timesteps
    if labels[-1] + train // steps < NOISY * train:  # "leading" rounds its stride down
        _warn_of_signal(steps, int(labels[-1]), train)
    if labels[-1] >= train:
        raise UserError(
            f"steps={steps} with steps_offset {config.steps_offset} leaves the {train} training "
            "timesteps: use fewer steps"
        )
    repeated = any(later <= earlier for earlier, later in pairwise(labels))
    if len(labels) != steps or (repeated and not repeating):
        raise UserError(
            f"timestep_spacing '{config.timestep_spacing}' makes {len(set(labels))} different "
            f"timesteps for steps={steps}: use another number of steps"
        )
    return [int(label) if label.is_integer() else label for label in labels]


def or_euler(prediction: Prediction) -> str:
    """Return the advice to take Euler's sampler, or an alternative that follows; "" for none.

    Its last step, to no noise, forgets its latent where the network predicts the image.
    """
    return "" if prediction == "sample" else "sampler=euler, whose grid it is, or "


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
