"""Escapes: what would leave a simulation, and what happens instead.

A run is repeatable only as long as nothing comes in from outside: not the time
of day, not a random number, not the content of a file, not the moment at which
a thread gets the processor. One such thing, deep in some helper, and a seed
that failed yesterday passes today.

    asked for                             by our code   by libraries
    a thread, an executor, a process      error         error
    a file (`open`, `os.open`)            error         error
    a blocking `time.sleep`, a lookup     error         error
    a timer or a wait for a signal        error         error
    all tasks (`asyncio.all_tasks`)       those of the machine that asks
    the time                              error         virtual time
    a random number, unseeded             error         drawn from the seed

Things to notice
    1. An error names the call, the place and the remedy. Whose code is ours:
       `sdkit.sim.callers`. ``random.Random(seed)`` is nobody's escape.
    2. The time is that of the machine that asks, drift and jumps included.
       What a library draws comes from a stream of its machine's boot, so that a
       fault on one machine does not change what is drawn on another.
    3. `uuid.uuid1` and the modules `secrets` and `uuid` need no replacement of
       their own: what they stand on is replaced, and an earlier
       ``from uuid import uuid4`` makes no difference.
    4. Files of the program itself may be read: a module is imported while the
       simulation runs, a library reads its own data, a traceback shows its
       source, somebody debugs.

What gets through: a function that was imported by its name before the
simulation began (``from time import monotonic``), ``datetime.now``, and whatever
else asks in C; file operations that open nothing (`os.remove`); the number of
the process. `docs/simulator.md` has the list, module by module. What it changes
is seen when two processes compare the digests of one seed.
"""

from __future__ import annotations

import _thread
import asyncio
import builtins
import functools
import io
import os
import random
import signal
import socket
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from random import Random
from types import FrameType
from typing import Any, Final

from sdkit.sim.callers import asker, asks_for_us, is_ours, place
from sdkit.sim.clocks import Clock
from sdkit.sim.life import Life, current_life
from sdkit.sim.network import Network
from sdkit.sim.sockets import NotSimulated

try:  # neither is there on every system
    import _posixsubprocess
except ImportError:
    _posixsubprocess = None  # type: ignore[assignment]
try:
    import sqlite3
except ImportError:
    sqlite3 = None  # type: ignore[assignment]

Function = Callable[..., Any]
Replacement = tuple[object, str, Function, Function]  # owner, name, the real one, ours


class Simulation:
    """What the running thread simulates, as far as libraries may ask for it."""

    def __init__(self, network: Network, *, seed: int | str, answers_all: bool) -> None:
        self.network: Final = network
        self.seed: Final = seed
        self.answers_all: Final = answers_all
        self._right = Clock()
        self._streams: dict[Life | None, Random] = {}

    def refuses(self, frame: FrameType) -> bool:
        """Is this code that should ask its host for the time, and for random numbers?"""
        return asks_for_us(frame, of_sdkit=self.answers_all)

    def wall_ns(self) -> int:
        """What the wall clock of the machine shows whose code this is."""
        life = current_life.get()
        return (life.clock if life else self._right).wall_ns(self.network.now())

    def monotonic_s(self) -> float:
        """What its monotonic clock shows."""
        life = current_life.get()
        return (life.clock if life else self._right).monotonic(self.network.now())

    def random(self) -> Random:
        """What libraries on it draw from."""
        life = current_life.get()
        if life not in self._streams:
            self._streams[life] = Random(f"{self.seed} libraries on {life}")
        return self._streams[life]


Running = Callable[[], Simulation | None]


