"""Asking: the calls and streams that this side has made, until each has its one end.

Every call ends exactly once: with its result, with an error from the peer, by
its deadline, because its caller gave up, or with the connection. Whoever comes
first takes the entry out of the table; whoever comes later finds nothing.

Three things to notice
    1. *Ids only grow.* So one comparison tells an answer that comes late
       (its call was given up; ignore it) from an answer to a call that was
       never made (the peer is confused; end the connection).
    2. *"Did it happen?"* `abandon` decides from the id alone: a call above the
       last one that left this machine, or above the last one that the peer
       says it looked at, did not happen. For the others nobody knows.
    3. *A stream has credit in bytes.* We grant a window; the peer sends while
       some is left, and the item that overdraws it is the last until half a
       window has been used up here. What a slow reader holds up is one window
       and one item, however long the stream.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic

from sdkit.arguments import shown as value_shown
from sdkit.errors import DeadlineExceeded, InvalidArgument, ProtocolError, SdkitError, from_wire
from sdkit.net.deadlines import NEVER_NS, Deadlines
from sdkit.net.limits import nanoseconds
from sdkit.rpc.frames import SIMPLE
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import (
    CANCEL,
    CREDIT,
    STREAM,
    Answered,
    Ended,
    Event,
    Failed,
    Item,
    W,
    shown,
)
from sdkit.rpc.outbox import Outbox
from sdkit.trace import SpanContext


@dataclass(slots=True)
class Reading:
    """A stream that we read: what the peer may still send, and what was used up since."""

    credit: int
    consumed: int = 0


class Asking(Generic[W]):
    """What we have asked the peer for.

    Args:
        outbox: where messages go.
        limits: of them, the window of a stream and the keep-alive.
        refusal: why no call can be made yet.
    """

    def __init__(self, outbox: Outbox, limits: Limits, refusal: Callable[[], SdkitError]) -> None:
        self.pending: Final[dict[int, W]] = {}
        self.deadlines: Final = Deadlines(self.pending)
        self.refusal: Callable[[], SdkitError] | None = refusal  # why no call can be made now
        self.last_id = 0
        self.sent_id = 0  # the last one that has left this machine
        self.waiting_ns = 0  # since when there has been something pending
        self.wake_ns = NEVER_NS
        self._outbox = outbox
        self._window = limits.stream_window_bytes
        self._keepalive_ns = nanoseconds(limits.keepalive_s)
        self._reading: dict[int, Reading] = {}

    def call(
        self,
        kind: int,
        method: str,
        arguments: tuple[object, ...],
        waiter: W | None,
        now_ns: int,
        deadline_ns: int | None = None,
        trace: SpanContext | None = None,
    ) -> int:
        """Ask the peer for something; the id to `cancel` it with.

        Args:
            kind: CALL, NOTIFY or STREAM.
            waiter: comes back in the events about this call; None for NOTIFY.

        Raises:
            NotConnected, Closed: the connection is over, or takes no new calls.
            InvalidArgument, LimitExceeded: it cannot be sent. In no case was
                anything sent.
        """
        if self.refusal is not None:
            raise self.refusal()
        if type(method) is not str and not isinstance(method, str):
            raise InvalidArgument(f"method is {value_shown(method)}; it must be a name, as text")
        is_simple = True
        for value in arguments:  # a loop: half of what one call of issuperset(map(...)) takes
            if type(value) not in SIMPLE:
                is_simple = False
        id_ = self.last_id + 1
        left_ns = None if deadline_ns is None else max(0, deadline_ns - now_ns)
        if kind == STREAM:
            self._outbox.put(
                (kind, id_, method, arguments, left_ns, trace, self._window),
                is_simple=is_simple,
            )
            self._reading[id_] = Reading(self._window)
        else:
            message = (kind, id_, method, arguments, left_ns, trace)
            self._outbox.put(message, is_simple=is_simple)
        self.last_id = id_
        if waiter is not None:
            if not self.pending:
                self.waiting_ns = now_ns
                self.wake_ns = min(self.wake_ns, now_ns + self._keepalive_ns)
            self.pending[id_] = waiter
            if deadline_ns is not None:
                self.deadlines.add(id_, deadline_ns)
                if self.deadlines.wake_ns < self.wake_ns:
                    self.wake_ns = self.deadlines.wake_ns
        return id_

    def cancel(self, id_: int) -> None:
        """Nobody here waits for the answer any more: forget it and tell the peer."""
        if self._take(id_) is not None:
            self._outbox.put((CANCEL, id_))

    def consumed(self, id_: int, size_bytes: int) -> None:
        """The reader has used up an item; grant new credit once that makes half a window."""
        reading = self._reading.get(id_)
        if reading is None:
            return
        reading.consumed += size_bytes
        if reading.consumed >= self._window // 2:
            reading.credit += reading.consumed
            self._outbox.put((CREDIT, id_, reading.consumed))
            reading.consumed = 0

    def expire(self, now_ns: int, events: list[Event[W]]) -> None:
        """Give up what has no time left."""
        for id_ in self.deadlines.expire(now_ns):
            error = DeadlineExceeded(f"no answer from {self._outbox.peer} in the time given")
            events.append(Failed(self.pending[id_], error))
            self.cancel(id_)
        self.wake_ns = self.deadlines.wake_ns  # the session adds the keep-alive

    def abandon(self, after_id: int, error: SdkitError) -> list[Failed[W]]:
        """End every call above ``after_id`` with ``error``."""
        ids = [id_ for id_ in self.pending if id_ > after_id]
        return [Failed(waiter, error) for id_ in ids if (waiter := self._take(id_)) is not None]

    def refuse_next(self, after_id: int, error: SdkitError) -> list[Failed[W]]:
        """End the first call above ``after_id`` with ``error``."""
        waiter = self._take(after_id + 1)
        return [] if waiter is None else [Failed(waiter, error)]

    # ------------------------------------------------------------- what the peer says

    def on_result(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        id_ = message[1]
        if type(id_) is not int or id_ in self._reading:
            raise ProtocolError(f"a RESULT for call {shown(id_)}, which was not made")
        waiter = self.pending.pop(id_, None)
        if waiter is None:
            self._check_was_asked(id_)
        else:
            events.append(Answered(waiter, message[2]))

    def on_error(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        match message:
            case [_, int(id_), str(kind), str(code), str(text), dict(fields), *_]:
                waiter = self._take(id_)
            case _:
                raise ProtocolError("a malformed ERROR")
        if waiter is None:
            self._check_was_asked(id_)
        else:
            events.append(Failed(waiter, from_wire(kind, code, text, fields)))

    def on_item(self, message: list[object], size: int, events: list[Event[W]]) -> None:
        reading, id_ = self._stream(message)
        if reading is None:
            return
        if reading.credit <= 0:
            raise ProtocolError(f"stream {id_} goes on without credit")
        reading.credit -= size
        events.append(Item(self.pending[id_], message[2], size))

    def on_end(self, message: list[object], _size: int, events: list[Event[W]]) -> None:
        reading, id_ = self._stream(message)
        if reading is not None and (waiter := self._take(id_)) is not None:
            events.append(Ended(waiter))

    def _stream(self, message: list[object]) -> tuple[Reading | None, int]:
        """The stream that a message is about; None if nobody reads it any more."""
        id_ = message[1]
        if type(id_) is not int:
            raise ProtocolError("an answer whose id is not a number")
        reading = self._reading.get(id_)
        if reading is None:
            if id_ in self.pending:
                raise ProtocolError(f"call {id_} is answered as if it were a stream")
            self._check_was_asked(id_)
        return reading, id_

    def _check_was_asked(self, id_: int) -> None:
        """An answer may come late; but not to what was never asked."""
        if not 1 <= id_ <= self.last_id:
            raise ProtocolError(f"an answer to call {id_}, which was never made")

    def _take(self, id_: int) -> W | None:
        self._reading.pop(id_, None)
        return self.pending.pop(id_, None)
