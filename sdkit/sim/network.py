"""Network: names, addresses and ports of a simulated world, and what is under way between them.

Nothing here moves bytes by itself. `Network.post` puts a call into a queue by
the instant at which it arrives; the event loop, when all tasks wait, moves its
clock to the next arrival and lets it happen (`Network.deliver`).

Things to notice
    1. A `Link` is one direction of one connection. It draws latencies from a
       random stream of its own, made of the seed and the connection's number:
       what one connection does changes nothing for another. A message never
       overtakes one sent before it.
    2. Addresses have to be known: loopback, and those that a name leads to. A
       simulation that reached for the real internet would be a bug.
    3. Ports given out for 0 are never used twice, so an old client cannot reach
       a new server by accident.

Decisions
    * A name has one address, and "every address" is IPv4's: real resolvers
      answer with several, and a program would listen on two random ports.
    * A full accept queue drops the connection request, and the client's kernel
      repeats it after a second, as Linux does: connecting then "takes a second".
"""

from __future__ import annotations

import errno
import heapq
import ipaddress
import itertools
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol

from sdkit.sim.life import Life
from sdkit.sim.stream import Endpoint, join

FIRST_PORT: Final = 49_152  # of the dynamic ports (RFC 6335)
FIRST_DESCRIPTOR: Final = 1 << 20  # above any real one
REQUEST_AGAIN_S: Final = 1.0
REQUESTS_MAX: Final = 6

Address = tuple[str, int]


class Pollable(Protocol):
    """A socket, as a selector sees it."""

    @property
    def readable(self) -> bool: ...

    @property
    def writable(self) -> bool: ...


@dataclass(slots=True)
class Listener:
    """Whoever listens on an address: connections wait here to be accepted."""

    family: int
    address: Address
    backlog: int
    queue: deque[tuple[Endpoint, Address, Address]] = field(default_factory=deque)
    on_change: Callable[[], None] = lambda: None


class Link:
    """One direction of one connection."""

    def __init__(self, network: Network, latency_s: Callable[[], float]) -> None:
        self._network = network
        self._latency_s = latency_s
        self._last_arrival = 0.0

    def post(self, message: Callable[[], None]) -> None:
        arrival = max(self._last_arrival, self._network.now() + self._latency_s())
        self._last_arrival = arrival
        self._network.post(arrival, message)


