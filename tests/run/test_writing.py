"""Calls that a thread makes in order."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from threading import Event, Thread, current_thread

import pytest

from fpinv.run.writing import at_once, in_order


def test_calls_are_made_in_the_order_of_handing_over_and_all_by_the_end():
    made: list[int] = []

    def call(k: int, seconds: float) -> None:
        time.sleep(seconds)
        made.append(k)

    with in_order(3) as hand_over:
        for k in range(12):
            hand_over(partial(call, k, 0.01 * (k % 3 == 0)))
    assert made == list(range(12))


def test_the_caller_goes_on_until_so_many_calls_wait():
    go_on, made, threads = Event(), [], []

    def call(k: int) -> None:
        assert go_on.wait(60)
        made.append(k)
        threads.append(current_thread())

    with in_order(2) as hand_over:
        hand_over(partial(call, 0))
        hand_over(partial(call, 1))
        assert not made
        go_on.set()
        hand_over(partial(call, 2))
        assert made[0] == 0  # it has waited for the oldest
    assert made == [0, 1, 2] and current_thread() not in threads


@pytest.mark.parametrize("body", [None, RuntimeError, KeyboardInterrupt])
def test_after_a_call_that_fails_no_other_is_made_and_its_error_ends_the_block(body):
    begin, made = Event(), []

    def call(k: int) -> None:
        assert begin.wait(60)
        made.append(k)
        if k == 1:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), in_order(4) as hand_over:
        for k in range(4):
            hand_over(partial(call, k))
        begin.set()
        if body is not None:
            raise body
    assert made == [0, 1]


def test_a_caller_learns_of_an_error_when_it_hands_over_the_next_call():
    handed: list[int] = []

    def fail() -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"), in_order(2) as hand_over:
        for k in range(100):
            hand_over(fail)
            handed.append(k)
    assert len(handed) < 4


@pytest.mark.parametrize("interruption", [RuntimeError, KeyboardInterrupt])
def test_what_was_handed_over_is_done_where_the_block_ends_early(interruption):
    made: list[int] = []

    def call(k: int) -> None:
        time.sleep(0.05)
        made.append(k)

    with pytest.raises(interruption), in_order(4) as hand_over:
        for k in range(3):
            hand_over(partial(call, k))
        raise interruption
    assert made == [0, 1, 2]


def test_a_second_signal_gives_up_what_waits_and_leaves_no_thread():
    """Send both signals from the thread, so that each comes while the main thread waits."""
    made: list[int] = []
    threads: list[Thread] = []

    def call(k: int) -> None:
        threads.append(current_thread())
        if k == 0:
            for _ in range(2):
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.3)
        made.append(k)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), in_order(1) as hand_over:
            for k in range(4):
                hand_over(partial(call, k))
    finally:
        signal.signal(signal.SIGINT, before)
    assert made == [0] and not threads[0].is_alive()
    time.sleep(0.5)
    assert made == [0]


def test_at_once_makes_the_calls_itself():
    threads: list[Thread] = []
    with at_once() as hand_over:
        hand_over(lambda: threads.append(current_thread()))
        assert threads == [current_thread()]
