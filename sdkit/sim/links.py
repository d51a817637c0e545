"""Links: how long a message takes from one machine to another, and what a bad line does to it.

A connection is two directions, and a line may fail in one of them only. Four
things can be wrong with it:

    cut      nothing gets through; what is sent meanwhile comes after it healed
    slow     more latency, and so many bytes per second for all connections together
    lossy    a message is lost with this probability, and sent again
    and      the machine at its end may be off, which looks like a cut

The idea
    TCP loses nothing, it repeats. A message that does not get through waits in
    its `Direction`, and all later ones behind it; it is tried again after 0.2 s,
    0.4 s, 0.8 s and so on. A direction that got nothing through for `GIVE_UP_S`
    gives the connection up: the sender sees ETIMEDOUT, the other side nothing.

Things to notice
    1. Nothing overtakes within a direction. Between two connections anything may.
    2. Each direction of each connection draws from streams of its own, named
       after both ends and counted for them. So a fault that is left out, or
       traffic between others, changes nothing here; and losses are drawn apart
       from latencies.
    3. A `Rules` entry stays until it is taken back under the same two names:
       overlapping ones ("*" to db, and client to db) add up.

Decisions
    * A fault stands at the sender's end of the line: what is under way when a cut
      begins has passed it and arrives.
    * Real systems give up after some 15 minutes. Here it is 20 virtual seconds, so
      that runs are short and still longer than any time-out a program would set.

Left out: acknowledgements. A cut against the flow of data does not make its
sender repeat, nor give up.

After RFC 6298 (§5, the doubling of the retransmission time-out).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, TypeVarTuple

from sdkit.arguments import check_between, shown
from sdkit.errors import InvalidArgument

GIVE_UP_S: Final = 20.0
LATENCY_S_MAX: Final = 3_600.0
AGAIN_S: Final = 0.2
ANY: Final = "*"

Ts = TypeVarTuple("Ts")
Message = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Tail:
    """A latency that is mostly short: a minimum, and on top what is drawn from an exponential.

    Args:
        minimum_s: at least this long.
        mean_s: of what comes on top.
    """

    minimum_s: float
    mean_s: float


Latency = float | tuple[float, float] | Tail
"""Seconds: always the same, between two bounds, or a minimum with a tail."""


def check_latency(latency: object) -> None:
    """Refuse what is no latency: nan, a negative one, one of years, bounds that are no pair.

    Raises:
        InvalidArgument: naming it.
    """
    if isinstance(latency, Tail):
        bounds: list[object] = [latency.minimum_s, latency.mean_s]
    elif isinstance(latency, tuple):
        if len(latency) != 2:
            raise InvalidArgument(f"latency_s is {shown(latency)}; two bounds, or one number")
        bounds = list(latency)
    else:
        bounds = [latency]
    for bound in bounds:
        check_between("latency_s", bound, 0.0, LATENCY_S_MAX)  # type: ignore[arg-type]


def drawn(latency: Latency, random: Random) -> float:
    """One latency."""
    if isinstance(latency, Tail):
        return latency.minimum_s + random.expovariate(1.0) * latency.mean_s
    return random.uniform(*latency) if isinstance(latency, tuple) else latency


@dataclass(slots=True)
class Station:
    """A machine at the end of a link, or with an empty name the world's own code."""

    name: str
    address: str = ""
    is_on: bool = True
    ports: Iterator[int] = field(default_factory=itertools.count)


class Link:
    """What all connections from one machine to another share."""

    __slots__ = (
        "bytes_per_s",
        "connections",
        "free_at",
        "is_cut",
        "latency",
        "loss",
        "slowness",
        "source",
        "steady_s",
        "target",
    )

    def __init__(self, source: Station, target: Station, latency: Latency) -> None:
        self.source: Final = source
        self.target: Final = target
        self.latency: Final = latency
        self.connections: Final = itertools.count(1)
        self.is_cut = False
        self.loss = 0.0
        self.slowness: list[Latency] = []  # on top of the latency
        self.bytes_per_s: float | None = None
        # The latency, as long as it is always the same and nothing is wrong.
        self.steady_s = latency if isinstance(latency, float) else None
        self.free_at = 0.0  # when the last message has been put on the line

    def put(self, now: float, size: int) -> float:
        """Put so many bytes on the line; when the last of them is."""
        if self.bytes_per_s is None:
            return now
        self.free_at = max(now, self.free_at) + size / self.bytes_per_s
        return self.free_at


