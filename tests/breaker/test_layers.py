"""Retry, bulkhead, time-out, fallback, and all of them around one call."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from sdkit.breaker import (
    Backoff,
    Breaker,
    BreakerConfig,
    Bulkhead,
    BulkheadFull,
    CircuitOpen,
    ConsecutiveFailures,
    Fallback,
    Pipeline,
    Retry,
    RetryBudget,
    State,
    Timeout,
)
from sdkit.errors import (
    Aborted,
    ConnectionLost,
    DeadlineExceeded,
    Indeterminate,
    InvalidArgument,
    NotConnected,
    Overloaded,
    Rejected,
)
from sdkit.sim.loop import run
from sdkit.trace import listening

AT_ONCE = Backoff(first_s=0.0, max_s=0.0)


class Service:
    """Fails as often as it is told, and remembers when it was called."""

    def __init__(self, error: Exception | None = None, times: int = 10**9) -> None:
        self.error, self.times = error, times
        self.calls: list[float] = []

    def now(self, *args: object) -> object:
        self.calls.append(0.0)
        if self.error is not None and len(self.calls) <= self.times:
            raise self.error
        return args or "well"

    async def later(self, *args: object) -> object:
        result = None
        try:
            result = self.now(*args)
        finally:
            self.calls[-1] = asyncio.get_running_loop().time()
        return result

    async def slow(self, seconds: float) -> str:
        self.calls.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        return "well"


# ── retry ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "idempotent", "calls"),
    [
        (NotConnected("no"), False, 3),
        (Overloaded("no"), False, 3),
        (ConnectionLost("?"), False, 1),
        (ConnectionLost("?"), True, 3),
        (DeadlineExceeded("?"), True, 3),
        (Rejected("no"), True, 1),
        (Aborted("all of it"), True, 1),
        (CircuitOpen("open"), True, 1),
        (BulkheadFull("full"), True, 1),
        (ConnectionRefusedError("nobody listens"), False, 3),
        (ConnectionResetError("?"), True, 1),
        (TimeoutError("?"), True, 1),
        (OSError("what?"), True, 1),
    ],
    ids=lambda it: type(it).__name__ if isinstance(it, Exception) else str(it),
)
def test_only_what_may_be_repeated_is_repeated(
    error: Exception, idempotent: bool, calls: int
) -> None:
    for is_async in (True, False):
        service = Service(error)
        retry = Retry(attempts=3, backoff=AT_ONCE, idempotent=idempotent)
        with pytest.raises(type(error)) as raised:
            if is_async:
                run(retry.call(service.later))
            else:
                retry.call_sync(service.now)
        assert raised.value is error
        assert len(service.calls) == calls


def test_the_caller_may_name_what_is_retried_instead() -> None:
    service = Service(OSError(), times=2)
    assert Retry(backoff=AT_ONCE, retry_on=OSError)(service.now)() == "well"
    assert len(service.calls) == 3


def test_pauses_grow_and_are_drawn() -> None:
    service = Service(NotConnected("no"))
    retry = Retry(attempts=5, backoff=Backoff(first_s=1.0, max_s=4.0))
    with pytest.raises(NotConnected):
        run(retry.call(service.later))
    pauses = [
        after - before for before, after in zip(service.calls, service.calls[1:], strict=False)
    ]
    assert len(set(pauses)) == 4
    assert all(0 < pause <= bound for pause, bound in zip(pauses, (1, 2, 4, 4), strict=True))


def test_all_callers_share_a_budget_and_the_storm_does_not_happen() -> None:
    async def main() -> tuple[int, int]:
        service, budget = Service(NotConnected("no")), RetryBudget(percent=10, saved_max=10)
        calls = [
            Retry(attempts=3, backoff=AT_ONCE, budget=budget).call(service.later)
            for _ in range(1000)
        ]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        return len(service.calls), sum(isinstance(end, NotConnected) for end in ends)

    saved, earned = 10, 999 * 10 // 100  # the first call finds the account full
    assert run(main()) == (1000 + saved + earned, 1000)


def test_many_threads_do_not_spend_more_than_there_is() -> None:
    service, budget = Service(NotConnected("no")), RetryBudget(percent=0, saved_max=50)

    def work(_: int) -> None:
        for _ in range(50):
            with pytest.raises(NotConnected):
                Retry(attempts=2, backoff=AT_ONCE, budget=budget).call_sync(service.now)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(service.calls) == 8 * 50 + 50


def test_a_caller_that_is_cancelled_in_a_pause_is_gone() -> None:
    async def main() -> int:
        service = Service(NotConnected("no"))
        task = asyncio.create_task(Retry(backoff=Backoff(jitter=0.0)).call(service.later))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await asyncio.sleep(10)
        return len(service.calls)

    assert run(main()) == 1


# ── bulkhead ─────────────────────────────────────────────────────────────────


def test_the_picture_in_the_lesson_of_places_is_true() -> None:
    async def main() -> None:
        bulkhead, service = Bulkhead("b", calls_max=2, waiting_max=1, wait_max_s=9.0), Service()
        a, b, c = (asyncio.create_task(bulkhead.call(service.slow, s)) for s in (1.0, 2.0, 2.0))
        await asyncio.sleep(0.1)
        assert (bulkhead.calls, bulkhead.waiting) == (2, 1)
        with pytest.raises(BulkheadFull, match="2 calls under way of 2 and 1 waiting of 1"):
            await bulkhead.call(service.slow, 1.0)
        await a
        await asyncio.sleep(0)
        assert (bulkhead.calls, bulkhead.waiting, bulkhead.shed) == (2, 0, 1)
        await b
        await c
        assert bulkhead.calls == 0

    run(main())


def test_threads_wait_in_the_same_line_and_no_place_is_lost() -> None:
    bulkhead = Bulkhead(calls_max=3, waiting_max=100, wait_max_s=60.0)
    inside: list[int] = []
    most, lock = [0], threading.Lock()

    def enter() -> None:
        with lock:
            inside.append(1)
            most[0] = max(most[0], len(inside))
        threading.Event().wait(0.001)
        with lock:
            inside.pop()

    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: bulkhead.call_sync(enter), range(100)))
    assert 1 <= most[0] <= 3
    assert (bulkhead.calls, bulkhead.waiting, bulkhead.shed) == (0, 0, 0)


def test_a_thread_hands_its_place_to_a_task_that_waits() -> None:
    bulkhead = Bulkhead(calls_max=1, waiting_max=1, wait_max_s=60.0)
    bulkhead.__enter__()

    async def main() -> str:
        leaving = asyncio.get_running_loop().run_in_executor(None, leave)
        async with bulkhead:
            await leaving
            return "in"

    def leave() -> None:
        while not bulkhead.waiting:
            threading.Event().wait(0.001)
        bulkhead.__exit__(None, None, None)

    assert asyncio.run(main()) == "in"
    assert bulkhead.calls == 0


def test_a_number_where_the_name_belongs_is_told_where_it_belongs() -> None:
    for wrong in (3, -1):
        with pytest.raises(InvalidArgument, match=f"did you mean calls_max={wrong}"):
            Bulkhead(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="name is ''; a bulkhead is called by a text"):
        Bulkhead("")


def test_parts_of_another_type_are_refused_when_they_are_given() -> None:
    with pytest.raises(InvalidArgument, match=r"timeout is 1.0; it must be a Timeout"):
        Pipeline(timeout=1.0)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"budget is 10; it must be a RetryBudget"):
        Retry(budget=10)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"backoff is 0.1; it must be a Backoff"):
        Retry(backoff=0.1)  # type: ignore[arg-type]


def test_each_part_shows_what_it_is_at_one_look() -> None:
    breaker = Breaker("it")
    pipeline = Pipeline(
        fallback=Fallback(default=[], last_good=True),
        retry=Retry(attempts=2),
        bulkhead=Bulkhead("few", calls_max=3),
        breaker=breaker,
        timeout=Timeout(0.5),
    )
    assert repr(pipeline) == (
        "<Pipeline: <Fallback: last good, default>, "
        "<Retry: 2 attempts, <RetryBudget: 10 %, 10 of 10 saved>>, "
        "<Bulkhead few: 0 of 3 under way, 0 of 10 waiting>, <Breaker it: closed>, "
        "<Timeout: 0.5 s>>"
    )
    with breaker.attempt() as attempt:
        assert repr(attempt) == "<Attempt through it: under way>"
    assert repr(attempt) == "<Attempt through it: over>"


# ── time-out ─────────────────────────────────────────────────────────────────


def test_a_call_that_takes_too_long_is_over_and_nobody_knows_what_became_of_it() -> None:
    async def main() -> float:
        with pytest.raises(DeadlineExceeded, match=r"no answer from Service.slow within 0.5 s"):
            await Timeout(0.5).call(Service().slow, 60)
        with pytest.raises(Indeterminate):
            await Timeout(0.5)(Service().slow)(60)
        return asyncio.get_running_loop().time()

    assert run(main()) == 1.0


def test_only_its_own_limit_becomes_an_error_of_the_time_out() -> None:
    async def own() -> None:
        raise TimeoutError("mine")

    async def main() -> None:
        with pytest.raises(TimeoutError, match="mine"):
            await Timeout(1.0).call(own)
        with pytest.raises(TimeoutError) as outer:
            async with asyncio.timeout(0.5):
                await Timeout(1.0).call(Service().slow, 60)
        assert not isinstance(outer.value, DeadlineExceeded)
        task = asyncio.create_task(Timeout(1.0).call(Service().slow, 60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())


def test_a_time_out_around_a_plain_function_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="cannot be interrupted"):
        Timeout(1.0)(Service().now)


# ── fallback ─────────────────────────────────────────────────────────────────


def both(fallback: Fallback, service: Service, *args: object) -> list[object]:
    """The answer to a coroutine function and to a plain one."""
    return [run(fallback.call(service.later, *args)), fallback.call_sync(service.now, *args)]


def test_a_default_an_other_call_and_the_last_good_answer() -> None:
    down = Service(NotConnected("no"))
    assert both(Fallback(default=[]), down) == [[], []]

    async def instead_later(*args: object) -> object:
        return ("instead", *args)

    assert run(Fallback(instead=instead_later).call(down.later, 1)) == ("instead", 1)
    assert Fallback(instead=lambda *args: ("instead", *args)).call_sync(down.now, 1) == (
        "instead",
        1,
    )

    clock = [0]
    service = Service()
    kept = Fallback(last_good=True, default="none", age_max_s=60.0, clock=lambda: clock[0])
    assert kept.call_sync(service.now, "ada") == ("ada",)
    service.error = NotConnected("no")
    assert kept.call_sync(service.now, "ada") == ("ada",)
    assert kept.call_sync(service.now, "bob") == "none"
    clock[0] = 61 * 10**9
    assert kept.call_sync(service.now, "ada") == "none"


def test_it_keeps_no_more_good_answers_than_it_was_told() -> None:
    service, kept = Service(), Fallback(last_good=True, entries_max=2)
    for key in ("a", "b", "c"):
        kept.call_sync(service.now, key)
    service.error = NotConnected("no")
    assert kept.call_sync(service.now, "c") == ("c",)
    with pytest.raises(NotConnected):
        kept.call_sync(service.now, "a")


def test_arguments_of_other_types_are_other_arguments() -> None:
    asked = [
        *((1,), (True,), (1.0,)),
        *(((1, 2),), ((1.0, 2),), (frozenset({1}),), (frozenset({True}),)),
    ]
    service, kept = Service(), Fallback(last_good=True)

    def named_now(x: object) -> str:
        if service.error is not None:
            raise service.error
        return repr(x)

    for arguments in asked:
        kept.call_sync(service.now, *arguments)
    named = [kept.call_sync(named_now, x=x) for x in (0, False)]
    service.error = NotConnected("no")
    for arguments in asked:
        assert repr(kept.call_sync(service.now, *arguments)) == repr(arguments)
    assert [kept.call_sync(named_now, x=x) for x in (0, False)] == named == ["0", "False"]


def test_a_key_may_ask_the_fallback_itself() -> None:
    service = Service()
    answers: list[object] = []

    def key(value: object) -> Hashable:
        if value == "outer":
            answers.append(kept.call_sync(service.now, "inner"))
        return str(value)

    def ask() -> None:
        answers.append(kept.call_sync(service.now, "outer"))
        service.error = NotConnected("no")
        answers.append(kept.call_sync(service.now, "outer"))

    kept = Fallback(last_good=True, key=key)
    # In a thread of its own: a lock that waits for itself must not stop the tests.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(20)
    assert answers == [("inner",), ("outer",), ("inner",), ("outer",)]


def test_a_refusal_of_the_callee_is_an_answer_and_is_not_covered_up() -> None:
    with pytest.raises(Rejected):
        both(Fallback(default=[]), Service(Rejected("wrong password")))
    assert both(Fallback(default=[], on=Exception), Service(Rejected("no"))) == [[], []]


def test_if_the_other_call_fails_too_the_caller_hears_the_first_error() -> None:
    other = Service(OSError("the other"))
    with pytest.raises(NotConnected, match="the first"):
        Fallback(instead=other.now).call_sync(Service(NotConnected("the first")).now)
    with pytest.raises(NotConnected, match="the first"):
        run(Fallback(instead=other.later).call(Service(NotConnected("the first")).later))


# ── all of them ──────────────────────────────────────────────────────────────


def open_after(failures: int) -> Breaker:
    config = BreakerConfig(trip=ConsecutiveFailures(failures), open_s=10.0, open_jitter=0.0)
    return Breaker("b", config)


def test_each_attempt_is_judged_by_itself_and_retries_end_when_the_breaker_opens() -> None:
    service, breaker = Service(NotConnected("no")), open_after(3)
    pipeline = Pipeline(retry=Retry(attempts=10, backoff=AT_ONCE), breaker=breaker)
    with pytest.raises(CircuitOpen):
        run(pipeline.call(service.later))
    assert len(service.calls) == 3


def test_the_breaker_sees_the_time_out_as_a_failure() -> None:
    async def main() -> None:
        breaker = open_after(2)
        slow = Pipeline(breaker=breaker, timeout=Timeout(0.5))(Service().slow)
        for _ in range(2):
            with pytest.raises(DeadlineExceeded):
                await slow(60)
        with pytest.raises(CircuitOpen):
            await slow(60)

    run(main())


def test_a_full_bulkhead_is_nothing_to_the_breaker_and_the_line_is_not_for_an_open_one() -> None:
    async def main() -> None:
        breaker, service = open_after(2), Service()
        bulkhead = Bulkhead(calls_max=1, waiting_max=1, wait_max_s=100.0)
        call = Pipeline(bulkhead=bulkhead, breaker=breaker)(service.slow)
        inside = [asyncio.create_task(call(5.0)) for _ in range(2)]
        await asyncio.sleep(0.1)
        for _ in range(5):
            with pytest.raises(BulkheadFull):
                await call(1.0)
        assert breaker.state is State.CLOSED
        breaker.force_open()
        with pytest.raises(CircuitOpen):
            await asyncio.wait_for(call(1.0), 0.001)
        ends = await asyncio.gather(*inside, return_exceptions=True)
        assert [type(end) for end in ends] == [str, CircuitOpen], "who was in line is told, too"
        assert bulkhead.calls == 0

    run(main())


def test_probes_that_hang_are_noticed_at_the_door_of_a_pipeline_too() -> None:
    async def main() -> None:
        config = BreakerConfig(trip=ConsecutiveFailures(1), open_s=10.0, half_open_calls=1)
        breaker = Breaker("b", config)
        call = Pipeline(bulkhead=Bulkhead(), breaker=breaker)(Service().slow)
        breaker.attempt().fail()
        await asyncio.sleep(10.0)
        lost = asyncio.create_task(call(1e6))
        await asyncio.sleep(10.0)
        with pytest.raises(CircuitOpen):
            await call(0.0)
        assert breaker.state is State.OPEN
        await asyncio.sleep(20.0)
        await call(0.0)
        lost.cancel()

    run(main())


def test_the_whole_pipeline_answers_whatever_fails_and_says_so_in_events() -> None:
    names: list[str] = []

    async def main() -> list[object]:
        call = Pipeline(
            fallback=Fallback(default="nothing"),
            retry=Retry(attempts=2, backoff=AT_ONCE, idempotent=True),
            bulkhead=Bulkhead(calls_max=1, waiting_max=0),
            breaker=open_after(4),
            timeout=Timeout(0.5),
        )(Service().slow)
        at_once = await asyncio.gather(call(0.1), call(0.1))
        return [*at_once, *[await call(9.0) for _ in range(3)]]

    with listening(lambda record: names.append(record.name)):
        answers = run(main())
    assert answers == ["well", "nothing", "nothing", "nothing", "nothing"]
    assert set(names) >= {
        "breaker.shed",
        "breaker.timeout",
        "breaker.retry",
        "breaker.change",
        "breaker.refuse",
        "breaker.fallback",
    }


def test_a_pipeline_for_threads_and_its_function_keeps_its_name() -> None:
    breaker = open_after(1)
    pipeline: Callable[[Callable[..., Any]], Callable[..., Any]] = Pipeline(
        fallback=Fallback(default=0),
        bulkhead=Bulkhead(),
        breaker=breaker,
        retry=Retry(backoff=AT_ONCE),
    )

    @pipeline
    def ask() -> int:
        raise OSError

    assert (ask(), ask(), ask.__name__, breaker.state) == (0, 0, "ask", State.OPEN)
