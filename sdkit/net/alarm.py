"""Alarm: one timer for a connection, set to the earliest instant that anybody waits for.

Deadlines of calls, signs of life, time-outs of streams: most of them are over before
they come. So there is one timer, and it goes off too early rather than too late: what
is behind it looks at the clock and says when to look next.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Final

from sdkit.net.deadlines import NEVER_NS
from sdkit.net.limits import SECOND_NS


class Alarm:
    """Calls ``ring`` with the time, once for each setting.

    Attributes:
        at_ns: when it goes off next, in the event loop's time; `NEVER_NS` if it is not set.
        context: ``ring`` is called in it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, ring: Callable[[int], None]) -> None:
        self.at_ns = NEVER_NS
        self.context = contextvars.copy_context()
        self._loop: Final = loop
        self._ring: Callable[[int], None] | None = ring
        self._timer: asyncio.TimerHandle | None = None

    def bring_forward(self, at_ns: int) -> None:
        """Go off at ``at_ns``, if that is earlier than what it is set to."""
        if at_ns < self.at_ns and self._ring is not None:
            if self._timer is not None:
                self._timer.cancel()
            self.at_ns = at_ns
            at_s = at_ns / SECOND_NS
            self._timer = self._loop.call_at(at_s, self._go_off, context=self.context)

    def stop(self) -> None:
        """Go off no more, and let go of ``ring``."""
        if self._timer is not None:
            self._timer.cancel()
        self._ring = self._timer = None

    def _go_off(self) -> None:
        # The clock, a float, may read a little less than the instant that was asked for.
        now_ns = max(int(self._loop.time() * SECOND_NS), self.at_ns)
        self.at_ns = NEVER_NS
        if self._ring is not None:
            self._ring(now_ns)
