"""The breaker as people hold it: decorator, block, object; tasks, threads, interruptions."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sdkit.breaker import (
    Breaker,
    BreakerConfig,
    CircuitOpen,
    ConsecutiveFailures,
    FailureRate,
    State,
)
from sdkit.errors import InvalidArgument, InvalidState, Unavailable
from sdkit.sim.loop import run
from sdkit.trace import Metrics, Record, listening

TWO = BreakerConfig(trip=ConsecutiveFailures(2), open_s=10.0, open_jitter=0.0)
ONE_PROBE = BreakerConfig(
    trip=ConsecutiveFailures(2), open_s=10.0, half_open_calls=1, half_open_successes=1
)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> int:
        return round(self.now_s * 1e9)


def failing() -> None:
    raise OSError("down")


async def failing_later() -> None:
    await asyncio.sleep(0.01)
    raise OSError("down")


# ── the four ways of using it ────────────────────────────────────────────────


def test_a_decorated_function_stays_what_it_is() -> None:
    breaker = Breaker("it", TWO)

    @breaker
    async def later(left: int, right: int = 1) -> int:
        """Adds."""
        return left + right

    @breaker
    def now(left: int, right: int = 1) -> int:
        return left + right

    class Client:
        @breaker
        async def get(self, key: str) -> str:
            return f"{type(self).__name__} {key}"

    assert asyncio.iscoroutinefunction(later)
    assert not asyncio.iscoroutinefunction(now)
    assert (later.__name__, later.__doc__) == ("later", "Adds.")
    assert now(2, right=3) == 5

    async def main() -> tuple[int, str]:
        return await later(1), await Client().get("k")

    assert run(main()) == (2, "Client k")


def test_sync_calls_open_it_and_a_clock_of_ones_own_ends_the_open_time() -> None:
    clock = Clock()
    breaker = Breaker("it", ONE_PROBE, clock=clock)
    guarded = breaker(failing)
    for _ in range(2):
        with pytest.raises(OSError, match="down"):
            guarded()
    with pytest.raises(CircuitOpen, match=r"breaker it is open: try again in (9|10)\.\d+ s"):
        guarded()
    with pytest.raises(Unavailable):
        breaker.call_sync(failing)
    clock.now_s = 10.0
    assert breaker.call_sync(lambda: "well") == "well"
    assert breaker.state is State.CLOSED


def test_a_call_of_the_wrong_kind_says_what_to_do_and_counts_as_nothing() -> None:
    breaker = Breaker("it", TWO, failure_on=Exception)
    calls: list[int] = []

    async def main() -> None:
        with pytest.raises(InvalidArgument, match=r"append returned NoneType.*call_sync"):
            await breaker.call(calls.append, 1)  # type: ignore[arg-type]
        with pytest.raises(
            InvalidArgument, match=r"failing_later\(\.\.\.\) has been called already"
        ):
            await breaker.call(failing_later())  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="already"):
            breaker.call_sync(failing_later())  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="of type int"):
            breaker.call_sync(7)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument, match="returned a coroutine"):
            _ = breaker.call_sync(failing_later)
        assert await breaker.call(lambda: asyncio.sleep(0, "well")) == "well"

    run(main())
    seen = breaker.metrics()
    assert (breaker.state, seen.failed, seen.refused) == (State.CLOSED, 0, 0)
    assert seen.cancelled == 2, "two were let in before it could be told, and say nothing"


def test_a_block_counts_its_error_and_may_be_told_of_a_bad_end() -> None:
    async def main() -> None:
        breaker = Breaker("it", TWO)
        with pytest.raises(OSError):
            async with breaker:
                failing()
        with breaker as attempt:
            attempt.fail()
        assert breaker.state is State.OPEN
        with pytest.raises(CircuitOpen):
            async with breaker:
                raise AssertionError("it was let in")

    run(main())


def test_blocks_of_one_breaker_may_lie_in_each_other_and_beside_each_other() -> None:
    async def main() -> None:
        breaker = Breaker("it", TWO)

        async def visit(seconds: float, *, fails: bool) -> None:
            async with breaker, breaker:
                await asyncio.sleep(seconds)
                if fails:
                    failing()

        visits = [visit(number, fails=number == 3) for number in (3, 1, 2)]
        assert [type(end) for end in await asyncio.gather(*visits, return_exceptions=True)] == [
            OSError,
            type(None),
            type(None),
        ]
        assert breaker.metrics().failed == 2, "its error has left two blocks"

    run(main())


def test_a_block_that_is_left_elsewhere_says_what_to_use_instead() -> None:
    async def main() -> None:
        breaker = Breaker("it", TWO)
        await asyncio.create_task(breaker.__aenter__())
        with pytest.raises(InvalidState, match=r"breaker\.attempt\(\)"):
            await breaker.__aexit__(None, None, None)

    run(main())


def test_an_attempt_ends_once() -> None:
    breaker = Breaker("it", TWO, failure_if=lambda result: result == 503)
    attempt = breaker.attempt()
    attempt.succeed(503)
    with pytest.raises(InvalidState, match="ended already"):
        attempt.release()
    assert breaker.metrics().failed == 1
    breaker.attempt().release()
    breaker.attempt().fail(ValueError())
    assert (breaker.metrics().cancelled, breaker.state) == (1, State.OPEN)


# ── what kind of function ────────────────────────────────────────────────────


class Later:
    async def __call__(self) -> None:
        await failing_later()


@pytest.mark.parametrize(
    "function",
    [failing_later, functools.partial(failing_later), Later()],
    ids=["async def", "partial", "object"],
)
def test_whatever_has_to_be_awaited_is_seen_to_fail(
    function: Callable[[], Awaitable[None]],
) -> None:
    async def main() -> None:
        breaker = Breaker("it", TWO)
        guarded = breaker(function)
        for _ in range(2):
            with pytest.raises(OSError):
                await guarded()
        with pytest.raises(CircuitOpen):
            await breaker.call(lambda: failing_later())

    run(main())


def test_a_plain_function_that_returns_a_coroutine_is_refused_and_never_taken_for_a_success() -> (
    None
):
    breaker = Breaker("it", TWO)
    guarded = breaker(lambda: failing_later())
    with pytest.raises(InvalidArgument, match="returned a coroutine"):
        _ = guarded()


def generator() -> Iterator[int]:
    yield 1


async def async_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [generator, async_generator, 3, None])
def test_what_cannot_be_judged_is_refused_where_it_is_decorated(function: object) -> None:
    with pytest.raises(InvalidArgument, match=r"is a generator|goes around functions"):
        Breaker("it")(function)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Breaker(""), "name is ''"),
        (lambda: Breaker("it", 5), "config is 5; a breaker takes a BreakerConfig"),  # type: ignore[arg-type]
        (lambda: Breaker("it", failure_on="all"), "failure_on is 'all'"),  # type: ignore[arg-type]
        (lambda: Breaker("it").configure(None), "config is None"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_argument_is_refused_by_name(make: Callable[[], object], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


# ── interruptions ────────────────────────────────────────────────────────────


def test_a_call_cancelled_at_any_await_gives_its_permit_back() -> None:
    """The probe is cancelled before its first step, and at each of its three awaits."""

    async def main() -> None:
        for turns in range(6):
            breaker = Breaker("it", ONE_PROBE)
            for _ in range(2):
                breaker.attempt().fail()
            await asyncio.sleep(10.0)

            async def work() -> None:
                for _ in range(3):
                    await asyncio.sleep(0)

            task = asyncio.create_task(breaker.call(work))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            await breaker.call(work)
            assert breaker.state is State.CLOSED

    run(main())


def test_a_judge_that_raises_gives_the_permit_back_and_is_heard() -> None:
    def broken(_: object) -> bool:
        raise ZeroDivisionError

    clock = Clock()
    for kind in ("failure_on", "failure_if"):
        breaker = Breaker("it", ONE_PROBE, clock=clock, **{kind: broken})  # type: ignore[arg-type]
        for _ in range(2):
            breaker.attempt().fail()
        clock.now_s += 10.0
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                breaker.call_sync(failing if kind == "failure_on" else lambda: 1)
        assert breaker.metrics().cancelled == 3
        assert breaker.state is State.HALF_OPEN
        breaker.attempt().fail()


def test_a_listener_that_asks_the_breaker_about_itself_is_answered() -> None:
    breaker = Breaker("it", TWO)
    seen: list[State] = []
    with listening(lambda record: seen.append(breaker.metrics().state), "breaker.change"):
        for _ in range(2):
            breaker.attempt().fail()
    assert seen == [State.OPEN]


# ── threads ──────────────────────────────────────────────────────────────────


def test_a_hundred_threads_at_once_at_a_half_open_breaker_that_admits_three() -> None:
    clock = Clock()
    config = BreakerConfig(trip=ConsecutiveFailures(2), open_s=10.0, half_open_successes=200)
    breaker = Breaker("it", config, clock=clock)
    for _ in range(2):
        breaker.attempt().fail()
    clock.now_s = 10.0
    all_here, go, inside = threading.Barrier(100), threading.Event(), list[int]()

    def enter() -> None:
        inside.append(1)
        assert go.wait(30)

    def ask() -> bool:
        all_here.wait()
        try:
            breaker.call_sync(enter)
        except CircuitOpen:
            if breaker.metrics().refused == 97:
                go.set()
            return False
        return True

    with ThreadPoolExecutor(100) as pool:
        let_in = [each.result() for each in [pool.submit(ask) for _ in range(100)]]
    assert (sum(let_in), len(inside)) == (3, 3)
    assert breaker.metrics().refused == 97
    again = [breaker.attempt() for _ in range(3)]
    assert len(again) == 3, "all permits are back"


@pytest.mark.parametrize("window", [{"window_calls": 1000}, {"window_s": 86_400.0}])
def test_no_outcome_of_many_threads_is_lost_or_counted_twice(window: dict[str, float]) -> None:
    config = BreakerConfig(trip=FailureRate(100, calls_min=1000, **window))  # type: ignore[arg-type]
    breaker = Breaker("it", config)
    interval = sys.getswitchinterval()

    def work(number: int) -> None:
        for call in range(100):
            fails = (number + call) % 4 == 0
            try:
                breaker.call_sync(failing if fails else int)
            except OSError:
                assert fails

    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(work, range(10)))
    finally:
        sys.setswitchinterval(interval)
    seen = breaker.metrics()
    assert (seen.failed, seen.failure_rate) == (250, 0.25)


# ── what can be seen ─────────────────────────────────────────────────────────


def test_events_and_counters_tell_the_whole_story() -> None:
    clock, story = Clock(), list[tuple[object, ...]]()

    def note(record: Record) -> None:
        fields = record.fields
        story.append((record.name, *(fields.get(f) for f in ("was", "now", "trigger"))))

    breaker = Breaker("posts", ONE_PROBE, clock=clock)
    metrics = Metrics()
    with listening(note), listening(metrics):
        for _ in range(2):
            breaker.attempt().fail()
        with pytest.raises(CircuitOpen):
            breaker.attempt()
        clock.now_s = 10.0
        breaker.attempt().succeed()
    assert story == [
        ("breaker.change", "closed", "open", "tripped"),
        ("breaker.refuse", None, None, None),
        ("breaker.change", "open", "half-open", "waited"),
        ("breaker.change", "half-open", "closed", "recovered"),
    ]
    text = metrics.text(breaker.gauges())
    for line in (
        "sdkit_breaker_change_total 3",
        'sdkit_breaker_refused_total{breaker="posts"} 1',
        'sdkit_breaker_failed_total{breaker="posts"} 2',
        'sdkit_breaker_opened_total{breaker="posts"} 1',
        'sdkit_breaker_open_seconds_total{breaker="posts"} 10',
        'sdkit_breaker_open{breaker="posts"} 0',
    ):
        assert f"{line}\n" in text


def test_it_works_alone_in_a_program_without_a_host_or_a_loop_of_ours() -> None:
    program = (
        "import asyncio\n"
        "from sdkit.breaker import Breaker\n"
        "breaker = Breaker()\n"
        "@breaker\n"
        "async def later(): return 'async'\n"
        "@breaker\n"
        "def now(): return 'sync'\n"
        "import sys\n"
        "print(asyncio.run(later()), now(), sorted({m.split('.')[1] for m in sys.modules "
        "if m.startswith('sdkit.')}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )
    assert (
        done.stdout
        == "async sync ['arguments', 'breaker', 'disk', 'errors', 'forks', 'host', 'trace']\n"
    ), done.stderr


def test_every_gauge_says_what_it_is() -> None:
    breaker = Breaker("posts")
    for line in Metrics().text(breaker.gauges(), breaker.meanings).splitlines():
        if line.startswith("# HELP"):
            _, _, metric, meaning = line.split(" ", 3)
            assert meaning.endswith("."), f"{metric}: {meaning}"
