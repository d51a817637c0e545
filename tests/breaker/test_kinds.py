"""Functions, clocks and answers of the wrong kind: refused when given, or when they come back."""

from __future__ import annotations

import asyncio
import copy
import functools
import pickle
import random
import sys
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest

import sdkit.breaker
from sdkit.breaker import (
    Attempt,
    Backoff,
    Breaker,
    BreakerConfig,
    Bulkhead,
    BulkheadFull,
    ConsecutiveFailures,
    Fallback,
    Layer,
    Pipeline,
    Retry,
    RetryBudget,
    Setting,
    State,
    Timeout,
    parse,
)
from sdkit.breaker.states import Trigger
from sdkit.errors import InvalidArgument, InvalidState, NotConnected
from sdkit.sim.loop import run

room: Any = sdkit.breaker  # whose functions get wrong arguments here, on purpose
AT_ONCE = Backoff(first_s=0.0, max_s=0.0)
TWO = BreakerConfig(trip=ConsecutiveFailures(2))


async def no_later(*_: object) -> bool:
    return False


def generator(*_: object) -> Iterator[int]:
    yield 1


async def async_generator(*_: object) -> AsyncIterator[int]:
    yield 1


class NoLater:
    async def __call__(self, *_: object) -> bool:
        return False


NOT_PLAIN = [
    no_later,
    functools.partial(no_later, 1),
    NoLater(),
    NoLater().__call__,
    AsyncMock(return_value=False),
    generator,
    async_generator,
    7,
    "no",
    b"",
    [],
    {},
]
WHERE: dict[str, Callable[[Any], object]] = {
    "failure_if": lambda it: Breaker(failure_if=it),
    "failure_if of a pipeline": lambda it: Pipeline(retry=Retry(), failure_if=it),
    "failure_on": lambda it: Breaker(failure_on=it),
    "retry_on": lambda it: Retry(retry_on=it),
    "on": lambda it: Fallback(default=1, on=it),
    "key": lambda it: Fallback(last_good=True, key=it),
    "clock": lambda it: Breaker(clock=it),
    "clock of a fallback": lambda it: Fallback(last_good=True, clock=it),
}


@pytest.mark.parametrize("function", NOT_PLAIN, ids=lambda it: type(it).__name__)
@pytest.mark.parametrize("where", WHERE)
def test_what_is_no_plain_function_is_refused_where_it_is_given(
    where: str, function: object
) -> None:
    with pytest.raises(InvalidArgument, match=where.split()[0] + " is"):
        WHERE[where](function)


@pytest.mark.parametrize("function", [generator, async_generator, 7, "no", no_later(), b""])
def test_a_substitute_that_cannot_be_called_or_runs_nothing_is_refused(function: object) -> None:
    with pytest.raises(InvalidArgument, match="instead is"):
        Fallback(instead=function)  # type: ignore[arg-type]


def well() -> str:
    return "well"


def down() -> str:
    raise NotConnected("down")


async def well_later() -> str:
    return "well"


async def down_later() -> str:
    raise NotConnected("down")


def a_lambda_that_gives_a_coroutine(*arguments: Any) -> Any:
    return no_later(*arguments)


def test_a_judge_whose_answer_is_to_be_awaited_is_heard_and_counts_as_nothing() -> None:
    lazy = a_lambda_that_gives_a_coroutine

    async def main() -> None:
        for judged in (Breaker("it", TWO, failure_if=lazy), Breaker("it", TWO, failure_on=lazy)):
            by_result = judged.is_bad is not None
            for _ in range(3):
                with pytest.raises(InvalidArgument, match="returned coroutine, which is true"):
                    await judged.call(well_later if by_result else down_later)
                with pytest.raises(InvalidArgument, match="it must be a plain function"):
                    judged.call_sync(well if by_result else down)
            seen = judged.metrics()
            assert (seen.state, seen.failed, seen.cancelled) == (State.CLOSED, 0, 6)
        for layer in (
            Retry(backoff=AT_ONCE, retry_on=lazy),
            Fallback(default=1, on=lazy),
            Pipeline(retry=Retry(retry_on=Exception), failure_if=lazy),
            Pipeline(fallback=Fallback(default=1, on=Exception), failure_if=lazy),
        ):
            by_result = isinstance(layer, Pipeline)
            with pytest.raises(InvalidArgument, match="returned coroutine, which is true"):
                await layer.call(well_later if by_result else down_later)
            with pytest.raises(InvalidArgument, match="returned coroutine, which is true"):
                layer.call_sync(well if by_result else down)

    run(main())


