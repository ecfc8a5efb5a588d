"""The check of an inversion: images are sampled back, and those that do not return are mended."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from fpinv.denoiser import Condition, Denoiser
from fpinv.inversion import Inversion
from fpinv.inverters.fixed_point import FixedPoint
from fpinv.sampling import sample, spent
from fpinv.solvers import rms

# Without the second climb that this decides on, 8 scenes at w = 7.5, N = 50 came back at 32.8 dB,
# 1.12 dB below the ceiling; with it at 39.2, .06 below.
FORESEEN = 2.0
"""Error at z_0, over the expected one, up to which it counts as foreseen."""

# 40 dB stricter, because under guidance errors grow 50 to 150 times between the steps 16 and 24 of
# 50 where the iteration's own direction says 2. At w = 3, N = 50 three of 32 scenes came back at
# 23 dB; with a second climb 8 scenes have 52.0 dB instead of 43.9, and .01 below the ceiling
# instead of .27.
STRICT = 0.01
"""Part of a step's tolerance that the second climb aims at."""

# A bound on the cost: DDIM inversion comes back at 28 dB where it is best (w = 1, N = 50), and at
# some 10 at w = 7.5, so that it is not worth 2 N evaluations where the climb has 20 dB of the 40.
DOUBT = 10.0
"""Error at z_0, over the accepted one, from which on DDIM inversion may come back closer."""

Climb = Callable[[Tensor | slice, float], tuple[Inversion, Tensor]]
"""``climb(rows, aim)``: the inversion of some samples, and its expected errors at z_0, rms."""


def check(
    denoiser: Denoiser, z0: Tensor, condition: Condition, accepted: Tensor, climb: Climb
) -> Inversion:
    """Return the climb's inversion, or another one for samples that do not come back.

    Expected errors follow one direction, and guidance may magnify another a hundred times more.
    So every sample under guidance is sampled back, and without guidance each whose expected error
    is above the accepted one. A sample whose error is above it too, although all its steps were
    solved or the error is not the expected one, climbs a second time, stricter; where the error is
    more than ``DOUBT`` times the accepted one all the same, DDIM inversion is tried.

    Arguments:
        denoiser: The network.
        z0: The image latents, shape (B, C, H, W).
        condition: The prompts, at the guidance of the inversion.
        accepted: Error at z_0 that is acceptable, rms, shape (B,).
        climb: The inversion to check.
    """
    inversion, expected = climb(slice(None), 1.0)
    unsure = ~(expected <= accepted) | (condition.rows_per_sample > 1)
    rows = unsure.nonzero().squeeze(1)
    if not len(rows):
        return inversion
    best = _Closest(denoiser, z0[rows], condition[rows], inversion[rows])
    accepted, expected = accepted[rows], expected[rows]
    assert best.inversion.converged is not None, "every climb says which steps it solved"
    unforeseen = best.inversion.converged.all(0) | (best.error > FORESEEN * expected)
    again = ((best.error > accepted) & unforeseen).nonzero().squeeze(1)
    if len(again):
        best.offer(again, climb(rows[again], STRICT)[0])
    doubtful = (best.error > DOUBT * accepted).nonzero().squeeze(1)
    if len(doubtful):
        best.offer(doubtful, _ddim(denoiser, best.z0[doubtful], best.condition[doubtful]))
    return _put(inversion, rows, best.inversion)


def _ddim(denoiser: Denoiser, z0: Tensor, condition: Condition) -> Inversion:
    """Return DDIM inversion, with a record of its residuals: none of its steps is solved."""
    inversion = FixedPoint(iterations=1).invert(denoiser, z0, condition)
    assert inversion.converged is not None
    return replace(inversion, converged=torch.zeros_like(inversion.converged), trace=None)


def _put(inversion: Inversion, rows: Tensor, rival: Inversion) -> Inversion:
    """Return the inversion with its samples ``rows`` replaced by those of ``rival``."""
    index = torch.arange(len(inversion), device=rows.device)
    index[rows] = torch.arange(len(rival), device=rows.device) + len(inversion)
    return Inversion.cat([inversion, rival])[index]


class _Closest:
    """The inversion of each sample that comes back closest, with the cost of all that were made.

    Attributes:
        inversion: The inversions.
        error: Their distances from z_0 once sampled back, rms, (B,); inf where not finite.
    """

    def __init__(
        self, denoiser: Denoiser, z0: Tensor, condition: Condition, inversion: Inversion
    ) -> None:
        self.denoiser, self.z0, self.condition = denoiser, z0, condition
        self.inversion = inversion
        every = torch.arange(len(z0), device=z0.device)
        self.error = self._error(every, inversion.noise)

    def offer(self, rows: Tensor, rival: Inversion) -> None:
        """Take the samples of ``rival``, which are those of ``rows``, that come back closer."""
        error = self._error(rows, rival.noise)
        self._charge(rows, rival.calls, rival.rows)
        closer = (error < self.error[rows]).nonzero().squeeze(1)
        index, rival = rows[closer], rival[closer]
        self.error = self.error.index_copy(0, index, error[closer])
        # The cost of a sample is that of all inversions that were made of it.
        calls, network_rows = self.inversion.calls[index], self.inversion.rows[index]
        rival = replace(rival, calls=calls, rows=network_rows)
        self.inversion = _put(self.inversion, index, rival)

    def _error(self, index: Tensor, noise: Tensor) -> Tensor:
        """Return the errors at z_0 of the samples ``index``, sampled back from ``noise``."""
        condition = self.condition[index]
        self._charge(index, **spent(condition, self.denoiser.schedule.steps))
        off = sample(self.denoiser, noise, condition) - self.z0[index]
        return rms(off).nan_to_num(math.inf, math.inf)

    def _charge(self, index: Tensor, calls: Tensor, rows: Tensor) -> None:
        """Add calls and network rows to the cost of the samples ``index``."""
        calls = self.inversion.calls.index_add(0, index, calls)
        rows = self.inversion.rows.index_add(0, index, rows)
        self.inversion = replace(self.inversion, calls=calls, rows=rows)
