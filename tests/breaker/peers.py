"""Other people's breakers, as the specification wants them.

Each is given what it can be told of `Wanted`; for what it has no word for, the adapter
skips (`unittest.SkipTest`), which is no failure. Their clocks are set to virtual time.
"""

from __future__ import annotations

import asyncio
import datetime as dates
import itertools
import unittest
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import aiobreaker
import circuitbreaker
import interlock
import purgatory
import pybreaker
from purgatory.domain.model import OpenedState

from sdkit.spec.breaker import Subject, Wanted, breaker
from sdkit.spec.breaker_calls import OPEN_S
from tests.spec.bite import fewer

Function = Callable[[], Coroutine[Any, Any, Any]]
Make = Callable[[Wanted], Subject]

_serial = itertools.count()


class Calls:
    """A subject made of a function that makes calls."""

    def __init__(self, call: Callable[[Function], Coroutine[Any, Any, Any]]) -> None:
        self._call = call

    def call(self, function: Function) -> Coroutine[Any, Any, Any]:
        return self._call(function)


def has_no(wanted: Wanted, *names: str) -> None:
    """Skip if one of these thresholds is asked for."""
    asked = [name for name in names if getattr(wanted, name) != getattr(Wanted(), name)]
    if asked:
        raise unittest.SkipTest(f"it cannot be told {', '.join(asked)}")


def make_circuitbreaker(wanted: Wanted) -> Subject:
    """circuitbreaker: consecutive failures; half-open lets everybody in."""
    has_no(wanted, "percent", "slow_call_s", "half_open_calls", "half_open_successes")
    has_no(wanted, "half_open_s", "bad_result")
    guard = circuitbreaker.CircuitBreaker(
        failure_threshold=wanted.failures,
        recovery_timeout=OPEN_S,
        expected_exception=wanted.counts,
        name=f"subject {next(_serial)}",
    )

    async def call(function: Function) -> Any:
        return await guard.decorate(function)()

    return Calls(call)


def make_pybreaker(wanted: Wanted) -> Subject:
    """pybreaker: consecutive failures, for plain functions; a coroutine through its block."""
    has_no(wanted, "percent", "slow_call_s", "half_open_calls", "half_open_s", "bad_result")
    guard = pybreaker.CircuitBreaker(
        fail_max=wanted.failures or 1,
        reset_timeout=OPEN_S,
        success_threshold=wanted.half_open_successes,
        exclude=[lambda error: not isinstance(error, wanted.counts)],
        throw_new_error_on_trip=False,
    )

    async def call(function: Function) -> Any:
        with guard.calling():
            return await function()

    return Calls(call)


def make_aiobreaker(wanted: Wanted) -> Subject:
    """aiobreaker: pybreaker's ways for coroutines."""
    has_no(wanted, "percent", "slow_call_s", "half_open_calls", "half_open_successes")
    has_no(wanted, "half_open_s", "bad_result", "counts")
    guard = aiobreaker.CircuitBreaker(
        fail_max=wanted.failures, timeout_duration=dates.timedelta(seconds=OPEN_S)
    )

    async def call(function: Function) -> Any:
        try:
            return await guard.call_async(function)
        except aiobreaker.CircuitBreakerError as error:
            # The call that opens it is reported as refused, though it was made. Its own error
            # is the cause: without this, nothing else could be judged.
            raise error.__cause__ or error from None

    return Calls(call)


def make_purgatory(wanted: Wanted) -> Subject:
    """purgatory: consecutive failures; half-open lets everybody in."""
    has_no(wanted, "percent", "slow_call_s", "half_open_calls", "half_open_successes")
    has_no(wanted, "half_open_s", "bad_result")
    factory = purgatory.AsyncCircuitBreakerFactory(
        default_threshold=wanted.failures or 1,
        default_ttl=OPEN_S,
        exclude=[(Exception, lambda error: not isinstance(error, wanted.counts))],
    )

    async def call(function: Function) -> Any:
        async with await factory.get_breaker("subject"):
            return await function()

    return Calls(call)


def make_interlock(wanted: Wanted) -> Subject:
    """interlock-cb: rates over windows. A run of failures is a full window of them."""
    has_no(wanted, "half_open_s")
    if wanted.half_open_successes < wanted.half_open_calls:
        raise unittest.SkipTest("it makes as many probes as it needs successes, and no more")

    class Classifier:
        def is_failure(self, *, result: object, exception: Exception | None) -> bool:
            if exception is not None:
                return isinstance(exception, wanted.counts)
            return wanted.bad_result is not None and result == wanted.bad_result

    if wanted.failures is not None:
        rate, size, least = 1.0, wanted.failures, wanted.failures
    else:
        assert wanted.percent is not None
        rate, least = wanted.percent / 100, wanted.calls_min
        size = wanted.window_calls or int(wanted.window_s or 0)
    config = interlock.Config(
        failure_rate_threshold=rate,
        minimum_number_of_calls=least,
        window_size=size,
        window_type=interlock.WindowType.TIME_BASED
        if wanted.window_s
        else interlock.WindowType.COUNT_BASED,
        slow_call_duration_threshold=wanted.slow_call_s or 1e9,
        slow_call_rate_threshold=rate,
        wait_duration_in_open=OPEN_S,
        permitted_calls_in_half_open=wanted.half_open_successes,
        max_concurrent_probes=wanted.half_open_calls,
    )
    guard = interlock.CircuitBreaker(name="subject", config=config, classifier=Classifier())

    async def call(function: Function) -> Any:
        return await guard.call(function)

    return Calls(call)


PEERS: dict[str, tuple[Make, type[Exception]]] = {
    "aiobreaker": (make_aiobreaker, aiobreaker.CircuitBreakerError),
    "circuitbreaker": (make_circuitbreaker, circuitbreaker.CircuitBreakerError),
    "interlock-cb": (make_interlock, interlock.CircuitOpenError),
    "purgatory": (make_purgatory, OpenedState),
    "pybreaker": (make_pybreaker, pybreaker.CircuitBreakerError),
}


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@contextmanager
def in_virtual_time() -> Iterator[None]:
    """Two of them ask the datetime type, and one has taken the function out of its module."""

    class Datetime(dates.datetime):
        @classmethod
        def now(cls, tz: dates.tzinfo | None = None) -> Any:
            return dates.datetime.fromtimestamp(asyncio.get_running_loop().time(), tz)

        @classmethod
        def utcnow(cls) -> Any:
            return cls.now(dates.UTC).replace(tzinfo=None)

    with (
        mock.patch.object(pybreaker, "datetime", Datetime),
        mock.patch("aiobreaker.state.datetime", Datetime),
        mock.patch("aiobreaker.circuitbreaker.datetime", Datetime),
        mock.patch.object(circuitbreaker, "monotonic", _loop_time),
    ):
        yield


def verdicts(peer: str) -> dict[str, str]:
    """What becomes of each property: kept, fails, or cannot be told."""
    make, refused = PEERS[peer]
    spec = fewer(breaker(make, refused=refused), 40)
    found = {}
    for name in unittest.TestLoader().getTestCaseNames(spec):
        result = unittest.TestResult()
        with in_virtual_time():
            spec(name).run(result)
        found[name] = (
            "cannot be told" if result.skipped else "kept" if result.wasSuccessful() else "fails"
        )
    return found
