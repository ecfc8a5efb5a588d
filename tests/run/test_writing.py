"""Calls that a thread makes in order."""

from __future__ import annotations

import time
from functools import partial
from threading import Event, current_thread

import pytest

from fpinv.run.writing import in_order


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


def test_the_error_of_a_call_ends_the_block_and_loses_no_other():
    made: list[int] = []

    def call(k: int) -> None:
        if k == 1:
            raise OSError("the disk is full")
        made.append(k)

    with pytest.raises(OSError, match="the disk is full"), in_order(2) as hand_over:
        for k in range(100):
            hand_over(partial(call, k))
    assert made in ([0, 2], [0])
    with pytest.raises(OSError, match="the disk is full"), in_order(2) as hand_over:
        hand_over(partial(call, 1))


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
