"""Network: the connections of a simulated world, and what is under way between its machines.

Nothing here moves bytes by itself. `Network.post` puts a call into a queue by
the instant at which it arrives; the event loop, when all tasks wait, moves its
clock to the next arrival and lets it happen (`Network.deliver`).

Things to notice
    1. How long a message takes, and whether it gets through, is decided by the
       `Direction` of its connection (`sdkit.sim.links`). Faults are rules between
       two machines, by name, each direction on its own.
    2. A machine whose process was killed refuses connections. One without power
       does not answer at all, and a connection to it stays half-open.

Decision
    A full accept queue drops the connection request, and the client's kernel
    repeats it after a second, as Linux does: connecting then "takes a second".
"""

from __future__ import annotations

import errno
import heapq
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVarTuple

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument
from sdkit.sim.addresses import Address, Addresses
from sdkit.sim.life import Life
from sdkit.sim.links import ANY, Direction, Latency, Link, Rules, Station, check_latency
from sdkit.sim.stream import Endpoint, join

Ts = TypeVarTuple("Ts")

FIRST_DESCRIPTOR: Final = 1 << 20  # above any real one
REQUEST_AGAIN_S: Final = 1.0
REQUESTS_MAX: Final = 6

INTEGERS_S: Final = 4e6  # 4e15 ns is below 2**52

BYTES_PER_S_MIN: Final = 1e-3
BYTES_PER_S_MAX: Final = 1e15
CONNECTIONS_MIN: Final = 64  # so many are kept before those that are over are looked for


class Pollable(Protocol):
    """A socket, as the selector and the network see it."""

    held: bool

    @property
    def life(self) -> Life | None: ...

    def ready_for(self, events: int) -> int: ...

    def fileno(self) -> int: ...

    def die(self) -> None: ...


@dataclass(slots=True)
class Connection:
    """Both ends, and both directions."""

    client: Endpoint
    server: Endpoint
    there: Direction
    back: Direction
    local: Address
    remote: Address

    @property
    def is_over(self) -> bool:
        return self.client.is_over and self.server.is_over

    def is_between(self, one: str, other: str) -> bool:
        """Of two machines; "*" is any, but no connection within one."""
        ends = self.there.link.source.name, self.there.link.target.name
        if ends[0] == ends[1]:
            return False
        return any(
            (one in (first, ANY)) and (other in (second, ANY))
            for first, second in (ends, ends[::-1])
        )


