"""What the simulator's objects survive, and what they refuse by name: docs/simulator.md."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from sdkit.errors import InvalidArgument, InvalidState
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.sim.machine import Machine
from sdkit.sim.sockets import NotSimulated
from sdkit.sim.world import World, simulate


async def nothing() -> None:
    pass


async def play(world: World) -> int:
    world.machine("db").boot(nothing)
    await asyncio.sleep(1)
    return 1


BEGINNINGS: list[Callable[[], object]] = [lambda: run(nothing()), lambda: simulate(play)]


@pytest.mark.parametrize("begin", BEGINNINGS, ids=["run", "simulate"])
@pytest.mark.parametrize("around", [asyncio.run, run], ids=["a real loop", "a simulated one"])
def test_a_simulation_begun_within_an_event_loop_says_so(
    around: Callable[[Any], object], begin: Callable[[], object]
) -> None:
    async def main() -> None:
        with pytest.raises(InvalidState, match="cannot begin in"):
            begin()

    around(main())
    begin()  # and nothing is left behind


def test_what_cannot_be_run_is_refused_by_name() -> None:
    with pytest.raises(InvalidArgument, match="main is 5; it must be a coroutine"):
        run(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="main is <function nothing"):
        run(nothing)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="play is 5, of type int; it must be a function"):
        simulate(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"nothing.* has been called already"):
        simulate(nothing())  # type: ignore[arg-type]


USES: dict[str, Callable[[World, Machine], object]] = {
    "add a machine": lambda world, _: world.machine("another"),
    "boot db": lambda _, machine: machine.boot(nothing),
    "kill db": lambda _, machine: machine.kill(),
    "restart db": lambda _, machine: machine.restart(),
    "pause db": lambda _, machine: machine.pause(),
}


@pytest.mark.parametrize("what", USES)
def test_a_world_used_after_its_run_says_so(what: str) -> None:
    async def keeping(world: World) -> tuple[World, Machine]:
        return world, world.machine("db")

    world, machine = simulate(keeping).value
    with pytest.raises(InvalidState, match=f"cannot {what}: the run is over"):
        USES[what](world, machine)


@pytest.mark.parametrize("what", USES)
def test_a_world_used_in_another_thread_says_so(what: str) -> None:
    refused: list[str] = []

    def elsewhere() -> None:
        begun.wait()
        world, machine = kept
        with pytest.raises(InvalidState, match=f"nobody can {what}") as it:
            USES[what](world, machine)
        refused.append(it.value.code)

    async def main(world: World) -> None:
        kept.extend([world, world.machine("db")])
        begun.set()
        thread.join()

    kept: list[Any] = []
    begun = threading.Event()
    thread = threading.Thread(target=elsewhere)
    thread.start()
    simulate(main)
    assert refused == ["invalid_state"]


def test_a_fork_within_a_simulation_is_refused() -> None:
    async def main() -> None:
        os.fork()

    with pytest.raises(NotSimulated, match="a simulation is one process"):
        run(main())


def test_a_simulated_host_and_disk_are_freed_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        host, disk = SimulatedHost("db"), SimulatedDisk()
        gone: list[weakref.ref[Any]] = [weakref.ref(host), weakref.ref(disk)]
        del host, disk
        assert [each() for each in gone] == [None, None]
    finally:
        gc.enable()


def test_a_reader_is_removed_by_its_socket_as_by_its_number() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        for by_number in (False, True):
            with socket.socket() as listening:
                listening.setblocking(False)
                listening.bind(("127.0.0.1", 0))
                listening.listen()
                loop.add_reader(listening, print)
                loop.add_reader(listening, print)  # in place of the first
                keys = loop._selector.get_map()  # type: ignore[attr-defined]
                assert keys[listening] is keys[listening.fileno()]  # Python 3.13 asks for both
                assert listening.fileno() in list(keys)
                found = listening.fileno() if by_number else listening
                assert loop.remove_reader(found)
                assert not loop.remove_reader(found)

    run(main())


def test_a_machine_shows_its_state() -> None:
    async def main(world: World) -> list[str]:
        machine = world.machine("db")
        shown = [repr(machine)]
        machine.boot(lambda: asyncio.sleep(9))
        shown.append(repr(machine))
        machine.pause()
        shown.append(repr(machine))
        machine.kill()
        return shown

    assert simulate(main).value == [
        f"<Machine db at 10.0.0.1, {state}>" for state in ("off", "up", "paused")
    ]
