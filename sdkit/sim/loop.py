"""Virtual time: an event loop whose clock jumps to the next thing that happens.

A test that sleeps for a year takes a millisecond, takes the same path every
time, and can never be too slow for its own time-outs.

    async def main() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    assert run(main()) == 365 * 86_400

The idea
    An asyncio loop asks its selector to wait, at most until the next timer,
    for something to happen to a socket. This selector never waits: when no
    simulated socket is ready it moves the clock to the next timer or the next
    message that arrives (`TimeJumpingSelector.select`). Everything else is the
    standard library's loop, unmodified, and so are the programs on it.

Things to notice
    1. Two ways of hanging become errors. If no timer is set and no message is
       under way, nobody will ever wake: `Deadlock`. If the tasks run on and on
       while time stands still: `Livelock`. Both say which task waits where.
    2. The same program takes the same steps in every run. What asyncio leaves
       to memory addresses is pinned down: sets of tasks and futures
       (`SerialTask`, `SerialFuture`), names of tasks. What it cannot pin down:
       sets of strings, which follow ``PYTHONHASHSEED``.
    3. What would leave the simulation raises `NotSimulated`: threads, signals,
       subprocesses, sockets that are not TCP, real host names.

Decisions
    * The loop's resolution grows with the clock. Asyncio runs the timers due
      before now + resolution; a year in, a nanosecond is lost in rounding, no
      timer is ever due, and the loop would spin.
    * Timers set for the same instant run in the order of asyncio's heap, which
      is repeatable and means nothing. With ``lateness_s`` each timer is late by
      a little, drawn from the seed, so that different seeds order them
      differently. Ready callbacks are never shuffled: asyncio promises the
      order of ``call_soon``, and a shuffled run reports bugs that cannot happen.

After FoundationDB's simulator (Zhou et al., SIGMOD 2021, §4).
"""

from __future__ import annotations

import asyncio
import itertools
import math
import selectors
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import Context
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, TypeVarTuple

from sdkit.host import running_on
from sdkit.sim.host import SimulatedHost
from sdkit.sim.interception import intercepted
from sdkit.sim.network import Network, Pollable, family_of
from sdkit.sim.sockets import NotSimulated
from sdkit.sim.waiting import report

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from _typeshed import FileDescriptorLike

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LATENCY_S: Final = 0.000_5
BUFFER_BYTES: Final = 256 * 1024
TURNS_PER_INSTANT_MAX: Final = 100_000


class Deadlock(RuntimeError):
    """Every task waits, no timer is set and nothing is under way."""


class Livelock(RuntimeError):
    """Tasks run on and on, and time does not move."""


def run(
    main: Coroutine[Any, Any, T],
    *,
    latency_s: float | tuple[float, float] = LATENCY_S,
    names: Mapping[str, str] | None = None,
    seed: int | str = 0,
    lateness_s: float = 0.0,
    buffer_bytes: int = BUFFER_BYTES,
) -> T:
    """Run ``main`` to its end in virtual time, which starts at zero, on a simulated network.

    What ``asyncio.run`` is for the real world: tasks that are left are
    cancelled, everything is closed. The current host is a `SimulatedHost`.

    Args:
        latency_s: of every message; two bounds to have it drawn between them.
        names: host names to addresses, besides ``localhost``.
        seed: of everything that is drawn.
        lateness_s: how late a timer may be at most.
        buffer_bytes: how much a connection holds in one direction before the
            sender has to wait.

    Raises:
        Deadlock, Livelock: with a report of who waits where.
    """

    def make() -> VirtualTimeLoop:
        return VirtualTimeLoop(
            latency_s=latency_s,
            names=names or {},
            seed=seed,
            lateness_s=lateness_s,
            buffer_bytes=buffer_bytes,
        )

    with running_on(SimulatedHost("local", seed=seed)):
        runner = asyncio.Runner(loop_factory=make)
        loop = runner.get_loop()  # opens a real socket pair, so it comes before the interception
        assert isinstance(loop, VirtualTimeLoop)
        with intercepted(loop.network), runner:
            return runner.run(main)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """The standard library's loop on a `TimeJumpingSelector`; made by `run`."""

    def __init__(
        self,
        *,
        latency_s: float | tuple[float, float],
        names: Mapping[str, str],
        seed: int | str,
        lateness_s: float,
        buffer_bytes: int,
    ) -> None:
        self._now = 0.0
        self._serial = itertools.count(1)
        self._lateness_s = lateness_s
        self._lateness = Random(f"{seed} lateness")
        self.network: Final = Network(
            self.time, latency_s=latency_s, seed=seed, names=names, buffer_bytes=buffer_bytes
        )
        super().__init__(TimeJumpingSelector(self))

    # ── time ─────────────────────────────────────────────────────────────────

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def advance(self, instant: float) -> None:
        """Move the clock; for the selector."""
        # Sums of floats are a little off; rounded to the nanosecond they are exact again.
        self._now = max(self._now, round(instant, 9))
        self._clock_resolution = max(1e-9, math.ulp(self._now))

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in asyncio, but late by up to ``lateness_s``."""
        if self._lateness_s:
            when += self._lateness.random() * self._lateness_s
        return super().call_at(when, callback, *args, context=context)

    # ── tasks and futures that hash alike in every run ───────────────────────

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """As in asyncio; a task without a name is called by its serial number."""
        serial = next(self._serial)
        label = f"task-{serial}" if name is None else str(name)
        return SerialTask(serial, coro, loop=self, name=label, **options)

    def create_future(self) -> asyncio.Future[Any]:
        """As in asyncio."""
        return SerialFuture(next(self._serial), loop=self)

    def set_task_factory(self, factory: object) -> None:
        """Refused unless None."""
        if factory is not None:
            raise NotSimulated("a task factory would make tasks that hash by their address")

    # ── names ────────────────────────────────────────────────────────────────

    async def getaddrinfo(
        self,
        host: str | bytes | None,
        port: str | int | bytes | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Answer from the simulation's names.

        Raises:
            socket.gaierror: the name is unknown.
        """
        await asyncio.sleep(0)  # a real one always lets others run
        if isinstance(host, bytes):
            host = host.decode("idna")
        if not host:
            host = "0.0.0.0" if flags & socket.AI_PASSIVE else "127.0.0.1"
            if family == socket.AF_INET6:
                host = "::" if flags & socket.AI_PASSIVE else "::1"
        address = self.network.resolve(host, family)
        found = socket.AddressFamily(family_of(address))
        where = (address, int(port or 0))
        kind = socket.SocketKind(type or socket.SOCK_STREAM)
        proto = proto or (socket.IPPROTO_TCP if kind == socket.SOCK_STREAM else 0)
        return [(found, kind, proto, "", where if found == socket.AF_INET else (*where, 0, 0))]

    async def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int = 0) -> tuple[str, str]:
        """The name of an address, if it has one."""
        await asyncio.sleep(0)
        numeric = flags & socket.NI_NUMERICHOST
        return (sockaddr[0] if numeric else self.network.name_of(sockaddr[0])), str(sockaddr[1])

    # ── what a simulation has not ────────────────────────────────────────────

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], object], *args: *Ts
    ) -> NoReturn:
        """Refused: what a thread does when is the operating system's choice."""
        raise NotSimulated(f"{_named(func)} in a thread: a simulation has one thread only")

    def add_signal_handler(
        self, sig: int, callback: Callable[[*Ts], object], *args: *Ts
    ) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"a handler for signal {sig}: nobody sends signals in a simulation")

    async def subprocess_exec(self, *args: Any, **options: Any) -> NoReturn:
        """Refused."""
        raise NotSimulated(f"subprocess {args[1:]}: a simulation is one process")

    subprocess_shell = subprocess_exec


