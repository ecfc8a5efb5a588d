"""Seconds of a model's work, with the device's queue done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from fpinv.denoiser import Condition
from fpinv.models.model import Model


def clock(device: torch.device) -> float:
    """Return the time in seconds once the device's queue is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def wall_time(device: torch.device, work: Callable[[], object]) -> float:
    """Return the seconds that ``work`` takes, with the device's queue done before and after."""
    began = clock(device)
    work()
    return clock(device) - began


@dataclass
class Stopwatch:
    """The sum of the seconds that a model's work takes inside some blocks."""

    model: Model
    seconds: float = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Add the time of a block."""
        began = clock(self.model.device)
        yield
        self.seconds += clock(self.model.device) - began


_seen: WeakKeyDictionary[Model, set[tuple[torch.Size, int]]] = WeakKeyDictionary()
"""The shapes of latents and the rows a sample that each model's network has been warmed up for."""


def warm_up(model: Model, latents: Tensor, condition: Condition, steps: int) -> None:
    """Evaluate the network at a shape for the first time, before the clock runs.

    That is when kernels are chosen and compiled, which is not a method's time.
    """
    shape, seen = (latents.shape, condition.rows_per_sample), _seen.setdefault(model, set())
    if shape not in seen:
        with torch.no_grad():
            model.denoiser(steps)(latents, steps, condition)
        seen.add(shape)
