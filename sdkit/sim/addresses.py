"""Addresses: whose is which name, address and port of a simulated network.

Things to notice
    1. Every machine is a `Station` with a loopback and ports of its own; so is
       the world's own code, which has every address that is no machine's.
    2. Addresses have to be known: loopback, and those that a name leads to. A
       simulation that reached for the real internet would be a bug.
    3. Ports given out for 0 are never used twice, so an old client cannot reach
       a new server by accident. Each machine counts its own: traffic elsewhere
       changes none of them.

Decision
    A name has one address, and "every address" is IPv4's: real resolvers answer
    with several, and a program would listen on two random ports.
"""

from __future__ import annotations

import errno
import ipaddress
import itertools
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import InvalidArgument
from sdkit.sim.life import Life
from sdkit.sim.links import Station
from sdkit.sim.stream import Endpoint

FIRST_PORT: Final = 49_152  # of the dynamic ports (RFC 6335)

Address = tuple[str, int]


@dataclass(slots=True)
class Listener:
    """Whoever listens on an address: connections wait here to be accepted."""

    family: int
    address: Address
    backlog: int
    queue: deque[tuple[Endpoint, Address, Address]] = field(default_factory=deque)
    on_change: Callable[[], None] = lambda: None


def check_names(names: object) -> None:
    """Refuse what is no mapping of host names to addresses.

    Raises:
        InvalidArgument: naming the name or the address.
    """
    if not isinstance(names, Mapping):
        raise InvalidArgument(
            f'names is {shown(names)}; give names and their addresses, as in {{"db": "10.0.0.1"}}',
            name="names",
        )
    for name, address in names.items():
        check_host_name("names", name)
        try:
            ipaddress.ip_address(address if isinstance(address, str) else "")
        except ValueError:
            raise InvalidArgument(
                f"the address of {shown(name)} in names is {shown(address)}; it must be an "
                "IPv4 or IPv6 address, as a text",
                name="names",
            ) from None


def check_host_name(argument: str, name: object) -> None:
    """Refuse what nobody can find by that name.

    Raises:
        InvalidArgument: naming the argument.
    """
    if not isinstance(name, str) or not name or not name.isprintable():
        raise InvalidArgument(
            f"{argument}: {shown(name)} is no name of a host; it must be a text, and not empty",
            name=argument,
        )