class Network:
    """All connections of one simulation.

    Args:
        now: reads the clock.
        latency_s: how long a message takes: always the same, or between two
            bounds, drawn evenly.
        seed: of the drawn latencies.
        names: host names to addresses, besides ``localhost``.
        buffer_bytes: how much a connection holds in one direction.
    """

    def __init__(
        self,
        now: Callable[[], float],
        *,
        latency_s: float | tuple[float, float],
        seed: int | str,
        names: Mapping[str, str],
        buffer_bytes: int,
    ) -> None:
        self.now: Final = now
        self.names: Final = {"localhost": "127.0.0.1", **names}
        self.sockets: Final[dict[int, Pollable]] = {}  # the open ones, by descriptor
        self.touched: Final[dict[int, None]] = {}  # descriptors that may have become ready
        self._latency_s = latency_s
        self._seed = seed
        self._buffer_bytes = buffer_bytes
        self._known = {ipaddress.ip_address(it) for it in self.names.values()}
        self._bound: dict[tuple[int, str, int], Listener | None] = {}
        self._arrivals: list[tuple[float, int, Callable[[], None]]] = []
        self._serial = itertools.count()
        self._links = itertools.count()
        self._ports = itertools.count(FIRST_PORT)
        self._descriptors = itertools.count(FIRST_DESCRIPTOR)

    # ── messages ─────────────────────────────────────────────────────────────

    def post(self, arrival: float, message: Callable[[], None]) -> None:
        """Let ``message`` happen at ``arrival``; those of one instant in the order of posting."""
        # The clock reads whole nanoseconds: between two of them a message would never be due.
        heapq.heappush(self._arrivals, (round(arrival, 9), next(self._serial), message))

    def next_arrival(self) -> float | None:
        """The instant of the next message, if any is under way."""
        return self._arrivals[0][0] if self._arrivals else None

    def deliver(self) -> None:
        """Let everything happen that is due by now."""
        while self._arrivals and self._arrivals[0][0] <= self.now():
            heapq.heappop(self._arrivals)[2]()

    def add(self, sock: Pollable) -> int:
        """A descriptor for a new socket; never one that the operating system would give."""
        descriptor = next(self._descriptors)
        self.sockets[descriptor] = sock
        return descriptor

    # ── addresses ────────────────────────────────────────────────────────────

    def bind(self, family: int, address: Address) -> Address:
        """Take an address; port 0 takes a free one.

        Raises:
            OSError: it is in use, or not an address of this network.
        """
        host, port = address[0] or _any_address(family), address[1]
        self._check_known(host, errno.EADDRNOTAVAIL)
        if port == 0:
            port = self.free_port()
        elif any(self._overlaps(taken, family, host, port) for taken in self._bound):
            raise _error(errno.EADDRINUSE)
        self._bound[family, host, port] = None
        return host, port

    def listen(self, listener: Listener) -> None:
        """Take connections for an address that is bound."""
        self._bound[listener.family, *listener.address] = listener

    def release(self, family: int, address: Address) -> None:
        """Give a bound address back; connections waiting to be accepted are reset."""
        listener = self._bound.pop((family, *address), None)
        while listener and listener.queue:
            listener.queue.popleft()[0].close(abort=True)

    def free_port(self) -> int:
        """A port that nobody has had."""
        for port in self._ports:
            if not any(taken == port for _, _, taken in self._bound):
                return port
        raise AssertionError

    def resolve(self, name: str, family: int) -> str:
        """The address of a host name or of an address written out.

        Raises:
            socket.gaierror: unknown, or not of this family.
        """
        try:
            address = ipaddress.ip_address(self.names.get(name, name))
        except ValueError:
            raise _unknown_name(name) from None
        if family not in (0, family_of(str(address))):
            raise _unknown_name(name)
        return str(address)

    def name_of(self, address: str) -> str:
        """The first name that leads to ``address``, or the address itself."""
        return next((name for name, it in self.names.items() if it == address), address)

    def _overlaps(self, taken: tuple[int, str, int], family: int, host: str, port: int) -> bool:
        wildcard = _any_address(family)
        return (
            taken[0] == family
            and taken[2] == port
            and (taken[1] == host or wildcard in (taken[1], host))
        )

    def _check_known(self, host: str, code: int) -> None:
        address = ipaddress.ip_address(host)
        if not (address.is_loopback or address.is_unspecified or address in self._known):
            raise _error(code)

    # ── connections ──────────────────────────────────────────────────────────

    def connect(self, family: int, local: Address, remote: Address) -> Endpoint:
        """Ask for a connection. The endpoint says when it is established or refused."""
        self._check_known(remote[0], errno.ENETUNREACH)
        latencies = self._latencies()
        there, back = Link(self, latencies), Link(self, latencies)
        client = Endpoint(there.post, self._buffer_bytes)
        server = Endpoint(back.post, self._buffer_bytes)
        join(client, server)
        request = _Request(self, family, local, remote, server)
        there.post(request.arrive)
        return client

    def listener_at(self, family: int, address: Address) -> Listener | None:
        host, port = address
        exact = self._bound.get((family, host, port))
        return exact or self._bound.get((family, _any_address(family), port))

    def _latencies(self) -> Callable[[], float]:
        latency_s = self._latency_s
        if not isinstance(latency_s, tuple):
            return lambda: latency_s
        random, (low, high) = Random(f"{self._seed} connection {next(self._links)}"), latency_s
        return lambda: random.uniform(low, high)

    # ── machines ─────────────────────────────────────────────────────────────

    on_deliver: Callable[[str, str, int, str], None] | None = None

    def add_machine(self, name: str, address: str) -> None:
        """Let ``name`` lead to ``address``."""
        self.names[name] = address
        self._known.add(ipaddress.ip_address(address))

    def up(self, life: Life) -> None:
        """A life begins."""

    kill = vanish = pause = resume = up

    def in_flight(self) -> list[tuple[str, str, int]]:
        """Connection, direction and bytes."""
        return []

    def leaks(self, _life: Life | None = None) -> list[str]:
        """Open sockets that belong to nobody alive."""
        return []


@dataclass(slots=True)
class _Request:
    """A connection request (SYN) on its way, and again if nobody had room for it."""

    network: Network
    family: int
    local: Address
    remote: Address
    server: Endpoint
    attempts: int = 0

    def arrive(self) -> None:
        if self.server.dead:  # the client has given up
            return
        listener = self.network.listener_at(self.family, self.remote)
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


def family_of(host: str) -> int:
    """``AF_INET`` or ``AF_INET6``."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _any_address(family: int) -> str:
    return "::" if family == socket.AF_INET6 else "0.0.0.0"


def _unknown_name(name: str) -> socket.gaierror:
    return socket.gaierror(socket.EAI_NONAME, f"no simulated host is named {name}")


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
