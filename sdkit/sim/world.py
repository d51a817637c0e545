"""World: several machines, one network, one time, and a play that happens there.

    async def play(world: World) -> bytes | None:
        db, shop = world.machine("db"), world.machine("shop")
        db.boot(serve)                      # serve() and order() are ordinary asyncio programs
        await asyncio.sleep(1.0)
        db.power_cut(Random(7))
        db.restart()
        shop.boot(order)
        return await shop.ended

    run = simulate(play, seed=7)        # raises what went wrong, if anything
    run.value, run.digest

The play is the world's own code: it directs, it is on no machine, and nothing
kills it. Programs on machines see their machine only: its clock, its disk, its
address; another machine they reach by its name, over the network.

Things to notice
    1. Everything that is drawn (how late a timer is, how long a disk takes, what
       a host draws for itself) comes from a stream of its own, named after what
       it is for. A fault left out on one machine changes nothing on another.
    2. `simulate` takes the digest when the play returns, before anything is put
       away: closing follows memory addresses.
    3. Whatever goes wrong anywhere is an error of the run: a program that raises,
       one that leaves a connection open, a callback that fails, a task whose
       error nobody looked at.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import traceback
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from types import FrameType
from typing import Any, Final, Generic, TypeVar

from sdkit.arguments import check_function, is_awaitable, shown
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.host import running_on
from sdkit.sim import freezing
from sdkit.sim.addresses import check_host_name
from sdkit.sim.clocks import Clock
from sdkit.sim.digest import Digest, Recorded
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.interception import check_alone, intercepted
from sdkit.sim.life import Life, current_life
from sdkit.sim.links import Latency
from sdkit.sim.loop import (
    BUFFER_BYTES,
    LATENCY_S,
    VirtualTimeLoop,
    check_options,
)
from sdkit.sim.machine import Machine
from sdkit.sim.network import Network
from sdkit.trace import Record, listening

__all__ = ["Recorded", "Run", "Unhandled", "World", "simulate"]

T = TypeVar("T")

LATENESS_S: Final = 1e-6
MACHINES_MAX: Final = 254


class Unhandled(RuntimeError):
    """The loop was told of an error that nobody handles; the cause has the traceback."""


@dataclass(frozen=True, kw_only=True)
class Run(Generic[T]):
    """A run that is over.

    Args:
        result: what the play returned; None if it failed.
        error: what went wrong first, in the play or on a machine.
        digest: of everything that happened (`sdkit.sim.digest`).
        virtual_seconds: how long it took, in virtual time.
        recorded: everything that happened, if asked for.
    """

    result: T | None
    error: BaseException | None
    digest: str
    virtual_seconds: float
    recorded: list[Recorded] = field(default_factory=list, repr=False)

    @property
    def value(self) -> T:
        """What the play returned; raises `error` if there is one."""
        if self.error is not None:
            raise self.error
        return self.result  # type: ignore[return-value]  # no error, so it is a T


class World:
    """What a play gets; made by `simulate`."""

    def __init__(self, loop: VirtualTimeLoop, digest: Digest, *, seed: int | str) -> None:
        self.loop: Final = loop
        self.seed: Final = seed
        self.network: Final[Network] = loop.network
        self.machines: Final[dict[str, Machine]] = {}
        self.lives: Final[list[Life]] = []
        self.context: Final = contextvars.copy_context()  # of the world's own code
        self.is_over = False
        self.failure: BaseException | None = None
        self._digest = digest
        self._play: asyncio.Task[Any] | None = None
        self._watchers: list[tuple[str, Callable[[Machine], None]]] = []

    def time(self) -> float:
        """True virtual seconds since the beginning, whoever asks."""
        return self.loop.true_time()

    def machine(
        self, name: str, *, clock: Clock | None = None, disk: SimulatedDisk | None = None
    ) -> Machine:
        """A new machine, switched off; others find it by its name from now on.

        Args:
            clock: its clocks; right ones unless given.
            disk: its disk; an empty one unless given.

        Raises:
            InvalidArgument: there is a machine of that name.
        """
        self.check_outside("add a machine")
        check_host_name("name", name)
        if name in self.machines:
            raise InvalidArgument(f"there is a machine named {name} already", name=name)
        number = len(self.machines) + 1
        if number > MACHINES_MAX:
            raise InvalidArgument(f"a world has at most {MACHINES_MAX} machines")
        address = f"10.0.0.{number}"
        disk = disk or SimulatedDisk()
        disk.random = disk.random or Random(f"{self.seed} disk {name}")
        disk.observer = lambda step: self._note_step(name, step.operation, step.path, step.number)
        self.network.add_machine(name, address)
        made = Machine(self, name, address, clock=clock or Clock(), disk=disk)
        self.machines[name] = made
        for wanted, watcher in self._watchers:
            if wanted == name:
                watcher(made)
        return made

    def on_machine(self, name: str, watcher: Callable[[Machine], None]) -> None:
        """Call ``watcher`` with the machine of that name: now, or as soon as there is one."""
        if name in self.machines:
            watcher(self.machines[name])
        else:
            self._watchers.append((name, watcher))

    def note(self, machine: str, name: str, **fields: object) -> None:
        """Put something that happened into the record of the run."""
        if not self.is_over:
            self._digest.add(Recorded(self.time(), machine, name, fields))

    def fail(self, error: BaseException) -> None:
        """End the run with ``error``; only the first counts."""
        if self.failure is None and not self.is_over:
            self.failure = error
            if self._play is not None:
                self._play.cancel()

    def check_outside(self, what: str) -> None:
        """Refuse what only the world's own code may do, and only during its run.

        Raises:
            InvalidState: this is a machine's code; or the run is over, or another thread's.
        """
        if self.is_over:
            raise InvalidState(f"cannot {what}: the run is over")
        if not _runs(self.loop):
            raise InvalidState(
                f"a world lives as long as its `simulate`, and in that thread: nobody can {what} "
                "after it or from elsewhere"
            )
        life = current_life.get()
        if life is not None:
            raise InvalidState(f"{life} cannot {what}: that is for the play, outside all machines")

    # ── for simulate ─────────────────────────────────────────────────────────

    async def run(self, play: Callable[[World], Coroutine[Any, Any, T]]) -> T:
        """The play, to its end."""
        self._play = asyncio.current_task()
        directing = play(self)
        if not is_awaitable(directing):
            raise InvalidArgument(
                f"play returned {shown(directing)}, which cannot be awaited; it must be an "
                "`async def`",
                name="play",
            )
        return await directing

    def close(self) -> None:
        """End every life, so that nothing of it is run or complains from now on."""
        self.is_over = True
        for machine in self.machines.values():
            machine.end_with_the_world()

    def on_unhandled(self, _loop: asyncio.AbstractEventLoop, problem: dict[str, Any]) -> None:
        """The loop's exception handler."""
        life = freezing.life_concerned(problem)
        where = f"on {life}" if life is not None else "in the world's own code"
        cause = problem.get("exception")
        error = Unhandled(f"{where}: {problem.get('message')}: {cause!r}")
        error.__cause__ = cause
        self.fail(error)

    def on_record(self, record: Record) -> None:
        """Listens to the trace."""
        life = current_life.get()
        if self.is_over or (life is not None and life.dead) or not _runs(self.loop):
            return
        duration_s = None if record.duration_ns is None else record.duration_ns / 1e9
        machine = life.machine if life is not None else ""
        self._digest.add(Recorded(self.time(), machine, record.name, record.fields, duration_s))

    def on_deliver(self, source: str, target: str, count: int, kind: str) -> None:
        """Told of each message that arrives."""
        if not self.is_over:
            self._digest.add_message(self.loop.true_time(), source, target, kind, count)

    def _note_step(self, machine: str, operation: str, path: str, number: int) -> None:
        self.note(machine, f"disk.{operation}", path=path, step=number)


