"""Calling: the caller's half of a connection: call, start, notify, stream.

Every way to ask ends in `_ask`, which reads the clock and hands the waiter, a
future or an `Inbox`, to the session; the event that ends the call brings it
back. So the shell keeps no table of its own, and nothing can be left in one.

Two things to notice
    1. *Giving up is told.* Cancelling the task that waits, or the future that
       `Calling.start` returned, sends a CANCEL, and the handler is cancelled:
       work that nobody waits for is the first thing an overloaded server can
       do without.
    2. *Nothing is queued without end.* While the peer does not read, `call`
       waits before it sends; the three that cannot wait are refused as
       `Overloaded` once ``write_buffer_bytes_max`` is reached.
"""

from __future__ import annotations

import asyncio
import functools
from asyncio import _get_running_loop as running_loop  # None outside any, and in a forked child
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final

from sdkit.arguments import check_between
from sdkit.errors import DeadlineExceeded, InvalidState, Overloaded
from sdkit.net import deadlines
from sdkit.net.alarm import Alarm
from sdkit.net.flow import Flow
from sdkit.net.limits import SECOND_NS, TIMEOUT_S_MAX
from sdkit.rpc.messages import CALL, NOTIFY, STREAM, Answered, Ended, Failed, Item
from sdkit.rpc.session import Session
from sdkit.rpc.stream import Inbox, Stream
from sdkit.trace import span
from sdkit.trace.record import active, context

Waiter = asyncio.Future[object] | Inbox


class CallFuture(asyncio.Future[object]):
    """The answer to a call that was started. Cancelling it cancels the handler."""

    _give_up: Callable[[], None] | None = None

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled and self._give_up is not None:
            self._give_up()
        return cancelled