def replacements(running: Running) -> Iterator[Replacement]:
    """What to put where while a simulation runs.

    Args:
        running: what this thread simulates; None in any other thread, which
            gets what the real function gives.
    """
    yield from _clocks(running)
    yield from _randomness(running)
    yield asyncio, "all_tasks", asyncio.all_tasks, _tasks_of_the_asker(running)
    yield asyncio.tasks, "all_tasks", asyncio.all_tasks, _tasks_of_the_asker(running)
    for owner, name, remedy in _REFUSED:
        if hasattr(owner, name):  # not every system forks
            real = getattr(owner, name)
            yield owner, name, real, _refusing(running, real, remedy)
    real = signal.signal  # asyncio itself sets a handler for Ctrl-C
    ours = _refusing(running, real, _NO_SIGNALS, unless=lambda caller, _: not asks_for_us(caller))
    yield signal, "signal", real, ours
    if sqlite3 is not None:
        real = sqlite3.connect
        yield sqlite3, "connect", real, _refusing(running, real, _USE_THE_DISK, unless=_in_memory)
    for owner, name in [(builtins, "open"), (io, "open"), (os, "open")]:
        real = getattr(owner, name)
        yield owner, name, real, _refusing(running, real, _USE_THE_DISK, unless=_of_the_program)


_ONE_THREAD: Final = "a simulation has one thread only"
_ONE_PROCESS: Final = "a simulation is one process"
_NO_SIGNALS: Final = "nobody sends signals in a simulation"
_USE_THE_DISK: Final = "files are on the host's disk; use sdkit.host.current().disk"
_USE_THE_WALL_CLOCK: Final = "ask the host; use sdkit.host.current().now_ns()"
_USE_THE_CLOCK: Final = (
    "ask the host; use sdkit.host.current().monotonic_ns(), or the loop: "
    "asyncio.get_running_loop().time()"
)
_USE_THE_RANDOM: Final = (
    "it would differ from run to run; use sdkit.host.current().random, or random.Random(seed)"
)
_USE_THE_LOOP: Final = "it would stop the only thread; use {}"
_REFUSED: Final[list[tuple[object, str, str]]] = [
    (time, "sleep", _USE_THE_LOOP.format("asyncio.sleep")),
    (threading.Thread, "start", _ONE_THREAD),
    (ThreadPoolExecutor, "submit", _ONE_THREAD),
    (subprocess.Popen, "__init__", _ONE_PROCESS),
    (os, "fork", _ONE_PROCESS),
    (os, "posix_spawn", _ONE_PROCESS),
    (os, "posix_spawnp", _ONE_PROCESS),
    (os, "system", _ONE_PROCESS),
    *((os, name, _ONE_PROCESS) for name in ("forkpty", "execv", "execve")),
    (_posixsubprocess, "fork_exec", _ONE_PROCESS),  # of multiprocessing
    (_thread, "start_new_thread", _ONE_THREAD),
    *((signal, name, _NO_SIGNALS) for name in ("alarm", "setitimer", "pause", "sigwait")),
    (builtins, "input", "it would wait for a person"),
    *(
        (socket, name, _USE_THE_LOOP.format("the running loop's getaddrinfo"))
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr")
    ),
]


def refusal(call: str, remedy: str, *, depth: int = 0) -> NotSimulated:
    """An error that names the call, its place and the remedy.

    Args:
        depth: how many frames above the caller of this the call is made.
    """
    return NotSimulated(f"{call} at {place(asker(depth + 1))}: {remedy}")


def _refusing(
    running: Running,
    real: Function,
    remedy: str,
    *,
    unless: Callable[[FrameType, tuple[Any, ...]], bool] = lambda *_: False,
) -> Function:
    @functools.wraps(real)
    def guard(*arguments: Any, **options: Any) -> Any:
        if running() is None or unless(asker(1), arguments):
            return real(*arguments, **options)
        raise refusal(_text(real, arguments), remedy, depth=1)

    return guard


def _text(real: Function, arguments: tuple[object, ...]) -> str:
    """A call, as a person would write it, without the object whose method it is."""
    name = real.__qualname__
    shown = arguments[1:] if "." in name else arguments
    return f"{name.removesuffix('.__init__')}({', '.join(map(repr, shown))})"


# ── the program itself ───────────────────────────────────────────────────────