class TimeJumpingSelector(selectors.BaseSelector):
    """Waits by moving the clock of its loop."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._turns_at_this_instant = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What is ready, now or at the next instant at which anything happens."""
        network = self._loop.network
        network.deliver()
        ready = self._ready()
        if ready or (timeout is not None and timeout <= 0):
            self._count_turn()
            return ready
        instants = [] if timeout is None else [self._loop.time() + timeout]
        if (arrival := network.next_arrival()) is not None:
            instants.append(arrival)
        if not instants:
            raise Deadlock(f"every task waits and nothing is to come\n{_waiting(self._loop)}")
        before = self._loop.time()
        self._loop.advance(min(instants))
        if self._loop.time() > before:
            self._turns_at_this_instant = 0
        else:
            self._count_turn()
        network.deliver()
        return self._ready()

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Among the sockets that something has happened to, those that their owner can use."""
        ready = []
        network = self._loop.network
        for descriptor in list(network.touched):
            key, sock = self._keys.get(descriptor), network.sockets.get(descriptor)
            if key is None or sock is None or not (events := _events(sock, key.events)):
                del network.touched[descriptor]  # until it is touched again
            else:
                ready.append((key, events))
        return ready

    def _count_turn(self) -> None:
        self._turns_at_this_instant += 1
        if self._turns_at_this_instant > TURNS_PER_INSTANT_MAX:
            self._turns_at_this_instant = 0
            raise Livelock(
                f"{TURNS_PER_INSTANT_MAX:,} turns of the loop and still {self._loop.time()} s\n"
                + _waiting(self._loop)
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
        self._loop.network.touched[descriptor] = None
        return key

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """Stop watching."""
        return self._keys.pop(_descriptor(fileobj))

    def get_key(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        """What was registered for it; a ``KeyError`` if nothing was."""
        return self._keys[_descriptor(fileobj)]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """All keys, by descriptor."""
        return self._keys

    def close(self) -> None:
        """Forget everything."""
        self._keys.clear()


class SerialTask(asyncio.Task[T]):
    """A task that hashes by a serial number, so that sets of tasks have one order."""

    def __init__(self, serial: int, coro: Any, **options: Any) -> None:
        self.serial: Final = serial  # first: asyncio puts the task into a set while making it
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.serial


class SerialFuture(asyncio.Future[T]):
    """A future that hashes by a serial number."""

    def __init__(self, serial: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self.serial: Final = serial
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


def _descriptor(fileobj: FileDescriptorLike) -> int:
    return fileobj if isinstance(fileobj, int) else fileobj.fileno()


def _events(sock: Pollable, asked: int) -> int:
    ready = 0
    if asked & selectors.EVENT_READ and sock.readable:
        ready = selectors.EVENT_READ
    if asked & selectors.EVENT_WRITE and sock.writable:
        ready |= selectors.EVENT_WRITE
    return ready


def _waiting(loop: VirtualTimeLoop) -> str:
    def serial(task: asyncio.Task[Any]) -> int:
        return task.serial if isinstance(task, SerialTask) else 0

    return report(sorted(asyncio.all_tasks(loop), key=serial))


def _named(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)
