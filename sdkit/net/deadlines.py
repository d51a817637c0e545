"""Deadlines: where a deadline travels, and how thousands of them expire with one timer.

A call that nobody waits for any more still costs its server work. So a call
says how much time is left for it; when that is over, the caller stops waiting
and the handler at the other end is cancelled, and so is whatever the handler
has called in turn.

Two ideas
    1. *What travels is time left, never an instant*: two machines do not agree
       on what time it is, but a second lasts about as long on both. `remaining`
       is what a handler has left; a call that it makes gets no more than that,
       although nobody passes it on: the deadline lies in a ``ContextVar``,
       which tasks inherit.

           client ── 500 ms left ──> A ── 380 ms left ──> B

    2. *Deadlines almost never expire*: the answer comes first. A timer per
       call (``call_later`` and cancel) costs a quarter of a call, for nothing.
       `Deadlines` rounds each deadline up to a tick of 50 ms and notes the id
       there; nothing at all is done when the call ends. There is one timer,
       for the earliest tick. Nothing expires early, or more than a tick late.

Ids of calls that have ended would pile up in ticks far away (an hour's deadline,
ten thousand calls a second). So when the notes are twice as many as the calls
in flight, and some, they are gone through once: still one step per call.

gRPC calls it deadline propagation: https://grpc.io/docs/guides/deadlines/.
The ticks are a timing wheel (Varghese and Lauck, 1987) whose slots are a dict.
"""

from __future__ import annotations

from collections.abc import Container
from contextvars import ContextVar
from typing import Final

TICK_NS: Final = 50_000_000
NOTES_MIN: Final = 1000
NEVER_NS: Final = 1 << 63

_deadline_ns: Final[ContextVar[int | None]] = ContextVar("sdkit_deadline", default=None)

# The deadline of the running handler, in nanoseconds of the event loop's clock;
# None outside handlers, and in those of callers that are ready to wait for ever.
inherited = _deadline_ns.get
inherit = _deadline_ns.set
disinherit = _deadline_ns.reset


def tighter(now_ns: int, time_left_ns: int | None) -> int | None:
    """When a call made now must be over: by its own limit or the inherited one, the earlier."""
    outer_ns = _deadline_ns.get()
    if time_left_ns is None:
        return outer_ns
    own_ns = now_ns + time_left_ns
    return own_ns if outer_ns is None or own_ns < outer_ns else outer_ns


class Deadlines:
    """Ids that expire, by tick. Adding is O(1), on average.

    Args:
        alive: tells which ids still matter; the others never expire. An id is
            not used twice.
    """

    def __init__(self, alive: Container[int]) -> None:
        self.wake_ns = NEVER_NS  # when to call `expire` next; perhaps too early, never too late
        self._alive = alive
        self._ticks: dict[int, list[int]] = {}  # tick -> ids, in order of asking
        self._notes = 0
        self._notes_max = NOTES_MIN

    def __len__(self) -> int:
        """Ids noted, those that have ended included."""
        return self._notes

    def add(self, id_: int, deadline_ns: int) -> None:
        """Let ``id_`` expire at ``deadline_ns``, or up to a tick later."""
        tick = -(-deadline_ns // TICK_NS)
        ids = self._ticks.get(tick)
        if ids is None:
            self._ticks[tick] = [id_]
            self.wake_ns = min(self.wake_ns, tick * TICK_NS)
        else:
            ids.append(id_)
        self._notes += 1
        if self._notes > self._notes_max:
            self._sweep()

    def expire(self, now_ns: int) -> list[int]:
        """Take out what has expired and is alive, the earliest tick first. O(ticks + expired)."""
        due = sorted(tick for tick in self._ticks if tick * TICK_NS <= now_ns)
        noted = [id_ for tick in due for id_ in self._ticks.pop(tick)]
        self._notes -= len(noted)
        self.wake_ns = min(self._ticks) * TICK_NS if self._ticks else NEVER_NS
        return [id_ for id_ in noted if id_ in self._alive]

    def _sweep(self) -> None:
        """Forget the ids that have ended; wait with the next time until it is worth it again."""
        alive = self._alive
        for tick, ids in list(self._ticks.items()):
            left = [id_ for id_ in ids if id_ in alive]
            if left:
                self._ticks[tick] = left
            else:
                del self._ticks[tick]
        self._notes = sum(map(len, self._ticks.values()))
        self._notes_max = NOTES_MIN + 2 * self._notes