_READERS: Final = {"linecache", "tokenize", "inspect", "pdb", "bdb"}
_CALLBACK: Final = asyncio.Handle._run.__code__


def _of_the_program(caller: FrameType, arguments: tuple[Any, ...]) -> bool:
    """Is this a library's own file, or for a traceback or a debugger, or below an import?"""
    path, mode = [*arguments, "r"][:2] if arguments else ("", "r")
    reading = isinstance(path, str | os.PathLike) and set(str(mode)) <= set("rbt")
    if reading and not is_ours(os.fspath(path)):
        return True
    frame: FrameType | None = caller
    if frame is not None and frame.f_globals.get("__name__") in _READERS:
        return True
    # Not further up than the loop: the simulation itself may run below an import.
    while frame is not None and frame.f_code is not _CALLBACK:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _in_memory(_: FrameType, arguments: tuple[Any, ...]) -> bool:
    """Is it a database that is nowhere but in this process?"""
    return arguments[:1] == (":memory:",)


# ── tasks ────────────────────────────────────────────────────────────────────


def _tasks_of_the_asker(running: Running) -> Function:
    real = asyncio.all_tasks

    @functools.wraps(real)
    def tell(loop: asyncio.AbstractEventLoop | None = None) -> set[asyncio.Task[Any]]:
        """Those of the machine that asks; the usual way to shut down would cancel the world."""
        found = real(loop)
        if running() is None:
            return found
        life = current_life.get()
        mine = [task for task in found if getattr(task, "life", None) is life]
        mine.sort(key=lambda task: getattr(task, "serial", 0))  # as they are put into the set
        return set(mine)

    return tell


# ── time ─────────────────────────────────────────────────────────────────────


def _clocks(running: Running) -> Iterator[Replacement]:
    def guard(real: Function, virtual: Callable[[Simulation], float], remedy: str) -> Function:
        @functools.wraps(real)
        def read() -> float:
            simulation = running()
            if simulation is None:
                return real()  # type: ignore[no-any-return]
            if simulation.refuses(asker(1)):
                raise refusal(f"time.{real.__name__}()", remedy, depth=1)
            return virtual(simulation)

        return read

    wall, duration = _USE_THE_WALL_CLOCK, _USE_THE_CLOCK
    for name, virtual, remedy in [
        ("time", lambda simulation: simulation.wall_ns() / 1e9, wall),
        ("time_ns", Simulation.wall_ns, wall),
        ("monotonic", Simulation.monotonic_s, duration),
        ("monotonic_ns", _monotonic_ns, duration),
        ("perf_counter", Simulation.monotonic_s, duration),
        ("perf_counter_ns", _monotonic_ns, duration),
        ("process_time", Simulation.monotonic_s, duration),
        ("process_time_ns", _monotonic_ns, duration),
        ("thread_time", Simulation.monotonic_s, duration),
        ("thread_time_ns", _monotonic_ns, duration),
    ]:
        if hasattr(time, name):  # not every system counts the time of threads
            real = getattr(time, name)
            yield time, name, real, guard(real, virtual, remedy)
    for name, unit in (("clock_gettime", 1e-9), ("clock_gettime_ns", 1)):
        if hasattr(time, name):
            real = getattr(time, name)
            yield time, name, real, _of_a_clock(running, real, unit)
    for name in ("gmtime", "localtime", "ctime"):
        real = getattr(time, name)
        yield time, name, real, _of_an_instant(running, real, wall)


def _of_a_clock(running: Running, real: Function, unit: float) -> Function:
    """A function that takes the number of a clock; all but the wall clock count from the boot."""

    @functools.wraps(real)
    def read(clock: int, /) -> float:
        simulation = running()
        if simulation is None:
            return real(clock)  # type: ignore[no-any-return]
        is_wall = clock in _WALL_CLOCKS
        if simulation.refuses(asker(1)):
            remedy = _USE_THE_WALL_CLOCK if is_wall else _USE_THE_CLOCK
            raise refusal(f"time.{real.__name__}({clock})", remedy, depth=1)
        ns = simulation.wall_ns() if is_wall else _monotonic_ns(simulation)
        return ns if unit == 1 else ns * unit

    return read


