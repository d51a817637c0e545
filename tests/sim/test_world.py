"""Worlds: machines that boot and end, plays that direct them, and what goes wrong by name."""

from __future__ import annotations

import asyncio
import gc
import pickle
import signal
import sys
import threading
import weakref
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from sdkit import host as hosts
from sdkit import trace
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.sim import selector
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import Deadlock, Livelock
from sdkit.sim.machine import Leak, MachineFailed
from sdkit.sim.world import Run, Unhandled, World, simulate


async def nothing() -> None:
    pass


async def for_ever() -> None:
    await asyncio.Event().wait()


# ── programs and their ends ──────────────────────────────────────────────────


def test_a_program_runs_on_its_machine_and_ends_with_a_result() -> None:
    async def main() -> tuple[str, bool]:
        host = hosts.current()
        return host.name, host.disk is disk

    async def play(world: World) -> tuple[str, bool]:
        machine = world.machine("db", disk=disk)
        up = [machine.is_up]
        machine.boot(main)
        up.append(machine.is_up)
        result: tuple[str, bool] = await machine.ended
        assert [*up, machine.is_up] == [False, True, False]
        return result

    disk = SimulatedDisk()
    assert simulate(play).value == ("db", True)


def test_a_time_out_of_one_who_waits_for_the_end_is_nobody_elses() -> None:
    async def main() -> str:
        await asyncio.sleep(2)
        return "done"

    async def play(world: World) -> str:
        machine = world.machine("db")
        machine.boot(main)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(machine.ended, 1)
        result: str = await machine.ended
        return result

    assert simulate(play).value == "done"


def test_the_end_is_that_of_the_life_that_comes_to_one() -> None:
    async def main() -> str:
        await asyncio.sleep(2)
        return "done"

    async def play(world: World) -> float:
        machine = world.machine("db")
        machine.boot(main)
        waiting = asyncio.ensure_future(machine.ended)
        await asyncio.sleep(1)
        machine.kill()
        await asyncio.sleep(5)
        assert not waiting.done()
        machine.restart()
        assert await waiting == "done"
        return world.time()

    assert simulate(play).value == pytest.approx(8.0, abs=1e-4)


def test_a_program_that_raises_ends_the_run_by_its_name() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("lost")

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(nothing)
        await machine.ended
        machine.boot(main)
        await asyncio.sleep(100)

    run = simulate(play, may_fail=True)
    assert isinstance(run.error, MachineFailed)
    assert str(run.error) == "db, boot 2 ended with KeyError: 'lost'"
    assert isinstance(run.error.__cause__, KeyError)
    assert run.result is None
    assert run.virtual_seconds < 2
    with pytest.raises(MachineFailed):
        run.value  # noqa: B018


def test_a_program_that_may_fail_fails_alone() -> None:
    async def main() -> None:
        raise KeyError("lost")

    async def play(world: World) -> str:
        machine = world.machine("db")
        machine.boot(main, may_fail=True)
        with pytest.raises(KeyError, match="lost"):
            await machine.ended
        machine.boot(main, may_fail=True)
        await asyncio.sleep(1)
        return "goes on"

    assert simulate(play).value == "goes on"


def test_a_program_that_leaves_by_sys_exit_ends_its_machine_and_nothing_else() -> None:
    async def main() -> None:
        sys.exit(codes.pop())

    async def play(world: World) -> object:
        machine = world.machine("db")
        machine.boot(main)
        return await machine.ended

    codes = [3, 0]
    assert simulate(play).error is None
    assert str(simulate(play, may_fail=True).error) == "db ended with SystemExit: 3"


def test_a_play_that_raises_is_the_error_of_its_run() -> None:
    async def play(world: World) -> None:
        world.machine("db").boot(for_ever)
        await asyncio.sleep(1)
        raise KeyError("lost")

    assert isinstance(simulate(play, may_fail=True).error, KeyError)


def test_a_task_that_a_program_leaves_behind_is_a_leak() -> None:
    async def main() -> None:
        tasks.append(asyncio.create_task(for_ever(), name="forgotten"))

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await machine.ended

    tasks: list[asyncio.Task[None]] = []
    run = simulate(play, may_fail=True)
    assert isinstance(run.error, Leak)
    assert str(run.error) == "db has ended and left: task forgotten"


def test_a_task_whose_error_nobody_looked_at_is_an_error_of_the_run() -> None:
    async def fails() -> None:
        raise KeyError("nobody looks")

    async def main() -> None:
        asyncio.get_running_loop().create_task(fails())  # and forget it
        await asyncio.sleep(100)

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(50)

    run = simulate(play, may_fail=True)
    assert isinstance(run.error, Unhandled)
    assert "exception was never retrieved: KeyError('nobody looks')" in str(run.error)


