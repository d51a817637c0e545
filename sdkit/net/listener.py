"""Listener: serve one protocol to many connections within limits, and leave nothing behind.

    async with Listener(ListenerConfig(port=7000)).serving(accept) as listener:
        print("listening on", *listener.address)

Every server, whatever it speaks, does these: it listens, gives each connection
that it accepts to its protocol, counts them, sends away the one too many, and in
the end takes no new ones and lets what was begun come to its end within a grace
time. So they are here, once, and the protocol is a class of connections with the
few members of `Served`:

    accepted socket  ──> accept(admit) makes a connection ──> (TLS)
    it is made       ──> admit(connection): kept, or refuse(Overloaded)
    `Listener.close` ──> see_off() each, for the grace time; then begin_close(); then closed

Two decisions
    * The default address is 127.0.0.1. Listening wider without a secret or TLS
      is possible, and warned about: databases found open on the internet were,
      time and again, not hacked but left at their defaults.
    * Grace is for the requests, not for the clients: a connection on which
      nothing is being served is closed at once.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl as tls
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Generic, Protocol, Self, TypeVar

from sdkit import host as hosts
from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument, InvalidState, Overloaded, SdkitError
from sdkit.host import Host
from sdkit.net import deadlines
from sdkit.net.acceptor import Acceptor
from sdkit.net.addresses import cannot_listen, check_name, check_tls
from sdkit.net.descriptors import connections_possible
from sdkit.net.limits import TIMEOUT_S_MAX, ConnectionLimits
from sdkit.trace import adopt, event


class InsecureListener(UserWarning):
    """A server can be reached from other machines by anybody, and nothing is encrypted."""


class FewDescriptors(UserWarning):
    """The process may not open as many files as ``connections_max`` connections need."""


@dataclass(frozen=True, kw_only=True)
class ListenerConfig(ConnectionLimits):
    """What every listener can be told; the config of a protocol adds its own fields.

    Args:
        host: the address to listen on; 127.0.0.1 is heard on this machine only.
        port: where to listen; 0 picks a free one.
        ssl: makes it TLS.
        connections_max: one more is told `Overloaded`, and closed. If the process
            may not have so many descriptors, it is fewer, and a warning says so
            (`sdkit.net.descriptors`).
        idle_timeout_s: a connection without a request for so long is closed: a server
            does not keep idle strangers for ever. None, in a program, does.
        grace_s: how long, at the end, requests that were begun may take.

    Raises:
        InvalidArgument: a value is out of range; the message names it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    ssl: tls.SSLContext | None = None
    connections_max: int = 1000
    idle_timeout_s: float | None = 600.0
    grace_s: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("port", self.port, 0, 65535)
        check_between("connections_max", self.connections_max, 1, 1_000_000)
        check_between("grace_s", self.grace_s, 0.0, TIMEOUT_S_MAX)
        if self.host == "":
            raise InvalidArgument("host is empty; use 127.0.0.1, or 0.0.0.0 for every interface")
        check_name("host", self.host)
        check_tls(self.ssl, None, "server")


class Served(Protocol):
    """What a listener has to know of a connection, whatever is said on it.

    Attributes:
        id: unique among the connections of this kind.
        closed: done when it has ended, and the last of its work too.
        address: where the other side is, for people.
        calls_in: requests that are being served; the grace time is for them.
        served: requests that were begun so far.
    """

    @property
    def id(self) -> int: ...
    @property
    def closed(self) -> asyncio.Future[None]: ...
    @property
    def address(self) -> str: ...
    @property
    def calls_in(self) -> int: ...
    @property
    def served(self) -> int: ...

    def refuse(self, error: SdkitError) -> None:
        """End it, and tell the peer why in the words of the protocol."""

    async def see_off(self) -> None:
        """Take no new requests, answer those that were begun, and end it."""

    def begin_close(self) -> None:
        """End it now; ``closed`` says when that is done."""


C = TypeVar("C", bound=Served)
Accept = Callable[[Callable[[C], None]], asyncio.BaseProtocol]


