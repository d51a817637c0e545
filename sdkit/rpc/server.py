"""Server: listen, serve many connections within limits, and leave nothing behind.

    async with Server({"echo": echo}, ServerConfig(port=7000)) as server:
        print("listening on", *server.address)

Entering recovers what the room keeps, listens, and returns with the real
address. Leaving goes backwards: no new connections, no new requests, a grace
time for those that were begun, then cancelling, then the room's own end (sync,
close). After that no task, socket or file of it remains, however it went.

A room makes its server by subclassing: `handlers` is what it serves, `starting`
and `stopping` what it does before and after, `gauges` what its metrics show and
``meanings`` what each of them is.

Two decisions
    * The default address is 127.0.0.1. Listening wider without a secret or TLS
      is possible, and warned about: databases found open on the internet were,
      time and again, not hacked but left at their defaults.
    * Grace is for the requests, not for the clients: a connection on which
      nothing is being served is closed at once, after a goodbye that tells
      which calls were looked at.
"""

from __future__ import annotations

import asyncio
import ipaddress
import ssl as tls
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from sdkit import host as hosts
from sdkit.arguments import check_between, shown
from sdkit.errors import InvalidArgument, InvalidState, Overloaded
from sdkit.host import Host, check_host
from sdkit.net import deadlines
from sdkit.net.addresses import cannot_listen, check_name, check_tls
from sdkit.net.descriptors import connections_possible
from sdkit.net.listening import Listener
from sdkit.rpc.client import Connection, new_session
from sdkit.rpc.handlers import Handler, table
from sdkit.rpc.hello import Side, check_secret
from sdkit.rpc.limits import TIMEOUT_S_MAX, Limits
from sdkit.trace import Metrics, adopt, event
from sdkit.trace.record import add_listener, remove_listener


class InsecureListener(UserWarning):
    """A server can be reached from other machines by anybody, and nothing is encrypted."""


class FewDescriptors(UserWarning):
    """The process may not open as many files as ``connections_max`` connections need."""


@dataclass(frozen=True, kw_only=True)
class ServerConfig(Limits):
    """What every server can be told; a room's config adds its own fields.

    Args:
        host, port: where to listen; port 0 picks a free one.
        secret: what clients have to know; None lets everybody in. On a command line
            it would show in the list of processes: give it in a file there, with
            --secret-file or as TOML.
        ssl: makes it TLS.
        connections_max: one more is told `Overloaded`, and closed. If the process
            may not have so many descriptors, it is fewer, and a warning says so
            (`sdkit.net.descriptors`).
        idle_timeout_s: a connection without a call for so long is closed: a server
            does not keep idle strangers for ever. None, in a program, does.
        grace_s: how long, at the end, requests that were begun may take.
        count_events: let the method ``metrics`` count every traced event too.
            That makes this process listen to its own trace, and a small call
            cost three times as much.

    Raises:
        InvalidArgument: a value is out of range; the message names it.
    """

    host: str = "127.0.0.1"
    port: int = 0
    secret: str | bytes | None = None
    ssl: tls.SSLContext | None = None
    connections_max: int = 1000
    idle_timeout_s: float | None = 600.0
    grace_s: float = 5.0
    count_events: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_between("port", self.port, 0, 65535)
        check_between("connections_max", self.connections_max, 1, 1_000_000)
        check_between("grace_s", self.grace_s, 0.0, TIMEOUT_S_MAX)
        if self.host == "":
            raise InvalidArgument("host is empty; use 127.0.0.1, or 0.0.0.0 for every interface")
        check_name("host", self.host)
        if not isinstance(self.count_events, bool):
            raise InvalidArgument(f"count_events is {shown(self.count_events)}; True or False")
        check_secret(self.secret)
        check_tls(self.ssl, None, "server")
        if self.secret is not None and len(self.secret) < 8:
            raise InvalidArgument(
                f"secret has {len(self.secret)} characters; it must have at least 8, "
                "better 32 random ones"
            )


MEANINGS: Final = {
    "server.connections": "Connections that are open.",
    "server.connections_accepted_total": "Connections accepted since the start.",
    "server.connections_refused_total": "Connections refused because connections_max were open.",
    "server.calls_in_flight": "Calls whose handlers are running.",
    "server.calls_total": "Calls answered since the start.",
}


