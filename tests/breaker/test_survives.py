"""What the parts survive: threads, loops, forks, listeners that look back, being dropped."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
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
    FailureRate,
    Fallback,
    Following,
    Layer,
    Pipeline,
    Retry,
    RetryBudget,
    State,
    Timeout,
)
from sdkit.breaker.circuit import Circuit, Generation
from sdkit.errors import DeadlineExceeded, InvalidState, NotConnected
from sdkit.trace import Record, listening

ONE = BreakerConfig(trip=ConsecutiveFailures(1), open_s=10.0, open_jitter=0.0)
AT_ONCE = Backoff(first_s=0.0, max_s=0.0)


def down(*_: object) -> str:
    raise NotConnected("down")


async def down_later(*_: object) -> str:
    raise NotConnected("down")


def at_once(*functions: Callable[[], object]) -> list[BaseException | None]:
    """Run each in a thread of its own; a thread that does not end must not stop the tests."""
    ends: list[BaseException | None] = [AssertionError("it hangs") for _ in functions]

    def work(number: int) -> None:
        try:
            functions[number]()
            ends[number] = None
        except BaseException as error:
            ends[number] = error

    threads = [
        threading.Thread(target=work, args=(number,), daemon=True)
        for number in range(len(functions))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return ends


# ── listeners ────────────────────────────────────────────────────────────────


def test_two_breakers_whose_listeners_look_at_each_other_do_not_wait_for_each_other() -> None:
    breakers = {name: Breaker(name, ONE) for name in ("left", "right")}
    other = {"left": breakers["right"], "right": breakers["left"]}
    both_listen = threading.Barrier(2)

    def look(record: Record) -> None:
        both_listen.wait(10)
        other[str(record.fields["breaker"])].metrics()

    with listening(look, "breaker.change"):
        ends = at_once(*[breaker.attempt().fail for breaker in breakers.values()])
    assert ends == [None, None]
    assert {breaker.state for breaker in breakers.values()} == {State.OPEN}


class LooksAtAnother:
    """A clock that, once, waits for the other clock to be asked and then asks the other breaker."""

    def __init__(self, both_ask: threading.Barrier) -> None:
        self.other: Breaker | None = None
        self._both_ask = both_ask

    def __call__(self) -> int:
        other, self.other = self.other, None
        if other is not None:
            self._both_ask.wait(10)
            other.metrics()
        return 0


def test_two_breakers_whose_clocks_look_at_each_other_do_not_wait_for_each_other() -> None:
    both_ask = threading.Barrier(2)
    clocks = [LooksAtAnother(both_ask), LooksAtAnother(both_ask)]
    left, right = (Breaker("it", ONE, clock=clock) for clock in clocks)
    clocks[0].other, clocks[1].other = right, left
    assert at_once(left.metrics, right.metrics) == [None, None]


def test_events_are_told_in_the_order_in_which_they_happened_whichever_thread_tells_them() -> None:
    breaker = Breaker("it", ONE)
    told: list[tuple[object, object]] = []
    interval = sys.getswitchinterval()

    def note(record: Record) -> None:
        told.append((record.fields["was"], record.fields["now"]))

    def work(number: int) -> None:
        for _ in range(100):
            (breaker.force_open, breaker.force_closed, breaker.measure_only, breaker.reset)[
                number
            ]()

    sys.setswitchinterval(1e-6)
    try:
        with listening(note, "breaker.change"), ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
    finally:
        sys.setswitchinterval(interval)
    assert len(told) == 400
    assert [was for was, _ in told[1:]] == [now for _, now in told[:-1]]


def test_what_a_listener_does_to_the_breaker_is_told_after_what_it_heard() -> None:
    breaker = Breaker("it", ONE)
    told: list[str] = []

    def force(record: Record) -> None:
        if record.fields["now"] == "open":
            breaker.force_closed()

    with (
        listening(force, "breaker.change"),
        listening(lambda record: told.append(str(record.fields["now"])), "breaker.change"),
    ):
        breaker.attempt().fail()
    assert told == ["open", "forced closed"]


def test_a_listener_that_raises_is_heard_after_the_others_and_takes_no_permit_along() -> None:
    now_s = [0.0]
    breaker = Breaker("it", ONE, clock=lambda: round(now_s[0] * 1e9))
    breaker.attempt().fail()
    told: list[object] = []

    def broken(record: Record) -> None:
        raise ZeroDivisionError

    for _ in range(3):
        now_s[0] += 1000.0
        with listening(broken, "breaker.change"), pytest.raises(ZeroDivisionError):
            breaker.attempt()
        with listening(lambda record: told.append(record.fields["now"]), "breaker.change"):
            for _ in range(3):
                breaker.attempt()  # all three permits are there
            breaker.force_open()
            breaker.reset()
            breaker.attempt().fail()
    assert told == ["forced open", "closed", "open"] * 3


def test_listeners_that_answer_each_event_by_another_are_stopped_and_named() -> None:
    breaker = Breaker("it", ONE)
    breaker.force_open()
    heard: list[str] = []

    def ask_again(record: Record) -> None:
        heard.append(record.name)
        with pytest.raises(CircuitOpen):
            breaker.attempt()

    with (
        listening(ask_again, "breaker.refuse"),
        pytest.raises(InvalidState, match="answered events by events 1,000 times in a row"),
    ):
        breaker.attempt()
    assert len(heard) == 1_000
    with listening(lambda record: heard.append(record.name)):
        breaker.reset()
    assert heard[1_000:] == ["breaker.change"], "nothing is left over"


def test_a_thread_that_tells_for_others_is_let_go() -> None:
    breaker = Breaker("it", ONE)
    breaker.force_open()
    telling, others_are_done = threading.Event(), threading.Event()
    heard: list[int] = []

    def listen(_: Record) -> None:
        heard.append(threading.get_ident())
        telling.set()
        assert others_are_done.wait(30)

    def ask() -> None:
        with pytest.raises(CircuitOpen):
            breaker.attempt()

    def ask_often() -> None:
        assert telling.wait(30)
        for _ in range(1_500):
            ask()
        others_are_done.set()

    with listening(listen, "breaker.refuse"):
        assert at_once(ask, ask_often) == [None, None]
        assert len(heard) == 1_000
        ask()
    assert len(heard) == 1_502


# ── a fork ───────────────────────────────────────────────────────────────────


class Lingers(Circuit):
    """Stays in the middle of a step, under the lock, for as long as it is told."""

    inside = threading.Event()
    leave = threading.Event()

    def fail(self, permit: Generation, due_ns: int | None, now_ns: int) -> None:
        super().fail(permit, due_ns, now_ns)
        self.inside.set()
        assert self.leave.wait(30)


class LingeringBreaker(Breaker):
    circuit_type = Lingers


def in_child(work: Callable[[], object]) -> int:
    """Fork, do ``work`` in the child, and return how it ended; a child that hangs is killed."""
    child = os.fork()
    if not child:
        signal.alarm(20)
        try:
            work()
            os._exit(0)
        except BaseException as error:
            os.write(2, repr(error).encode())
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


fork = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@fork
def test_a_lock_that_another_thread_holds_at_the_fork_hangs_nobody() -> None:
    config = BreakerConfig(trip=FailureRate(50, window_s=10), open_s=10.0)
    breaker = LingeringBreaker("it", config)
    bulkhead, kept = Bulkhead(), Fallback(last_good=True)
    retry = Retry(attempts=2, backoff=AT_ONCE, budget=RetryBudget())
    holder = threading.Thread(target=breaker.attempt().fail)
    holder.start()
    assert Lingers.inside.wait(30)
    forking = threading.Event()

    def let_go_when_somebody_waits_to_fork() -> None:
        forking.wait(30)
        Lingers.leave.wait(0.1)
        Lingers.leave.set()

    def use_all() -> None:
        seen = breaker.metrics()
        assert (seen.failed, seen.failure_rate) == (1, 1.0), "the step was half done"
        assert bulkhead.call_sync(lambda: 1) == 1
        assert kept.call_sync(lambda: 2) == 2
        with pytest.raises(NotConnected):
            retry.call_sync(down)

    threading.Thread(target=let_go_when_somebody_waits_to_fork).start()
    forking.set()
    assert in_child(use_all) == 0
    holder.join()
    use_all()


@fork
def test_a_child_begins_with_an_empty_bulkhead_and_the_parent_keeps_its_calls() -> None:
    bulkhead = Bulkhead(calls_max=2, waiting_max=0)
    inside, leave = threading.Barrier(3), threading.Event()

    def stay() -> None:
        inside.wait(30)
        assert leave.wait(30)

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(bulkhead.call_sync, stay) for _ in range(2)]
        inside.wait(30)

        def fill() -> None:
            with bulkhead, bulkhead:
                assert bulkhead.calls == 2
                with pytest.raises(BulkheadFull):
                    bulkhead.__enter__()
            assert bulkhead.calls == 0

        assert in_child(fill) == 0
        assert bulkhead.calls == 2
        with pytest.raises(BulkheadFull):
            bulkhead.__enter__()
        leave.set()
        for call in calls:
            call.result()
    assert bulkhead.calls == 0


@fork
def test_a_block_that_was_entered_before_the_fork_gives_back_no_place_after_it() -> None:
    bulkhead = Bulkhead(calls_max=1, waiting_max=0)
    bulkhead.__enter__()

    def leave_it() -> None:
        bulkhead.__exit__(None, None, None)
        with bulkhead, pytest.raises(BulkheadFull):
            bulkhead.__enter__()

    assert in_child(leave_it) == 0
    assert bulkhead.calls == 1


@fork
def test_events_that_the_parent_has_yet_to_tell_are_not_told_by_the_child() -> None:
    breaker = Breaker("it", ONE)
    told: list[object] = []
    ends: list[int] = []

    def note(record: Record) -> None:
        told.append(record.fields["now"])
        if len(told) == 1:
            breaker.force_open()  # is told when this one has been
            ends.append(in_child(look))

    def look() -> None:
        told.clear()
        told.append("not the first")
        breaker.reset()
        assert told == ["not the first", "closed"]

    with listening(note, "breaker.change"):
        breaker.attempt().fail()
    assert (ends, told) == ([0], ["open", "forced open"])


# ── several loops ────────────────────────────────────────────────────────────


def test_one_breaker_and_one_bulkhead_serve_several_loops_in_turn_and_at_once() -> None:
    breaker, bulkhead = Breaker("it", ONE), Bulkhead(calls_max=1, waiting_max=10, wait_max_s=60.0)
    guarded = Pipeline(bulkhead=bulkhead, breaker=breaker)(asyncio.sleep)

    async def main() -> None:
        await asyncio.gather(*[guarded(0) for _ in range(5)])

    for _ in range(2):
        asyncio.run(main())
    assert at_once(*[lambda: asyncio.run(main())] * 2) == [None, None]
    assert (breaker.state, bulkhead.calls, bulkhead.waiting) == ("closed", 0, 0)


class Never:
    async def documents(self) -> AsyncIterator[bytes]:
        yield b"{}"
        await asyncio.Event().wait()


def test_settings_that_are_followed_in_one_loop_cannot_be_left_in_another() -> None:
    async def main() -> None:
        async with Following(Never(), [Breaker()]) as following:

            def leave_elsewhere() -> None:
                asyncio.run(following.__aexit__(None, None, None))

            with pytest.raises(InvalidState, match="another event loop"):
                await asyncio.to_thread(leave_elsewhere)
            with pytest.raises(InvalidState, match="enter once"):
                await following.__aenter__()
        with pytest.raises(InvalidState, match="not followed"):
            await following.__aexit__(None, None, None)
        async with following:
            assert following.problem is None

    asyncio.run(main())


# ── being dropped ────────────────────────────────────────────────────────────


class Request:
    """What a caller passes along: megabytes, perhaps."""


LAYERS: dict[str, Callable[[], Layer]] = {
    "Breaker": lambda: Breaker("it", ONE),
    "a judged Breaker": lambda: Breaker("it", ONE, failure_if=lambda result: True),
    "Bulkhead": lambda: Bulkhead(calls_max=1, waiting_max=0),
    "Retry": lambda: Retry(attempts=2, backoff=AT_ONCE),
    "Fallback": lambda: Fallback(instead=down),
    "a Fallback with a last good answer": lambda: Fallback(last_good=True, key=lambda *_: 1),
    "a Fallback that covers nothing": lambda: Fallback(default=1, on=KeyError),
    "Pipeline": lambda: Pipeline(
        fallback=Fallback(instead=down),
        retry=Retry(backoff=AT_ONCE),
        bulkhead=Bulkhead(),
        breaker=Breaker("it", ONE, failure_if=lambda result: True),
    ),
    "a judged Pipeline": lambda: Pipeline(
        retry=Retry(backoff=AT_ONCE), failure_if=lambda result: 1 / 0 > 1
    ),
}


@pytest.fixture
def no_collector() -> Any:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def use(layer: Layer, request: Request) -> None:
    """Fail, be refused, answer: sync and async, as a block where it is one."""
    for function in (down, lambda _: "well"):
        for _ in range(2):
            with suppress(Exception):
                layer.call_sync(function, request)


async def use_later(layer: Layer, request: Request) -> None:
    async def well(_: object) -> str:
        return "well"

    for function in (down_later, well):
        for _ in range(2):
            with suppress(Exception):
                await layer.call(function, request)


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))
def test_neither_a_request_nor_a_layer_waits_for_the_collector(make: Callable[[], Layer]) -> None:
    layer, request = make(), Request()
    layer_gone, request_gone = weakref.ref(layer), weakref.ref(request)
    use(layer, request)
    del request
    assert request_gone() is None, "the request of a sync call"

    async def main(layer: Layer) -> weakref.ref[Request]:
        request = Request()
        reference = weakref.ref(request)
        await use_later(layer, request)
        return reference

    assert asyncio.run(main(layer))() is None, "the request of an async call"
    if isinstance(layer, Breaker):
        layer.reset()
    if isinstance(layer, Breaker | Bulkhead):
        with layer:
            pass
    del layer
    assert layer_gone() is None


@pytest.mark.usefixtures("no_collector")
def test_a_call_that_took_too_long_leaves_nothing_behind() -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    async def main() -> weakref.ref[Request]:
        request = Request()
        with pytest.raises(DeadlineExceeded):
            await Timeout(0.001).call(hang, request)
        return weakref.ref(request)

    assert asyncio.run(main())() is None


@pytest.mark.usefixtures("no_collector")
def test_a_breaker_that_has_refused_by_decorator_block_and_attempt_is_freed() -> None:
    breaker = Breaker("it", ONE)
    gone = weakref.ref(breaker)
    breaker.attempt().fail()

    for ask in (breaker.attempt, breaker.__enter__, breaker.check, breaker(int)):
        with pytest.raises(CircuitOpen):
            ask()
    del breaker, ask
    assert gone() is None


def test_a_block_of_a_breaker_leaves_nothing_of_it_in_the_context() -> None:
    def enter_ten() -> int:
        for _ in range(10):
            with Breaker("it", ONE):
                pass
        return len(copy_context())

    assert copy_context().run(enter_ten) <= len(copy_context()) + 1


@pytest.mark.usefixtures("no_collector")
def test_settings_that_are_followed_and_dropped_say_so_and_end_their_task() -> None:
    async def main() -> None:
        following = Following(Never(), [Breaker()])
        await following.__aenter__()
        gone = weakref.ref(following)
        with pytest.warns(ResourceWarning, match="followed and dropped"):
            del following
        assert gone() is None
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(main())


@pytest.mark.usefixtures("no_collector")
def test_settings_that_were_left_are_freed() -> None:
    async def main() -> weakref.ref[Following]:
        following = Following(Never(), [Breaker()])
        async with following:
            pass
        return weakref.ref(following)

    assert asyncio.run(main())() is None