def test_a_substitute_of_the_other_kind_is_refused_and_never_given_as_the_answer() -> None:
    with pytest.raises(InvalidArgument, match="instead is no_later, an `async def`"):
        Fallback(instead=no_later).call_sync(down)
    with pytest.raises(InvalidArgument, match="instead is no_later, an `async def`"):
        Fallback(instead=no_later)(down)
    with pytest.raises(InvalidArgument, match="returned a coroutine"):
        Fallback(instead=a_lambda_that_gives_a_coroutine).call_sync(down)
    with pytest.raises(InvalidArgument, match="returned 'well' in place of an `async def`") as it:
        run(Fallback(instead=well).call(down_later))
    assert isinstance(it.value.__context__, NotConnected), "the first error is still to be seen"
    for substitute in (a_lambda_that_gives_a_coroutine, AsyncMock(return_value=False)):
        answer: object = run(Fallback(instead=substitute).call(down_later))
        assert answer is False


def test_a_default_that_somebody_would_have_to_await_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="default is a coroutine, which nobody would await"):
        Fallback(default=no_later())


# ── clocks, chance, switches ─────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: room.Breaker(clock=1), "clock is 1"),
        (lambda: room.Breaker(clock=time.monotonic), r"clock gives \d+\.\d+; .*time.monotonic_ns"),
        (lambda: room.Breaker(clock=lambda: None), "clock gives None"),
        (lambda: room.Breaker(clock=lambda: True), "clock gives True"),
        (lambda: room.Breaker(clock=lambda: no_later()), "clock gives <coroutine"),
        (lambda: room.Breaker(clock=lambda _: 1), "reading it failed: TypeError"),
        (lambda: room.Fallback(last_good=True, clock=time.time), "clock gives"),
        (lambda: room.Breaker(random=7), "random is 7"),
        (lambda: room.Breaker(random=0), "random is 0"),
        (lambda: room.Breaker(random=random), "random is <module"),
        (lambda: room.Breaker(random=random.random), "random is <built-in"),
        (lambda: room.Retry(random=7), "random is 7"),
        (lambda: room.Retry(idempotent="no"), "idempotent is 'no'; it must be True or False"),
        (lambda: room.Fallback(last_good="no"), "last_good is 'no'"),
        (lambda: room.Fallback(default=1, key=1), "key is 1"),
        (lambda: room.Breaker(None), "name is None"),
        (lambda: room.Breaker("x" * 201), "at most 200 characters"),
        (lambda: room.Breaker("\ud800"), "a UTF-8 form"),
        (lambda: room.Breaker(b"it"), "name is b'it'"),
        (lambda: room.Bulkhead("x" * 10**6), r"name is 'xxx.*1000000 long"),
        (lambda: room.Breaker().attempt().fail("down"), "error is 'down'"),
        (lambda: room.Setting(config=5), "config is 5"),
        (lambda: room.Setting(config=BreakerConfig(), force="ajar"), "force is 'ajar'"),
        (lambda: room.Setting(config=BreakerConfig(), force="tripped"), "force is 'tripped'"),
        (lambda: room.parse(7), "the settings are 7"),
        (lambda: room.parse(None), "the settings are None"),
        (lambda: room.parse({}), "the settings are {}"),
        (lambda: room.parse(b"{}", 5), "defaults is 5"),
        (lambda: room.parse(b'{"a": {}}', {"a": 5}), "defaults has 5 for a"),
        (lambda: room.Following(None, []), "source is None"),
        (lambda: room.Following(Holds(7), []), "documents is 7"),
        (lambda: room.Following(Holds(no_later), []), "async generator"),
        (lambda: room.Following(Holds(generator), []), "async generator"),
        (lambda: room.Following(Holds(async_generator), room.Breaker()), "breakers is <Breaker"),
        (lambda: room.Following(Holds(async_generator), [5]), "breakers has 5"),
        (lambda: room.Following(Holds(async_generator), [], backoff=1), "backoff is 1"),
        (lambda: room.Following(Holds(async_generator), [], patience_s="1"), "patience_s is '1'"),
    ],
)
def test_a_wrong_argument_is_refused_where_it_is_given(make: Callable[[], Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        make()


class Holds:
    """A source whose ``documents`` is whatever it is told."""

    def __init__(self, documents: Any) -> None:
        self.documents = documents


def test_operators_may_say_it_in_words() -> None:
    assert Setting(config=BreakerConfig(), force="force open").force is Trigger.FORCE_OPEN
    breaker = Breaker()
    assert breaker.state == "closed"
    breaker.force_open()
    assert (f"{breaker.state}", breaker.metrics().state) == ("forced open", "forced open")


# ── what a function returns ──────────────────────────────────────────────────

LAYERS: dict[str, Callable[[], Layer]] = {
    "Breaker": Breaker,
    "a judged Breaker": lambda: Breaker(failure_if=lambda result: False),
    "Bulkhead": Bulkhead,
    "Retry": lambda: Retry(backoff=AT_ONCE, retry_on=Exception),
    "Fallback": lambda: Fallback(default="default", last_good=True, on=Exception),
    "Pipeline": lambda: Pipeline(
        fallback=Fallback(default=1), retry=Retry(), bulkhead=Bulkhead(), breaker=Breaker()
    ),
    "a judged Pipeline": lambda: Pipeline(retry=Retry(), failure_if=lambda result: False),
}
layer = pytest.mark.parametrize("make", LAYERS.values(), ids=list(LAYERS))


def yields() -> Generator[None, None, None]:
    yield


old_coroutine: Any = types.coroutine(yields)


class Awaitable:
    def __await__(self) -> Iterator[None]:
        return iter(())


@layer
@pytest.mark.parametrize(
    "make_value",
    [
        lambda: (number for number in range(3)),
        generator,
        async_generator,
        Future,
        MagicMock,
        object,
        lambda: iter([1]),
    ],
)
def test_a_generator_that_a_plain_function_returns_is_a_result_like_any_other(
    make: Callable[[], Layer], make_value: Callable[[], object]
) -> None:
    value = make_value()
    assert make().call_sync(lambda: value) is value
    assert make()(lambda: value)() is value


@layer
@pytest.mark.parametrize("make_value", [no_later, old_coroutine, Awaitable])
def test_whatever_would_have_to_be_awaited_is_refused_by_every_layer_alike(
    make: Callable[[], Layer], make_value: Callable[[], object]
) -> None:
    calls: list[Callable[[], object]] = [
        lambda: make().call_sync(lambda: make_value()),
        lambda: make()(lambda: make_value())(),
    ]
    for call in calls:
        with pytest.raises(InvalidArgument, match=r"returned a \w+, and .* cannot see how"):
            call()

    async def main() -> None:
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(InvalidArgument, match="returned a Future, and"):
            make().call_sync(lambda: future)
        assert not future.cancelled(), "it is somebody else's"

    asyncio.run(main())


@layer
@pytest.mark.parametrize("function", [generator, async_generator, functools.partial(generator, 1)])
def test_a_generator_function_is_refused_in_every_way_of_giving_it(
    make: Callable[[], Layer], function: Callable[..., Any]
) -> None:
    for give in (
        lambda: make()(function),
        lambda: make().call_sync(function),
        lambda: make().call(function),
    ):
        with pytest.raises(InvalidArgument, match="is a generator"):
            give()


@pytest.mark.parametrize("make", [*LAYERS.values(), lambda: Timeout(1.0)])
def test_an_async_mock_is_awaited_and_a_mock_is_not(make: Callable[[], Layer]) -> None:
    mock = AsyncMock(return_value=7)
    assert run(make()(mock)(1, key=2)) == 7
    mock.assert_awaited_once_with(1, key=2)
    assert run(make().call(AsyncMock(return_value=7))) == 7
    if not isinstance(make(), Timeout):
        plain = MagicMock(return_value=7)
        assert make()(plain)(1) == 7
        plain.assert_called_once_with(1)


def test_what_can_be_read_only_once_is_no_last_good_answer() -> None:
    kept, is_down = Fallback(last_good=True, default="none"), [False]

    def rows() -> Any:
        if is_down[0]:
            raise NotConnected("down")
        return iter([1, 2])

    assert list(kept.call_sync(rows)) == [1, 2]
    is_down[0] = True
    assert kept.call_sync(rows) == "none"


# ── the key of a last good answer ────────────────────────────────────────────


class Unhashable:
    def __hash__(self) -> int:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("key", "argument"),
    [
        (None, []),
        (None, {"a": 1}),
        (None, (1, [2])),
        (None, Unhashable()),
        (lambda it: [it], 1),
        (lambda it: Unhashable(), 1),
        (lambda it: no_later(), 1),
    ],
)
@pytest.mark.parametrize("is_down", [False, True])
def test_a_key_that_cannot_be_is_told_before_the_call_is_made(
    key: Any, argument: object, is_down: bool
) -> None:
    calls: list[object] = []

    def ask(it: object) -> str:
        calls.append(it)
        return down() if is_down else well()

    async def ask_later(it: object) -> str:
        return ask(it)

    kept = Fallback(last_good=True, default="none", key=key)
    with pytest.raises(InvalidArgument, match=r"cannot be kept|key returned a coroutine"):
        kept.call_sync(ask, argument)
    with pytest.raises(InvalidArgument, match=r"cannot be kept|key returned a coroutine"):
        run(kept.call(ask_later, argument))
    with pytest.raises(InvalidArgument, match=r"cannot be kept|key returned a coroutine"):
        kept.call_sync(ask, it=argument)
    assert calls == []
    assert Fallback(default="none").call_sync(ask, argument) == ("none" if is_down else "well")


def test_an_argument_nested_too_deep_to_be_a_key_is_told_before_the_call() -> None:
    deep: tuple[Any, ...] = ()
    for _ in range(100_000):
        deep = (deep,)
    with pytest.raises(InvalidArgument, match="cannot be kept"):
        Fallback(last_good=True).call_sync(lambda it: 1, deep)
    while deep:  # taken apart by hand: its own end would be as deep
        (deep,) = deep


def a_coroutine_of() -> Coroutine[Any, Any, bool]:
    return no_later()


def test_a_coroutine_in_place_of_a_function_says_so() -> None:
    with pytest.raises(InvalidArgument, match=r"no_later\(\.\.\.\) has been called already"):
        Breaker(failure_if=a_coroutine_of())  # type: ignore[arg-type]


# ── what people really hand over ─────────────────────────────────────────────


@pytest.mark.parametrize("make", [*LAYERS.values(), lambda: Timeout(1.0)])
def test_a_function_may_have_arguments_of_any_name(make: Callable[[], Layer]) -> None:
    async def later(*, self: int, function: int) -> int:
        return self + function

    def now(*, self: int, function: int) -> int:
        return self + function

    async def main() -> int:
        return await make().call(later, self=1, function=2)

    assert run(main()) == run(make()(later)(self=1, function=2)) == 3
    if not isinstance(make(), Timeout):
        assert make().call_sync(now, self=1, function=2) == make()(now)(self=1, function=2) == 3


@layer
def test_a_static_method_is_of_the_kind_of_its_function(make: Callable[[], Layer]) -> None:
    part = make()

    class Client:
        @part
        @staticmethod
        async def outside() -> int:
            return 1

        @staticmethod
        @part
        async def inside() -> int:
            return 2

    assert (run(Client.outside()), run(Client.inside())) == (1, 2)


class Proxy:
    """Stands for something that is not there yet, as proxies of web frameworks do."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError("working outside of a request")

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("working outside of a request")


@layer
def test_a_result_is_not_asked_what_it_is(make: Callable[[], Layer]) -> None:
    proxy = Proxy()
    assert make().call_sync(lambda: proxy) is proxy


@layer
def test_a_layer_is_neither_copied_nor_pickled_and_says_what_to_do(
    make: Callable[[], Layer],
) -> None:
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InvalidState, match="make another one where it is needed"):
            attempt(make())


@pytest.mark.parametrize("make", [RetryBudget, lambda: Breaker("it").attempt()])
def test_a_budget_and_an_attempt_are_not_copied_either(make: Callable[[], object]) -> None:
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(InvalidState, match="make another one where it is needed"):
            attempt(make())


def test_an_attempt_that_two_threads_end_at_once_ends_once() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)

    def end(attempt: Attempt) -> bool:
        try:
            attempt.fail()
        except InvalidState:
            return False
        return True

    breaker = Breaker("it", BreakerConfig(trip=ConsecutiveFailures(10**6)))
    try:
        with ThreadPoolExecutor(4) as pool:
            for _ in range(50):
                assert sum(pool.map(end, [breaker.attempt()] * 4)) == 1
    finally:
        sys.setswitchinterval(interval)
    assert breaker.metrics().failed == 50


def test_a_bulkhead_that_is_left_too_often_says_so_and_has_no_place_more() -> None:
    bulkhead = Bulkhead(calls_max=1, waiting_max=0)
    with pytest.raises(InvalidState, match="left more often than it was entered"):
        bulkhead.__exit__(None, None, None)
    with bulkhead, pytest.raises(BulkheadFull):
        bulkhead.__enter__()


def test_a_name_that_a_document_gives_twice_spoils_its_entry_and_no_other() -> None:
    settings = parse(
        b'{"a": {"open_s": 1}, "b": {"open_s": 2, "open_s": 3}, "c": {"open_s": 4}, "a": {}}'
    )
    assert set(settings.good) == {"c"}
    assert settings.bad == {
        "a": "'a' is there twice; leave one out",
        "b": "'open_s' is there twice; leave one out",
    }
