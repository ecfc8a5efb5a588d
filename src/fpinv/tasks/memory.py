"""A task within the memory of its device: smaller batches where one was too large."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from fpinv.errors import UserError

if TYPE_CHECKING:
    from fpinv.datasets.example import Example
    from fpinv.inversion import Inverter
    from fpinv.models.model import Model
    from fpinv.tasks.record import Record
    from fpinv.tasks.task import Settings, Task

EXHAUSTED = ("out of memory", "can't allocate memory", "ALLOC_FAILED")
"""Parts of the messages of plain RuntimeErrors by which torch's backends report a full memory."""


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error says that the memory of the device or of the machine is full."""
    import torch

    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in EXHAUSTED)


def within_memory(
    task: Task,
    model: Model,
    inverter: Inverter,
    examples: Iterable[Example],
    settings: Settings,
    on_smaller: Callable[[int], None],
) -> Iterator[Record]:
    """Yield a task's records; where memory runs out, go on with half the batch size.

    What is random depends on the examples alone (:mod:`fpinv.seeding`), so that the records are
    those of a run that began with the smaller batches.

    Arguments:
        task: The task.
        model: The model.
        inverter: The inverter.
        examples: The examples.
        settings: The run's numbers.
        on_smaller: Called with a smaller batch size once a record has been made with it.

    Raises:
        UserError: one example at a time is too much.
    """
    upcoming, size, settled = iter(examples), settings.batch_size, settings.batch_size
    started: deque[Example] = deque()
    while size:
        try:
            unfinished = chain(tuple(started), _noted(upcoming, started))
            for record in task(model, inverter, unfinished, replace(settings, batch_size=size)):
                if size < settled:
                    on_smaller(size)
                    settled = size
                started.popleft()
                yield record
            return
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        size //= 2
        _free_memory()
    raise UserError(
        "out of memory even with batch_size=1: choose precision=fp16, a smaller model, an "
        "inverter that stores less, or device=cpu"
    )


def _noted(examples: Iterator[Example], started: deque[Example]) -> Iterator[Example]:
    """Yield the examples, and note each among those that have been started."""
    for example in examples:
        started.append(example)
        yield example


def _free_memory() -> None:
    """Return the memory of a failed batch, whose tensors the error had held, to the device."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
