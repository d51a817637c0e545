"""Machine: what boots, dies, stands still, and boots again from the same disk.

    machine = world.machine("db")
    machine.boot(serve)            # serve() runs on it, in a new life
    machine.kill()                 # kill -9: its code runs no more
    machine.restart()              # serve() again, on what the disk has
    machine.power_cut(random)      # the same, and unsynced sectors are lost
    result = await machine.ended   # what serve() returned, in whichever life

What others notice of each

    kill         a reset on every connection; the page cache stays
    power cut    nothing: no reset, no answer; unsynced sectors may be gone
    pause        nothing at first; then buffers are full and time-outs pass
    slow cpu     everything is late

Things to notice
    1. A kill happens at once and in this order: the sockets are dead, the disk's
       handles are dead (a power cut decides here what is left), the life is
       dead, its code is frozen. After the first line nobody hears it any more.
    2. Nobody waits for a machine's task: it may never end. `Machine.ended` is a
       future of the world.
    3. A program that returns ends its machine's life, as it would end a process.
       What it left open (tasks, connections) is a `Leak`; a program that raises
       is a `MachineFailed`. Both end the run, with the machine's name.

Decision
    A slow CPU is one that stands still most of the time, in periods of 100 ms, as
    Linux throttles a container that has used up its quota. Callbacks take no
    virtual time, so there is nothing to stretch; and standing still is what hurts.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, Final

from sdkit.arguments import check_between, check_function, is_awaitable, shown
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.host import running_on
from sdkit.sim import freezing
from sdkit.sim.clocks import Clock
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.life import Life, current_life

if TYPE_CHECKING:
    from sdkit.sim.world import World

Main = Callable[[], Coroutine[Any, Any, Any]]

CPU_PERIOD_S: Final = 0.1
SHARE_MIN: Final = 0.001  # of a period; below it, or of standing still, timers blur
TURNS_TO_LEAVE: Final = 10  # of the loop, in which what was closed last is really closed
SECONDS_TO_LEAVE: Final = 1.0  # in which a server learns that its clients are gone


class MachineFailed(RuntimeError):
    """A machine's program raised; the cause has the traceback."""


class Leak(RuntimeError):
    """A machine's program returned, and had not put away everything."""


