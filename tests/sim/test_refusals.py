"""What a simulation survives: loops, threads, forks, and what is left when it is over."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import threading
import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from sdkit.errors import InvalidArgument, InvalidState
from sdkit.host import current
from sdkit.sim.loop import run
from sdkit.sim.machine import Machine, MachineFailed
from sdkit.sim.world import World, simulate

REAL = (socket.socket, time.time, asyncio.all_tasks)


async def draw() -> float:
    for _ in range(20):
        await asyncio.sleep(current().random.random())
    return current().random.random()


async def play(world: World) -> float:
    machine = world.machine("a")
    machine.boot(draw)
    drawn: float = await machine.ended
    return drawn


@pytest.mark.parametrize("begin", [lambda: simulate(play), lambda: run(draw())])
def test_a_run_is_refused_in_a_running_loop_and_works_in_a_thread(
    begin: Callable[[], Any],
) -> None:
    async def main() -> Any:
        with pytest.raises(InvalidState, match="cannot begin in a running event loop"):
            begin()
        return await asyncio.to_thread(begin)

    assert asyncio.run(main()) == begin()


@pytest.mark.parametrize("begin", [lambda: simulate(play), lambda: run(draw())])
def test_a_run_is_refused_inside_a_run(begin: Callable[[], Any]) -> None:
    async def outer(_: World | None = None) -> None:
        begin()

    for refused in (lambda: simulate(outer), lambda: run(outer())):
        with pytest.raises(InvalidState, match="cannot begin inside a simulation"):
            refused()
    assert (socket.socket, time.time, asyncio.all_tasks) == REAL


def test_runs_in_several_threads_take_the_steps_that_each_takes_alone() -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(simulate(play, seed=3).digest))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [simulate(play, seed=3).digest] * 4
    assert (socket.socket, time.time, asyncio.all_tasks) == REAL


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_simulates_as_its_parent() -> None:
    expected = simulate(play, seed=5).digest
    child = os.fork()
    if not child:
        os._exit(0 if simulate(play, seed=5).digest == expected else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_run_is_plain_data() -> None:
    made = simulate(play, record=True)
    assert pickle.loads(pickle.dumps(made)) == made


@pytest.mark.parametrize(
    "change",
    [
        lambda world, machine: world.machine("b"),
        lambda world, machine: machine.boot(draw),
        lambda world, machine: machine.restart(),
        lambda world, machine: machine.kill(),
        lambda world, machine: machine.power_cut(Random(1)),
        lambda world, machine: machine.pause(),
        lambda world, machine: machine.resume(),
        lambda world, machine: machine.slow_cpu(0.5),
    ],
)
def test_a_world_can_be_looked_at_after_its_run_and_not_changed(
    change: Callable[[World, Machine], None],
) -> None:
    kept: list[tuple[World, Machine]] = []

    async def keep(world: World) -> None:
        kept.append((world, world.machine("a")))
        kept[0][1].boot(draw)
        await kept[0][1].ended

    made = simulate(keep)
    world, machine = kept[0]
    assert world.time() == made.virtual_seconds
    assert not machine.is_up
    with pytest.raises(InvalidState, match="the run is over"):
        change(world, machine)


class Unusual(BaseException):
    pass


@pytest.mark.parametrize("error", [Unusual, GeneratorExit])
def test_a_program_that_raises_anything_fails_its_machine(error: type[BaseException]) -> None:
    async def program() -> None:
        raise error

    async def direct(world: World) -> None:
        machine = world.machine("a")
        machine.boot(program)
        await machine.ended

    with pytest.raises(MachineFailed, match=f"a ended with {error.__name__}"):
        simulate(direct)


async def generator(_: World) -> Any:
    yield


@pytest.mark.parametrize(
    ("begin", "says"),
    [
        (lambda: simulate(5), "play is 5"),  # type: ignore[arg-type]
        (lambda: simulate(play(None)), "without calling it"),  # type: ignore[arg-type]
        (lambda: simulate(generator), "play returned <async_generator"),
        (lambda: simulate(lambda _: 5), "play returned 5"),  # type: ignore[arg-type, return-value]
        (lambda: run(draw), "main is <function draw"),  # type: ignore[arg-type]
        (lambda: run(draw(), seed=None), "seed is None"),  # type: ignore[arg-type]
        (lambda: simulate(play, seed=10**5_000), "seed is a number of 16610 bits"),
        (lambda: run(draw(), names={"db": "nope"}), "the address of 'db' in names is 'nope'"),
        (lambda: run(draw(), names={"": "10.0.0.1"}), "'' is no name of a host"),
        (lambda: run(draw(), names=["db"]), "names is ['db']"),  # type: ignore[arg-type]
        (lambda: simulate(lambda world: named(world, "")), "'' is no name of a host"),
        (lambda: simulate(lambda world: named(world, 5)), "5 is no name of a host"),
    ],
)
def test_what_cannot_be_simulated_is_refused_by_name(begin: Callable[[], Any], says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        begin()
    assert says in str(refused.value)
    assert (socket.socket, time.time, asyncio.all_tasks) == REAL


async def named(world: World, name: Any) -> None:
    world.machine(name)