def test_a_callback_that_raises_is_an_error_of_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon([].pop)
        await asyncio.sleep(100)

    async def play(world: World) -> None:
        world.machine("db").boot(main)
        await asyncio.sleep(50)

    assert "on db: Exception in callback" in str(simulate(play, may_fail=True).error)


def test_what_is_still_up_at_the_end_is_frozen_and_silent() -> None:
    heard: list[str] = []

    async def main() -> None:
        try:
            await asyncio.sleep(100)
        finally:
            trace.event("test.late")
            heard.append("closed")

    async def play(world: World) -> str:
        world.machine("db").boot(main)
        await asyncio.sleep(1)
        return "over"

    run = simulate(play, record=True)
    assert run.value == "over"
    assert heard == ["closed"]
    assert "test.late" not in [row.name for row in run.recorded]


def test_a_run_that_fails_raises_unless_its_outcome_is_asked_for() -> None:
    """A test that forgets to look at the result is not green for ever."""

    async def play(world: World) -> None:
        await asyncio.sleep(1)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        simulate(play)
    run = simulate(play, may_fail=True)
    assert isinstance(run.error, KeyError)
    with pytest.raises(KeyError, match="lost"):
        run.value  # noqa: B018


def test_ctrl_c_is_not_an_error_of_the_run() -> None:
    async def play(world: World) -> None:
        world.machine("db").boot(for_ever)
        await asyncio.sleep(1)
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(100)

    with pytest.raises(KeyboardInterrupt):
        simulate(play)
    assert gc.isenabled()


def test_the_error_of_a_run_keeps_nothing_of_its_world() -> None:
    async def fails() -> None:
        await asyncio.sleep(1)
        raise OSError("no")

    async def play(world: World) -> None:
        worlds.append(weakref.ref(world))
        world.machine("other").boot(for_ever)
        world.machine("db").boot(fails)
        await asyncio.sleep(100)

    worlds: list[weakref.ref[World]] = []
    run = simulate(play, may_fail=True)
    assert isinstance(run.error, MachineFailed)
    assert worlds[0]() is None, "its sockets would complain of their end, in whoever comes next"


def test_a_run_goes_to_another_process() -> None:
    async def play(world: World) -> int:
        machine = world.machine("db")
        machine.boot(nothing)
        await machine.ended
        return 5

    run = simulate(play, record=True)
    assert pickle.loads(pickle.dumps(run)) == run


# ── machines ─────────────────────────────────────────────────────────────────


def test_what_cannot_be_is_refused_by_name() -> None:
    async def play(world: World) -> None:
        machine = world.machine("db")
        with pytest.raises(InvalidArgument, match="a machine named db already"):
            world.machine("db")
        with pytest.raises(InvalidArgument, match=r"share is 1\.5"):
            machine.slow_cpu(1.5)
        machine.boot(for_ever)
        with pytest.raises(InvalidState, match="db is up"):
            machine.boot(for_ever)

    assert simulate(play).error is None


def test_a_fault_on_what_is_down_does_nothing() -> None:
    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.kill()
        machine.power_cut(Random(0))
        machine.pause()
        machine.resume()
        machine.restart()  # it has never had a program
        assert not machine.is_up
        machine.boot(nothing)
        await machine.ended
        machine.kill()
        machine.restart()  # its program has ended by itself
        assert not machine.is_up

    assert simulate(play).error is None


def test_a_restart_of_what_is_up_changes_nothing() -> None:
    async def play(world: World) -> bool:
        machine = world.machine("db")
        machine.boot(for_ever)
        life = machine.life
        machine.restart()
        return machine.life is life

    assert simulate(play).value is True


def test_whoever_waits_for_a_machine_is_told_when_it_is_made() -> None:
    async def play(world: World) -> list[str]:
        made: list[str] = []
        world.on_machine("db", lambda machine: made.append(machine.name))
        world.machine("web")
        assert made == []
        world.machine("db")
        world.on_machine("web", lambda machine: made.append(machine.name))
        return made

    assert simulate(play).value == ["db", "web"]


# ── hangs ────────────────────────────────────────────────────────────────────


def test_a_deadlock_names_the_machine_and_leaves_the_dead_out() -> None:
    async def main() -> None:
        await asyncio.create_task(for_ever(), name="helper")

    async def play(world: World) -> None:
        for name in ("db", "web", "cache"):
            world.machine(name).boot(main)
        await asyncio.sleep(1)
        world.machines["db"].kill()
        world.machines["cache"].pause()
        await world.machines["db"].ended

    error = simulate(play, may_fail=True).error
    assert isinstance(error, Deadlock)
    text = str(error)
    assert "web main waits for web helper" in text
    assert "web helper waits" in text
    assert "cache helper, stopped, waits" in text
    assert "db" not in text.replace("in play", "")


