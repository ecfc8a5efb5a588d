"""The processes that share one run: torchrun and ``accelerate launch`` start them.

Each takes its share of the examples and writes its own lines; the first one keeps the folder, the
terminal and the tracking. They meet at the stages of a job (:meth:`Ranks.first`,
:meth:`Ranks.each`), so that what fails in one of them fails in all and none waits for ever.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NoReturn, TypeVar

from fpinv.errors import UserError
from fpinv.run.messages import MENDABLE, ErrorElsewhere, explain

ENVIRONMENT = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
PATIENCE = timedelta(days=7)  # to wait for a slower process; one that has ended is noticed at once

T = TypeVar("T")


class LostProcess(SystemExit):
    """Another process has ended on its own: this one ends too, with exit code 1."""

    def __init__(self) -> None:
        super().__init__(
            "error: another process of this run has ended; its records are kept: go on with "
            "resume=<folder>"
        )


@dataclass(frozen=True)
class Ranks:
    """This process among those that share a run.

    Arguments:
        rank: Its number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """True for the process that keeps the folder, the terminal and the tracking."""
        return self.rank == 0

    def share(self, total: int) -> range:
        """Return the indices of this process's examples.

        They are one block of range(total), because neighbours may share their work.
        """
        return range(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def first(self, stage: Callable[[], T]) -> T:
        """Return, or raise, in every process what ``stage`` does in the first one."""
        value = self.each(lambda: stage() if self.leads else None)
        return self._gather(value)[0]  # type: ignore[return-value]

    def each(self, stage: Callable[[], T]) -> T:
        """Return what ``stage`` returns in this process, once it has ended in all of them.

        Raises:
            Exception: the error that it raised here, or else in another process.
        """
        if self.size == 1:
            return stage()
        value, error = _attempt(stage)
        errors = self._gather(_portable(error, self.rank))
        if failure := next(filter(None, [error, *errors]), None):
            raise failure
        return value  # type: ignore[return-value]

    def _gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[T | None] = [None] * self.size
        try:
            # in a thread, because no signal is heard while gloo waits
            _wait_for(lambda: dist.all_gather_object(values, value))
        except RuntimeError as error:  # gloo's word for a closed connection
            raise LostProcess from error
        return values  # type: ignore[return-value]


def _wait_for(call: Callable[[], object]) -> None:
    """Have another thread make a call; a signal interrupts the wait for it, and not the call."""
    outcome: SimpleQueue[Exception | None] = SimpleQueue()
    Thread(target=lambda: outcome.put(_attempt(call)[1]), daemon=True).start()
    if (error := outcome.get()) is not None:
        raise error


def _attempt(stage: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return stage(), None
    except Exception as error:
        return None, error


def _portable(error: Exception | None, rank: int) -> Exception | None:
    """Return an error that can be sent: exceptions of libraries need not survive pickling."""
    if error is None:
        return None
    kind = UserError if isinstance(error, MENDABLE) else ErrorElsewhere
    return kind(f"process {rank}: {explain(error)}" if rank else explain(error))


@cache
def ranks() -> Ranks:
    """Return this process's place, from the environment that a launcher of processes has set.

    On GPUs the process takes the one of its local rank, which ``device=auto`` then means.
    """
    if any(name not in os.environ for name in ENVIRONMENT) or os.environ["WORLD_SIZE"] == "1":
        return Ranks()
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", timeout=PATIENCE)
    if torch.cuda.is_available():
        torch.cuda.set_device(_local_rank() % torch.cuda.device_count())
    return Ranks(dist.get_rank(), dist.get_world_size())


def _local_rank() -> int:
    """Return the number of this process on its machine: torchrun's, Slurm's, or else its rank."""
    names = ("LOCAL_RANK", "SLURM_LOCALID", "RANK")
    return int(next(os.environ[name] for name in names if name in os.environ))


def conclude(program: Callable[[], int]) -> NoReturn:
    """Run a program and end the process with the exit code that it returns.

    A process that shares a run ends at once, its output written: a thread of gloo that lets go of
    a Python object while the interpreter is shutting down aborts it, whatever the run's result.
    """
    try:
        code = program()
    except LostProcess as lost:
        print(lost, file=sys.stderr)
        code = 1
    if ranks().size == 1:
        sys.exit(code)
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@contextmanager
def scratch_overrides() -> Iterator[list[str]]:
    """Yield overrides that keep Hydra's own files of all but the first process out of the way."""
    if ranks().leads:
        yield []
        return
    with TemporaryDirectory(prefix="fpinv-") as folder:
        folders = [f"hydra.run.dir='{folder}'", f"hydra.sweep.dir='{folder}'"]
        yield [*folders, "hydra.output_subdir=null"]
