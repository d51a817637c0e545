"""Clocks: what a machine takes the time to be, while the world knows better.

Two machines never agree on the time. One clock was set wrong, one runs fast,
one is put right in the middle of a wait. Code that compares two machines'
stamps, or measures a duration with a clock that can be set, works on every desk
and fails in production. Here each machine has a `Clock` of its own:

    true time (the world's)   0 s ........ 10 s ........ 20 s
    monotonic, drift 1 %      0            10.1          20.2
    wall, set back at 10 s    offset       offset+10.1   offset+20.2-3600

Things to notice
    1. Drift is of the oscillator, so both clocks have it: timers and sleeps on
       that machine are fast or slow by as much. A jump is of the wall clock
       alone: whoever uses the monotonic one for durations does not notice.
    2. A timer is set for an instant of its own machine's clock. When the drift
       changes meanwhile, that instant comes at another true time
       (`Clock.true_time`, and ``on_change`` for whoever holds the timers).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Final

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument

EPOCH_NS: Final = 946_684_800_000_000_000  # the first of January 2000, UTC
JUMP_S_MAX: Final = 1e10  # three hundred years
DRIFT_MAX: Final = 1_000.0
STEP_S: Final = 1e-9  # what the simulation's instants are whole multiples of


class Clock:
    """The two clocks of one machine.

    Args:
        offset_s: how far the wall clock is wrong to begin with.
        drift: how much too fast both run, above -1: 0.01 gains a second in a
            hundred, -0.01 loses one.
    """

    def __init__(self, *, offset_s: float = 0.0, drift: float = 0.0) -> None:
        check_between("offset_s", offset_s, -JUMP_S_MAX, JUMP_S_MAX)
        self._offset_s = offset_s
        self._rate = _rate(drift)
        self._true_s = self._monotonic_s = 0.0  # when the drift last changed
        self._now: Callable[[], float] = _zero
        self._on_change: Callable[[Clock], None] = _nothing

    def start(self, now: Callable[[], float], on_change: Callable[[Clock], None]) -> None:
        """Begin to follow the world.

        Args:
            now: reads the true time, in seconds.
            on_change: called after each change of the drift, with the clock as it was.
        """
        self._now, self._on_change = now, on_change

    @property
    def drift(self) -> float:
        """How much too fast it runs; may be set at any time."""
        return self._rate - 1.0

    @drift.setter
    def drift(self, value: float) -> None:
        now, before = self._now(), copy.copy(self)
        self._true_s, self._monotonic_s = now, self.monotonic(now)
        self._rate = _rate(value)
        self._on_change(before)

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward, or back if negative; at most `JUMP_S_MAX` at once."""
        check_between("seconds", seconds, -JUMP_S_MAX, JUMP_S_MAX)
        self._offset_s += seconds

    def monotonic(self, true_s: float) -> float:
        """What the monotonic clock shows at a true time, not before the last change of drift."""
        return self._monotonic_s + (true_s - self._true_s) * self._rate

    def wall_ns(self, true_s: float) -> int:
        """What the wall clock shows, in nanoseconds since 1970."""
        return EPOCH_NS + round((self.monotonic(true_s) + self._offset_s) * 1e9)

    def true_time(self, monotonic_s: float) -> float:
        """The first instant at which the monotonic clock shows ``monotonic_s`` or more."""
        true_s = self._true_s + (monotonic_s - self._monotonic_s) / self._rate
        # A timer that fires a rounding error too early would be set again, for no time at all.
        while self.monotonic(true_s) < monotonic_s:
            true_s += max(STEP_S, math.ulp(true_s))
        return true_s


def _rate(drift: float) -> float:
    if not -1.0 < drift < DRIFT_MAX:
        raise InvalidArgument(
            f"drift is {drift}; it must be above -1, where a clock stands still, and below "
            f"{DRIFT_MAX:g}"
        )
    return 1.0 + drift


def _zero() -> float:
    return 0.0


def _nothing(_: Clock) -> None:
    pass