def test_a_livelock_names_the_machine_and_the_next_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "TURNS_PER_INSTANT_MAX", 500)

    async def spin() -> None:
        for _ in range(10_000):
            await asyncio.sleep(0)

    async def play(world: World) -> None:
        world.machine("db").boot(spin)
        await asyncio.sleep(9.5)

    error = simulate(play, may_fail=True).error
    assert isinstance(error, Livelock)
    assert "db main" in str(error)
    assert "the next timer is due at 9.5" in str(error)


def test_a_livelock_names_the_bytes_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "TURNS_PER_INSTANT_MAX", 500)

    async def listen(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await for_ever()

    async def serve() -> None:
        async with await asyncio.start_server(listen, "0.0.0.0", 80):
            await for_ever()

    async def send_and_spin() -> None:
        _, writer = await asyncio.open_connection("db", 80)
        writer.write(b"7 bytes")
        for _ in range(10_000):
            await asyncio.sleep(0)

    async def play(world: World) -> None:
        world.machine("db").boot(serve)
        await asyncio.sleep(1)
        world.machine("shop").boot(send_and_spin)
        await for_ever()

    assert "7 bytes are under way there on 10.0.0.2:49152 -> 10.0.0.1:80" in str(
        simulate(play, may_fail=True).error
    )


# ── the same run ─────────────────────────────────────────────────────────────


async def sleepers(world: World, *, others: bool) -> list[tuple[str, float]]:
    """What the tasks of one machine do at one instant, in which order."""
    order: list[tuple[str, float]] = []

    async def sleeper() -> None:
        await asyncio.sleep(1)
        task = asyncio.current_task()
        assert task is not None
        order.append((task.get_name(), hosts.current().random.random()))

    async def main() -> None:
        await asyncio.gather(*(sleeper() for _ in range(6)))

    machine = world.machine("db")
    if others:
        for name in ("cache", "web"):
            world.machine(name).boot(for_ever)
            await asyncio.sleep(0.1)
        world.machines["web"].kill()
    machine.boot(main)
    await machine.ended
    return order


def test_timers_of_one_instant_are_ordered_by_the_seed() -> None:
    def order(seed: int) -> list[str]:
        run = simulate(lambda world: sleepers(world, others=False), seed=seed)
        return [name for name, _ in run.value]

    assert order(1) == order(1)
    assert len({tuple(order(seed)) for seed in range(10)}) > 5


def test_other_machines_change_nothing_in_names_orders_and_draws() -> None:
    alone = simulate(lambda world: sleepers(world, others=False), seed=3).value
    crowded = simulate(lambda world: sleepers(world, others=True), seed=3).value
    assert min(name for name, _ in alone) == "db task-2"
    assert alone == crowded


def test_garbage_is_collected_after_fixed_numbers_of_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selector, "TURNS_PER_COLLECTION", 50)
    turns: list[int] = []

    class Cyclic:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            turns.append(turn)

    turn = 0

    async def play(_world: World) -> None:
        nonlocal turn
        assert not gc.isenabled()
        for turn in range(200):
            if turn % 100 == 10:
                Cyclic()
            await asyncio.sleep(0)

    ballast = [[number] for number in range(5000)]
    simulate(play).value  # noqa: B018
    first, turns = turns, []
    del ballast
    simulate(play).value  # noqa: B018
    assert len(first) == 2
    assert first == turns
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0


def test_a_dropped_generator_is_closed_at_the_same_turn_in_every_run() -> None:
    async def values() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            trace.event("test.closed")

    async def main() -> None:
        generator = values()
        await anext(generator)
        cycle: list[Any] = [generator]
        cycle.append(cycle)
        del generator, cycle
        for _ in range(8000):
            await asyncio.sleep(1e-4)

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await machine.ended

    runs = [simulate(play, record=True) for _ in range(2)]
    closed = [[row for row in run.recorded if row.name == "test.closed"] for run in runs]
    assert [row.machine for row in closed[0]] == ["db"]
    assert closed[0] == closed[1]


def test_records_of_other_threads_are_not_of_this_run() -> None:
    def other() -> None:
        begun.wait()
        trace.event("test.elsewhere")
        done.set()

    async def play(_world: World) -> None:
        begun.set()
        done.wait()

    begun, done = threading.Event(), threading.Event()
    thread = threading.Thread(target=other)
    thread.start()
    run: Run[None] = simulate(play, record=True)
    thread.join()
    assert run.recorded == []