class Addresses:
    """The names, addresses and ports of one network.

    Args:
        names: host names to addresses, besides ``localhost``.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names: Final = {"localhost": "127.0.0.1", **names}
        self._known = {ipaddress.ip_address(it) for it in self.names.values()}
        self._world = Station("", ports=itertools.count(FIRST_PORT))
        self._stations = {"": self._world}  # by name
        self._hidden: set[str] = set()  # names that do not resolve
        self._refusing: set[str] = set()  # machines that refuse connections
        self._bound: dict[tuple[str, int, str, int], Listener | None] = {}

    def add_machine(self, name: str, address: str) -> None:
        """Let ``name`` lead to ``address``. The machine is off until its first life begins."""
        self.names[name] = address
        self._known.add(ipaddress.ip_address(address))
        ports = itertools.count(FIRST_PORT)
        self._stations[name] = Station(name, address, is_on=False, ports=ports)

    def bind(self, life: Life | None, family: int, address: Address) -> Address:
        """Take an address of the machine; port 0 takes a free one.

        Raises:
            OSError: it is in use, or not an address of this machine.
        """
        station = self._station(life)
        host, port = address[0] or _any_address(family), address[1]
        self._check_own(station, host)
        if port == 0:
            port = self._free_port(station)
        elif any(_overlaps(taken, (station.name, family, host, port)) for taken in self._bound):
            raise _error(errno.EADDRINUSE)
        self._bound[station.name, family, host, port] = None
        return host, port

    def listen(self, life: Life | None, listener: Listener) -> None:
        """Take connections for an address that is bound."""
        self._bound[self._station(life).name, listener.family, *listener.address] = listener

    def release(self, life: Life | None, family: int, address: Address) -> None:
        """Give a bound address back; connections waiting to be accepted are reset."""
        listener = self._bound.pop((self._station(life).name, family, *address), None)
        while listener and listener.queue:
            listener.queue.popleft()[0].close(abort=True)

    def local_address(self, life: Life | None, family: int, remote: Address) -> Address:
        """From where a connection to ``remote`` is made, at a port that nobody has had."""
        station = self._station(life)
        host = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        if station.address and not ipaddress.ip_address(remote[0]).is_loopback:
            host = station.address
        return host, self._free_port(station)

    def _free_port(self, station: Station) -> int:
        taken = {port for name, _, _, port in self._bound if name == station.name}
        return next(port for port in station.ports if port not in taken)

    def _station(self, life: Life | None) -> Station:
        return self._world if life is None else self._stations[life.machine]

    def _station_at(self, caller: Station, host: str) -> Station:
        """The machine that ``caller`` reaches at an address."""
        address = ipaddress.ip_address(host)
        if address.is_loopback or address.is_unspecified:
            return caller
        here = (it for it in self._stations.values() if it.address == host)
        return next(here, self._world)

    def resolve(self, name: str, family: int) -> str:
        """The address of a host name or of an address written out.

        Raises:
            socket.gaierror: unknown, or not of this family.
        """
        if name in self._hidden:
            raise _unknown_name(name)
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

    def _check_own(self, station: Station, host: str) -> None:
        address = ipaddress.ip_address(host)
        if address.is_loopback or address.is_unspecified or host == station.address:
            return
        # The world's own code has every address that is no machine's.
        if address not in self._known or self._station_at(station, host) is not station:
            raise _error(errno.EADDRNOTAVAIL)

    def _check_known(self, host: str) -> None:
        address = ipaddress.ip_address(host)
        if not (address.is_loopback or address.is_unspecified or address in self._known):
            raise _error(errno.ENETUNREACH)

    def listener_at(self, station: Station, family: int, address: Address) -> Listener | None:
        """Whoever listens on the machine, unless it refuses everything."""
        if station.name and station.name in self._refusing:
            return None
        host, port = address
        exact = self._bound.get((station.name, family, host, port))
        return exact or self._bound.get((station.name, family, _any_address(family), port))

    def refuse(self, target: str) -> None:
        """Let the machine refuse connections, though somebody listens."""
        self._check_name(target)
        self._refusing.add(target)

    def accept(self, target: str) -> None:
        """Undo `refuse`."""
        self._refusing.discard(target)

    def hide_name(self, name: str) -> None:
        """Let a name lead nowhere."""
        self._check_name(name)
        self._hidden.add(name)

    def show_name(self, name: str) -> None:
        """Undo `hide_name`."""
        self._hidden.discard(name)

    def _check_name(self, name: str) -> None:
        if name not in self.names:
            known = ", ".join(self.names)
            raise InvalidArgument(f"nothing is named {name!r}; there are: {known}", name=name)


def _overlaps(one: tuple[str, int, str, int], other: tuple[str, int, str, int]) -> bool:
    """Do two bound addresses (machine, family, host, port) exclude each other?"""
    wildcard = _any_address(one[1])
    same = (one[0], one[1], one[3]) == (other[0], other[1], other[3])
    return same and (one[2] == other[2] or wildcard in (one[2], other[2]))


def family_of(host: str) -> int:
    """``AF_INET`` or ``AF_INET6``."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _any_address(family: int) -> str:
    return "::" if family == socket.AF_INET6 else "0.0.0.0"


def _unknown_name(name: str) -> socket.gaierror:
    return socket.gaierror(socket.EAI_NONAME, f"no simulated host is named {name}")


def _error(code: int) -> OSError:
    return OSError(code, errno.errorcode[code])
