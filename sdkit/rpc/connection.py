"""Connection: one side of an RPC connection; the asyncio shell around a `Session`.

`Connection` is the same thing at both ends: whoever made it, both sides may
call, notify, stream, and serve. It decides nothing about the protocol. It reads
the clock, feeds the session, and carries out the events that come back:

    socket ──> buffer_updated ──> session.receive ──> events ──> handlers, futures
    call, start, stream, notify ──> asking.call ───┐
    answers of handlers ──> session.serving ───────┴──> one write per turn

Three things to notice
    1. *Nothing is decided twice.* The future of a call is handed to the session
       and comes back in the event that ends the call; the shell keeps no table.
    2. *One write per turn, and per 32 messages.* Sending only puts a message into
       the outbox and has `flush_soon` called; what a read leads to leaves at its
       end. But no later than that: while the peer works on the first half, we make
       the second, and two processes are twice as fast as two that take turns.
    3. *Back-pressure has no cycle.* When the peer reads too slowly we stop
       reading its requests; but never while we wait for answers ourselves, or
       two sides with full buffers would wait for each other for ever (`_regulate`).

What can be asked is in `sdkit.rpc.calling`, running handlers in `sdkit.rpc.handling`.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from asyncio import _get_running_loop as running_loop
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

from sdkit.arguments import check_function, shown
from sdkit.errors import ConnectionLost, InternalError, InvalidArgument, SdkitError
from sdkit.net.deadlines import NEVER_NS
from sdkit.net.limits import SECOND_NS, Stalled
from sdkit.rpc.calling import Calling, Waiter
from sdkit.rpc.handlers import Method
from sdkit.rpc.handling import Handling
from sdkit.rpc.messages import (
    Answered,
    Broken,
    Credited,
    Ended,
    Event,
    Failed,
    Item,
    Leaving,
    Opened,
    Request,
    Withdrawn,
)
from sdkit.rpc.session import Session
from sdkit.trace import event

log: Final = logging.getLogger("sdkit.rpc")

PARTS_PER_WRITE: Final = 2 * 32  # a message has two, its length and itself
FLUSH_S: Final = 1.0  # how long a closing connection may take to send its last bytes


class Connection(Calling, asyncio.BufferedProtocol):
    """One side of a connection; made by `connect` or by a `Server`.

    Attributes:
        id: unique in this process; for tables of what belongs to a connection.
        session_type, handling_type: what it is built of.
        opened: done when calls can be made, or fails with the reason why not.
        closed: done when the connection has ended and the last of its handlers too.
    """

    session_type: type[Session[Waiter]] = Session
    handling_type: type[Handling] = Handling
    _ids = 0

    def __init__(
        self,
        session: Session[Waiter],
        methods: Mapping[str, Method],
        loop: asyncio.AbstractEventLoop,
        made: Callable[[Connection], None] | None = None,
    ) -> None:
        super().__init__(session, loop)
        Connection._ids += 1
        self.id: Final = Connection._ids
        self.opened: Final[asyncio.Future[None]] = loop.create_future()
        self.closed: Final[asyncio.Future[None]] = loop.create_future()
        self._serving: Final = session.serving
        self._outbox: Final = session.outbox
        self._handling = self.handling_type(self, session.serving, methods, loop)
        self._room_bytes = session.limits.write_buffer_bytes
        self._made = made
        self._on_close: list[Callable[[], object]] = []
        self._flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        self._reason = "the peer closed it"
        self.context = contextvars.copy_context()  # of whoever made the connection
        self._reading_paused = False
        self._room: dict[int, asyncio.Future[None]] = {}  # streams waiting for credit, 0 for room
        self._quiet: asyncio.Future[None] | None = None
        self._dispatch: Final[dict[type, Callable[[Any], None]]] = {
            Request: self._handling.on_request,
            Answered: self._on_answered,
            Failed: self._on_failed,
            Item: self._on_item,
            Ended: self._on_ended,
            Withdrawn: self._handling.on_withdrawn,
            Credited: self._on_credited,
            Opened: self._on_opened,
            Leaving: self._on_leaving,
            Broken: self._on_broken,
        }

    # ------------------------------------------------------------- for everybody

    @property
    def address(self) -> str:
        """Where the other side is, ``host:port``; empty once the connection has ended."""
        name = self._transport and self._transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if name else ""

    @property
    def calls_in(self) -> int:
        """Requests of the peer that are being served."""
        return len(self._serving.requests)

    @property
    def served(self) -> int:
        """Requests of the peer that were begun so far."""
        return self._handling.begun

    def on_close(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once, when the connection has ended; at once if it has already.

        Raises:
            InvalidArgument: it is no plain function of no arguments.
        """
        check_function("callback", callback, asynchronous=False)
        if self._session.ended is not None and self._transport is None:
            callback()
        else:
            self._on_close.append(callback)

    async def close(self) -> None:
        """End the connection: calls in flight fail, handlers are cancelled, nothing remains.

        What was started by `start` or `notify` before is still sent. Safe to call twice.

        Raises:
            InvalidState: the connection belongs to another event loop.
        """
        if self.closed.done():
            return
        self.check_loop()
        self.begin_close()
        await self.wait_closed()

    def begin_close(self) -> None:
        """The part of `close` that does not wait."""
        self._session.goodbye()
        self._reason = "it was closed at this side"
        self._close_transport()

    def drop(self) -> None:
        """`begin_close`, from whatever thread an owner happens to be collected in."""
        if running_loop() is self._loop:
            self.begin_close()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.begin_close)

    async def discard(self) -> None:
        """Like `close`, also for a connection that was perhaps never made."""
        if self._transport is not None:
            await self.close()
        elif not self.closed.done():
            self._session.lost("it was never made")
            self._release()

    async def wait_closed(self) -> None:
        """Return when the connection has ended and the last of its handlers too.

        Raises:
            InvalidState: it has not, and belongs to another event loop.
        """
        if self.closed.done():
            return
        self.check_loop()
        await asyncio.shield(self.closed)

    async def see_off(self) -> None:
        """Take no new requests, answer those that were begun, and end the connection."""
        self._session.goodbye()
        self.flush_soon()
        if self._serving.requests and self._transport is not None:
            self._quiet = self._loop.create_future()
            await self._quiet
        self.begin_close()

    def refuse(self, error: SdkitError) -> None:
        """End the connection and tell the peer why.

        Raises:
            InvalidArgument: ``error`` is none of ours.
        """
        if not isinstance(error, SdkitError):
            raise InvalidArgument(f"error is {shown(error)}; it must be an SdkitError")
        self._on_broken(self._session.break_off(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ------------------------------------------------------------- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the transports of other loops (uvloop) have the methods, not the class.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self.context = contextvars.copy_context()
        transport.set_write_buffer_limits(high=self._session.limits.write_buffer_bytes)
        if self._made is not None:
            self._made(self)
        self._flush()
        self._arm()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._session.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._carry_out(self._session.receive(nbytes, int(self._loop.time() * SECOND_NS)))

    def eof_received(self) -> None:
        return None  # close: a peer that has stopped sending cannot answer either

    def pause_writing(self) -> None:
        self.writing_paused = True
        self._session.writing_paused(int(self._loop.time() * SECOND_NS))
        self._regulate()
        self._arm()

    def resume_writing(self) -> None:
        self.writing_paused = False
        self._session.writing_resumed()
        self._regulate()
        self._on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writing_paused = False  # who waits for room must learn that it is over
        ended = self._session.ended
        reason = ended.message if ended else str(exc) if exc else self._reason
        self._transport = None
        for failed in self._session.lost(reason):
            self._on_failed(failed)
        event("rpc.close", peer=self.peer, reason=reason)
        for timer in (self._timer, self._abort_timer):
            if timer is not None:
                timer.cancel()
        if not self.opened.done():
            self.opened.set_exception(ended or ConnectionLost(f"{self.peer}: {reason}"))
            self.opened.exception()  # it may be that nobody waits for it
        for callback in self._on_close:
            self._call_back(callback)
        self._handling.stop()
        for waiting in self._room.values():
            _wake(waiting)
        if self._quiet is not None:
            _wake(self._quiet)
        self.work_ended()

    def _call_back(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            log.exception("a callback for the end of a connection failed")

    def work_ended(self) -> None:
        """A handler has come to its end; perhaps it was the last thing that we waited for."""
        if self._transport is None and not self._handling.work and not self.closed.done():
            self.closed.set_result(None)
            self._release()

    def _release(self) -> None:
        """Nothing comes any more: let go of what leads back here.

        So a connection that is dropped is freed at once, and not when the garbage collector
        comes by.
        """
        self._handling.release()
        self._dispatch.clear()
        self._on_close.clear()
        self._made = None

    def _carry_out(self, events: list[Event[Waiter]]) -> None:
        dispatch = self._dispatch
        outbox = self._outbox
        for each in events:
            dispatch[type(each)](each)
            if len(outbox.parts) >= PARTS_PER_WRITE:
                self._flush()
        if outbox.parts:
            self._flush()
        if self._serving.wake_ns < self._armed_ns:
            self._arm()
        if self.writing_paused or self._handling.is_crowded:
            self._regulate()

    def _on_opened(self, _opened: Opened) -> None:
        self._arm()  # the idle time-out may come before what was armed for the handshake
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_credited(self, credited: Credited) -> None:
        waiting = self._room.get(credited.id)
        if waiting is not None:
            _wake(waiting)

    def _on_leaving(self, _leaving: Leaving) -> None:
        event("rpc.leaving", peer=self.peer)

    def _on_broken(self, _broken: Broken) -> None:
        self._close_transport()

    def _close_transport(self) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._flush()
        self._transport.close()
        # The peer may never take the last bytes.
        self._abort_timer = self._loop.call_later(FLUSH_S, self._transport.abort)

    # ------------------------------------------------------------- turns, time and room

    def flush_soon(self) -> None:
        if len(self._outbox.parts) >= PARTS_PER_WRITE:
            self._flush()
        elif not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self._flush, context=self.context)

    def _flush(self) -> None:
        self._flush_due, self._turn_ns = False, 0
        if self._outbox.parts:
            transport = self._transport
            if transport is not None and not transport.is_closing():
                if self.writing_paused:
                    self._check_backlog(transport.get_write_buffer_size())
                transport.write(self._session.take_output())
                if not self.writing_paused:
                    self._on_room()
        if self._reading_paused:
            self._regulate()
        if self._quiet is not None and not self._serving.requests:
            _wake(self._quiet)

    def has_room(self) -> bool:
        """Whether the peer has read enough, and this turn said little enough, to say more."""
        return not self.writing_paused and self._outbox.bytes <= self._room_bytes

    def _on_room(self) -> None:
        self._handling.on_room()
        if 0 in self._room:
            _wake(self._room[0])

    def _check_backlog(self, waiting: int) -> None:
        """Cut a peer off that asks for more and more, and reads nothing of it."""
        limit = 2 * self._session.limits.write_buffer_bytes_max  # the first half is for our calls
        if waiting > limit and self._session.ended is None:
            text = f"{waiting} bytes wait for {self.peer}, which reads too slowly; {limit} may"
            self.refuse(Stalled(text))

    def _arm(self) -> None:
        """Have `_on_timer` called when the session wants to look at the clock."""
        wake_ns = self._session.wake_ns
        if wake_ns < self._armed_ns:
            if self._timer is not None:
                self._timer.cancel()
            self._armed_ns = wake_ns
            at_s = self._armed_ns / SECOND_NS
            self._timer = self._loop.call_at(at_s, self._on_timer, context=self.context)

    def _on_timer(self) -> None:
        # The clock, a float, may read a little less than the instant that was asked for.
        now_ns = max(int(self._loop.time() * SECOND_NS), self._armed_ns)
        self._armed_ns = NEVER_NS
        try:
            self._carry_out(self._session.expire(now_ns))
        except Exception as error:  # as with what a read leads to: without a clock it cannot go on
            log.exception("the clock of the connection with %s failed", self.peer)
            self.refuse(InternalError(f"the connection failed: {type(error).__name__}"))
        finally:
            self._arm()

    def _regulate(self) -> None:
        """Read on unless the peer leaves our answers unread; always, while we want answers too."""
        full = self.writing_paused or self._handling.is_crowded
        pause = full and not self._asking.pending
        if pause != self._reading_paused and self._transport is not None:
            self._reading_paused = pause
            if pause:
                self._transport.pause_reading()
            else:  # in our own context: the one it is called in becomes that of the handlers
                self._loop.call_soon(self._resume_reading, context=self.context)

    def _resume_reading(self) -> None:
        if not self._reading_paused and self._transport is not None:
            self._transport.resume_reading()

    async def wait_for_room(self, id_: int) -> None:
        """Wait until the stream ``id_`` may send, or, for 0, until the peer reads again."""
        waiting = self._room.get(id_)
        if waiting is None:
            waiting = self._room[id_] = self._loop.create_future()
        if id_ and not self._serving.may_send(id_):
            self._serving.starved(id_, int(self._loop.time() * SECOND_NS))
            self._arm()
        try:
            await asyncio.shield(waiting) if id_ == 0 else await waiting
        finally:
            if waiting.done() and self._room.get(id_) is waiting:
                del self._room[id_]


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
