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
       the outbox and has `Flow.flush_soon` called; what a read leads to leaves at
       its end (`sdkit.net.flow`).
    3. *Back-pressure has no cycle.* When the peer reads too slowly we stop
       reading its requests; but never while we wait for answers ourselves, or
       two sides with full buffers would wait for each other for ever (`_regulate`).

What can be asked is in `sdkit.rpc.calling`, running handlers in `sdkit.rpc.handling`.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import _get_running_loop as running_loop
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self, cast

from sdkit.arguments import check_function, shown
from sdkit.errors import ConnectionLost, InternalError, InvalidArgument, SdkitError
from sdkit.net.alarm import Alarm
from sdkit.net.flow import PARTS_PER_WRITE, Flow
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
        room_bytes = session.limits.write_buffer_bytes
        outbox, take, flushed = session.outbox, self._take_output, self._on_flushed
        flow = Flow(outbox, room_bytes, loop, take=take, flushed=flushed)
        super().__init__(session, flow, Alarm(loop, self._on_alarm), loop)
        Connection._ids += 1
        self.id: Final = Connection._ids
        self.opened: Final[asyncio.Future[None]] = loop.create_future()
        self.closed: Final[asyncio.Future[None]] = loop.create_future()
        self._serving: Final = session.serving
        self._outbox: Final = session.outbox
        self._handling = self.handling_type(
            self, session.serving, methods, flow, self._alarm, self._on_work_ended, loop
        )
        self._made = made
        self._on_close: list[Callable[[], object]] = []
        self._reason = "the peer closed it"
        self._quiet: asyncio.Future[None] | None = None
        self._dispatch: Final[dict[type, Callable[[Any], None]]] = {
            Request: self._handling.on_request,
            Answered: self._on_answered,
            Failed: self._on_failed,
            Item: self._on_item,
            Ended: self._on_ended,
            Withdrawn: self._handling.on_withdrawn,
            Credited: self._handling.on_credited,
            Opened: self._on_opened,
            Leaving: self._on_leaving,
            Broken: self._on_broken,
        }

    # ------------------------------------------------------------- for everybody

    @property
    def address(self) -> str:
        """Where the other side is, ``host:port``; empty once the connection has ended."""
        transport = self._flow.transport
        name = transport and transport.get_extra_info("peername")
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
        if self._session.ended is not None and self._flow.transport is None:
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
        self._flow.close()

    def drop(self) -> None:
        """`begin_close`, from whatever thread an owner happens to be collected in."""
        if running_loop() is self._loop:
            self.begin_close()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.begin_close)

    async def discard(self) -> None:
        """Like `close`, also for a connection that was perhaps never made."""
        if self._flow.transport is not None:
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
        self._flow.flush_soon()
        if self._serving.requests and self._flow.transport is not None:
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
        self._flow.made(transport)
        self._alarm.context = self._flow.context
        if self._made is not None:
            self._made(self)
        self._flow.flush()
        self._alarm.bring_forward(self._session.wake_ns)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._session.space()

    def buffer_updated(self, nbytes: int) -> None:
        self._carry_out(self._session.receive(nbytes, int(self._loop.time() * SECOND_NS)))

    def eof_received(self) -> None:
        return None  # close: a peer that has stopped sending cannot answer either

    def pause_writing(self) -> None:
        self._flow.paused = True
        self._session.writing_paused(int(self._loop.time() * SECOND_NS))
        self._regulate()
        self._alarm.bring_forward(self._session.wake_ns)

    def resume_writing(self) -> None:
        self._session.writing_resumed()
        self._flow.resume()
        self._regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        ended = self._session.ended
        reason = ended.message if ended else str(exc) if exc else self._reason
        self._flow.ended()
        self._alarm.stop()
        for failed in self._session.lost(reason):
            self._on_failed(failed)
        event("rpc.close", peer=self.peer, reason=reason)
        if not self.opened.done():
            self.opened.set_exception(ended or ConnectionLost(f"{self.peer}: {reason}"))
            self.opened.exception()  # it may be that nobody waits for it
        for callback in self._on_close:
            self._call_back(callback)
        self._handling.stop()
        if self._quiet is not None:
            _wake(self._quiet)
        self._on_work_ended()

    def _call_back(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            log.exception("a callback for the end of a connection failed")

    def _on_work_ended(self) -> None:
        """A handler has come to its end; perhaps it was the last thing that we waited for."""
        if self._flow.transport is None and not self._handling.work and not self.closed.done():
            self.closed.set_result(None)
            self._release()

    def _release(self) -> None:
        """Nothing comes any more: let go of what leads back here.

        So a connection that is dropped is freed at once, and not when the garbage collector
        comes by.
        """
        self._handling.release()
        self._flow.release()
        self._alarm.stop()
        self._dispatch.clear()
        self._on_close.clear()
        self._made = None

    def _carry_out(self, events: list[Event[Waiter]]) -> None:
        dispatch = self._dispatch
        outbox = self._outbox
        for each in events:
            dispatch[type(each)](each)
            if len(outbox.parts) >= PARTS_PER_WRITE:
                self._flow.flush()
        if outbox.parts:
            self._flow.flush()
        if self._serving.wake_ns < self._alarm.at_ns:
            self._alarm.bring_forward(self._serving.wake_ns)
        if self._flow.paused or self._handling.is_crowded:
            self._regulate()

    def _on_opened(self, _opened: Opened) -> None:
        # The idle time-out may come before what was set for the handshake.
        self._alarm.bring_forward(self._session.wake_ns)
        if not self.opened.done():
            self.opened.set_result(None)

    def _on_leaving(self, _leaving: Leaving) -> None:
        event("rpc.leaving", peer=self.peer)

    def _on_broken(self, _broken: Broken) -> None:
        self._flow.close()

    # ------------------------------------------------------------- turns, time and room

    def _take_output(self) -> bytes:
        transport = self._flow.transport
        if self._flow.paused and transport is not None:
            self._check_backlog(transport.get_write_buffer_size())
        return self._session.take_output()

    def _on_flushed(self) -> None:
        if not self._flow.is_reading:
            self._regulate()
        if self._quiet is not None and not self._serving.requests:
            _wake(self._quiet)

    def _check_backlog(self, waiting: int) -> None:
        """Cut a peer off that asks for more and more, and reads nothing of it."""
        limit = 2 * self._session.limits.write_buffer_bytes_max  # the first half is for our calls
        if waiting > limit and self._session.ended is None:
            text = f"{waiting} bytes wait for {self.peer}, which reads too slowly; {limit} may"
            self.refuse(Stalled(text))

    def _on_alarm(self, now_ns: int) -> None:
        try:
            self._carry_out(self._session.expire(now_ns))
        except Exception as error:  # as with what a read leads to: without a clock it cannot go on
            log.exception("the clock of the connection with %s failed", self.peer)
            self.refuse(InternalError(f"the connection failed: {type(error).__name__}"))
        finally:
            self._alarm.bring_forward(self._session.wake_ns)

    def _regulate(self) -> None:
        """Read on unless the peer leaves our answers unread; always, while we want answers too."""
        full = self._flow.paused or self._handling.is_crowded
        self._flow.read_on(not full or bool(self._asking.pending))


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
