"""A bad result: one judge, and every layer of a pipeline treats it as a failure."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sdkit.breaker import (
    Backoff,
    Breaker,
    BreakerConfig,
    Bulkhead,
    CircuitOpen,
    ConsecutiveFailures,
    FailureRate,
    Fallback,
    Pipeline,
    Retry,
    RetryBudget,
    Timeout,
)
from sdkit.errors import InvalidArgument, NotConnected
from sdkit.sim.loop import run
from sdkit.trace import Record, listening

AT_ONCE = Backoff(first_s=0.0, max_s=0.0)


def is_bad(status: int) -> bool:
    return status == 503


class Callee:
    """Answers what it is told, in turn, and the last of it for ever."""

    def __init__(self, *answers: int | Exception) -> None:
        self.answers, self.calls = list(answers), 0

    def now(self) -> int:
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def later(self) -> int:
        await asyncio.sleep(0)
        return self.now()


def both(make: Callable[[], Pipeline], *answers: int | Exception) -> list[tuple[object, int]]:
    """What a pipeline gives and how often it called, awaited and not."""
    ends = []
    for is_async in (True, False):
        callee, pipeline = Callee(*answers), make()
        given: object = (
            run(pipeline.call(callee.later)) if is_async else pipeline.call_sync(callee.now)
        )
        ends.append((given, callee.calls))
    assert ends[0] == ends[1]
    return ends[:1]


def failing_after(failures: int, **judges: Any) -> Breaker:
    return Breaker("it", BreakerConfig(trip=ConsecutiveFailures(failures)), **judges)


WHERE: list[Callable[..., Pipeline]] = [
    lambda **parts: Pipeline(failure_if=is_bad, **parts),
    lambda **parts: Pipeline(failure_if=is_bad, breaker=failing_after(5), **parts),
    lambda **parts: Pipeline(breaker=failing_after(5, failure_if=is_bad), **parts),
]
said_once = pytest.mark.parametrize("make", WHERE, ids=["no breaker", "the pipeline", "breaker"])


@said_once
def test_a_bad_result_is_repeated_and_a_good_one_is_given(make: Callable[..., Pipeline]) -> None:
    def retrying() -> Pipeline:
        return make(retry=Retry(attempts=3, backoff=AT_ONCE), bulkhead=Bulkhead())

    assert both(retrying, 503, 503, 200) == [(200, 3)]
    assert both(retrying, 503) == [(503, 3)], "nothing better: the result itself, no error of ours"
    assert both(retrying, 200) == [(200, 1)]
    assert both(retrying, NotConnected("no"), 503, 200) == [(200, 3)]


@said_once
def test_a_bad_result_is_repeated_whatever_errors_are_and_only_while_it_can_be_paid_for(
    make: Callable[..., Pipeline],
) -> None:
    def of_one_error() -> Pipeline:
        return make(retry=Retry(attempts=3, backoff=AT_ONCE, retry_on=KeyError))

    def poor() -> Pipeline:
        budget = RetryBudget(percent=0, saved_max=1)
        return make(retry=Retry(attempts=9, backoff=AT_ONCE, budget=budget))

    assert both(of_one_error, 503, 200) == [(200, 2)]
    assert both(poor, 503) == [(503, 2)]


@said_once
def test_a_bad_result_is_covered_and_never_kept_as_a_good_one(
    make: Callable[..., Pipeline],
) -> None:
    assert both(lambda: make(fallback=Fallback(default=0)), 503) == [(0, 1)]
    assert both(lambda: make(fallback=Fallback(default=0, on=KeyError)), 503) == [(0, 1)]
    kept = make(fallback=Fallback(last_good=True))
    callee = Callee(503, 200, 503)
    ask = kept(callee.now)
    assert [ask() for _ in range(3)] == [503, 200, 200]


@said_once
def test_a_fallback_without_an_answer_gives_the_bad_result(make: Callable[..., Pipeline]) -> None:
    def no_answer(*_: object) -> int:
        raise NotConnected("no")

    for fallback in (Fallback(last_good=True), Fallback(instead=no_answer)):
        assert make(fallback=fallback).call_sync(Callee(503).now) == 503


def test_a_bad_result_counts_once_for_the_breaker_wherever_it_is_said() -> None:
    for breaker, judge in (
        (failing_after(3), is_bad),
        (failing_after(3, failure_if=is_bad), None),
        (failing_after(3, failure_if=is_bad, failure_on=KeyError), None),
    ):
        pipeline = Pipeline(breaker=breaker, failure_if=judge)
        for _ in range(3):
            assert pipeline.call_sync(Callee(503).now) == 503
        with pytest.raises(CircuitOpen):
            pipeline.call_sync(Callee(200).now)
        assert breaker.metrics().failed == 3


def test_the_judge_is_asked_once_for_each_answer() -> None:
    asked: list[int] = []

    def judge(status: int) -> bool:
        asked.append(status)
        return is_bad(status)

    parts: dict[str, Any] = {
        "retry": Retry(attempts=3, backoff=AT_ONCE),
        "fallback": Fallback(default=0),
        "breaker": failing_after(9, failure_if=judge),
    }
    assert Pipeline(**parts).call_sync(Callee(503, 200).now) == 200
    assert asked == [503, 200]


def test_what_a_bad_result_is_can_be_said_in_one_place_only() -> None:
    with pytest.raises(InvalidArgument, match="breaker it has one of its own; say once"):
        Pipeline(breaker=failing_after(1, failure_if=is_bad), failure_if=is_bad)


def test_a_judge_that_raises_is_heard_and_nothing_is_repeated_or_covered() -> None:
    def broken(_: object) -> bool:
        raise ZeroDivisionError

    callee, breaker = Callee(200), failing_after(1)
    pipeline = Pipeline(
        fallback=Fallback(default=0, on=Exception),
        retry=Retry(retry_on=Exception, backoff=AT_ONCE),
        breaker=breaker,
        failure_if=broken,
    )
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            pipeline.call_sync(callee.now)
    with pytest.raises(ZeroDivisionError):
        run(pipeline.call(callee.later))
    assert (callee.calls, breaker.metrics().failed, breaker.metrics().cancelled) == (3, 0, 3)


def test_a_bad_result_is_told_as_one_in_events() -> None:
    told: list[tuple[str, object]] = []

    def note(record: Record) -> None:
        told.append((record.name, record.fields["error"]))

    pipeline = Pipeline(
        fallback=Fallback(default=0),
        retry=Retry(attempts=2, backoff=AT_ONCE),
        timeout=Timeout(1.0),
        failure_if=is_bad,
    )
    with listening(note, "breaker.retry", "breaker.fallback"):
        assert run(pipeline.call(Callee(503).later)) == 0
    assert told == [("breaker.retry", "BadResult"), ("breaker.fallback", "BadResult")]


def test_a_percentage_that_is_a_fraction_is_refused_with_the_number_that_was_meant() -> None:
    for percent, meant in ((0.5, "50"), (0.01, "1"), (0.999, "99.9")):
        with pytest.raises(InvalidArgument, match=f"give the percentage: {meant}$"):
            FailureRate(percent)
    assert FailureRate(1).percent == 1
