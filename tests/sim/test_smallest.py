"""The smallest loop fails the specification of loops exactly where its lesson says so."""

from __future__ import annotations

from sdkit.sim import smallest
from sdkit.spec.loop import loop
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {
    "test_a_server_and_its_client_talk",  # 1
    "test_leaving_the_simulation_is_refused",  # 2
    "test_modules_that_read_a_clock_read_the_virtual_one",  # 3
    "test_tasks_that_run_on_while_time_stands_still_are_an_error",  # 4
}


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(loop(smallest.run)) == WRONG


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