def simulate(
    play: Callable[[World], Coroutine[Any, Any, T]],
    *,
    seed: int | str = 0,
    latency_s: Latency = LATENCY_S,
    names: Mapping[str, str] | None = None,
    lateness_s: float = LATENESS_S,
    buffer_bytes: int = BUFFER_BYTES,
    record: bool = False,
    may_fail: bool = False,
) -> Run[T]:
    """Let a play happen in a world of its own, in virtual time.

    Args:
        play: directs; see `World`.
        seed: of everything that is drawn.
        latency_s, names, lateness_s, buffer_bytes: as for `sdkit.sim.loop.run`.
        record: keep everything that happened, in `Run.recorded`.
        may_fail: return a run that failed, with its `Run.error`, instead of raising that.

    Raises (besides what went wrong first, in the play or on a machine):
        InvalidArgument: a latency, name, seed, lateness or buffer that cannot be, or no play.
        InvalidState: in a running event loop, or inside a simulation.
    """
    check_alone("simulate")
    check_options(latency_s, lateness_s, buffer_bytes, names=names, seed=seed)
    check_function("play", play)

    def make() -> VirtualTimeLoop:
        return VirtualTimeLoop(
            latency_s=latency_s,
            names=names or {},
            seed=seed,
            lateness_s=lateness_s,
            buffer_bytes=buffer_bytes,
        )

    with _garbage_by_turns():
        run = _simulate(play, make, Digest(keep=record), seed=seed)
        _let_go(run.error)  # again: the frame of `_simulate`, which holds the world, is left by now
    if run.error is None or may_fail:
        return run
    try:
        raise run.error
    finally:
        del run  # the error would hold this frame, and the frame the error