class Network(Addresses):
    """All connections of one simulation.

    Args:
        now: reads the clock.
        latency_s: how long a message takes.
        seed: of what is drawn.
        names: host names to addresses, besides ``localhost``.
        buffer_bytes: how much a connection holds in one direction.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        latency_s: Latency,
        seed: int | str,
        names: Mapping[str, str],
        buffer_bytes: int,
    ) -> None:
        self.now: Final = now
        super().__init__(names)
        self.sockets: Final[dict[int, Pollable]] = {}  # the open ones, by descriptor
        self.touched: Final[dict[int, None]] = {}  # descriptors that may have become ready
        self.watched: Final[dict[int, int]] = {}  # descriptors, and the events that are waited for
        self._latency_s = latency_s
        self._seed = seed
        self._buffer_bytes = buffer_bytes
        self.on_deliver: Callable[[str, str, int, str], None] | None = None
        self._links: dict[tuple[str, str], Link] = {}
        self._rules = Rules()
        self._connections: list[Connection] = []
        self._connections_max = CONNECTIONS_MIN
        # What is under way, as a heap: when it arrives, its number, what happens then.
        self.arrivals: Final[list[tuple[float, int, Callable[..., None], tuple[Any, ...]]]] = []
        self._serial = itertools.count()
        self._descriptors = itertools.count(FIRST_DESCRIPTOR)

    # ── messages ─────────────────────────────────────────────────────────────

    def post(self, arrival: float, message: Callable[[*Ts], None], *args: *Ts) -> None:
        """Let ``message`` happen at ``arrival``; those of one instant in the order of posting."""
        # The clock reads whole nanoseconds: between two of them a message would never be due.
        entry = whole_nanoseconds(arrival), next(self._serial), message, args
        heapq.heappush(self.arrivals, entry)

    def deliver(self, now: float) -> None:
        """Let everything happen that is due by now."""
        arrivals = self.arrivals
        while arrivals and arrivals[0][0] <= now:
            _, _, message, args = heapq.heappop(arrivals)
            message(*args)

    def add(self, sock: Pollable) -> int:
        """A descriptor for a new socket; never one that the operating system would give."""
        descriptor = next(self._descriptors)
        self.sockets[descriptor] = sock
        return descriptor

    # ── connections ──────────────────────────────────────────────────────────

    def connect(self, life: Life | None, family: int, local: Address, remote: Address) -> Endpoint:
        """Ask for a connection. The endpoint says when it is established or refused."""
        self._check_known(remote[0])
        source = self._station(life)
        target = self._station_at(source, remote[0])
        there = Direction(self, self._link(source, target), self._seed)
        back = Direction(self, self._link(target, source), self._seed)
        client = Endpoint(there.post, self._buffer_bytes)
        server = Endpoint(back.post, self._buffer_bytes)
        there.on_give_up, back.on_give_up = client.give_up, server.give_up
        join(client, server)
        self._keep(Connection(client, server, there, back, local, remote))
        request = _Request(self, target, family, local, remote, server)
        there.post(request.arrive, 0, "connect")
        return client

    def _link(self, source: Station, target: Station) -> Link:
        names = source.name, target.name
        link = self._links.get(names)
        if link is None:
            link = self._links[names] = Link(source, target, self._latency_s)
            self._rules.apply(link)
        return link

    def _keep(self, connection: Connection) -> None:
        if len(self._connections) >= self._connections_max:
            self._connections = [it for it in self._connections if not it.is_over]
            self._connections_max = max(CONNECTIONS_MIN, 2 * len(self._connections))
        self._connections.append(connection)

    # ── machines ─────────────────────────────────────────────────────────────

    def up(self, life: Life) -> None:
        """A life begins."""
        self._station(life).is_on = True

    def kill(self, life: Life) -> None:
        """Its process is dead: peers get a reset, later requests are refused."""
        for sock in self._sockets_of(life):
            sock.die()
            del self.sockets[sock.fileno()]

    def vanish(self, life: Life) -> None:
        """Its machine has lost power: peers hear nothing until it is up again and they send."""
        station = self._station(life)
        station.is_on = False
        for connection in self._connections:
            # A request that has not arrived may still do so at the next boot.
            if connection.there.link.target is station and connection.server.connected:
                connection.server.vanish()
                connection.back.abandon()
            if connection.there.link.source is station:
                connection.client.vanish()
                connection.there.abandon()
        self.kill(life)

    def pause(self, life: Life) -> None:
        """Its sockets are ready for nothing; bytes still arrive."""
        for sock in self._sockets_of(life):
            sock.held = True

    def resume(self, life: Life) -> None:
        """They are as ready as they are."""
        for sock in self._sockets_of(life):
            sock.held = False
            self.touched[sock.fileno()] = None

    def _sockets_of(self, life: Life) -> list[Pollable]:
        return [sock for sock in self.sockets.values() if sock.life is life]

    # ── faults ───────────────────────────────────────────────────────────────

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from ``source`` to ``target``, until `heal`; "*" is any machine."""
        self._rules.cuts.add(self._ends(source, target))
        self._apply_rules()

    def heal(self, source: str, target: str) -> None:
        """Undo `cut`."""
        self._rules.cuts.discard(self._ends(source, target))
        self._apply_rules()

    def slow(
        self,
        source: str,
        target: str,
        *,
        latency_s: Latency = 0.0,
        bytes_per_s: float | None = None,
    ) -> None:
        """Let everything take so much longer, and all connections share so many bytes/s.

        Raises:
            InvalidArgument: a latency or rate that cannot be.
        """
        check_latency(latency_s)
        if bytes_per_s is not None:
            check_between("bytes_per_s", bytes_per_s, BYTES_PER_S_MIN, BYTES_PER_S_MAX)
        self._rules.slow[self._ends(source, target)] = (latency_s, bytes_per_s)
        self._apply_rules()

    def unslow(self, source: str, target: str) -> None:
        """Undo `slow`."""
        self._rules.slow.pop(self._ends(source, target), None)
        self._apply_rules()

    def lossy(self, source: str, target: str, probability: float) -> None:
        """Lose messages with this probability; they are sent again, later. 0 undoes it."""
        check_between("probability", probability, 0.0, 1.0)
        self._rules.losses[self._ends(source, target)] = probability
        self._apply_rules()

    def reset(self, source: str, target: str) -> None:
        """Break every connection between the two, either way; what is under way is lost.

        "*" is any other machine.
        """
        self._ends(source, target)
        for connection in self._connections:
            if connection.is_between(source, target):
                for end, way in (
                    (connection.client, connection.there),
                    (connection.server, connection.back),
                ):
                    end.break_now()
                    way.abandon()

    def _ends(self, source: str, target: str) -> tuple[str, str]:
        for name in (source, target):
            if name != ANY and (not name or name not in self._stations):
                known = ", ".join(it for it in self._stations if it)
                raise InvalidArgument(f"no machine is named {name!r}; there are: {known}")
        return source, target

    def _apply_rules(self) -> None:
        for link in self._links.values():
            self._rules.apply(link)

    # ── for reports ──────────────────────────────────────────────────────────

    def in_flight(self) -> list[tuple[str, str, int]]:
        """Connection, direction, and bytes sent and not arrived."""
        found = []
        for it in self._connections:
            name = f"{it.local[0]}:{it.local[1]} -> {it.remote[0]}:{it.remote[1]}"
            if it.server.under_way:
                found.append((name, "there", it.server.under_way))
            if it.client.under_way:
                found.append((name, "back", it.client.under_way))
        return found

    def leaks(self, life: Life | None = None) -> list[str]:
        """Open sockets: of a life, or of all."""
        return [repr(it) for it in self.sockets.values() if life is None or it.life is life]


@dataclass(slots=True)
class _Request:
    """A connection request (SYN) on its way, and again if nobody had room for it."""

    network: Network
    station: Station
    family: int
    local: Address
    remote: Address
    server: Endpoint
    attempts: int = 0

    def arrive(self) -> None:
        if self.server.dead:  # the client has given up
            return
        listener = self.network.listener_at(self.station, self.family, self.remote)
        self.attempts += 1
        if listener is None:
            self.server.refuse(errno.ECONNREFUSED)
        elif len(listener.queue) <= listener.backlog:
            self.server.accept()
            listener.queue.append((self.server, self.remote, self.local))
            listener.on_change()
        elif self.attempts < REQUESTS_MAX:
            again = self.network.now() + REQUEST_AGAIN_S * 2 ** (self.attempts - 1)
            self.network.post(again, self.arrive)
        else:
            self.server.refuse(errno.ETIMEDOUT)


def whole_nanoseconds(instant: float) -> float:
    """An instant, rounded to the nanosecond."""
    # A quarter of the price of `round`. Beyond a month and a half the integer is so large that
    # adding a half to it is not exact.
    return int(instant * 1e9 + 0.5) / 1e9 if instant < INTEGERS_S else round(instant, 9)


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
