"""The circuit as a machine: its table, its times, its operators, its clock."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from sdkit.breaker import (
    Backoff,
    BreakerConfig,
    Bulkhead,
    CircuitOpen,
    ConsecutiveFailures,
    FailureRate,
    Fallback,
    Pipeline,
    Retry,
    RetryBudget,
    State,
    Timeout,
)
from sdkit.breaker.circuit import Circuit
from sdkit.breaker.states import OPERATOR, TRANSITIONS, Trigger, after
from sdkit.errors import InvalidArgument
from sdkit.trace import Record, listening

SECOND = 1_000_000_000


def circuit(now_s: float = 0.0, **thresholds: Any) -> Circuit:
    """One that opens after two failures in a row, for ten seconds exactly."""
    config = BreakerConfig(
        **{
            "trip": ConsecutiveFailures(2),
            "open_s": 10.0,
            "open_jitter": 0.0,
            "half_open_successes": 2,
            **thresholds,
        }
    )
    return Circuit("it", config, Random(1), round(now_s * SECOND))


def fail(it: Circuit, times: int = 1, at_s: float = 0.0) -> None:
    for _ in range(times):
        it.fail(it.admit(round(at_s * SECOND)), None, round(at_s * SECOND))


def succeed(it: Circuit, at_s: float = 0.0) -> None:
    it.succeed(it.admit(round(at_s * SECOND)), None, round(at_s * SECOND))


def test_every_way_in_the_table_is_taken_and_there_is_no_other() -> None:
    taken: set[tuple[State, State]] = set()

    def note(record: Record) -> None:
        if record.name == "breaker.change":
            fields = record.fields
            taken.add((State(str(fields["was"])), State(str(fields["now"]))))

    with listening(note):
        it = circuit(half_open_calls=1, open_growth=1.0)
        fail(it, 2)  # closed, open
        fail(it, at_s=10)  # half-open, open
        succeed(it, at_s=20)
        succeed(it, at_s=20)  # half-open, closed
        fail(it, 2, at_s=30)
        it.admit(40 * SECOND)  # a probe that does not come back
        with pytest.raises(CircuitOpen):
            it.admit(50 * SECOND)
        assert it.state is State.OPEN
    by_itself = {(s, to) for (s, trigger), to in TRANSITIONS.items() if trigger not in OPERATOR}
    assert taken == by_itself


def test_an_operator_gets_from_any_state_to_any_that_can_be_forced() -> None:
    for state in State:
        for trigger, target in OPERATOR.items():
            assert after(state, trigger) is target
    with pytest.raises(AssertionError):
        after(State.FORCED_OPEN, Trigger.TRIPPED)


def test_what_is_forced_open_refuses_for_ever_and_a_reset_forgets_everything() -> None:
    it = circuit()
    it.operate(Trigger.FORCE_OPEN, 0)
    with pytest.raises(CircuitOpen, match="an operator has to end this") as refusal:
        it.admit(10**6 * SECOND)
    assert refusal.value.fields["retry_after_s"] is None
    fail_before = it.totals.opened
    it.operate(Trigger.RESET, 10**6 * SECOND)
    fail(it, 1, at_s=10**6)
    assert (it.state, it.totals.opened) == (State.CLOSED, fail_before)
    assert it.open_ns(10**6 * SECOND) == 10**6 * SECOND


def test_what_is_forced_closed_lets_everything_through_whatever_happens() -> None:
    it = circuit()
    it.operate(Trigger.FORCE_CLOSED, 0)
    fail(it, 100)
    assert it.state is State.FORCED_CLOSED


def test_what_only_measures_says_when_it_would_have_opened() -> None:
    heard: list[str] = []
    it = circuit(trip=FailureRate(50, window_calls=4, calls_min=4))
    it.operate(Trigger.MEASURE_ONLY, 0)
    with listening(lambda record: heard.append(record.name)):
        fail(it, 3)
        assert it.rate(0) == 1.0
        fail(it, 1)
    assert (it.state, it.totals.would_open, it.totals.opened) == (State.METRICS_ONLY, 1, 0)
    assert heard == ["breaker.would_open"]


def test_each_failed_probe_in_a_row_makes_the_open_time_longer_up_to_a_limit() -> None:
    it, at_s, waits = circuit(open_s=1.0, open_max_s=5.0), 0.0, []
    fail(it, 2)
    for _ in range(4):
        wait_ns = it.retry_after_ns(round(at_s * SECOND))
        assert wait_ns is not None
        waits.append(wait_ns / SECOND)
        at_s += waits[-1]
        fail(it, at_s=at_s)
    assert waits == [1.0, 2.0, 4.0, 5.0]
    at_s += 5.0
    succeed(it, at_s)
    succeed(it, at_s)
    fail(it, 2, at_s)
    assert it.retry_after_ns(round(at_s * SECOND)) == SECOND, "from the start again"


def test_jitter_takes_up_to_its_share_off_and_differs() -> None:
    waits = set()
    for seed in range(50):
        it = Circuit("it", BreakerConfig(open_s=10.0, open_jitter=0.2), Random(seed), 0)
        fail(it, 10)
        waits.add(it.retry_after_ns(0))
    assert len(waits) > 40
    assert all(8 * SECOND <= (wait or 0) <= 10 * SECOND for wait in waits)


@pytest.mark.parametrize("back_s", [0.5, 5.0, 10.0**6])
def test_a_clock_that_steps_back_makes_an_open_time_begin_anew_at_worst(back_s: float) -> None:
    it = circuit(now_s=100.0)
    fail(it, 2, at_s=100.0)
    now_s = 100.0 - back_s
    with pytest.raises(CircuitOpen):
        it.admit(round(now_s * SECOND))
    with pytest.raises(CircuitOpen):
        it.admit(round((now_s + 9.9) * SECOND))
    it.admit(round((now_s + 10.0) * SECOND))
    assert it.state is State.HALF_OPEN


def test_a_clock_that_steps_back_loses_no_permit_and_counts_nothing_twice() -> None:
    it = circuit(trip=FailureRate(50, window_s=10.0, calls_min=4), half_open_calls=1)
    for at_s in (100.0, 101.0, 50.0):
        fail(it, at_s=at_s)
    assert it.rate(50 * SECOND) == 1.0
    assert it.generation.window.rate(round(50.5 * SECOND)) == (3, 3)
    fail(it, at_s=51.0)
    assert it.state is State.OPEN
    it.admit(61 * SECOND)
    with pytest.raises(CircuitOpen, match="1 probes are under way"):
        it.admit(3 * SECOND)  # the only permit is out
    with pytest.raises(CircuitOpen):
        it.admit(13 * SECOND)  # and stuck, ten seconds later by the new reading
    assert it.state is State.OPEN


def test_a_call_that_ends_before_it_began_is_not_slow() -> None:
    it = circuit(slow_call_s=1.0)
    permit = it.admit(10 * SECOND)
    it.succeed(permit, it.due_ns(10 * SECOND), 5 * SECOND)
    assert (it.totals.slow, it.totals.failed) == (0, 0)


def test_new_thresholds_hold_at_once_and_a_new_policy_begins_with_an_empty_window() -> None:
    it = circuit(trip=ConsecutiveFailures(5))
    fail(it, 4)
    it.configure(BreakerConfig(trip=ConsecutiveFailures(5), open_s=1.0), 0)
    fail(it, 1)
    assert it.state is State.OPEN, "the same policy: the run goes on"
    it.operate(Trigger.RESET, 0)
    fail(it, 4)
    it.configure(BreakerConfig(trip=ConsecutiveFailures(6)), 0)
    fail(it, 5)
    assert it.totals.opened == 1
    fail(it, 1)
    assert it.totals.opened == 2


def test_the_picture_in_the_lesson_of_the_policies_is_true() -> None:
    window = FailureRate(50, window_calls=100, calls_min=10).window()
    opened = [
        window.record(outcome == "F", 0)
        for outcome in [".", ".", "F", ".", "F", "F", ".", "F", "F", "F"]
    ]
    assert opened == [False] * 9 + [True]
    assert window.rate(0) == (6, 10)


def test_the_picture_in_the_lesson_of_back_off_is_true() -> None:
    backoff = Backoff(first_s=0.1, growth=2.0, max_s=2.0)
    bounds = [backoff.bound_ns(number) / SECOND for number in range(1, 7)]
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2.0])
    assert backoff.bound_ns(10**9) == 2 * SECOND
    waits = [backoff.wait_ns(6, Random(seed)) for seed in range(100)]
    assert min(waits) < 0.2 * SECOND < 1.8 * SECOND < max(waits) <= 2 * SECOND


def test_the_picture_in_the_lesson_of_the_budget_is_true() -> None:
    budget = RetryBudget(percent=10, saved_max=3)
    for _ in range(3):
        assert budget.spend()
    for _ in range(20):
        budget.earn()
    made = []
    for _ in range(11):
        budget.earn()
        made.append(budget.spend())
    assert made == [True, True, *[False] * 7, True, False]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ConsecutiveFailures(0), "failures is 0"),
        (lambda: ConsecutiveFailures(True), "failures is True"),
        (lambda: FailureRate(0), "percent is 0"),
        (lambda: FailureRate(101), "percent is 101"),
        (lambda: FailureRate(float("nan")), "percent is nan"),
        (lambda: FailureRate(50, window_calls=10, window_s=10), "in calls or in seconds"),
        (lambda: FailureRate(50, window_calls=5), "calls_min is 10 .* could never open"),
        (lambda: FailureRate(50, window_calls=10_001), "window_calls is 10001"),
        (lambda: FailureRate(50, window_s=0), "window_s is 0"),
        (lambda: FailureRate(50, calls_min=0), "calls_min is 0"),
        (lambda: BreakerConfig(trip=50), "trip is 50; say what is counted"),  # type: ignore[arg-type]
        (lambda: BreakerConfig(open_s=0), "open_s is 0"),
        (lambda: BreakerConfig(open_s=10, open_max_s=5), "open_max_s is 5 and open_s is 10"),
        (lambda: BreakerConfig(open_growth=0.5), "open_growth is 0.5"),
        (lambda: BreakerConfig(open_jitter=1.5), "open_jitter is 1.5"),
        (lambda: BreakerConfig(slow_call_s=-1), "slow_call_s is -1"),
        (lambda: BreakerConfig(slow_call_s=0), "slow_call_s is 0; .*0.001"),
        (lambda: BreakerConfig(half_open_calls=0), "half_open_calls is 0"),
        (lambda: BreakerConfig(half_open_successes=0), "half_open_successes is 0"),
        (lambda: BreakerConfig(half_open_s=0), "half_open_s is 0"),
        (lambda: Backoff(first_s=2, max_s=1), "max_s is 1 and first_s is 2"),
        (lambda: Backoff(growth=0.9), "growth is 0.9"),
        (lambda: RetryBudget(percent=-1), "percent is -1"),
        (lambda: RetryBudget(saved_max=0), "saved_max is 0"),
        (lambda: Retry(attempts=0), "attempts is 0"),
        (lambda: Retry(retry_on="all"), "retry_on is 'all'"),  # type: ignore[arg-type]
        (lambda: Bulkhead(calls_max=0), "calls_max is 0"),
        (lambda: Bulkhead(waiting_max=-1), "waiting_max is -1"),
        (lambda: Bulkhead(wait_max_s=-1), "wait_max_s is -1"),
        (lambda: Timeout(0), "seconds is 0"),
        (lambda: Fallback(), "needs something to fall back on"),
        (lambda: Fallback(instead=3), "instead is 3"),  # type: ignore[arg-type]
        (lambda: Fallback(last_good=True, entries_max=0), "entries_max is 0"),
        (lambda: Fallback(default=1, on=KeyboardInterrupt), "on is .*KeyboardInterrupt"),  # type: ignore[arg-type]
        (lambda: Pipeline(), "at least one"),
    ],
)
def test_a_threshold_out_of_range_or_against_another_is_refused_by_name(
    make: Any, said: str
) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()