class Listener(Generic[C]):
    """Listens from `listen` to `close`, or while the ``async with`` block of `serving` runs.

    Args:
        config: where to listen, and how much to put up with.
        host: the machine it runs on; the current one if None.
        asks_for_secret: nobody gets anything without knowing a secret.

    Attributes:
        connections: those being served, by id, until the last work of each has ended.
        accepted, refused: how many there were so far.
    """

    def __init__(
        self,
        config: ListenerConfig | None = None,
        *,
        host: Host | None = None,
        asks_for_secret: bool = False,
    ) -> None:
        self.config: Final = config or ListenerConfig()
        self.host: Final = host or hosts.current()
        self.connections: Final[dict[int, C]] = {}
        self.accepted = self.refused = 0
        self._asks_for_secret = asks_for_secret
        self._open: Final[dict[int, C]] = {}  # those, and the ones being sent away
        self._served_before = 0  # by connections that have ended
        self._connections_max = self.config.connections_max
        self._acceptor: Acceptor | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.

        Raises:
            InvalidState: it does not.
        """
        if self._acceptor is None or not self._acceptor.is_listening:
            raise InvalidState("the server does not listen; enter it with `async with`")
        return self._acceptor.address

    @property
    def calls_in(self) -> int:
        """Requests that are being served."""
        return sum(each.calls_in for each in self.connections.values())

    @property
    def served(self) -> int:
        """Requests that were begun so far."""
        return self._served_before + sum(each.served for each in self.connections.values())

    @asynccontextmanager
    async def serving(self, accept: Accept[C]) -> AsyncIterator[Self]:
        """`listen` at the beginning of the block, `close` at its end."""
        await self.listen(accept)
        try:
            yield self
        finally:
            await self.close()

    async def listen(self, accept: Accept[C]) -> None:
        """Take connections from now on.

        Args:
            accept: makes what an accepted connection is given to; it is handed a function
                to be called once with the connection, when that is made.

        Raises:
            AddressInUse, AddressUnusable: it cannot listen there; the message says why.
            InvalidState: it listens already.
        """
        if self._acceptor is not None:
            raise InvalidState(f"the listener on port {self.address[1]} runs already")
        # What runs on a connection has neither deadline nor span of whoever listens.
        token = deadlines.inherit(None)
        try:
            with hosts.running_on(self.host), adopt(None):
                await self._listen(accept)
        finally:
            deadlines.disinherit(token)

    def check_loop(self) -> None:
        """Refuse to be closed in another event loop than the one it listens in.

        Raises:
            InvalidState: it would wait for what never comes.
        """
        if self._acceptor is not None:
            self._acceptor.check_loop()

    async def close(self) -> None:
        """No new requests, the grace time for those begun, then nothing. Safe to call twice.

        Raises:
            InvalidState: it listens in another event loop.
        """
        self.check_loop()
        if self._acceptor is not None:
            try:
                with hosts.running_on(self.host):
                    await self._stop(self._acceptor)
            finally:
                self._acceptor = None

    # ------------------------------------------------------------- the beginning

    async def _listen(self, accept: Accept[C]) -> None:
        config, admit = self.config, self._admit
        self._warn_if_open_to_all()
        self._limit_connections()
        try:
            self._acceptor = await Acceptor.listen(
                config.host,
                config.port,
                lambda: accept(admit),
                ssl=config.ssl,
                handshake_timeout_s=config.handshake_timeout_s,
            )
        except (OSError, UnicodeError) as error:
            raise cannot_listen(error, config.host, config.port) from error
        host, port = self.address
        event("server.listen", address=host, port=port, tls=config.ssl is not None)

    def _warn_if_open_to_all(self) -> None:
        config = self.config
        if not self._asks_for_secret and config.ssl is None and not _is_loopback(config.host):
            text = (
                f"listening on {config.host} without secret and without TLS: everybody who "
                "reaches this address can read and change everything"
            )
            event("server.insecure", address=config.host)
            warnings.warn(text, InsecureListener, stacklevel=2)

    def _limit_connections(self) -> None:
        """Leave descriptors for the disk, however many connect."""
        wanted = self.config.connections_max
        self._connections_max = possible = connections_possible(wanted, self.host)
        if possible < wanted:
            text = (
                f"{possible} connections at most instead of {wanted}: this process may not open "
                "more files; raise the hard limit (ulimit -Hn) or lower connections_max"
            )
            event("server.descriptors", wanted=wanted, limit=possible)
            warnings.warn(text, FewDescriptors, stacklevel=2)

    def _admit(self, connection: C) -> None:
        """A connection was made: keep it, or send it away if there are too many."""
        limit = self._connections_max
        self._open[connection.id] = connection
        connection.closed.add_done_callback(lambda _: self._left(connection))
        if len(self.connections) < limit:
            self.connections[connection.id] = connection
            self.accepted += 1
            return
        self.refused += 1
        event("server.refuse", peer=connection.address, limit=limit)
        text = f"{self.host.name} has {limit} connections already; try again later"
        connection.refuse(Overloaded(text, limit=limit))

    def _left(self, connection: C) -> None:
        del self._open[connection.id]
        if self.connections.pop(connection.id, None) is not None:
            self._served_before += connection.served

    # ------------------------------------------------------------- the end

    async def _stop(self, acceptor: Acceptor) -> None:
        await acceptor.close()
        try:
            async with asyncio.timeout(self.config.grace_s):
                await asyncio.gather(*(each.see_off() for each in self._open.values()))
        except TimeoutError:
            event("server.cut", calls=sum(each.calls_in for each in self._open.values()))
        finally:
            for connection in list(self._open.values()):
                connection.begin_close()
        ends = [asyncio.shield(each.closed) for each in self._open.values()]
        await asyncio.gather(*ends)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
