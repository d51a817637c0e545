"""Conversation: a connection whose protocol is written from top to bottom, as one function.

    async def echo(talk: Conversation) -> None:
        while await talk.more():
            await talk.write(await talk.read_until(b"\n", bytes_max=1000))

    async with Listener(config).serving(conversing(echo, config)) as listener: ...

Many protocols say one thing after the other: a line, its answer, the next line.
They need no state machine, only bytes when they ask for them. A conversation has
what `sdkit.net.listener.Served` asks for, so limits, grace time, TLS and an end
that leaves nothing come with it. A protocol with many requests at once on one
connection (`sdkit.rpc`) is better off as a session of its own.

Three things to notice
    1. *Between two requests a conversation is at rest, and says so.* `Conversation.more`
       waits for the first byte of the next one. There, and only there, the idle
       time-out counts and a server that ends need not wait; everywhere else the
       grace time is for the function to come to its end.
    2. *Back-pressure needs no thought.* Nothing is read beyond `READ_BYTES` that
       was not asked for, and `write` waits while the peer does not read; a function
       that passes one on to the other slows both down.
    3. *Bytes that were read and not used stay.* A function may call another in the
       middle (an upgrade, a command that starts a stream): it goes on where the
       first stopped.

A time-out for one phase is ``asyncio.timeout`` around it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import ssl as tls
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self, cast

from sdkit.arguments import check_between
from sdkit.errors import ConnectionLost, NotConnected, ProtocolError, SdkitError
from sdkit.net import deadlines
from sdkit.net.addresses import check_address, check_tls, not_connected
from sdkit.net.flow import Flow
from sdkit.net.limits import TIMEOUT_S_MAX, ConnectionLimits, Stalled
from sdkit.net.listener import Accept
from sdkit.net.outbox import Outbox
from sdkit.trace import adopt

log: Final = logging.getLogger("sdkit.net")

READ_BYTES: Final = 64 * 1024  # received and not asked for, above which nothing more is read
_ids: Final = itertools.count(1)

Talk = Callable[["Conversation"], Awaitable[None]]


def conversing(
    talk: Talk,
    limits: ConnectionLimits,
    *,
    refusal: Callable[[SdkitError], bytes] = lambda error: b"",
) -> Accept[Conversation]:
    """What `Listener.serving` takes, for a protocol that is one function.

    Args:
        talk: runs for each connection; it ends when the function returns.
        limits: what the peer is allowed.
        refusal: an error in the words of the protocol, said before the connection ends.
    """

    def accept(admit: Callable[[Conversation], None]) -> Conversation:
        return Conversation(limits, talk=talk, refusal=refusal, made=admit)

    return accept


async def converse(
    host: str,
    port: int,
    *,
    ssl: tls.SSLContext | None = None,
    server_hostname: str | None = None,
    limits: ConnectionLimits | None = None,
    timeout_s: float = 10.0,
) -> Conversation:
    """Connect to a server, for a client that is written from top to bottom too.

    Args:
        ssl: makes it TLS; ``server_hostname`` is what the certificate must say, the
            host unless given.
        timeout_s: for the connection and TLS; 0 to 1,000,000.

    Raises:
        InvalidArgument: an argument is of the wrong kind or out of range; it is named.
        NotConnected: nothing answers there, or not in time.
        AuthenticationFailed, ProtocolError: the certificate is not trusted; it speaks no TLS.
    """
    check_address(host, port)
    check_tls(ssl, server_hostname, "client")
    check_between("timeout_s", timeout_s, 0.0, TIMEOUT_S_MAX)
    made = Conversation(limits or ConnectionLimits())
    where = f"{host}:{port}"
    token = deadlines.inherit(None)
    try:
        with adopt(None):
            async with asyncio.timeout(timeout_s):
                await asyncio.get_running_loop().create_connection(
                    lambda: made, host, port, ssl=ssl, server_hostname=server_hostname
                )
    except TimeoutError as error:
        raise NotConnected(f"no connection to {where} within {timeout_s:g} s") from error
    except (OSError, ValueError) as error:
        raise not_connected(error, where, uses_tls=ssl is not None) from error
    finally:
        deadlines.disinherit(token)
    return made


class Conversation(asyncio.Protocol):
    """One connection, at either end: bytes when they are asked for, in order.

    What waits for the peer raises `ConnectionLost` when the connection has ended, and
    `Stalled` when the peer reads nothing for ``limits.stall_timeout_s``.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        talk: Talk | None = None,
        refusal: Callable[[SdkitError], bytes] = lambda error: b"",
        made: Callable[[Conversation], None] = lambda talk: None,
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._id: Final = next(_ids)
        self._closed: Final[asyncio.Future[None]] = self._loop.create_future()
        self._limits: Final = limits
        self._talk, self._refusal, self._made = talk, refusal, made
        self._outbox: Final = Outbox()
        self._flow: Final = Flow(self._outbox, limits.write_buffer_bytes, self._loop)
        self._received = bytearray()
        self._has_ended = False  # the peer says nothing more
        self._is_leaving = False  # no further request is taken
        self._is_at_rest = talk is None
        self._task: asyncio.Task[None] | None = None
        self._arrival: asyncio.Future[None] | None = None
        self._served = 0

    # ------------------------------------------------------------- what a listener asks for

    @property
    def id(self) -> int:
        """Unique in this process."""
        return self._id

    @property
    def closed(self) -> asyncio.Future[None]:
        """Done when the connection and its function have ended."""
        return self._closed

    @property
    def address(self) -> str:
        """Where the other side is, ``host:port``; empty once the connection has ended."""
        name = self._flow.transport and self._flow.transport.get_extra_info("peername")
        return f"{name[0]}:{name[1]}" if name else ""

    @property
    def calls_in(self) -> int:
        """1 while a request is being served, 0 at rest."""
        return 0 if self._is_at_rest or self._closed.done() else 1

    @property
    def served(self) -> int:
        """Requests that were begun so far."""
        return self._served

    def refuse(self, error: SdkitError) -> None:
        """Say why in the words of the protocol, and end the connection."""
        self._outbox.add(self._refusal(error))
        self.begin_close()

    async def see_off(self) -> None:
        """Let the request that was begun come to its end, and take no further one."""
        self._is_leaving = True
        self._wake()
        await asyncio.shield(self._closed)

    def begin_close(self) -> None:
        """End it now; its function is cancelled."""
        if self._task is not None:
            self._loop.call_soon(self._task.cancel)  # it may not have begun
        self._flow.close()

    async def close(self) -> None:
        """Send what is left and end the connection. Safe to call twice."""
        self.begin_close()
        await asyncio.shield(self._closed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # ------------------------------------------------------------- what its function asks for

    async def more(self) -> bool:
        """Wait for the next request; False when there is none: then return.

        The first must come within the handshake time-out, the others within the idle one.
        """
        limits = self._limits
        timeout_s = limits.idle_timeout_s if self._served else limits.handshake_timeout_s
        self._is_at_rest = True
        try:
            async with asyncio.timeout(timeout_s):
                while not (self._received or self._has_ended or self._is_leaving):
                    await self._wait()
        except TimeoutError:
            return False
        finally:
            self._is_at_rest = False
        if self._is_leaving or not self._received:
            return False
        self._served += 1
        return True

    async def read(self, bytes_max: int = READ_BYTES) -> bytes:
        """Some bytes, at least one; none when the peer has said all it had to say."""
        while not (self._received or self._has_ended):
            await self._wait()
        return self._cut(min(bytes_max, len(self._received)))

    async def read_exactly(self, count: int) -> bytes:
        """``count`` bytes, which have to fit into memory: the caller checks that before.

        Raises:
            ConnectionLost: the peer ended before.
        """
        while len(self._received) < count:
            await self._wait_for_more(count)
        return self._cut(count)

    async def read_until(self, separator: bytes, *, bytes_max: int) -> bytes:
        """Everything up to and with ``separator``.

        Raises:
            ProtocolError: it does not come within ``bytes_max`` bytes.
            ConnectionLost: the peer ended before.
        """
        seen = 0
        while (at := self._received.find(separator, max(0, seen - len(separator)))) < 0:
            seen = len(self._received)
            if seen >= bytes_max:
                break
            await self._wait_for_more(bytes_max)
        if not 0 <= at <= bytes_max - len(separator):
            raise ProtocolError(f"no {separator!r} within {bytes_max} bytes")
        return self._cut(at + len(separator))

    async def write(self, data: bytes) -> None:
        """Say ``data``, at the end of this turn; wait while the peer reads too slowly.

        Raises:
            Stalled: it has read nothing for the stall time-out; the connection is cut.
            ConnectionLost: the connection has ended.
        """
        if not self._flow.is_writable:
            raise ConnectionLost("the connection has ended")
        self._outbox.add(data)
        self._flow.flush_soon()
        if not self._flow.has_room():
            await self._wait_for_room()

    def end_writing(self) -> None:
        """Say that nothing more will be said; the peer may go on (not over TLS: there it ends)."""
        self._flow.flush()
        transport = self._flow.transport
        if transport is not None and transport.can_write_eof():
            transport.write_eof()
        else:
            self._flow.close()

    # ------------------------------------------------------------- the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not isinstance: the transports of other loops (uvloop) have the methods, not the class.
        self._flow.made(cast("asyncio.Transport", transport))
        self._made(self)
        if self._talk is not None and self._flow.is_writable:  # it was not refused
            self._task = self._loop.create_task(self._run(self._talk))
            self._task.add_done_callback(self._on_end)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > READ_BYTES:
            self._flow.read_on(False)
        self._wake()

    def eof_received(self) -> bool:
        self._has_ended = True
        self._wake()
        transport = self._flow.transport  # TLS has no half that stays open
        return transport is not None and transport.can_write_eof()

    def pause_writing(self) -> None:
        self._flow.paused = True

    def resume_writing(self) -> None:
        self._flow.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        self._has_ended = True
        self._flow.ended()
        self._wake()
        if self._task is None:
            self._closed.set_result(None)
        else:
            self._task.cancel()

    async def _run(self, talk: Talk) -> None:
        try:
            await talk(self)
        except ConnectionLost:
            pass  # the peer left in the middle, and nobody is there to tell
        except SdkitError as error:
            self._outbox.add(self._refusal(error))
        except TimeoutError:
            pass  # a phase took too long
        except Exception:
            log.exception("the conversation with %s failed", self.address)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._task = None
        if self._flow.transport is None:
            self._closed.set_result(None)
        else:  # its last words may be long, and the peer slow
            self._flow.close(within_s=self._limits.stall_timeout_s)

    # ------------------------------------------------------------- waiting

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._limits.stall_timeout_s):
                while self._flow.is_writable and not self._flow.has_room():
                    await self._flow.wait_for_room()
        except TimeoutError:
            text = f"{self.address} has read nothing for {self._limits.stall_timeout_s:g} s"
            self._flow.cut()
            raise Stalled(text) from None
        if not self._flow.is_writable:
            raise ConnectionLost("the connection has ended")

    async def _wait_for_more(self, count: int) -> None:
        """Wait for bytes that have to come; up to ``count`` may be held."""
        if self._has_ended:
            raise ConnectionLost("the connection ended in the middle of a message")
        self._flow.read_on(len(self._received) < count)
        await self._wait()

    async def _wait(self) -> None:
        self._arrival = self._loop.create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    def _cut(self, count: int) -> bytes:
        data = bytes(self._received[:count])
        del self._received[:count]
        if len(self._received) <= READ_BYTES:
            self._flow.read_on(True)
        return data
