"""Virtual time: an event loop whose clock jumps to the next thing that happens.

A test that sleeps for a year takes a millisecond, takes the same path every
time, and can never be too slow for its own time-outs.

    async def main() -> float:
        await asyncio.sleep(365 * 86_400)
        return asyncio.get_running_loop().time()

    assert run(main()) == 365 * 86_400

The idea
    An asyncio loop asks its selector to wait, at most until the next timer,
    for something to happen to a socket. This one's selector never waits, it
    moves the clock (`sdkit.sim.selector`). Everything else is the standard
    library's loop, unmodified, and so are the programs on it.

Things to notice
    1. The same program takes the same steps in every run. What asyncio leaves
       to memory addresses is pinned down: sets of tasks and futures
       (`SerialTask`, `SerialFuture`), names of tasks. What it cannot pin down:
       sets of strings, which follow ``PYTHONHASHSEED``.
    2. Where several machines share the loop (`sdkit.sim.world`), each has its
       own time: `VirtualTimeLoop.time`, timers and sleeps are those of the life
       that asks. For a life that is over or stopped, `call_soon` and `call_at`
       give out handles that do not run. Every step of a task comes through
       there, so this is enough to hold all its tasks (`sdkit.sim.freezing`).
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
import socket
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextvars import Context, copy_context
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, TypeVarTuple

from sdkit.arguments import check_between, close_unawaited, shown
from sdkit.errors import InvalidArgument
from sdkit.host import running_on
from sdkit.sim import freezing
from sdkit.sim.addresses import check_names, family_of
from sdkit.sim.escapes import refusal
from sdkit.sim.host import SimulatedHost
from sdkit.sim.interception import check_alone, intercepted
from sdkit.sim.life import Life, current_life
from sdkit.sim.links import Latency, check_latency
from sdkit.sim.network import Network
from sdkit.sim.selector import Deadlock, Livelock, TimeJumpingSelector
from sdkit.sim.sockets import NotSimulated
from sdkit.sim.waiting import report

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from concurrent.futures import Executor

__all__ = ["Deadlock", "Livelock", "SerialFuture", "SerialTask", "VirtualTimeLoop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

LATENCY_S: Final = 0.000_5
COARSE_FROM_S: Final = 2.0**23  # from here on two neighbouring floats are over a nanosecond apart
BUFFER_BYTES: Final = 256 * 1024
LATENESS_S_MAX: Final = 3_600.0
BUFFER_BYTES_MAX: Final = 2**40
SEED_DIGITS_MAX: Final = 300
SEED_BELOW: Final = 10**SEED_DIGITS_MAX


def run(
    main: Coroutine[Any, Any, T],
    *,
    latency_s: Latency = LATENCY_S,
    names: Mapping[str, str] | None = None,
    seed: int | str = 0,
    lateness_s: float = 0.0,
    buffer_bytes: int = BUFFER_BYTES,
    answers_all: bool = False,
) -> T:
    """Run ``main`` to its end in virtual time, which starts at zero, on a simulated network.

    What ``asyncio.run`` is for the real world: tasks that are left are
    cancelled, everything is closed. The current host is a `SimulatedHost`.

    Args:
        latency_s: of every message; two bounds to have it drawn between them, or a `Tail`.
        names: host names to addresses, besides ``localhost``.
        seed: of everything that is drawn.
        lateness_s: how late a timer may be at most.
        buffer_bytes: how much a connection holds in one direction before the
            sender has to wait.
        answers_all: tell the time, and give seeded random numbers, not to libraries only but to
            your own code too, which has no host to ask (`sdkit.sim.escapes`).

    Raises:
        Deadlock, Livelock: with a report of who waits where.
        InvalidArgument: a latency, name, seed, lateness or buffer that cannot be, or no coroutine.
        InvalidState: in a running event loop, or inside a simulation.
    """
    try:
        check_alone("run")
        check_options(latency_s, lateness_s, buffer_bytes, names=names, seed=seed)
        is_one: bool = asyncio.iscoroutine(main)  # which would narrow the type of `main`
        if not is_one:
            raise InvalidArgument(
                f"main is {shown(main)}; it must be a coroutine, as in run(main())", name="main"
            )
    except BaseException:
        close_unawaited(main)
        raise

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
        with intercepted(loop.network, seed=seed, answers_all=answers_all), runner:
            return runner.run(main)


def check_options(
    latency_s: Latency,
    lateness_s: float,
    buffer_bytes: int,
    *,
    names: Mapping[str, str] | None,
    seed: int | str,
) -> None:
    """Refuse what no simulation can have.

    Raises:
        InvalidArgument: naming the option.
    """
    check_latency(latency_s)
    check_between("lateness_s", lateness_s, 0.0, LATENESS_S_MAX)
    check_between("buffer_bytes", buffer_bytes, 1, BUFFER_BYTES_MAX)
    is_seed = isinstance(seed, int | str) and not isinstance(seed, bool)
    if not is_seed or (isinstance(seed, int) and abs(seed) >= SEED_BELOW):
        raise InvalidArgument(
            f"seed is {shown(seed)}; it must be a text, or a whole number of at most "
            f"{SEED_DIGITS_MAX} digits",
            name="seed",
        )
    check_names(names or {})


class VirtualTimeLoop(freezing.FreezableLoop):
    """The standard library's loop on a `TimeJumpingSelector`; made by `run`."""

    _debug: bool
    _closed: bool

    def __init__(
        self,
        *,
        latency_s: Latency,
        names: Mapping[str, str],
        seed: int | str,
        lateness_s: float,
        buffer_bytes: int,
    ) -> None:
        self._now = 0.0
        self._serial = itertools.count(1)
        self._lateness_s = lateness_s
        self._lateness = Random(f"{seed} lateness")
        self.generators = {}
        self.network: Final = Network(
            self.true_time, latency_s=latency_s, seed=seed, names=names, buffer_bytes=buffer_bytes
        )
        selector = TimeJumpingSelector(
            self.network,
            advance=self._advance,
            next_timer=self._next_timer,
            who_waits=lambda: _who_waits(self),
        )
        super().__init__(selector)
        self._clock_resolution = 1e-9

    # ── time ─────────────────────────────────────────────────────────────────

    def time(self) -> float:
        """Seconds, by the clock of the machine that asks; for the world's own code, true ones."""
        life = current_life.get()
        return self._now if life is None else life.clock.monotonic(self._now)

    def true_time(self) -> float:
        """Virtual seconds since the loop was made, whoever asks."""
        return self._now

    def _advance(self, instant: float) -> None:
        self._now = instant
        if instant >= COARSE_FROM_S:
            self._clock_resolution = math.ulp(instant)

    def _next_timer(self) -> float:
        return self._scheduled[0].when()  # there is one, or the selector would wait for nothing

    # ── callbacks ────────────────────────────────────────────────────────────

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """As in asyncio; for a life that is over or stopped, a handle that does not run."""
        life = current_life.get()
        if context is not None and (life is None or not life.dead):
            life = context.get(current_life)
        if life is not None and (life.dead or life.paused):
            return freezing.withhold(life, asyncio.Handle(callback, args, self, context))
        if self._debug or self._closed:
            return super().call_soon(callback, *args, context=context)
        # What the line above comes down to: half of its time is spent in calls from one to another.
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # there are no threads

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """As in asyncio, but by the machine's clock, and late by up to ``lateness_s``.

        Raises:
            InvalidArgument: ``when`` is not a number; a heap of timers would lose its order.
        """
        if when != when:
            raise InvalidArgument("a timer is set for nan, which is no time")
        caller = current_life.get()
        life = caller if context is None else context.get(current_life)
        if caller is not None:
            when = caller.clock.true_time(when)
        if self._lateness_s:
            lateness = self._lateness if life is None else life.lateness or self._lateness
            when = round(when + lateness.random() * self._lateness_s, 9)
        if caller is not None and caller.dead:
            life = caller
        if life is None or not (life.dead or life.paused):
            return super().call_at(when, callback, *args, context=context)
        return freezing.withhold(life, asyncio.TimerHandle(when, callback, args, self, context))

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """As in asyncio; what goes wrong in a life that is over is not told."""
        life = freezing.life_concerned(context)
        if life is None or not life.dead:
            super().call_exception_handler(context)

    # ── tasks and futures that hash alike in every run ───────────────────────

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        """As in asyncio; a task without a name is called by its machine and serial number."""
        # Copied here and not by the task, to know it: what is frozen is closed in its own context.
        context = context or copy_context()
        life = context.get(current_life)
        serial = next(self._serial if life is None else life.serials)
        if name is None:
            name = f"task-{serial}" if life is None else f"{life} task-{serial}"
        task: SerialTask[T] = SerialTask(
            serial, context, coro, loop=self, name=str(name), **options
        )
        if life is not None and life.dead:
            freezing.bury(task, life)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        """As in asyncio."""
        life = current_life.get()
        # Set here, and not in an __init__ of its own: half the price.
        future: SerialFuture[Any] = SerialFuture(loop=self)
        future.serial, future.life = next(self._serial if life is None else life.serials), life
        return future

    def set_task_factory(self, factory: object) -> None:
        """Refused unless None."""
        if factory is not None:
            raise NotSimulated("a task factory would make tasks that hash by their address")

    # ── async generators end in the life that began them ─────────────────────

    def _asyncgen_firstiter_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        life = current_life.get()
        if life is None:
            self.generators.pop(id(agen), None)
        else:
            self.generators[id(agen)] = life
        super()._asyncgen_firstiter_hook(agen)  # type: ignore[misc]

    def _asyncgen_finalizer_hook(self, agen: AsyncGenerator[Any, Any]) -> None:
        life = self.generators.pop(id(agen), None)
        if life is None:
            super()._asyncgen_finalizer_hook(agen)  # type: ignore[misc]
        elif not life.dead:
            self.call_soon(self.create_task, agen.aclose(), context=life.context)

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
        raise refusal(
            f"run_in_executor({_named(func)})", "a simulation has one thread only", depth=1
        )

    def add_signal_handler(
        self, sig: int, callback: Callable[[*Ts], object], *args: *Ts
    ) -> NoReturn:
        """Refused."""
        raise refusal(
            f"add_signal_handler({sig!r})", "nobody sends signals in a simulation", depth=1
        )

    async def subprocess_exec(self, *args: Any, **options: Any) -> NoReturn:
        """Refused."""
        raise refusal(f"subprocess_exec{args[1:]}", "a simulation is one process", depth=1)

    subprocess_shell = subprocess_exec


class SerialTask(asyncio.Task[T]):
    """A task that hashes by a serial number of its life, so that sets of tasks have one order."""

    def __init__(self, serial: int, context: Context, coro: Any, **options: Any) -> None:
        self.serial: Final = serial  # first: asyncio puts the task into a set while making it
        self.context: Final = context
        self.life: Final = context.get(current_life)
        super().__init__(coro, context=context, **options)

    def __hash__(self) -> int:
        return self.serial


class SerialFuture(asyncio.Future[T]):
    """A future that hashes by a serial number of its life."""

    __slots__ = ("life", "serial")

    serial: int
    life: Life | None

    def __hash__(self) -> int:
        return self.serial


def _who_waits(loop: VirtualTimeLoop) -> str:
    timers = [timer.when() for timer in loop._scheduled if not timer.cancelled()]
    timers = [when for when in timers if math.isfinite(when)]
    return report(
        freezing.all_tasks(loop),
        next_timer_s=min(timers, default=None),
        in_flight=loop.network.in_flight(),
    )


def _named(func: Callable[..., Any]) -> str:
    return getattr(func, "__qualname__", None) or repr(func)
