"""Injection: a schedule of faults, carried out on a world.

Each fault is one call to begin it and, if it lasts, one to end it. Faults may
overlap (a direction of a link that is cut twice, alone or with the other, is
whole again after the second end), may hit
what is down already (nothing happens), and end all together when the play asks
for calm, so that a verdict is about what was kept and not about what is still
out of reach.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import Final

from sdkit.errors import InvalidArgument
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.drive import Step
from sdkit.sim.faults import KINDS, Fault
from sdkit.sim.machine import Machine
from sdkit.sim.world import World
from sdkit.trace import event

Place = str | tuple[str, str]
"""A machine, or one direction of a link."""


class Injection:
    """The faults of one run.

    Args:
        world: where they happen; the machines may be added to it later.
        seed: with a fault's number, of whatever is drawn when it happens.
        seconds: how long faults may come.
    """

    def __init__(self, world: World, faults: Sequence[Fault], *, seed: int, seconds: float) -> None:
        self._world = world
        self._seed = seed
        self._seconds = seconds
        self._faults: Final = list(faults)
        self._under_way: Final[list[Fault]] = []
        self._lasting: Final[Counter[tuple[str, Place]]] = Counter()
        self._on_step: Final[dict[str, list[Fault]]] = {}
        self._context = contextvars.copy_context()  # the world's own, in which no life is current
        self._timers: Final[list[asyncio.TimerHandle]] = []
        self.happened: Final[list[int]] = []  # numbers, in order
        self.mistake: InvalidArgument | None = None  # a fault that this world cannot suffer

    def start(self) -> None:
        """Set the clocks for every fault."""
        loop = asyncio.get_running_loop()
        for fault in self._faults:
            if fault.at_step is not None:
                self._on_step.setdefault(fault.target, []).append(fault)
            else:
                self._timers.append(loop.call_at(fault.at_s, self._begin, fault))
        for target in self._on_step:
            self._world.on_machine(target, self._watch_disk)

    async def calm(self) -> None:
        """Return when no fault will come any more, and each is undone.

        Faults that wait for a step of a disk wait no longer than the others.
        """
        for target, (fault, *_) in self._on_step.items():
            if target not in self._world.machines:
                self._refuse(fault, _not_there(self._world, target))
        ends = [fault.at_s + fault.for_s for fault in self._faults if fault.at_step is None]
        last = max([self._seconds, *ends])
        await asyncio.sleep(max(0.0, last - self._world.time()))
        self.stop()
        for fault in list(self._under_way):
            self._end(fault)
        for machine in self._world.machines.values():
            if not machine.is_up:
                machine.restart()

    def stop(self) -> None:
        """Let no more happen."""
        for timer in self._timers:
            timer.cancel()
        self._on_step.clear()

    def _watch_disk(self, machine: Machine) -> None:
        def look(step: Step) -> None:
            for fault in self._on_step.get(machine.name, []):
                if fault.at_step == step.number:
                    # We are inside the machine's own code: what follows is the world's.
                    self._context.copy().run(self._begin, fault)

        machine.disk.on_step = look

    def _begin(self, fault: Fault) -> None:
        lasts = KINDS[fault.kind].lasts
        if lasts:
            self._lasting.update((fault.kind, place) for place in _places(fault))
            self._under_way.append(fault)
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(fault.for_s, self._end, fault))
        self.happened.append(fault.number)
        event("sim.fault", number=fault.number, kind=fault.kind, target=fault.target)
        try:
            begin(self._world, fault, Random(f"{self._seed} fault {fault.number}"))
        except InvalidArgument as error:
            self._refuse(fault, error)

    def _refuse(self, fault: Fault, error: InvalidArgument) -> None:
        mistake = InvalidArgument(f"fault {fault.number}: {error.message}")
        self.mistake = self.mistake or mistake
        self._world.fail(mistake)

    def _end(self, fault: Fault) -> None:
        if fault not in self._under_way:
            return
        self._under_way.remove(fault)
        self._lasting.subtract((fault.kind, place) for place in _places(fault))
        over = [place for place in _places(fault) if not self._lasting[fault.kind, place]]
        if over:
            event("sim.fault_over", number=fault.number, kind=fault.kind, target=fault.target)
        for place in over:
            end(self._world, fault, place)


def _places(fault: Fault) -> Sequence[Place]:
    """What it happens to, one by one: of a link, each direction is whole again by itself."""
    return fault.ends() if KINDS[fault.kind].on == "link" else [fault.target]


def begin(world: World, fault: Fault, random: Random) -> None:
    """Let ``fault`` happen, or begin."""
    match KINDS[fault.kind].on:
        case "machine":
            _begin_on_machine(_machine(world, fault), fault, random, world)
        case "disk":
            _begin_on_disk(_machine(world, fault), fault, random)
        case "link":
            for source, target in fault.ends():
                _begin_on_link(world, fault, source, target)


def _begin_on_machine(machine: Machine, fault: Fault, random: Random, world: World) -> None:
    match fault.kind:
        case "kill" if machine.is_up:
            machine.kill()
        case "power cut":  # of a machine whose process is down, too: its page cache goes
            machine.power_cut(random)
        case "pause" if machine.is_up:
            machine.pause()
        case "slow cpu":
            machine.slow_cpu(fault.amount)
        case "clock jump":
            machine.clock.jump(fault.amount)
        case "clock drift":
            machine.clock.drift = fault.amount
        case "refuse":
            world.network.refuse(machine.name)
        case "no name":
            world.network.hide_name(machine.name)


def _begin_on_disk(machine: Machine, fault: Fault, random: Random) -> None:
    disk = machine.disk
    match fault.kind:
        case "slow disk":
            disk.slowness = fault.amount
        case "full disk":
            disk.capacity_bytes = disk.used_bytes
        case "failed write":
            disk.fail("append", error=errno.EIO)
        case "short write":
            disk.fail("append", error=errno.ENOSPC, kept=int(fault.amount))
        case "failed sync":
            disk.fail("sync")
        case "lying disk":
            disk.lies = True
        case "flipped bit":
            _flip(disk, random)


def _begin_on_link(world: World, fault: Fault, source: str, target: str) -> None:
    match fault.kind:
        case "cut":
            world.network.cut(source, target)
        case "slow link":
            world.network.slow(source, target, latency_s=fault.amount)
        case "lossy link":
            world.network.lossy(source, target, fault.amount)
        case "reset":
            world.network.reset(source, target)


def end(world: World, fault: Fault, place: Place) -> None:
    """Undo what `begin` began, at one of the places where it did."""
    if isinstance(place, tuple):
        _end_on_link(world, fault, *place)
        return
    machine = _machine(world, fault)
    match fault.kind:
        case "kill" | "power cut" if not machine.is_up:
            machine.restart()
        case "pause":
            machine.resume()
        case "slow cpu":
            machine.full_cpu()
        case "clock drift":
            machine.clock.drift = 0.0
        case "refuse":
            world.network.accept(machine.name)
        case "no name":
            world.network.show_name(machine.name)
        case "slow disk":
            machine.disk.slowness = 1.0
        case "full disk":
            machine.disk.capacity_bytes = None
        case "lying disk":
            machine.disk.lies = False


def _end_on_link(world: World, fault: Fault, source: str, target: str) -> None:
    match fault.kind:
        case "cut":
            world.network.heal(source, target)
        case "slow link":
            world.network.unslow(source, target)
        case "lossy link":
            world.network.lossy(source, target, 0.0)


def _flip(disk: SimulatedDisk, random: Random) -> None:
    """One bit of one file, each bit of the disk as likely as any other."""
    image = disk.image()
    bit = random.randrange(max(1, 8 * sum(map(len, image.values()))))
    for path, content in image.items():
        if bit < 8 * len(content):
            *directories, name = path.split("/")
            where = disk
            for directory in directories:
                where = where.directory(directory)
            where.flip(name, bit)
            return
        bit -= 8 * len(content)


def _machine(world: World, fault: Fault) -> Machine:
    try:
        return world.machines[fault.target]
    except KeyError:
        raise _not_there(world, fault.target) from None


def _not_there(world: World, name: str) -> InvalidArgument:
    known = ", ".join(world.machines)
    return InvalidArgument(f"no machine is named {name!r}; there are: {known}")
