"""The smallest breaker fails its specification exactly where its lesson says so."""

from __future__ import annotations

import asyncio

from sdkit.breaker import smallest
from sdkit.spec.breaker import Subject, Wanted, breaker
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {
    # 1: everybody is let in half-open, and the first success closes
    "test_half_open_lets_one_in_of_a_hundred",
    "test_half_open_lets_exactly_so_many_in_at_once",
    "test_it_closes_after_so_many_successes_and_not_before",
    "test_one_failed_probe_among_successes_is_enough",
    "test_probes_that_never_come_back_do_not_block_it_for_ever",
    # 2: late answers count
    "test_a_late_result_is_no_probe",
    "test_a_result_of_an_older_generation_is_ignored",
    # 3: no rates
    "test_it_opens_as_soon_as_the_rate_of_the_last_calls_is_too_high",
    "test_a_time_window_forgets_what_is_older_and_nothing_younger",
    # 4: slow answers
    "test_a_call_that_was_slow_has_failed",
    "test_a_cancelled_call_that_was_slow_already_counts_as_slow",
    # 5: no judgement
    "test_an_error_that_does_not_count_is_no_failure_and_a_result_can_be_one",
}


def make(wanted: Wanted) -> Subject:
    return smallest.SmallestBreaker(
        wanted.failures or 3, wanted.open_s, asyncio.get_running_loop().time
    )


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(breaker(make, refused=smallest.CircuitOpen)) == WRONG


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
