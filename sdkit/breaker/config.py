"""Config: the thresholds of a breaker, each named for what it is.

One frozen value, checked when it is made, so that a breaker never meets a
threshold that cannot be met. `sdkit.breaker.settings` reads it from a shared
document; in a program it is written down:

    BreakerConfig(trip=FailureRate(50, window_s=10), slow_call_s=1.0, open_s=30)

The defaults are those of a remote call in the path of a user: half of the last
100 calls failed, at least 10 of them made, half a minute of rest, three probes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from sdkit.arguments import check_between, shown
from sdkit.breaker.backoff import Backoff
from sdkit.breaker.policies import ConsecutiveFailures, FailureRate, Policy
from sdkit.errors import InvalidArgument

OPEN_GROWTH_LIMIT: Final = 10  # open_max_s, in open_s, unless given


@dataclass(frozen=True, kw_only=True)
class BreakerConfig:
    """What a breaker can be told.

    Args:
        trip: when there are too many failures.
        slow_call_s: a call that took longer is a failure, whatever it returned, 0.001 to
            86,400; None: no call is too slow, and the closed breaker reads no clock.
        open_s: how long it refuses calls before it asks again, the first time, 0.001 to
            86,400. Jitter takes up to a tenth off.
        open_growth: each time in a row that asking again fails, so many times as long.
        open_max_s: but never longer than this; ten times ``open_s`` unless given.
        open_jitter: the part of the open time that is drawn, so that many breakers that
            opened together do not ask together.
        half_open_calls: how many calls may be in flight at once while it is half-open.
        half_open_successes: after so many it closes.
        half_open_s: if all of those in flight have been so for this long, the breaker opens
            again: a probe that does not come back is an answer too. ``open_s`` unless given.

    Raises:
        InvalidArgument: a value is out of range, or contradicts another; the message names it.
    """

    trip: Policy = field(default_factory=FailureRate)
    slow_call_s: float | None = None
    open_s: float = 30.0
    open_growth: float = 2.0
    open_max_s: float | None = None
    open_jitter: float = 0.1
    half_open_calls: int = 3
    half_open_successes: int = 3
    half_open_s: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.trip, ConsecutiveFailures | FailureRate):
            raise InvalidArgument(
                f"trip is {shown(self.trip)}; say what is counted: ConsecutiveFailures(10) or "
                "FailureRate(50, window_calls=100)",
                name="trip",
            )
        if self.slow_call_s is not None:
            check_between("slow_call_s", self.slow_call_s, 0.001, 86_400.0)
        check_between("open_s", self.open_s, 0.001, 86_400.0)
        check_between("open_growth", self.open_growth, 1.0, 10.0)
        check_between("open_jitter", self.open_jitter, 0.0, 1.0)
        if self.open_max_s is not None:
            check_between("open_max_s", self.open_max_s, 0.001, 864_000.0)
            if self.open_max_s < self.open_s:
                raise InvalidArgument(
                    f"open_max_s is {self.open_max_s} and open_s is {self.open_s}; "
                    "the longest open time cannot be shorter than the first",
                    name="open_max_s",
                )
        check_between("half_open_calls", self.half_open_calls, 1, 1_000_000)
        check_between("half_open_successes", self.half_open_successes, 1, 1_000_000)
        if self.half_open_s is not None:
            check_between("half_open_s", self.half_open_s, 0.001, 86_400.0)

    def open_times(self) -> Backoff:
        """How long it stays open, the first time in a row, the second, ..."""
        longest_s = self.open_max_s or OPEN_GROWTH_LIMIT * self.open_s
        return Backoff(
            first_s=self.open_s,
            max_s=longest_s,
            growth=self.open_growth,
            jitter=self.open_jitter,
        )
