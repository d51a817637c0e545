"""Deadlines: nothing expires early, nothing is forgotten, what has ended costs nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sdkit.net import deadlines
from sdkit.net.deadlines import NEVER_NS, NOTES_MIN, TICK_NS, Deadlines


@given(st.lists(st.integers(0, 40 * TICK_NS), max_size=50), st.integers(0, 40 * TICK_NS))
def test_what_is_due_has_expired_at_most_a_tick_late_and_nothing_early(
    due_ns: list[int], now_ns: int
) -> None:
    alive = dict(enumerate(due_ns))
    subject = Deadlines(alive)
    for id_, at_ns in alive.items():
        subject.add(id_, at_ns)
    expired = subject.expire(now_ns)
    assert all(alive[id_] <= now_ns for id_ in expired)
    assert all(alive[id_] > now_ns - TICK_NS for id_ in alive.keys() - expired)


@given(st.lists(st.integers(0, 40 * TICK_NS), min_size=1, max_size=50))
def test_whoever_wakes_when_told_to_sees_everything_expire(due_ns: list[int]) -> None:
    alive = dict(enumerate(due_ns))
    subject = Deadlines(alive)
    for id_, at_ns in alive.items():
        subject.add(id_, at_ns)
    expired: list[int] = []
    while subject.wake_ns < NEVER_NS:
        expired += subject.expire(subject.wake_ns)
    assert sorted(expired) == sorted(alive)


def test_what_has_ended_does_not_expire() -> None:
    alive = {1: "call", 2: "call"}
    subject = Deadlines(alive)
    subject.add(1, 0)
    subject.add(2, 0)
    del alive[1]
    assert subject.expire(TICK_NS) == [2]


def test_a_million_calls_with_an_hour_each_leave_no_million_notes() -> None:
    alive: dict[int, None] = {}
    subject = Deadlines(alive)
    for id_ in range(20_000):
        alive[id_] = None
        subject.add(id_, 3_600_000_000_000 + id_)
        alive.pop(id_ - 10, None)  # ten are in flight at any time
    assert len(subject) <= NOTES_MIN + 2 * 10 + 1


def test_a_nested_call_gets_no_more_than_is_left() -> None:
    token = deadlines.inherit(100)
    try:
        assert deadlines.tighter(50, None) == 100
        assert deadlines.tighter(50, 20) == 70
        assert deadlines.tighter(50, 80) == 100
    finally:
        deadlines.disinherit(token)
    assert deadlines.tighter(50, None) is None
    assert deadlines.tighter(50, 80) == 130
