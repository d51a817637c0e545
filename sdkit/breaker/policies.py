"""Policies: how many failures are too many.

Two answers are in use, and one bare number ("failure threshold: 50") cannot say
which is meant. So they are two types, each named for what it counts:

    ConsecutiveFailures(5)                       five failures in a row
    FailureRate(50, window_calls=100)            half of the last 100 calls
    FailureRate(50, window_s=10)                 half of the calls of the last 10 seconds

`ConsecutiveFailures` needs no memory and no clock, and reacts at once when
everything fails. It is blind to a callee that fails every second call: one
success in between and the run begins anew. `FailureRate` sees that. It needs a
*window*, so that the past is forgotten, and a *minimum volume* (``calls_min``):
one failure out of one call is a rate of 100 % and means nothing.

    calls     . . F . F F . F F F        calls_min 10, 50 %
    failures  0 0 1 1 2 3 3 4 5 6
    rate                        60 %     with the tenth call it opens

Things to notice
    1. A count window remembers for as long as it takes: with little traffic the
       failures of this morning still count. A time window forgets by the clock,
       and with little traffic never has its minimum. Choose by your traffic.
    2. `TimeWindow` keeps ten buckets, not every call: what it costs does not depend
       on the traffic, and it looks back over nine to ten tenths of its length.
    3. Slow calls are not a third policy. A call above the slow-call limit is a
       failure like any other (`sdkit.breaker.circuit`).

The names of the ideas are those of resilience4j's CircuitBreaker (sliding window,
minimum number of calls).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument

WINDOW_CALLS_MAX: Final = 10_000
BUCKETS: Final = 10
SECOND_NS: Final = 1_000_000_000


@dataclass(frozen=True)
class ConsecutiveFailures:
    """Open after ``failures`` failures without a success in between.

    Args:
        failures: 1 to 1,000,000.

    Raises:
        InvalidArgument: it is not.
    """

    failures: int = 5

    def __post_init__(self) -> None:
        check_between("failures", self.failures, 1, 1_000_000)

    def window(self) -> Window:
        """An empty memory."""
        return ConsecutiveRun(self.failures)


@dataclass(frozen=True)
class FailureRate:
    """Open when at least ``percent`` of the calls in the window failed.

    Args:
        percent: 1 to 100. Below 1 is refused: that is a fraction, of whoever means 50 by 0.5.
        window_calls: the last so many calls, 1 to 10,000; 100 if ``window_s`` is not given either.
        window_s: instead: the calls of the last so many seconds, 0.001 to 86,400.
        calls_min: with fewer calls in the window it never opens.

    Raises:
        InvalidArgument: a value is out of range; both windows are given; or ``calls_min``
            is more than the window can ever hold.
    """

    percent: float = 50.0
    window_calls: int | None = None
    window_s: float | None = None
    calls_min: int = 10

    def __post_init__(self) -> None:
        check_between("percent", self.percent, 0.0, 100.0)
        if self.percent == 0:
            raise InvalidArgument(
                "percent is 0; it must be above 0, or the breaker would open with every call",
                name="percent",
            )
        if self.percent < 1:
            raise InvalidArgument(
                f"percent is {self.percent}, less than one call of a hundred; if that is the "
                f"fraction, give the percentage: {self.percent * 100:g}",
                name="percent",
            )
        check_between("calls_min", self.calls_min, 1, 1_000_000)
        if self.window_calls is not None and self.window_s is not None:
            raise InvalidArgument(
                f"window_calls is {self.window_calls} and window_s is {self.window_s}; "
                "a window is counted in calls or in seconds, not both",
                name="window_s",
            )
        if self.window_s is not None:
            check_between("window_s", self.window_s, 0.001, 86_400.0)
            return
        check_between("window_calls", self.calls_kept, 1, WINDOW_CALLS_MAX)
        if self.calls_min > self.calls_kept:
            raise InvalidArgument(
                f"calls_min is {self.calls_min} and the window holds {self.calls_kept} calls; "
                "the breaker could never open: lower calls_min, or raise window_calls",
                name="calls_min",
            )

    @property
    def calls_kept(self) -> int:
        """The length of the count window; meaningless with ``window_s``."""
        return 100 if self.window_calls is None else self.window_calls

    def window(self) -> Window:
        """An empty memory."""
        if self.window_s is not None:
            return TimeWindow(self.percent, round(self.window_s * SECOND_NS), self.calls_min)
        return CountWindow(self.percent, self.calls_kept, self.calls_min)


Policy = ConsecutiveFailures | FailureRate


class Window(Protocol):
    """What a breaker remembers of the calls of one generation.

    While ``success_is_harmless``, a success cannot open the breaker and changes nothing but
    the volume, which is ``volume`` (None where nobody counts it): whoever holds the window
    may draw the next number there and skip `record`.
    """

    success_is_harmless: bool
    volume: Iterator[int] | None

    def record(self, failed: bool, now_ns: int) -> bool:
        """Remember a call that has ended; True if there are now too many failures."""
        ...

    def rate(self, now_ns: int) -> tuple[int, int] | None:
        """Failures and calls in the window, or None if there is no such thing as a rate."""
        ...


class ConsecutiveRun:
    """The length of the present run of failures. Every call is O(1)."""

    def __init__(self, failures_max: int) -> None:
        self.success_is_harmless = True
        self.volume: Iterator[int] | None = None
        self._failures_max = failures_max
        self._run = 0

    def record(self, failed: bool, now_ns: int) -> bool:
        self._run = self._run + 1 if failed else 0
        self.success_is_harmless = not failed  # there is no run that it would end
        return self._run >= self._failures_max

    def rate(self, now_ns: int) -> tuple[int, int] | None:
        return None


class CountWindow:
    """The outcomes of the last calls. Every call is O(1).

    Only failures are remembered, each by its number among all calls: those of the last
    ``calls`` numbers are in the window. A success is a number that nobody keeps. Once there are
    ``calls_min`` calls it can only lower the rate, so nobody needs to look, and a healthy call
    costs one step of a counter, which threads may take at once without a lock.
    """

    def __init__(self, percent: float, calls: int, calls_min: int) -> None:
        self.success_is_harmless = True
        self._drawn: Final = itertools.count()
        self.volume: Iterator[int] | None = self._drawn
        self._looks = 0  # of what was drawn: reading a counter is drawing from it
        self._failures: Final[deque[int]] = deque()  # their numbers, from 1; the oldest first
        self._percent, self._window, self._calls_min = percent, calls, calls_min

    def record(self, failed: bool, now_ns: int) -> bool:
        next(self._drawn)
        if failed:
            self._failures.append(self._calls())
        failures, calls = self._counted()
        self.success_is_harmless = failures == 0 or calls >= self._calls_min
        return _too_many(failures, calls, self._percent, self._calls_min)

    def rate(self, now_ns: int) -> tuple[int, int] | None:
        return self._counted()

    def _counted(self) -> tuple[int, int]:
        """Failures and calls in the window. Each failure is dropped once."""
        calls = self._calls()
        while self._failures and self._failures[0] <= calls - self._window:
            self._failures.popleft()
        return len(self._failures), min(calls, self._window)

    def _calls(self) -> int:
        calls = next(self._drawn) - self._looks
        self._looks += 1
        return calls


class TimeWindow:
    """The calls of the last while, in `BUCKETS` buckets. Every call is O(1).

    A clock that steps back moves no call out of the window. By less than its length, the call
    counts as made now: threads read the clock before they take turns, and one may come late
    with its reading. By more, what is in the window ages from the new reading on.
    """

    def __init__(self, percent: float, length_ns: int, calls_min: int) -> None:
        self.success_is_harmless = False  # each has to be put into the bucket of its time
        self.volume: Iterator[int] | None = None
        self._bucket_ns = max(1, length_ns // BUCKETS)
        self._percent, self._calls_min = percent, calls_min
        self._buckets = deque([(0, 0)] * BUCKETS, maxlen=BUCKETS)  # failures, calls
        self._number: int | None = None  # of the newest bucket
        self._failures = self._calls = 0

    def record(self, failed: bool, now_ns: int) -> bool:
        self._forget_until(now_ns)
        failures, calls = self._buckets[-1]
        self._buckets[-1] = failures + failed, calls + 1
        self._failures += failed
        self._calls += 1
        return _too_many(self._failures, self._calls, self._percent, self._calls_min)

    def rate(self, now_ns: int) -> tuple[int, int] | None:
        self._forget_until(now_ns)
        return self._failures, self._calls

    def _forget_until(self, now_ns: int) -> None:
        number = now_ns // self._bucket_ns
        past = 0 if self._number is None else number - self._number
        if -BUCKETS < past < 0:
            return
        for _ in range(min(past, BUCKETS)):
            failures, calls = self._buckets[0]
            self._failures -= failures
            self._calls -= calls
            self._buckets.append((0, 0))
        self._number = number


def _too_many(failures: int, calls: int, percent: float, calls_min: int) -> bool:
    # Multiplied, not divided: 7 of 10 is 70 % exactly, 7 / 10 * 100 is a little more.
    return failures > 0 and calls >= calls_min and failures * 100 >= percent * calls
