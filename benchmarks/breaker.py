"""What a breaker costs a call that goes well, over the bare call.

Every figure is the time of a guarded call less that of the same call unguarded, measured
beside it in the same round. The limit is the least breaker that deserves the name: it
counts failures in a row and refuses until a time has passed; no window, no half-open, no
threads. The calls return at once, so nothing hides behind them.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import aiobreaker
import circuitbreaker
import interlock
import purgatory
import pybreaker

from benchmarks.harness import Bar, Contender, Kind, Work
from sdkit.breaker import Breaker, BreakerConfig, ConsecutiveFailures, FailureRate

CALLS = 5_000
TRIES = 30
ROW = BreakerConfig(trip=ConsecutiveFailures(5))
RATE = BreakerConfig(trip=FailureRate(50, window_calls=100))
SLOW = BreakerConfig(trip=FailureRate(50, window_calls=100), slow_call_s=1.0)
UNIT = "ns over the bare call"

Function = Callable[[], Any]
Guard = Callable[[Any], Any]


def table() -> list[Work]:
    return [
        Work(
            "breaker, consecutive failures, closed, async call (ns over a bare await)",
            UNIT,
            "less",
            [_ours(ROW), _async("minimal breaker, 20 lines", "limit", minimal), *_peers()],
            [Bar("limit", 1.6, at_most=True)],
        ),
        Work(
            "breaker, failure rate over a count window, closed, async call",
            UNIT,
            "less",
            [_ours(RATE), _async("minimal breaker, 20 lines", "limit", minimal), *_peers()],
            [Bar("limit", 2.5, at_most=True), Bar("best peer", 0.667, at_most=True)],
        ),
        Work(
            "breaker, with slow calls (two clock reads), closed, async call",
            UNIT,
            "less",
            [_ours(SLOW), _async("minimal breaker, 20 lines", "limit", minimal), *_peers()],
            [Bar("limit", 3.5, at_most=True)],
        ),
        Work(
            "breaker, consecutive failures, closed, sync call",
            UNIT,
            "less",
            [
                _sync("sdkit.breaker", "ours", Breaker("it", ROW)),
                _sync("minimal breaker, 20 lines", "limit", minimal_sync),
                _sync("circuitbreaker", "peer", circuitbreaker.CircuitBreaker(name="sync")),
                _sync("pybreaker", "peer", pybreaker.CircuitBreaker()),
                _sync("interlock-cb", "peer", interlock.CircuitBreaker(name="it")),
                _sync("purgatory", "peer", purgatory.SyncCircuitBreakerFactory()("it")),
            ],
            [Bar("limit", 1.6, at_most=True), Bar("best peer", 0.667, at_most=True)],
        ),
    ]


def minimal(function: Callable[[], Awaitable[Any]]) -> Callable[[], Awaitable[Any]]:
    """Failures in a row, and a time to refuse: all that can be left."""
    breaker = Minimal()

    @functools.wraps(function)
    async def guarded(*args: Any, **kwargs: Any) -> Any:
        if breaker.failures >= breaker.failures_max and time.monotonic() < breaker.open_until:
            raise RuntimeError("open")
        try:
            result = await function(*args, **kwargs)
        except Exception:
            breaker.failed()
            raise
        breaker.failures = 0
        return result

    return guarded


def minimal_sync(function: Function) -> Function:
    """The same for a plain function."""
    breaker = Minimal()

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> Any:
        if breaker.failures >= breaker.failures_max and time.monotonic() < breaker.open_until:
            raise RuntimeError("open")
        try:
            result = function(*args, **kwargs)
        except Exception:
            breaker.failed()
            raise
        breaker.failures = 0
        return result

    return guarded


class Minimal:
    """What the minimal breaker remembers."""

    def __init__(self) -> None:
        self.failures, self.failures_max, self.open_until = 0, 5, 0.0

    def failed(self) -> None:
        self.failures += 1
        if self.failures >= self.failures_max:
            self.open_until = time.monotonic() + 30


def _ours(config: BreakerConfig) -> Contender:
    return _async("sdkit.breaker", "ours", Breaker("it", config))


def _peers() -> list[Contender]:
    return [
        _async("circuitbreaker", "peer", circuitbreaker.CircuitBreaker(name="async")),
        _async(
            "aiobreaker",
            "peer",
            aiobreaker.CircuitBreaker(fail_max=5, timeout_duration=timedelta(seconds=30)),
        ),
        _async("purgatory", "peer", purgatory.AsyncCircuitBreakerFactory()("it")),
        _async("interlock-cb", "peer", interlock.CircuitBreaker(name="it")),
    ]


async def work() -> int:
    return 1


def work_sync() -> int:
    return 1


def _async(name: str, kind: Kind, guard: Guard) -> Contender:
    guarded = guard(work)
    return Contender(name, kind, lambda: asyncio.run(_over(guarded)))


async def _over(guarded: Callable[[], Awaitable[Any]]) -> float:
    # The least of many short tries: a machine that others use, too, is only ever slower.
    bare, with_guard = [], []
    for _ in range(TRIES):
        bare.append(await _each(work))
        with_guard.append(await _each(guarded))
    return min(with_guard) - min(bare)


async def _each(function: Callable[[], Awaitable[Any]]) -> float:
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        await function()
    return (time.perf_counter_ns() - began) / CALLS


def _sync(name: str, kind: Kind, guard: Guard) -> Contender:
    guarded = guard(work_sync)

    def measure() -> float:
        bare, with_guard = [], []
        for _ in range(TRIES):
            bare.append(_each_sync(work_sync))
            with_guard.append(_each_sync(guarded))
        return min(with_guard) - min(bare)

    return Contender(name, kind, measure)


def _each_sync(function: Function) -> float:
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        function()
    return (time.perf_counter_ns() - began) / CALLS
