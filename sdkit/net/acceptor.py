"""Acceptor: accept connections, and pause while the process has no free descriptor.

The event loop can listen by itself (``create_server``). When the process has no
descriptor left, the loop stops watching the socket, and sets a timer of a second to
watch it again. Nothing owns that timer. If the server is closed within the second, the
timer still fires, for a socket that is closed. So the kit's servers accept connections
themselves, and own what they start:

    the socket is readable ──> accept, up to `BACKLOG` ──> a task makes each a connection
    no descriptor is left  ──> stop watching the socket for `PAUSE_S`
    `Acceptor.close`       ──> no timer, no task and no socket is left

Each connection needs a task, because TLS shakes hands first. A handshake that is not
done when the server ends is cancelled.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl as tls
from collections.abc import Callable
from typing import Final, Self

from sdkit.errors import InvalidState
from sdkit.net.descriptors import BACKLOG
from sdkit.trace import event

PAUSE_S: Final = 1.0  # then a descriptor may be free again
# No descriptor left in the process or the system; no memory left in the kernel (two codes).
_EXHAUSTED: Final = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])


class Acceptor:
    """The listening sockets of a server. Made by `listen`.

    Args:
        sockets: bound already.
        protocol: makes the protocol of an accepted connection.
        ssl: makes it TLS.
        handshake_timeout_s: for TLS.
    """

    def __init__(
        self,
        sockets: list[socket.socket],
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        ssl: tls.SSLContext | None,
        handshake_timeout_s: float,
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._sockets: Final = sockets
        self._protocol = protocol
        self._ssl = ssl
        self._handshake_timeout_s = handshake_timeout_s if ssl is not None else None
        self._pauses: Final[dict[socket.socket, asyncio.TimerHandle]] = {}
        self._making: Final[set[asyncio.Task[None]]] = set()

    @classmethod
    async def listen(
        cls,
        host: str,
        port: int,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        ssl: tls.SSLContext | None,
        handshake_timeout_s: float,
    ) -> Self:
        """Listen on every address of ``host``.

        Raises:
            OSError, UnicodeError: it cannot; nothing is left bound.
        """
        found = await _addresses(host, port)
        made = cls(_bound(found), protocol, ssl=ssl, handshake_timeout_s=handshake_timeout_s)
        for each in made._sockets:
            made._look(each)
        return made

    @property
    def is_listening(self) -> bool:
        """Whether it still accepts connections: it has not been stopped."""
        return self._sockets[0].fileno() >= 0

    @property
    def address(self) -> tuple[str, int]:
        """The first of its addresses."""
        host, port = self._sockets[0].getsockname()[:2]
        return str(host), int(port)

    def check_loop(self) -> None:
        """Refuse to be ended in another event loop than the one it was made in.

        Raises:
            InvalidState: it would wait for what never comes.
        """
        if asyncio.get_running_loop() is not self._loop:
            raise InvalidState("a server is left in the event loop in which it was entered")

    def stop(self) -> None:
        """Take no more connections, and free the port. Safe to call twice."""
        for timer in self._pauses.values():
            timer.cancel()
        for each in self._sockets:
            if each not in self._pauses and each.fileno() >= 0:
                self._loop.remove_reader(each)
            each.close()
        self._pauses.clear()

    async def close(self) -> None:
        """`stop`, and give up the connections that are still being made."""
        self.stop()
        await asyncio.sleep(0)  # a task that is cancelled before its first step closes nothing
        making = list(self._making)
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def _look(self, listening: socket.socket) -> None:
        self._pauses.pop(listening, None)
        self._loop.add_reader(listening, self._accept, listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(BACKLOG):
            try:
                accepted, _address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    raise
                # The socket stays readable, so watching it would keep a core busy.
                self._loop.remove_reader(listening)
                self._pauses[listening] = self._loop.call_later(PAUSE_S, self._look, listening)
                event("server.exhausted", reason=error.strerror, pause_s=PAUSE_S)
                return
            accepted.setblocking(False)
            task = self._loop.create_task(self._make(accepted))
            self._making.add(task)
            task.add_done_callback(self._making.discard)

    async def _make(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                accepted,
                ssl=self._ssl,
                ssl_handshake_timeout=self._handshake_timeout_s,
            )
        except (OSError, EOFError):  # errors of TLS are of these types: the peer cannot shake hands
            accepted.close()


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Families and addresses of a name; for an address itself, no resolver is asked."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys((each[0], each[4]) for each in found))
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]


def _bound(addresses: list[tuple[int, tuple[object, ...]]]) -> list[socket.socket]:
    """A socket for each address; those that this machine does not have are left out.

    Raises:
        OSError: one of them cannot be used, or this machine has none of them.
    """
    sockets: list[socket.socket] = []
    missing: list[OSError] = []
    for family, address in addresses:
        try:
            sockets.append(_bind(family, address))
        except OSError as error:
            missing.append(error)
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                break
    else:
        if sockets:
            return sockets
    for each in sockets:
        each.close()
    raise missing[-1]


def _bind(family: int, address: tuple[object, ...]) -> socket.socket:
    # The protocol is named, since asyncio turns Nagle's algorithm off for sockets that are
    # called TCP, and accepted ones are called what this one is. With it on, each second small
    # answer waits up to 40 ms for the peer's acknowledgement.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Packets of the last server may keep the port taken for minutes.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        if family == socket.AF_INET6:
            # IPv4 has a socket of its own.
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)
        made.setblocking(False)
        made.bind(address)
        made.listen(BACKLOG)
    except BaseException:
        made.close()
        raise
    return made
