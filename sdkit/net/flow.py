"""Flow: how much may be said now, when what was said leaves, and whether we read on.

A socket takes what it is given, and the kernel sends it when the peer has read
what came before. A peer that does not read makes the rest pile up here, so
whoever says much asks first:

    has_room()               nobody has to wait
    await wait_for_room()    until the peer has read enough
    flush_soon()             what is in the outbox leaves at the end of this turn

A connection that must do something when bytes leave says so (``take``, ``flushed``);
one that cannot wait is called back (`Flow.call_when_room`).

Two things to notice
    1. *One write per turn, and per 32 messages.* What is said in a turn gathers in
       the outbox and leaves in one ``send``. But no later than after 32 messages:
       while the peer works on the first half we make the second, and two processes
       are twice as fast as two that take turns.
    2. *A close waits for the last bytes, and not for ever.* The peer may never take
       them; after `FLUSH_S`, or what was asked for, the connection is cut.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Final

from sdkit.net.outbox import Outbox

PARTS_PER_WRITE: Final = 2 * 32  # a message has two, its length and itself
FLUSH_S: Final = 1.0  # how long a closing connection may take to send its last bytes


class Flow:
    """Bytes in and out of a connection, which makes it and tells it what happens.

    Args:
        outbox: where what is said gathers.
        room_bytes: waiting to be sent, above which there is no room.
        take: what to send now; ``outbox.take`` unless given.
        flushed: called at the end of each turn in which something was to be sent.

    Attributes:
        transport: None before the connection is made, and once it has ended.
        paused: the peer leaves more than ``room_bytes`` unread.
        is_reading: what the peer says is read.
        turn_ns: for whoever says much in one turn, the time as read in it; 0 in a new one.
        context: what is called later on behalf of the connection runs in it.
    """

    def __init__(
        self,
        outbox: Outbox,
        room_bytes: int,
        loop: asyncio.AbstractEventLoop,
        *,
        take: Callable[[], bytes] | None = None,
        flushed: Callable[[], None] | None = None,
    ) -> None:
        self.transport: asyncio.Transport | None = None
        self.paused = False
        self.is_reading = True
        self.turn_ns = 0
        self.context = contextvars.copy_context()
        self._outbox: Final = outbox
        self._room_bytes: Final = room_bytes
        self._loop: Final = loop
        self._take: Callable[[], bytes] = take or outbox.take
        self._flushed = flushed
        self._is_due = False
        self._room: asyncio.Future[None] | None = None
        self._waiting: list[Callable[[], None]] = []  # those that cannot wait, for room
        self._cut: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------- for whoever speaks

    def has_room(self) -> bool:
        """Whether the peer has read enough, and this turn said little enough, to say more."""
        return not self.paused and self._outbox.bytes <= self._room_bytes

    def flush_soon(self) -> None:
        """Send what is in the outbox at the end of this turn, or now if much has gathered."""
        if len(self._outbox.parts) >= PARTS_PER_WRITE:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self.flush, context=self.context)

    async def wait_for_room(self) -> None:
        """Wait until the peer has read enough, or the connection has ended."""
        if self._room is None:
            self._room = self._loop.create_future()
        await asyncio.shield(self._room)  # others wait for it too

    def call_when_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, in a later turn, when the peer has read enough."""
        if callback not in self._waiting:
            self._waiting.append(callback)

    def flush(self) -> None:
        """Send what is in the outbox."""
        self._is_due, self.turn_ns = False, 0
        if self._outbox.parts:
            transport = self.transport
            if transport is not None and not transport.is_closing():
                transport.write(self._take())
                if not self.paused:
                    self._give_room()
        if self._flushed is not None:
            self._flushed()

    @property
    def is_writable(self) -> bool:
        """Whether what is sent may arrive."""
        return self.transport is not None and not self.transport.is_closing()

    def close(self, within_s: float = FLUSH_S) -> None:
        """Send what is left and end the connection; cut it if the peer has not taken that then.

        A second call may bring the end nearer.
        """
        if self.transport is None:
            return
        if not self.transport.is_closing():
            self.flush()
            self.transport.close()
        at_s = self._loop.time() + within_s
        if self._cut is None or at_s < self._cut.when():
            if self._cut is not None:
                self._cut.cancel()
            self._cut = self._loop.call_at(at_s, self.cut)

    def cut(self) -> None:
        """End the connection without its last bytes."""
        if self.transport is not None:
            self.transport.abort()

    # ------------------------------------------------------------- for the connection

    def made(self, transport: asyncio.Transport) -> None:
        """The connection stands."""
        self.transport = transport
        self.context = contextvars.copy_context()
        transport.set_write_buffer_limits(high=self._room_bytes)

    def resume(self) -> None:
        """The peer reads again."""
        self.paused = False
        self._give_room()

    def read_on(self, is_reading: bool) -> None:
        """Read what the peer says, from the next turn on, or let it wait."""
        if is_reading != self.is_reading and self.transport is not None:
            self.is_reading = is_reading
            if is_reading:  # in our own context: the one it is called in becomes that of a read
                self._loop.call_soon(self._resume_reading, context=self.context)
            else:
                self.transport.pause_reading()

    def ended(self) -> None:
        """The connection is gone: who waits for room has to learn it."""
        self.transport, self.paused = None, False
        if self._cut is not None:
            self._cut.cancel()
        self._give_room()

    def release(self) -> None:
        """Let go of the connection: the two would keep each other."""
        self._take, self._flushed = self._outbox.take, None
        self._waiting.clear()

    def _resume_reading(self) -> None:
        if self.is_reading and self.transport is not None:
            self.transport.resume_reading()

    def _give_room(self) -> None:
        if self._room is not None:
            room, self._room = self._room, None
            if not room.done():
                room.set_result(None)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                self._loop.call_soon(callback, context=self.context)
