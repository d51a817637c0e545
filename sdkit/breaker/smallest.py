"""The smallest circuit breaker: after some failures in a row, refuse calls for a while.

A callee that is down costs each of its callers the time-out. After some failures in a
row the breaker *opens*: it refuses calls at once and does not ask the callee. After
``open_s`` it is *half-open*: a call may try again. A success closes the breaker.

    $ python -m sdkit.breaker.smallest
    0 s  failed
    1 s  failed
    2 s  failed
    3 s  refused, in no time
    4 s  refused, in no time
       (the callee is well again)
    12 s  well
    13 s  well
    the callee was asked 5 times of 7

What it gets wrong, and where that is answered
    1. Half-open lets everybody in: a hundred callers ask at once, and the callee has
       only just recovered. `circuit` lets in a fixed number, and closes after a fixed number of
       successes.
    2. A late answer counts in the state of that moment. It belongs to the state in which
       its call began. `circuit` numbers its generations, and ignores what is from an old one.
    3. Only failures in a row count; a callee that fails every second time goes on for
       ever. `policies` has rates over a window.
    4. A slow answer is a success. `config` has ``slow_call_s``.
    5. Every exception counts, even a caller's own mistake. No result counts, not even an
       answer 503. `judging` lets the caller decide.
    6. All breakers that opened together try again together. `backoff` has growing,
       random pauses. (No property sees it: the specification has one breaker.)
    7. Threads that call at once can miscount. `breaker` has a lock. (No property sees it
       either: it runs on one thread.)

The specification of the room is run against this file. It fails at numbers 1 to 5 only
(``tests/breaker/test_smallest.py``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


class CircuitOpen(Exception):
    """The call was refused; nothing was asked."""


class SmallestBreaker:
    """A circuit breaker for the calls of one callee."""

    def __init__(
        self, failures: int, open_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.failures, self.open_s, self.clock = failures, open_s, clock
        self.in_a_row = 0
        self.open_until = 0.0  # counts only once there were ``failures`` in a row

    async def call(self, function: Callable[[], Awaitable[T]]) -> T:
        """Call ``function``; raise `CircuitOpen` instead while the breaker is open."""
        if self.in_a_row >= self.failures and self.clock() < self.open_until:
            raise CircuitOpen
        try:
            answer = await function()
        except Exception:
            self.in_a_row += 1
            self.open_until = self.clock() + self.open_s
            raise
        self.in_a_row = 0
        return answer


async def main() -> None:
    """Show it at work, with a clock that we turn by hand."""
    now, asked = 0.0, 0

    async def callee() -> str:
        nonlocal asked
        asked += 1
        if now < 5:
            raise ConnectionError
        return "well"

    breaker = SmallestBreaker(failures=3, open_s=10, clock=lambda: now)
    for now in (0, 1, 2, 3, 4, 12, 13):
        if now == 12:
            print("   (the callee is well again)")
        try:
            print(f"{now} s  {await breaker.call(callee)}")
        except ConnectionError:
            print(f"{now} s  failed")
        except CircuitOpen:
            print(f"{now} s  refused, in no time")
    print(f"the callee was asked {asked} times of 7")


if __name__ == "__main__":
    asyncio.run(main())
