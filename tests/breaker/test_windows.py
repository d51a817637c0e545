"""The windows of a failure rate: what they cost, and a clock that is read out of turn."""

from __future__ import annotations

import random
import timeit
from collections import deque

import pytest

from sdkit.breaker import FailureRate
from sdkit.breaker.policies import BUCKETS, CountWindow, TimeWindow


@pytest.mark.parametrize("seed", range(20))
def test_a_count_window_counts_what_a_list_of_the_last_calls_holds(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.randint(1, 12)
    calls_min = rng.randint(1, size)
    window, kept = CountWindow(50, size, calls_min), deque[bool](maxlen=size)
    for _ in range(300):
        failed = rng.random() < 0.4
        kept.append(failed)
        if not failed and window.success_is_harmless:
            assert window.volume is not None
            next(window.volume)
        else:
            failures, calls = kept.count(True), len(kept)
            too_many = failures > 0 and calls >= calls_min and 2 * failures >= calls
            assert window.record(failed, 0) == too_many
        assert window.rate(0) == (kept.count(True), len(kept))


def test_a_failure_in_a_long_window_costs_what_it_costs_in_a_short_one() -> None:
    """The best of many tries, of windows that differ by a factor of a thousand."""

    def cost(size: int) -> float:
        window = FailureRate(100, window_calls=size, calls_min=1).window()
        for _ in range(size):
            window.record(False, 0)
        return min(timeit.repeat(lambda: window.record(True, 0), number=20, repeat=50))

    assert cost(10_000) < 10 * cost(10)


def test_a_reading_that_comes_late_ages_nothing_and_a_step_back_begins_anew() -> None:
    window = TimeWindow(100, 10 * BUCKETS, 1)
    window.record(True, 1000)
    for _ in range(50):  # two threads, in turn, on both sides of a bucket's end
        window.record(False, 1000)
        window.record(False, 999)
    assert window.rate(1000) == (1, 101)
    window.record(True, 0)  # back by more than the window
    assert window.rate(50) == (2, 102)
    assert window.rate(99) == (2, 102)
    assert window.rate(100) == (0, 0)