class Server:
    """Serves ``handlers`` over RPC while its ``async with`` block runs.

    Args:
        handlers: methods by name, see `sdkit.rpc.handlers`; a subclass may
            override `handlers` instead, and ``connection_type``.
        config: where to listen, whom to let in, how much to put up with.
        host: the machine it runs on; the current one if None.
    """

    connection_type: type[Connection] = Connection
    meanings: Mapping[str, str] = MEANINGS  # of `gauges`; a room adds its own

    def __init__(
        self,
        handlers: Mapping[str, Handler] | None = None,
        config: ServerConfig | None = None,
        *,
        host: Host | None = None,
    ) -> None:
        if config is not None and not isinstance(config, ServerConfig):
            raise InvalidArgument(f"config is {config!r}; a server takes a ServerConfig")
        if host is not None:
            check_host(host)
        self.config: Final = config or ServerConfig()
        self.host: Final = host or hosts.current()
        self.connections: Final[dict[int, Connection]] = {}  # by id, until the last handler ended
        self._open: Final[dict[int, Connection]] = {}  # those, and the ones being sent away
        table(handlers or {})  # which refuses what is none, here and not when it is entered
        self._given: Final = dict(handlers or {})
        self._listener: Listener | None = None
        self._metrics: Final = Metrics(self.host.name)
        self._served = self._accepted = self._refused = 0
        self._connections_max = self.config.connections_max

    # ------------------------------------------------------------- what a room overrides

    def handlers(self) -> Mapping[str, Handler]:
        """The methods of this server, without ``metrics``, which every server has."""
        return self._given

    async def starting(self) -> None:
        """Recover what is needed to serve. Called before the server listens."""

    async def stopping(self) -> None:
        """Sync and close. Called when the last handler has ended, also after a failed start."""

    def gauges(self) -> Mapping[str, float]:
        """Numbers of the room as they stand, ``room.noun`` to value.

        The name of one that only rises ends in ``_total``.
        """
        return {}

    def repairs(self) -> list[str]:
        """What starting had to put right, a line each, for whoever started it."""
        return []

    # ------------------------------------------------------------- what everybody uses

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens.

        Raises:
            InvalidState: it does not.
        """
        if self._listener is None or not self._listener.is_listening:
            raise InvalidState("the server does not listen; enter it with `async with`")
        return self._listener.address

    def metrics_text(self) -> str:
        """What the method ``metrics`` answers: Prometheus text."""
        return self._metrics.text({**self._own_gauges(), **self.gauges()}, self.meanings)

    async def __aenter__(self) -> Self:
        if self._listener is not None:
            raise InvalidState("the server runs already; a server is entered once")
        with hosts.running_on(self.host), adopt(None):
            token = deadlines.inherit(None)  # requests have deadlines of their own
            try:
                if self.config.count_events:
                    add_listener(self._metrics)
                await self.starting()
                await self._listen()
            except BaseException:
                await self._end()
                raise
            finally:
                deadlines.disinherit(token)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._listener is None:
            raise InvalidState("the server does not run; it was left already, or never entered")
        self._listener.check_loop()
        with hosts.running_on(self.host):
            try:
                await self._stop_serving()
            finally:
                await self._end()

    # ------------------------------------------------------------- the beginning

    async def _listen(self) -> None:
        config = self.config
        self._warn_if_open_to_all()
        self._limit_connections()
        methods = table({"metrics": self._answer_metrics, **self.handlers()})
        loop = asyncio.get_running_loop()

        kind = self.connection_type

        def accept() -> Connection:
            session = new_session(Side.SERVER, config, config.secret, loop, kind.session_type)
            return kind(session, methods, loop, made=self._admit)

        try:
            self._listener = await Listener.listen(
                config.host,
                config.port,
                accept,
                ssl=config.ssl,
                handshake_timeout_s=config.handshake_timeout_s,
            )
        except (OSError, UnicodeError) as error:
            raise cannot_listen(error, config.host, config.port) from error
        host, port = self.address
        event("server.listen", address=host, port=port, tls=config.ssl is not None)

    def _warn_if_open_to_all(self) -> None:
        config = self.config
        if config.secret is None and config.ssl is None and not _is_loopback(config.host):
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

    def _admit(self, connection: Connection) -> None:
        """A connection was made: keep it, or send it away if there are too many."""
        limit = self._connections_max
        self._open[connection.id] = connection
        connection.closed.add_done_callback(lambda _: self._left(connection))
        if len(self.connections) < limit:
            self.connections[connection.id] = connection
            self._accepted += 1
            return
        self._refused += 1
        event("server.refuse", peer=connection.address, limit=limit)
        text = f"{self.host.name} has {limit} connections already; try again later"
        connection.refuse(Overloaded(text, limit=limit))

    def _left(self, connection: Connection) -> None:
        del self._open[connection.id]
        if self.connections.pop(connection.id, None) is not None:
            self._served += connection.served

    # ------------------------------------------------------------- the end

    async def _stop_serving(self) -> None:
        """No new requests, the grace time for those begun, then nothing."""
        assert self._listener is not None
        await self._listener.close()
        try:
            async with asyncio.timeout(self.config.grace_s):
                await asyncio.gather(*(each.see_off() for each in self._open.values()))
        except TimeoutError:
            event("server.cut", calls=sum(each.calls_in for each in self._open.values()))
        finally:
            for connection in list(self._open.values()):
                connection.begin_close()
        await asyncio.gather(*(each.wait_closed() for each in list(self._open.values())))

    async def _end(self) -> None:
        try:
            await self.stopping()
        finally:
            self._listener = None
            event("server.stop", served=self._served)
            remove_listener(self._metrics)

    # ------------------------------------------------------------- metrics

    def _answer_metrics(self, _connection: Connection) -> str:
        return self.metrics_text()

    def _own_gauges(self) -> dict[str, float]:
        now = self.connections.values()
        return {
            "server.connections": len(now),
            "server.connections_accepted_total": self._accepted,
            "server.connections_refused_total": self._refused,
            "server.calls_in_flight": sum(each.calls_in for each in now),
            "server.calls_total": self._served + sum(each.served for each in now),
        }


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
