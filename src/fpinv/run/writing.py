"""Calls that one thread makes in order, while the thread that asks for them goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def in_order(limit: int) -> Iterator[Callable[[Callable[[], object]], None]]:
    """Yield a function that hands calls to a thread, which makes them in the order of handing.

    A run computes its next batch while the files of the last one are written: compressing
    pictures and waiting for the disk leave Python's lock free. The block ends once all calls are
    made, also where it ends by an exception, so that what was handed over is never lost.

    Arguments:
        limit: Number of calls that may wait; handing over another waits for the oldest of them.

    Raises:
        Exception: a call's error, from the next handing over that sees it, or at the end of the
            block. The calls that wait behind it are made all the same.
    """
    waiting: deque[Future[object]] = deque()

    def hand_over(call: Callable[[], object]) -> None:
        while waiting and (len(waiting) >= limit or waiting[0].done()):
            waiting.popleft().result()
        waiting.append(writer.submit(call))

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="writer") as writer:
        yield hand_over
        while waiting:
            waiting.popleft().result()