class Rules:
    """What is wrong with which links, by the names of source and target, or "*" for any."""

    def __init__(self) -> None:
        self.cuts: Final[set[tuple[str, str]]] = set()
        self.losses: Final[dict[tuple[str, str], float]] = {}
        self.slow: Final[dict[tuple[str, str], tuple[Latency, float | None]]] = {}

    def apply(self, link: Link) -> None:
        """Bring a link up to date."""
        names = _matching(link.source.name, link.target.name)
        slow = [self.slow[it] for it in names if it in self.slow]
        link.is_cut = any(it in self.cuts for it in names)
        link.loss = max((self.losses.get(it, 0.0) for it in names), default=0.0)
        link.slowness = [latency for latency, _ in slow]
        link.bytes_per_s = min((rate for _, rate in slow if rate is not None), default=None)
        latency = None if link.is_cut or link.loss or slow else link.latency
        link.steady_s = latency if isinstance(latency, float) else None


def _matching(source: str, target: str) -> list[tuple[str, str]]:
    """The rules that concern a link; none within a machine, and none of the world's own."""
    if source == target or not source or not target:
        return []
    return [(source, target), (source, ANY), (ANY, target), (ANY, ANY)]


class Carrier(Protocol):
    """Lets things happen later."""

    on_deliver: Callable[[str, str, int, str], None] | None

    @property
    def now(self) -> Callable[[], float]: ...

    def post(self, arrival: float, message: Callable[[*Ts], None], *args: *Ts) -> None: ...


class Direction:
    """One direction of one connection.

    Args:
        carrier: the network.
        link: between the two machines.
        seed: of what is drawn.
    """

    __slots__ = (
        "_again_s",
        "_carrier",
        "_held",
        "_last_arrival",
        "_latencies",
        "_losses",
        "_name",
        "_since",
        "_timer_runs",
        "link",
        "on_give_up",
    )

    def __init__(self, carrier: Carrier, link: Link, seed: int | str) -> None:
        self.link: Final = link
        self.on_give_up: Callable[[], None] = lambda: None
        self._carrier = carrier
        number = next(link.connections)
        self._name = f"{seed} link {link.source.name}->{link.target.name} {number}"
        self._latencies: Random | None = None  # made when needed: seeding takes longer than a send
        self._losses: Random | None = None
        self._last_arrival = 0.0
        self._held: deque[tuple[Message, int, str]] = deque()  # lost, or behind one that was
        self._since = 0.0  # when the first of them was lost
        self._again_s = AGAIN_S
        self._timer_runs = False

    def post(self, message: Message, size: int, kind: str) -> None:
        """Let ``message`` happen at the other end, after all before it."""
        steady_s = self.link.steady_s
        if steady_s is not None and not self._held:
            # Most messages, by far: without the calls below a simulation saves a twentieth.
            arrival = max(self._last_arrival, self._carrier.now() + steady_s)
            self._last_arrival = arrival
            self._carrier.post(arrival, self._arrive, message, size, kind)
        elif self._held or self._is_lost():
            self._hold(message, size, kind)
        else:
            self._send(message, size, kind)

    def abandon(self) -> None:
        """Repeat no more: the sender is no more."""
        self._held.clear()

    def _send(self, message: Message, size: int, kind: str) -> None:
        link = self.link
        arrival = link.put(self._carrier.now(), size) + self._latency_s()
        self._last_arrival = arrival = max(self._last_arrival, arrival)
        self._carrier.post(arrival, self._arrive, message, size, kind)

    def _arrive(self, message: Message, size: int, kind: str) -> None:
        link, carrier = self.link, self._carrier
        if not link.target.is_on:
            self._hold(message, size, kind)
            return
        if carrier.on_deliver is not None:
            carrier.on_deliver(link.source.name, link.target.name, size, kind)
        message()

    def _hold(self, message: Message, size: int, kind: str) -> None:
        if not self._held:
            self._since, self._again_s = self._carrier.now(), AGAIN_S
        self._held.append((message, size, kind))
        if not self._timer_runs:
            self._try_later()

    def _try_later(self) -> None:
        self._timer_runs = True
        at = min(self._carrier.now() + self._again_s, self._since + GIVE_UP_S)
        self._carrier.post(at, self._try_again)

    def _try_again(self) -> None:
        self._timer_runs = False
        if not self._held:
            return
        if self._carrier.now() >= round(self._since + GIVE_UP_S, 9):
            self._held.clear()
            self.on_give_up()
        elif self._is_lost() or not self.link.target.is_on:
            self._again_s *= 2
            self._try_later()
        else:
            first, *rest = self._held
            self._held.clear()
            self._send(*first)
            for each in rest:
                self.post(*each)

    def _is_lost(self) -> bool:
        link = self.link
        if link.is_cut or not link.loss:
            return link.is_cut
        if self._losses is None:
            self._losses = Random(f"{self._name} loss")
        return self._losses.random() < link.loss

    def _latency_s(self) -> float:
        link = self.link
        if isinstance(link.latency, float) and not link.slowness:
            return link.latency
        if self._latencies is None:
            self._latencies = Random(self._name)
        random = self._latencies
        return drawn(link.latency, random) + sum(drawn(more, random) for more in link.slowness)