class Machine:
    """A named computer of a `World`; made by `World.machine`.

    Args:
        world: where it stands.
        name: how it is called, and found by others.
        address: in the simulated network.
        clock: its clocks.
        disk: what it stores; the world may look at it and break it at any time.
    """

    def __init__(
        self, world: World, name: str, address: str, *, clock: Clock, disk: SimulatedDisk
    ) -> None:
        self.name: Final = name
        self.address: Final = address
        self.clock: Final = clock
        self.disk: Final = disk
        self.life: Life | None = None  # the present one, or the last
        self._world = world
        self._loop = world.loop
        self._lives = 0
        self._main: Main | None = None
        self._crashed = False
        self._stopped = False  # by `pause`
        self._throttled = False  # by `slow_cpu`, at this moment
        self._throttle: asyncio.TimerHandle | None = None
        self._ended: asyncio.Future[Any] = self._loop.create_future()
        clock.start(world.time, self._drift_changed)

    def __repr__(self) -> str:
        state = "off" if not self.is_up else "paused" if self._stopped else "up"
        return f"<Machine {self.name} at {self.address}, {state}>"

    @property
    def is_up(self) -> bool:
        """Is there a life? Also while it is paused."""
        return self.life is not None and not self.life.dead

    @property
    def ended(self) -> asyncio.Future[Any]:
        """What the program returns when it does so, in this life or a later one.

        With ``may_fail`` it raises what the program raises.
        """
        return asyncio.shield(self._ended)  # a time-out of one who waits is nobody else's

    # ── beginning and end ────────────────────────────────────────────────────

    def boot(self, main: Main, *, may_fail: bool = False) -> None:
        """Run ``main()`` on this machine, in a new life.

        Args:
            may_fail: let `ended` raise what ``main`` raises, instead of ending the run.

        Raises:
            InvalidState: the machine is up.
        """
        self._world.check_outside(f"boot {self.name}")
        check_function("main", main)
        if self.is_up:
            raise InvalidState(f"{self.name} is up; kill it first, or wait until it has ended")
        if self._ended.done():
            self._ended = self._loop.create_future()
        self._main, self._may_fail = main, may_fail
        self._begin()

    def restart(self) -> None:
        """Boot the same program again after a kill or a power cut, on the same disk.

        A machine that is up goes on; one whose program has ended by itself stays down.
        """
        self._world.check_outside(f"restart {self.name}")
        if self._crashed:
            self._begin()

    def kill(self) -> None:
        """End the process: it runs no more code; its connections are reset."""
        self._crash("kill")

    def power_cut(self, random: Random) -> None:
        """End the machine: also lose what was not synced, as ``random`` decides.

        Peers hear nothing. Of a machine whose process is dead already, the page cache is
        lost, and requests to it are no longer refused but get no answer.
        """
        was_up = self.is_up
        self._crash("power_cut")
        if self.life is not None and not was_up:
            self._world.note(self.name, "machine.power_cut", number=self.life.number)
            self._world.network.vanish(self.life)
        self.disk.power_cut(random, reboot=False)

    def _begin(self) -> None:
        assert self._main is not None
        self._lives += 1
        self._crashed = self._stopped = False  # a pause is the process's, and ends with it
        lateness = Random(f"{self._world.seed} lateness {self.name} {self._lives}")
        life = Life(self.name, self.address, self._lives, clock=self.clock, lateness=lateness)
        life.context = self._world.context.copy()
        life.context.run(current_life.set, life)
        self.life = life
        self._world.lives.append(life)
        self._world.note(self.name, "machine.boot", number=life.number)
        self.disk.boot()
        self._world.network.up(life)
        program = self._live(life, self._main, self._ended, may_fail=self._may_fail)
        life.main = self._loop.create_task(program, name=f"{life} main", context=life.context)
        self._hold(life)

    def end_with_the_world(self) -> None:
        """The run is over: let nothing of the machine run any more."""
        if self.life is not None and not self.life.dead:
            self._end(self.life)

    def _crash(self, how: str) -> None:
        self._world.check_outside(f"{how.replace('_', ' ')} {self.name}")
        life = self.life
        if life is None or life.dead:
            return
        # What is garbage already is finalized now, while it may; later it would be by nobody.
        gc.collect()
        self._world.note(self.name, f"machine.{how}", number=life.number)
        self._crashed = True
        self._end(life, silently=how == "power_cut")

    def _end(self, life: Life, *, silently: bool = False) -> None:
        network = self._world.network
        (network.vanish if silently else network.kill)(life)
        self.disk.kill(reboot=False)
        life.dead = True
        freezing.freeze(self._loop, life)

    # ── the program ──────────────────────────────────────────────────────────

    async def _live(
        self, life: Life, main: Main, ended: asyncio.Future[Any], *, may_fail: bool
    ) -> None:
        """What runs on the machine: the program, and the end of the process behind it."""
        host = SimulatedHost(
            self.name,
            self.disk,
            seed=f"{self._world.seed} {life.number}",
            clock=self.clock,
            now=self._world.time,
        )
        error: BaseException | None = None
        result = None
        with running_on(host):
            try:
                running = main()
                if not is_awaitable(running):
                    raise InvalidArgument(
                        f"main returned {shown(running)}, which cannot be awaited; it must be an "
                        "`async def`"
                    )
                result = await running
            except SystemExit as left:
                error = left if left.code else None
            except KeyboardInterrupt:
                raise
            except BaseException as raised:
                if life.dead:  # this coroutine is being closed
                    raise
                error = raised
            if error is None:
                error = await self._leak(life)
        # From here on as the world's own code: what follows must not die with the machine.
        self._loop.call_soon(
            self._left, life, ended, result, error, may_fail, context=self._world.context.copy()
        )

    async def _leak(self, life: Life) -> Leak | None:
        """What the program has left behind for good, if anything."""
        for _ in range(TURNS_TO_LEAVE):
            await asyncio.sleep(0)
        if self._left_behind(life):
            await asyncio.sleep(SECONDS_TO_LEAVE)
        left = self._left_behind(life)
        return Leak(f"{life} has ended and left: {', '.join(left)}") if left else None

    def _left_behind(self, life: Life) -> list[str]:
        return [
            *(
                f"task {task.get_name()}"
                for task in freezing.tasks_of(self._loop, life)
                if task is not life.main
            ),
            *map(str, self._world.network.leaks(life)),
        ]

    def _left(
        self,
        life: Life,
        ended: asyncio.Future[Any],
        result: object,
        error: BaseException | None,
        may_fail: bool,
    ) -> None:
        if life.dead:  # killed in the very last moment
            return
        self._world.note(self.name, "machine.end", number=life.number, failed=error is not None)
        self._end(life)
        if error is None:
            ended.set_result(result)
        elif may_fail:
            ended.set_exception(error)
            ended.exception()  # whoever does not wait does not want to know
        elif isinstance(error, Leak):
            self._world.fail(error)
        else:
            failure = MachineFailed(f"{life} ended with {type(error).__name__}: {error}")
            failure.__cause__ = error
            self._world.fail(failure)

    # ── standing still ───────────────────────────────────────────────────────

    def pause(self) -> None:
        """Stop the process (SIGSTOP): bytes still arrive, and nobody reads them."""
        self._world.check_outside(f"pause {self.name}")
        if self.is_up and not self._stopped:
            self._world.note(self.name, "machine.pause")
            self._stopped = True
            self._hold(self.life)

    def resume(self) -> None:
        """Let it go on; timers that are overdue fire at once."""
        self._world.check_outside(f"resume {self.name}")
        if self._stopped:
            self._world.note(self.name, "machine.resume")
            self._stopped = False
            self._hold(self.life)

    def slow_cpu(self, share: float) -> None:
        """Let it run for ``share`` of the time, above 0 and below 1; see the file's decision."""
        check_between("share", share, SHARE_MIN, 1 - SHARE_MIN)
        self.full_cpu()
        self._world.note(self.name, "machine.slow_cpu", share=share)
        self._run_for(share)

    def full_cpu(self) -> None:
        """Undo `slow_cpu`."""
        self._world.check_outside(f"change the CPU of {self.name}")
        if self._throttle is not None:
            self._throttle.cancel()
            self._throttle = None
            self._world.note(self.name, "machine.full_cpu")
        self._throttled = False
        self._hold(self.life)

    def _run_for(self, share: float) -> None:
        self._throttled = False
        self._hold(self.life)
        self._throttle = self._loop.call_later(share * CPU_PERIOD_S, self._stand_for, share)

    def _stand_for(self, share: float) -> None:
        self._throttled = True
        self._hold(self.life)
        self._throttle = self._loop.call_later((1 - share) * CPU_PERIOD_S, self._run_for, share)

    def _hold(self, life: Life | None) -> None:
        """Stop the life, or let it go on, as the flags say."""
        still = self._stopped or self._throttled
        if life is None or life.dead or life.paused == still:
            return
        life.paused = still
        if still:
            self._world.network.pause(life)
            freezing.park(self._loop, life)
        else:
            freezing.unpark(self._loop, life)
            self._world.network.resume(life)

    def _drift_changed(self, before: Clock) -> None:
        self._world.note(self.name, "machine.drift", drift=self.clock.drift)
        if self.life is not None and not self.life.dead:
            freezing.retime(self._loop, self.life, before.monotonic)