def _simulate(
    play: Callable[[World], Coroutine[Any, Any, T]],
    make: Callable[[], VirtualTimeLoop],
    digest: Digest,
    *,
    seed: int | str,
) -> Run[T]:
    runner = asyncio.Runner(loop_factory=make)
    loop = runner.get_loop()  # opens a real socket pair, so it comes before the interception
    assert isinstance(loop, VirtualTimeLoop)
    result: T | None = None
    error: BaseException | None = None
    outside = SimulatedHost("world", seed=seed, now=loop.true_time)
    with intercepted(loop.network, seed=seed), running_on(outside), runner:
        world = World(loop, digest, seed=seed)
        loop.set_exception_handler(world.on_unhandled)
        loop.network.on_deliver = world.on_deliver
        try:
            with listening(world.on_record):
                result = runner.run(world.run(play), context=world.context.copy())
        except Exception as raised:
            error = raised
        except asyncio.CancelledError as cancelled:
            error = cancelled
        finally:
            text, seconds = digest.text(), world.time()
            with freezing.silence():
                world.close()
                freezing.close_frozen(world.lives)
                runner.close()
                _let_go(world.failure, error)
                for kept in (world.lives, world.machines, loop.generators):
                    kept.clear()
                gc.collect()  # now, while nobody hears what sockets and tasks say as they go
    return Run(
        result=None if world.failure else result,
        error=world.failure or error,
        digest=text,
        virtual_seconds=seconds,
        recorded=digest.recorded,
    )


def _let_go(*errors: BaseException | None) -> None:
    """Empty the frames that errors hold, and those that they came from: sockets are in them.

    The callers of those frames, too: from Python 3.12 on a coroutine's frame keeps the loop's,
    and so all of the world, for as long as somebody looks at the error.
    """
    left, seen = list(errors), set[int]()
    while left:
        error = left.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        for frame, _ in traceback.walk_tb(error.__traceback__):
            caller: FrameType | None = frame
            while caller is not None and id(caller) not in seen:
                seen.add(id(caller))
                with suppress(RuntimeError):  # it is being executed: ours, or whoever called us
                    caller.clear()
                caller = caller.f_back
        left += [error.__cause__, error.__context__]
        if isinstance(error, BaseExceptionGroup):
            left += error.exceptions


@contextmanager
def _garbage_by_turns() -> Iterator[None]:
    """Python collects no garbage by itself; the selector does, after fixed numbers of turns."""
    was_enabled = gc.isenabled()
    gc.disable()
    # What was there before is left alone, garbage or not: its finalizers belong to no run, and
    # looking through it took half of a short run's time.
    gc.freeze()
    try:
        yield
    finally:
        with freezing.silence():
            gc.collect()  # the world itself, which nothing holds by now
        gc.unfreeze()
        if was_enabled:
            gc.enable()


def _runs(loop: VirtualTimeLoop) -> bool:
    """Is this thread running ``loop``? Records of others come to every listener."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False