class Calling:
    """What can be asked of the other side.

    Args:
        session: keeps the calls, until each has its one end.
        flow: how much may be said now.
        alarm: has the session look at the clock.
    """

    def __init__(
        self,
        session: Session[Waiter],
        flow: Flow,
        alarm: Alarm,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._session: Final = session
        self._asking: Final = session.asking
        self._flow: Final = flow
        self._alarm: Final = alarm
        self._loop: Final = loop
        self._thread: Final = get_ident()

    @property
    def peer(self) -> str:
        """What the other side calls itself."""
        return self._session.peer

    @property
    def is_open(self) -> bool:
        """Whether a call made now would be sent."""
        return self._session.is_open

    async def call(self, method: str, *arguments: object, timeout_s: float | None = None) -> object:
        """Call ``method`` at the other side and wait for its result.

        Args:
            arguments: None, bool, int, float, str, bytes, lists and dicts of them.
            timeout_s: how long to wait at most, 0 to 1,000,000; None for as long as the
                handler we are in may wait itself. Time-outs are up to 50 ms late.

        Raises:
            DeadlineExceeded: the time is over; it may have happened, unless ``timeout_s``
                is 0: then nothing was sent.
            ConnectionLost: the connection ended first; it may have happened.
            NotConnected, Closed, Overloaded: it did not happen.
            InvalidArgument, LimitExceeded: it cannot be sent; it did not happen.
            InvalidState: the connection belongs to another event loop; nothing was sent.
            SdkitError: whatever the handler raised.
        """
        if self._flow.paused:
            self.check_loop()
            await self._flow.wait_for_room()
        if active():
            with span("rpc.call", method=method, peer=self.peer):
                return await self.start(method, *arguments, timeout_s=timeout_s)
        waiter = self._loop.create_future()
        id_ = self._ask(CALL, method, arguments, waiter, timeout_s)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._cancel(id_)
            raise
        finally:
            del waiter  # it holds the error, whose traceback holds this frame

    def start(
        self, method: str, *arguments: object, timeout_s: float | None = None
    ) -> asyncio.Future[object]:
        """Send a call in this turn, and wait for its result later. Raises what `call` does.

        Calls started one after the other are begun in this order at the other side.
        """
        waiter = CallFuture(loop=self._loop)
        id_ = self._ask(CALL, method, arguments, waiter, timeout_s)
        waiter._give_up = functools.partial(self._give_up, id_)
        return waiter

    def notify(self, method: str, *arguments: object) -> None:
        """Send a call that is not answered: at most once, and nobody learns whether. Raises
        what `call` does when it cannot be sent."""
        self._ask(NOTIFY, method, arguments, None, None)

    def stream(self, method: str, *arguments: object, timeout_s: float | None = None) -> Stream:
        """Ask for a stream, in this turn; its items as an async iterator.

        Args:
            timeout_s: for the whole stream, from here to its end.
        """
        inbox = Inbox()
        id_ = self._ask(STREAM, method, arguments, inbox, timeout_s)
        return Stream(
            inbox,
            consumed=functools.partial(self._consumed, id_),
            cancel=functools.partial(self._give_up, id_),
            check_loop=self.check_loop,
        )

    # ------------------------------------------------------------- how it is done

    def _ask(
        self,
        kind: int,
        method: str,
        arguments: tuple[object, ...],
        waiter: Waiter | None,
        timeout_s: float | None,
    ) -> int:
        # Which loop runs is asked once a turn: it takes a system call.
        flow = self._flow
        if not flow.turn_ns or get_ident() != self._thread:
            self.check_loop()
        if not flow.has_room():
            self._check_room()
        # One reading of the clock serves all calls of a turn.
        now_ns = flow.turn_ns or int(self._loop.time() * SECOND_NS)
        left_ns = None if timeout_s is None else _time_left_ns(timeout_s)
        id_ = self._asking.call(
            kind,
            method,
            arguments,
            waiter,
            now_ns,
            deadlines.tighter(now_ns, left_ns),
            context() if active() else None,
        )
        flow.turn_ns = now_ns
        flow.flush_soon()  # which ends the turn, if much has gathered
        if self._asking.wake_ns < self._alarm.at_ns:
            self._alarm.bring_forward(self._asking.wake_ns)
        if flow.paused and waiter is not None:
            flow.read_on(True)  # its answer has to be read
        return id_

    def check_loop(self) -> None:
        """Refuse to be used from another event loop or thread than the one it was made in.

        Raises:
            InvalidState: saying what to do instead.
        """
        if running_loop() is self._loop:
            return
        if self._loop.is_closed():
            raise InvalidState(
                f"the event loop that this connection to {self.peer} was made in is closed; "
                "connect again in the one that is running"
            )
        raise InvalidState(
            f"this connection to {self.peer} belongs to another event loop; use it in the one "
            "that made it (asyncio.run_coroutine_threadsafe from another thread), or connect again"
        )

    def _give_up(self, id_: int) -> None:
        """`_cancel`, from wherever a future or a stream happens to be dropped."""
        if running_loop() is self._loop:
            self._cancel(id_)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._cancel, id_)

    def _cancel(self, id_: int) -> None:
        if id_ in self._asking.pending and self._session.ended is None:
            self._asking.cancel(id_)
            self._flow.flush_soon()

    def _consumed(self, id_: int, size_bytes: int) -> None:
        self._asking.consumed(id_, size_bytes)
        if self._session.outbox.parts:
            self._flow.flush_soon()

    def _check_room(self) -> None:
        """Refuse to queue without end for a peer that does not read."""
        self._flow.flush()
        transport = self._flow.transport
        waiting = transport.get_write_buffer_size() if transport is not None else 0
        if waiting > self._session.limits.write_buffer_bytes_max:
            raise Overloaded(
                f"{waiting} bytes wait for {self.peer}, which reads too slowly; nothing was sent",
                waiting=waiting,
            )

    def _on_answered(self, answered: Answered[asyncio.Future[object]]) -> None:
        waiter = answered.waiter
        if not waiter.done():  # it may have been cancelled in this very turn
            waiter.set_result(answered.value)

    def _on_failed(self, failed: Failed[Waiter]) -> None:
        waiter = failed.waiter
        if isinstance(waiter, Inbox):
            waiter.end(failed.error)
        elif not waiter.done():
            waiter.set_exception(failed.error)

    def _on_item(self, item: Item[Inbox]) -> None:
        item.waiter.put(item)

    def _on_ended(self, ended: Ended[Inbox]) -> None:
        ended.waiter.end(None)


def _time_left_ns(timeout_s: float) -> int:
    if not (type(timeout_s) is float and 0.0 < timeout_s <= TIMEOUT_S_MAX):  # the usual case
        check_between("timeout_s", timeout_s, 0.0, TIMEOUT_S_MAX)
        if timeout_s == 0:
            raise DeadlineExceeded("timeout_s is 0: no time was left for the call; it was not sent")
    return int(timeout_s * SECOND_NS)
