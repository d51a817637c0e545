"""Selector: waits for nothing; moves the clock to the next thing that happens.

    select(timeout)   a socket is ready              it, at once
                      a timer is due in timeout      the clock moves there, or to the next
                      or a message is under way      message that arrives before
                      neither, or a timer at inf     `Deadlock`

Things to notice
    1. Two ways of hanging become errors. If no timer is set and no message is
       under way, nobody will ever wake: `Deadlock`. If the tasks run on and on
       while time stands still: `Livelock`. Both say which task waits where.
    2. It looks only at sockets that something has happened to since they were
       looked at last (`Network.touched`), however many are open.
    3. Every turn of the loop comes through here, between two callbacks and as
       the world's own code: so this is where garbage is collected, after a fixed
       number of turns. When Python collects by itself depends on everything that
       the process has done before, and with it the moment at which a finalizer
       runs.
"""

from __future__ import annotations

import gc
import selectors
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from sdkit.sim.network import Network, whole_nanoseconds

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

TURNS_PER_INSTANT_MAX: Final = 100_000
TURNS_PER_COLLECTION: Final = 5_000
NEVER: Final = float("inf")
LONGEST_WAIT_S: Final = 86_400.0  # asyncio waits for a day at the most, and then looks again


class Deadlock(RuntimeError):
    """Every task waits, no timer is set and nothing is under way."""


class Livelock(RuntimeError):
    """Tasks run on and on, and time does not move."""


class TimeJumpingSelector(selectors.BaseSelector):
    """Waits by moving the clock.

    Args:
        network: whose sockets it looks at, and whose messages arrive.
        advance: moves the clock to an instant.
        next_timer: when the first timer is due, in true time.
        who_waits: the text of a report.
    """

    def __init__(
        self,
        network: Network,
        *,
        advance: Callable[[float], None],
        next_timer: Callable[[], float],
        who_waits: Callable[[], str],
    ) -> None:
        self._network = network
        self._advance = advance
        self._next_timer = next_timer
        self._who_waits = who_waits
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._turns_at_this_instant = 0
        self._turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, now or at the next instant at which anything happens."""
        self._turns += 1
        if self._turns % TURNS_PER_COLLECTION == 0 and not gc.isenabled():
            gc.collect()
        network = self._network
        now, arrivals = network.now(), network.arrivals
        if arrivals and arrivals[0][0] <= now:
            network.deliver(now)
        ready = self._ready() if network.touched else []
        self._turns_at_this_instant += 1
        if self._turns_at_this_instant > TURNS_PER_INSTANT_MAX:
            raise self._livelock()
        if ready or (timeout is not None and timeout <= 0):
            return ready
        instant = arrivals[0][0] if arrivals else NEVER
        if timeout is not None and timeout >= LONGEST_WAIT_S:
            instant = min(instant, self._next_timer())  # in one jump, however far it is
        elif timeout is not None:
            # The sum is a little off; rounded to the nanosecond it is exact again.
            instant = min(instant, whole_nanoseconds(now + timeout))
        if instant == NEVER:
            raise Deadlock(
                f"at {now:g} s every task waits, and nothing is to come\n{self._who_waits()}"
            )
        if instant > now:
            self._advance(instant)
            self._turns_at_this_instant = 0
        if arrivals and arrivals[0][0] <= instant:
            network.deliver(instant)
        return self._ready() if network.touched else []

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Among the sockets that something has happened to, those that their owner can use."""
        ready = []
        touched, sockets = self._network.touched, self._network.sockets
        for descriptor in list(touched):
            key, sock = self._keys.get(descriptor), sockets.get(descriptor)
            if key is None or sock is None or not (events := sock.ready_for(key.events)):
                del touched[descriptor]  # until it is touched again
            else:
                ready.append((key, events))
        return ready

    def _livelock(self) -> Livelock:
        self._turns_at_this_instant = 0
        return Livelock(
            f"{TURNS_PER_INSTANT_MAX:,} turns of the loop and still {self._network.now()} s\n"
            + self._who_waits()
        )

    # ── the keeping of keys, as in `selectors` ───────────────────────────────

    def register(
        self, fileobj: FileDescriptorLike, events: int, data: Any = None
    ) -> selectors.SelectorKey:
        """Begin to watch."""
        descriptor = _descriptor(fileobj)
        if descriptor in self._keys:
            raise KeyError(f"{fileobj!r} is already registered")
        key = selectors.SelectorKey(fileobj, descriptor, events, data)
        self._keys[descriptor] = key
        self._network.watched[descriptor] = events
        self._network.touched[descriptor] = None
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Stop watching."""
        descriptor = _descriptor(fileobj)
        self._network.watched.pop(descriptor, None)
        return self._keys.pop(descriptor)

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """What was registered for it; a ``KeyError`` if nothing was."""
        return self._keys[_descriptor(fileobj)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """All keys, by descriptor, and by what has one: from Python 3.13 on asyncio asks so."""
        return _Keys(self._keys)

    def close(self) -> None:
        """Forget everything."""
        self._keys.clear()


class _Keys(Mapping[Any, selectors.SelectorKey]):
    """A view of all keys, as in `selectors`."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def __getitem__(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._keys[_descriptor(fileobj)]

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _descriptor(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()
