"""Sockets: what asyncio opens in a simulation, in place of the operating system's.

Asyncio's streams, servers and TLS are thousands of lines with habits of their
own. Simulating them would test the imitation. So the cut is made below, at the
socket: the stock event loop, `asyncio.start_server` and every library built on
them run their own code, and only the thing with a ``fileno`` is ours.

        asyncio streams, ssl, third-party clients       unmodified
        SelectorEventLoop                               unmodified
        socket.socket            select()               simulated
           |                        |
        SimulatedSocket  ------  Network (sdkit.sim.network)

Things to notice
    1. A simulated socket never waits. Asked to block, it says so by name: a
       blocking call would stop the only thread there is.
    2. A socket belongs to the life that was current when it was made: its local
       address is that machine's. When the life is over, nothing that is done to
       the socket has any effect (`die`), not even closing it: another life may
       have its port by now.
    3. Options are kept without effect, except ``SO_LINGER``, the way to ask for
       a reset. Latency and buffers are the network's.

How asyncio comes to open these sockets: `sdkit.sim.interception`.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterable
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any, Final, Self

from sdkit.sim.addresses import Address, Listener
from sdkit.sim.life import Life, current_life
from sdkit.sim.network import Network
from sdkit.sim.stream import Endpoint


class NotSimulated(RuntimeError):
    """The simulation has no such thing, and the real one would make it unrepeatable."""


class SimulatedSocket:
    """A TCP socket of a `Network`, as far as non-blocking code can tell."""

    def __init__(
        self, network: Network, family: int, proto: int = 0, *, life: Life | None = None
    ) -> None:
        self.life: Final = life or current_life.get()
        self.held = False  # the selector is not to report it
        self.family: Final = socket.AddressFamily(family)
        self.type: Final = socket.SOCK_STREAM
        self.proto: Final = proto
        self._network = network
        self._descriptor = network.add(self)
        self._timeout: float | None = None
        self._options: dict[tuple[int, int], int | bytes] = {}
        self._local: Address | None = None
        self._remote: Address | None = None
        self._listener: Listener | None = None
        self._endpoint: Endpoint | None = None

    # ── for the selector ─────────────────────────────────────────────────────

    def ready_for(self, events: int) -> int:
        """Those of ``EVENT_READ`` and ``EVENT_WRITE`` that would not block."""
        if self.held:
            return 0
        endpoint = self._endpoint
        if endpoint is None:
            waiting = self._listener is not None and self._listener.queue
            return events & EVENT_READ if waiting else 0
        # The bytes first: `readable` asks for them too, at the price of a call.
        ready = events & EVENT_READ if endpoint.inbox or endpoint.readable else 0
        if events & EVENT_WRITE and endpoint.writable:
            ready |= EVENT_WRITE
        return ready

    def _touch(self) -> None:
        self._network.touched[self._descriptor] = None

    def _rest(self) -> None:
        # All has been read. Who waits for that alone need not be looked at before more arrives.
        network = self._network
        if network.watched.get(self._descriptor) == EVENT_READ:
            network.touched.pop(self._descriptor, None)

    # ── the life of a socket ─────────────────────────────────────────────────

    def bind(self, address: tuple[Any, ...]) -> None:
        """Take a local address; port 0 takes a free one."""
        self._check_alive()
        self._local = self._network.bind(self.life, self.family, (address[0], address[1]))

    def listen(self, backlog: int = 128) -> None:
        """Let connections come in; ``backlog`` of them may wait to be accepted."""
        self._check_alive()
        if self._local is None:
            self.bind(("", 0))
        assert self._local is not None
        self._listener = Listener(self.family, self._local, backlog, on_change=self._touch)
        self._network.listen(self.life, self._listener)

    def accept(self) -> tuple[SimulatedSocket, tuple[Any, ...]]:
        """The connection that has waited longest, and where it comes from."""
        if self._listener is None:
            raise _error(errno.EINVAL)
        if not self._listener.queue:
            raise self._would_block("accept")
        endpoint, local, remote = self._listener.queue.popleft()
        accepted = SimulatedSocket(self._network, self.family, self.proto, life=self.life)
        accepted._local, accepted._remote = local, remote
        accepted._use(endpoint)
        return accepted, accepted.getpeername()

    def connect(self, address: tuple[Any, ...]) -> None:
        """Begin to connect: raises ``BlockingIOError``; becomes writable when it is decided."""
        self._check_alive()
        if self._endpoint is not None:
            raise _error(errno.EISCONN if self._endpoint.connected else errno.EALREADY)
        if self._timeout != 0:
            raise NotSimulated(f"connect to {address} would block the only thread; use asyncio")
        host = self._network.resolve(address[0], self.family)
        remote = (host, address[1])
        local = self._local or self._network.local_address(self.life, self.family, remote)
        self._use(self._network.connect(self.life, self.family, local, remote))
        self._local, self._remote = local, remote
        raise _error(errno.EINPROGRESS)

    def connect_ex(self, address: tuple[Any, ...]) -> int:
        """`connect`, with the errno as its result."""
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or 0
        return 0

    def _use(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        endpoint.on_change, endpoint.on_empty = self._touch, self._rest

    def shutdown(self, how: int) -> None:
        """Half-close: no more sending (``SHUT_WR``), no more reading (``SHUT_RD``), or both."""
        endpoint = self._connected()
        if how in (socket.SHUT_WR, socket.SHUT_RDWR):
            endpoint.finish()
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            endpoint.stop_reading()
            self._touch()

    def close(self) -> None:
        """Close. What was sent still arrives; a reset if something unread is thrown away."""
        if self._endpoint is not None:
            self._endpoint.close(abort=self._lingers_for_nothing())
        self._release()
        self._network.sockets.pop(self._descriptor, None)
        self._descriptor = -1

    def die(self) -> None:
        """The life it belongs to is over: the peer gets a reset, its port is free."""
        self.held = True
        if self._endpoint is not None:
            self._endpoint.close(abort=True)
        self._release()

    def _release(self) -> None:
        if self._local is not None and self._remote is None:
            self._network.release(self.life, self.family, self._local)
            self._local = None

    def _check_alive(self) -> None:
        if self.life is not None and self.life.dead:
            raise _error(errno.ENETDOWN)

    def _lingers_for_nothing(self) -> bool:
        """Has ``SO_LINGER`` been set to zero seconds, the way to ask for a reset?"""
        value = self._options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        return isinstance(value, bytes) and struct.unpack("ii", value)[:2] == (1, 0)

    # ── bytes ────────────────────────────────────────────────────────────────

    def send(self, data: bytes | bytearray | memoryview, _flags: int = 0) -> int:
        """Send what there is room for; how many bytes that was."""
        endpoint = self._endpoint
        if endpoint is None or self._descriptor == -1:
            endpoint = self._connected()
        try:
            return endpoint.send(bytes(data))
        except BlockingIOError:
            raise self._would_block("send") from None

    def sendmsg(self, buffers: Iterable[bytes | bytearray | memoryview], *_: object) -> int:
        """`send` of several buffers as one."""
        return self.send(b"".join(buffers))

    def recv(self, length: int, _flags: int = 0) -> bytes:
        """Up to ``length`` of the bytes that have arrived; b"" at the end."""
        endpoint = self._endpoint
        if endpoint is None or self._descriptor == -1:
            endpoint = self._connected()
        try:
            return endpoint.recv(length)
        except BlockingIOError:
            raise self._would_block("recv") from None

    def recv_into(self, buffer: bytearray | memoryview, length: int = 0, _flags: int = 0) -> int:
        """`recv` into a buffer; how many bytes it took."""
        view = memoryview(buffer).cast("B")
        data = self.recv(length or len(view))
        view[: len(data)] = data
        return len(data)

    def _connected(self) -> Endpoint:
        if self._descriptor == -1:
            raise _error(errno.EBADF)
        if self._endpoint is None:
            raise _error(errno.ENOTCONN)
        return self._endpoint

    def _would_block(self, call: str) -> Exception:
        if self._timeout == 0:
            return _error(errno.EAGAIN)
        return NotSimulated(f"{call} on {self!r} would block the only thread; use asyncio")

    # ── the rest of the interface ────────────────────────────────────────────

    def fileno(self) -> int:
        """A number that no real file has; -1 when closed."""
        return self._descriptor

    def setblocking(self, flag: bool) -> None:
        """As on a real socket; see `NotSimulated` for what happens if it would block."""
        self._timeout = None if flag else 0.0

    def settimeout(self, timeout: float | None) -> None:
        """As on a real socket."""
        self._timeout = timeout

    def gettimeout(self) -> float | None:
        """None: blocking; 0: not."""
        return self._timeout

    def getblocking(self) -> bool:
        """Would it wait?"""
        return self._timeout != 0

    def getsockname(self) -> tuple[Any, ...]:
        """The local address."""
        return self._as_tuple(self._local or (_any(self.family), 0))

    def getpeername(self) -> tuple[Any, ...]:
        """The other side's address."""
        if self._remote is None or self._endpoint is None or not self._endpoint.connected:
            raise _error(errno.ENOTCONN)
        return self._as_tuple(self._remote)

    def setsockopt(self, level: int, name: int, value: int | bytes | None, *_: object) -> None:
        """Kept, without effect, except for ``SO_LINGER``."""
        self._options[level, name] = value if value is not None else 0

    def getsockopt(self, level: int, name: int, _length: int = 0) -> int | bytes:
        """What was set; ``SO_ERROR`` is the pending error, and is cleared."""
        if (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR):
            return self._endpoint.take_error() if self._endpoint is not None else 0
        if (level, name) == (socket.SOL_SOCKET, socket.SO_TYPE):
            return int(self.type)
        return self._options.get((level, name), 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<simulated socket {_text(self._local)} -> {_text(self._remote)}>"

    def _as_tuple(self, address: Address) -> tuple[Any, ...]:
        return address if self.family == socket.AF_INET else (*address, 0, 0)


def _any(family: int) -> str:
    return "::" if family == socket.AF_INET6 else "0.0.0.0"


def _text(address: Address | None) -> str:
    return "nowhere" if address is None else f"{address[0]}:{address[1]}"


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
