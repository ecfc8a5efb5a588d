"""Calls that one thread makes in order, while the thread that hands them over goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

Call = Callable[[], object]


@contextmanager
def in_order(limit: int) -> Iterator[Callable[[Call], None]]:
    """Yield a function that hands calls to a thread, which makes them in the order of handing.

    A run whose network is on a GPU computes the next batch while the files of the last one are
    written: compressing pictures and waiting for the disk leave Python's lock free.

    The block ends once all calls are made, also where it ends by an exception or a signal. After
    a call that fails no other is made, as if the first thread had made them all. A second signal
    gives up the calls that wait, and ends the block after the one that is being made.

    Arguments:
        limit: Number of calls that may wait; handing over another waits for the oldest of them.

    Raises:
        Exception: the error of a call, from the next handing over or at the end of the block.
    """
    waiting: deque[Future[None]] = deque()
    failed: list[Exception] = []

    def make(call: Call) -> None:
        if not failed:
            try:
                call()
            except Exception as error:
                failed.append(error)

    def hand_over(call: Call) -> None:
        while len(waiting) >= limit:
            waiting[0].result()  # it stays among those that wait, should a signal come
            waiting.popleft()
        if failed:
            raise failed[0]
        waiting.append(writer.submit(make, call))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer:
        try:
            yield hand_over
        finally:
            # Not by the executor's own end: a signal there makes Python 3.11 take the thread for
            # ended (https://github.com/python/cpython/issues/89437).
            try:
                writer.submit(int).result()  # nothing, after all that was handed over
            finally:
                writer.shutdown(cancel_futures=True)
            if failed:
                raise failed[0]


@contextmanager
def at_once() -> Iterator[Callable[[Call], None]]:
    """Yield a function that makes the calls itself."""

    def make(call: Call) -> None:
        call()

    yield make
