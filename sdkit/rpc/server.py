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

What is not about calls, listening, counting, limits and the grace time, is
`sdkit.net.listener`; here it is given connections that shake hands and serve
``handlers``, and each server answers the method ``metrics``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from sdkit import host as hosts
from sdkit.arguments import shown
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.host import Host, check_host
from sdkit.net import deadlines
from sdkit.net.listener import Accept, Listener, ListenerConfig
from sdkit.rpc.client import Connection, new_session
from sdkit.rpc.handlers import Handler, table
from sdkit.rpc.hello import Side, check_secret
from sdkit.rpc.limits import Limits
from sdkit.trace import Metrics, adopt, event
from sdkit.trace.record import add_listener, remove_listener


@dataclass(frozen=True, kw_only=True)
class ServerConfig(Limits, ListenerConfig):
    """What every server of calls can be told; a room's config adds its own fields.

    Args:
        secret: what clients have to know; None lets everybody in. On a command line
            it would show in the list of processes: give it in a file there, with
            --secret-file or as TOML.
        idle_timeout_s: a connection without a call for so long is closed: a server
            does not keep idle strangers for ever. None, in a program, does.
        count_events: let the method ``metrics`` count every traced event too.
            That makes this process listen to its own trace, and a small call
            cost three times as much.

    Raises:
        InvalidArgument: a value is out of range; the message names it.
    """

    secret: str | bytes | None = None
    idle_timeout_s: float | None = 600.0
    count_events: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.count_events, bool):
            raise InvalidArgument(f"count_events is {shown(self.count_events)}; True or False")
        check_secret(self.secret)
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
            raise InvalidArgument(f"config is {shown(config)}; a server takes a ServerConfig")
        if host is not None:
            check_host(host)
        self.config: Final = config or ServerConfig()
        self.host: Final = host or hosts.current()
        table(handlers or {})  # which refuses what is none, here and not when it is entered
        self._given: Final = dict(handlers or {})
        self._metrics: Final = Metrics(self.host.name)
        self._listener: Final[Listener[Connection]] = Listener(
            self.config, host=self.host, asks_for_secret=self.config.secret is not None
        )
        self._is_running = False

    def __repr__(self) -> str:
        kind, name = type(self).__name__, self.host.name
        try:
            host, port = self._listener.address
        except InvalidState:
            return f"<{kind} {name}, not listening>"
        return f"<{kind} {name} at {host}:{port}, {len(self._listener.connections)} connections>"

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
        return self._listener.address

    @property
    def connections(self) -> Mapping[int, Connection]:
        """Those that are being served, by id, until the last handler of each has ended."""
        return self._listener.connections

    def metrics_text(self) -> str:
        """What the method ``metrics`` answers: Prometheus text."""
        return self._metrics.text({**self._own_gauges(), **self.gauges()}, self.meanings)

    async def __aenter__(self) -> Self:
        if self._is_running:
            raise InvalidState("the server runs already; a server is entered once")
        self._is_running = True
        with hosts.running_on(self.host), adopt(None):
            token = deadlines.inherit(None)  # requests have deadlines of their own
            try:
                if self.config.count_events:
                    add_listener(self._metrics)
                await self.starting()
                await self._listener.listen(self._accepting())
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
        if not self._is_running:
            raise InvalidState("the server does not run; it was left already, or never entered")
        self._listener.check_loop()
        with hosts.running_on(self.host):
            try:
                await self._listener.close()
            finally:
                await self._end()

    def _accepting(self) -> Accept[Connection]:
        methods = table({"metrics": self._answer_metrics, **self.handlers()})
        loop, config, kind = asyncio.get_running_loop(), self.config, self.connection_type

        def accept(admit: Callable[[Connection], None]) -> Connection:
            session = new_session(Side.SERVER, config, config.secret, loop, kind.session_type)
            return kind(session, methods, loop, made=admit)

        return accept

    async def _end(self) -> None:
        try:
            await self.stopping()
        finally:
            self._is_running = False
            event("server.stop", served=self._listener.served)
            remove_listener(self._metrics)

    # ------------------------------------------------------------- metrics

    def _answer_metrics(self, _connection: Connection) -> str:
        return self.metrics_text()

    def _own_gauges(self) -> dict[str, float]:
        listener = self._listener
        return {
            "server.connections": len(listener.connections),
            "server.connections_accepted_total": listener.accepted,
            "server.connections_refused_total": listener.refused,
            "server.calls_in_flight": listener.calls_in,
            "server.calls_total": listener.served,
        }