_WALL_CLOCKS: Final = {
    getattr(time, name) for name in ("CLOCK_REALTIME", "CLOCK_TAI") if hasattr(time, name)
}


def _of_an_instant(running: Running, real: Function, remedy: str) -> Function:
    """A function that takes an instant, or else the present one."""

    @functools.wraps(real)
    def tell(seconds: float | None = None, /) -> Any:
        simulation = running()
        if simulation is not None and seconds is None:
            if simulation.refuses(asker(1)):
                raise refusal(f"time.{real.__name__}()", remedy, depth=1)
            seconds = simulation.wall_ns() / 1e9
        return real(seconds)

    return tell


def _monotonic_ns(simulation: Simulation) -> int:
    return round(simulation.monotonic_s() * 1e9)


# ── randomness ───────────────────────────────────────────────────────────────

_shared: Final[Random] = random._inst
_MODULE_LEVEL: Final = [
    name for name in random.__all__ if getattr(getattr(random, name), "__self__", 0) is _shared
]


def seed_shared(seed: int | str) -> object:
    """Seed what the module-level functions of `random` draw from; the state to give back."""
    before = _shared.getstate()
    _shared.seed(f"{seed} shared")
    return before


def restore_shared(state: Any) -> None:
    """Undo `seed_shared`."""
    _shared.setstate(state)


def _randomness(running: Running) -> Iterator[Replacement]:
    def asked(call: str) -> Random | None:
        """What to draw from; None if the real function is to be called."""
        simulation = running()
        if simulation is None:
            return None
        if simulation.refuses(asker(2)):
            raise refusal(call, _USE_THE_RANDOM, depth=2)
        return simulation.random()

    def of_module(name: str, real: Function) -> Function:
        @functools.wraps(real)
        def draw(*arguments: Any, **options: Any) -> Any:
            stream = asked(f"random.{name}()")
            return (getattr(stream, name) if stream else real)(*arguments, **options)

        return draw

    def of_system(call: str, real: Function) -> Function:
        @functools.wraps(real)
        def draw(size: int, *options: Any) -> Any:
            stream = asked(call)
            return stream.randbytes(size) if stream else real(size, *options)

        return draw

    real_seed = Random.seed

    @functools.wraps(real_seed)
    def seed(self: Random, a: Any = None, version: int = 2) -> None:
        if a is None and (stream := asked("Random() without a seed")):
            a = stream.getrandbits(128)
        real_seed(self, a, version)

    real_generate: Callable[[], tuple[bytes, int | None]] | None = getattr(
        uuid, "_generate_time_safe", None
    )

    def generate_time_safe() -> tuple[bytes, int | None]:
        simulation, stream = running(), asked("uuid.uuid1()")
        if simulation is None or stream is None:
            assert real_generate is not None
            return real_generate()
        made = uuid.UUID(int=stream.getrandbits(128), version=1)
        ticks = simulation.wall_ns() // 100 + _TICKS_FROM_1582_TO_1970
        low, middle, high = ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF
        fields = (low, middle, high | 0x1000, *made.fields[3:])
        return uuid.UUID(fields=fields).bytes, None

    for name in _MODULE_LEVEL:
        real = getattr(random, name)
        yield random, name, real, of_module(name, real)
    for owner, name in [(os, "urandom"), (os, "getrandom"), (random, "_urandom")]:
        if hasattr(owner, name):
            real = getattr(owner, name)
            yield owner, name, real, of_system(f"os.{real.__name__}()", real)
    yield Random, "seed", real_seed, seed
    if real_generate is not None:
        yield uuid, "_generate_time_safe", real_generate, generate_time_safe


_TICKS_FROM_1582_TO_1970: Final = 0x01B21DD213814000
