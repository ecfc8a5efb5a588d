"""Exact diffusion inversion via coupled transformations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.errors import UserError
from fpinv.inversion import Inversion, OnStep
from fpinv.sampling import Guided, spent, walk_down

Pair = tuple[Tensor, ...]
"""The two latents, shape (B, C, H, W) each."""


@dataclass(frozen=True)
class EDICT(Guided):
    r"""EDICT: two coupled latents, each denoised with the noise read at the other.

    Sampling from index i to i - 1, with :math:`M_i(z; \epsilon)` the DDIM step with that noise, or
    with that output where :meth:`fpinv.schedule.Schedule.form` has it:

    .. math::
        x' &= M_i(x; \epsilon(y, t_i)) \\
        y' &= M_i(y; \epsilon(x', t_i)) \\
        x &\leftarrow p x' + (1 - p) y' \\
        y &\leftarrow p y' + (1 - p) x

    Inversion undoes the four lines in reverse order, exactly, from :math:`x = y = z_0`. At every
    second step from the top y goes first (``leapfrog``); which one does depends on the index
    alone, so that odd and even numbers of steps are both undone. The difference of the two latents
    grows by :math:`1/p^2` a step on the way up, a thousandfold over 50, and rounding errors with
    it: latents must be float32 at least.

    The climb ends, and sampling starts, at index n, the ``strength`` times N. With a strength
    below 1 the latent there is no noise but still shows the image, which an edit then keeps.

    NFE: 2 n to invert, 2 n to sample. Stores: the second latent. The inversion's ``noise`` is the
    latent at index n.

    References:
        | EDICT: Exact Diffusion Inversion via Coupled Transformations (Wallace et al., 2023)
        | https://arxiv.org/abs/2211.12446

    Arguments:
        p: Mixing weight in (0, 1].
        leapfrog: True for latents that take turns in going first, as in the authors' code.
        strength: Share of the grid that is climbed, in (0, 1], rounded to a step and at least one.
            The authors edit with 0.8.

    Raises:
        UserError: on creation, where a number is not possible.
    """

    p: float = 0.93
    leapfrog: bool = True
    strength: float = 1.0

    def __post_init__(self) -> None:
        for name, value in (("p", self.p), ("strength", self.strength)):
            if not 0 < value <= 1:
                raise UserError(f"{name}={value} is not possible: choose 0 < {name} <= 1")

    def top(self, steps: int) -> int:
        """Return the index n that sampling starts from, below or at the ``steps``."""
        return max(1, round(self.strength * steps))

    @property
    def other_end(self) -> str:
        """See :class:`~fpinv.sampling.Guided`."""
        return "" if self.strength == 1 else f"a latent below z_N at strength={self.strength}"

    @property
    def starts_anywhere(self) -> bool:
        """See :class:`~fpinv.sampling.Guided`. A share of fewer steps ends at another index."""
        return self.strength == 1

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
        """Walk both latents upwards from ``z0`` (B, C, H, W)."""
        condition, top = self.inverting(condition, denoiser), self.top(denoiser.schedule.steps)
        x, y, p = z0, z0, self.p
        for i in range(1, top + 1):
            y = (y - (1 - p) * x) / p
            x = (x - (1 - p) * y) / p
            x, y = self._coupled(denoiser, (x, y), i - 1, i, condition)
        return Inversion(x, **spent(condition, 2 * top), state={"coupled": y})

    @torch.no_grad()
    def sample(
        self,
        denoiser: Denoiser,
        inversion: Inversion,
        condition: Condition,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Walk both latents back down; x is the image's."""
        top, p = self.top(denoiser.schedule.steps), self.p

        def step(pair: Pair, i: int) -> Pair:
            x, y = self._coupled(denoiser, pair, i, i - 1, condition)
            x = p * x + (1 - p) * y
            y = p * y + (1 - p) * x
            return x, y

        pair = inversion.noise, inversion.state["coupled"]
        return walk_down(step, pair, top, on_step=on_step)[0]

    def _coupled(
        self, denoiser: Denoiser, pair: Pair, start: int, end: int, condition: Condition
    ) -> Pair:
        """Return the two latents, moved in turn, each with the output read at its partner."""
        latents, i, top = list(pair), max(start, end), self.top(denoiser.schedule.steps)
        order = (1, 0) if self.leapfrog and (top - i) % 2 else (0, 1)
        move = denoiser.schedule.lowered if end < start else denoiser.schedule.raised
        for k in order if end < start else reversed(order):
            latents[k] = move(latents[k], denoiser.held(latents[1 - k], i, condition), i)
        return tuple(latents)
