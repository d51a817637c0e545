"""A kill freezes: of all that a dead life still has, nothing has any effect."""

from __future__ import annotations

import asyncio
import contextvars
import gc
from collections.abc import AsyncIterator, Callable, Coroutine
from random import Random
from typing import Any

import pytest

from sdkit import host as hosts
from sdkit.errors import InvalidState
from sdkit.sim.disk import StaleHandle
from sdkit.sim.drive import Step
from sdkit.sim.life import DeadLife, Life, current_life, living_only
from sdkit.sim.machine import Machine
from sdkit.sim.world import World, simulate

Main = Callable[[], Coroutine[Any, Any, Any]]


def now() -> float:
    return asyncio.get_running_loop().time()


def kill(machine: Machine) -> None:
    machine.kill()


def cut_power(machine: Machine) -> None:
    machine.power_cut(Random(1))


def kill_while_paused(machine: Machine) -> None:
    machine.pause()
    machine.kill()


def end_after_a_second(main: Main, end: Callable[[Machine], None] = kill) -> Machine:
    """Run ``main`` on a machine, end its life after a second, and go on for ten."""

    async def play(world: World) -> Machine:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(1)
        end(machine)
        await asyncio.sleep(10)
        return machine

    return simulate(play).value


@pytest.mark.parametrize("end", [kill, cut_power, kill_while_paused])
def test_the_dead_run_no_line_more(end: Callable[[Machine], None]) -> None:
    heard: list[str] = []
    say = living_only(heard.append)

    async def swallows() -> None:
        while True:
            try:
                await asyncio.sleep(0.3)
            except asyncio.CancelledError:
                say("cancelled")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(1.5, say, "timer")
        tasks = [asyncio.create_task(swallows()) for _ in range(3)]
        say("up")
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            say("except")
            raise
        finally:
            say("finally")

    end_after_a_second(main, end)
    assert heard == ["up"]


@pytest.mark.parametrize("end", [kill, kill_while_paused])
def test_a_finally_of_the_dead_neither_writes_nor_starts_a_task(
    end: Callable[[Machine], None],
) -> None:
    refused: list[type[BaseException]] = []
    late: list[str] = []

    async def start_anew() -> None:
        late.append("a task of the dead")

    async def main() -> None:
        disk, loop = hosts.current().disk, asyncio.get_running_loop()
        file = await disk.open("log", create=True)
        file.append(b"before")
        try:
            await asyncio.sleep(100)
        finally:
            task = loop.create_task(start_anew())
            loop.call_soon(late.append, "a callback of the dead")
            try:
                file.append(b"after")
            except OSError as error:
                refused.append(type(error))
            try:
                await disk.open("other", create=True)
            except OSError as error:
                refused.append(type(error))
            await task

    machine = end_after_a_second(main, end)
    assert refused == [StaleHandle, StaleHandle]  # it was closed when the run was over
    assert machine.disk.image() == {"log": b"before"}
    assert late == []


def test_the_loop_gives_the_dead_handles_that_never_run() -> None:
    ran: list[str] = []

    async def play(world: World) -> None:
        async def main() -> None:
            await asyncio.sleep(100)

        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(0)
        life, loop = machine.life, world.loop
        assert life is not None
        machine.kill()
        handles: list[asyncio.Handle] = [
            life.context.copy().run(loop.call_soon, ran.append, "soon"),
            life.context.copy().run(loop.call_soon_threadsafe, ran.append, "threadsafe"),
            life.context.copy().run(loop.call_later, 1, ran.append, "later"),
            loop.call_soon(ran.append, "soon, by the world", context=life.context.copy()),
            loop.call_later(1, ran.append, "later, by the world", context=life.context.copy()),
        ]
        outside = contextvars.copy_context()
        for_others = life.context.copy().run(
            lambda: loop.call_soon(ran.append, "by the dead", context=outside)
        )
        assert [handle.cancelled() for handle in (*handles, for_others)] == [True] * 6
        await asyncio.sleep(2)

    simulate(play).value  # noqa: B018
    assert ran == []


def test_a_life_that_ends_in_the_middle_of_its_code_goes_on_without_effect() -> None:
    reached: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        file = await hosts.current().disk.open("log", create=True)
        file.append(b"one")
        try:
            file.append(b"two")  # the third step of the disk
        except OSError:
            reached.append("except")
            asyncio.get_running_loop().call_soon(reached.append, "callback")
            tasks.append(asyncio.create_task(asyncio.sleep(0)))
        await asyncio.sleep(0)
        reached.append("after the next await")

    async def play(world: World) -> bytes:
        machine = world.machine("db")
        outside = contextvars.copy_context()

        def look(step: Step) -> None:
            if step.number == 3:
                outside.copy().run(machine.kill)

        machine.disk.on_step = look
        machine.boot(main)
        await asyncio.sleep(1)
        return machine.disk.contents("log")

    assert simulate(play).value == b"one"
    assert reached == ["except"]
    assert [task.done() for task in tasks] == [False]


def test_the_next_life_is_another_one_on_the_same_disk() -> None:
    lives: list[Life] = []

    async def main() -> str:
        life = current_life.get()
        assert life is not None
        lives.append(life)
        disk = hosts.current().disk
        names = await disk.list()
        file = await disk.open("log", create=not names)
        file.append(b"%d" % life.number)
        if life.number < 3:
            await asyncio.sleep(100)
        return str(life)

    async def play(world: World) -> tuple[str, bytes]:
        machine = world.machine("db")
        machine.boot(main)
        for _ in range(2):
            await asyncio.sleep(1)
            machine.kill()
            await asyncio.sleep(1)
            machine.restart()
        return await machine.ended, machine.disk.contents("log")

    assert simulate(play).value == ("db, boot 3", b"123")
    assert len(set(map(id, lives))) == 3
    assert all(life.dead for life in lives)


class Unlucky(Random):
    """Lets a power cut take everything that it may."""

    def randrange(self, *_: object) -> int:
        return 0


def test_what_a_kill_spares_a_power_cut_right_after_it_takes() -> None:
    async def main() -> None:
        file = await hosts.current().disk.open("log", create=True)
        file.append(b"unsynced")
        await asyncio.sleep(100)

    def kill_and_cut(machine: Machine) -> None:
        machine.kill()
        assert machine.disk.names() == ["log"]
        machine.power_cut(Unlucky(0))

    assert end_after_a_second(main, kill_and_cut).disk.names() == []


# ── async generators, cycles, garbage ────────────────────────────────────────


async def numbers(say: Callable[[str], None]) -> AsyncIterator[int]:
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        say(f"closed on {hosts.current().name}")


@pytest.mark.parametrize("collected", [True, False])
def test_an_abandoned_generator_is_closed_on_its_own_machine(collected: bool) -> None:
    heard: list[str] = []

    async def main() -> None:
        generator = numbers(heard.append)
        await anext(generator)
        if collected:  # by the world, later; else at once, by its owner
            cycle: list[object] = [generator]
            cycle.append(cycle)
            del cycle
        del generator
        await asyncio.sleep(5)

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(1)
        gc.collect()
        await machine.ended

    simulate(play).value  # noqa: B018
    assert heard == ["closed on db"]


def test_a_generator_of_the_dead_is_never_closed() -> None:
    heard: list[str] = []

    async def main() -> None:
        async for _ in numbers(heard.append):
            await asyncio.sleep(100)

    end_after_a_second(main)
    assert heard == []


class Finalized:
    """In a cycle, with a finalizer that would be seen."""

    def __init__(self, act: Callable[[], None]) -> None:
        self.me = self
        self.act = act

    def __del__(self) -> None:
        self.act()


def test_a_finalizer_of_the_dead_has_no_effect() -> None:
    tried: list[str] = []
    late: list[str] = []

    async def main() -> None:
        loop, disk = asyncio.get_running_loop(), hosts.current().disk
        file = await disk.open("log", create=True)

        def act() -> None:
            tried.append(str(current_life.get()))
            loop.call_soon(late.append, "callback")
            file.append(b"after")

        kept = Finalized(act)
        await asyncio.sleep(100)
        del kept

    machine = end_after_a_second(main)
    assert (tried, late, machine.disk.image()) == (["db"], [], {"log": b""})


def test_what_is_garbage_before_a_kill_is_finalized_before_it() -> None:
    async def main() -> None:
        file = await hosts.current().disk.open("log", create=True)
        Finalized(lambda: file.append(b"garbage"))
        await asyncio.sleep(100)

    assert end_after_a_second(main).disk.image() == {"log": b"garbage"}


def test_what_went_wrong_on_a_dead_machine_is_nobodys_error() -> None:
    async def fails() -> None:
        raise KeyError("nobody asks")

    async def main() -> None:
        task = asyncio.create_task(fails())
        await asyncio.sleep(100)
        await task

    assert end_after_a_second(main).is_up is False


# ── connections ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("end", "heard"), [(kill, "ConnectionResetError"), (cut_power, "TimeoutError")]
)
def test_a_client_hears_no_last_words(end: Callable[[Machine], None], heard: str) -> None:
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"hello")
            await asyncio.sleep(100)
        finally:
            writer.write(b"goodbye")
            writer.close()

    async def serve() -> None:
        async with await asyncio.start_server(talk, "0.0.0.0", 80):
            await asyncio.sleep(100)

    async def listen() -> str:
        reader, writer = await asyncio.open_connection("db", 80)
        try:
            assert await reader.read(100) == b"hello"
            async with asyncio.timeout(5):
                return repr(await reader.read(100))
        except (OSError, TimeoutError) as error:
            return type(error).__name__
        finally:
            writer.transport.abort()

    async def play(world: World) -> str:
        db, client = world.machine("db"), world.machine("client")
        db.boot(serve)
        client.boot(listen)
        await asyncio.sleep(1)
        end(db)
        result: str = await client.ended
        return result

    assert simulate(play).value == heard


def test_who_is_killed_refuses_and_who_has_no_power_does_not_answer() -> None:
    async def connect() -> tuple[str, float]:
        began = now()
        try:
            async with asyncio.timeout(5):
                await asyncio.open_connection("db", 80)
        except (OSError, TimeoutError) as error:
            return type(error).__name__, round(now() - began, 2)
        return "connected", 0.0

    async def sleep() -> None:
        await asyncio.sleep(1000)

    async def play(world: World) -> list[tuple[str, float]]:
        db, client = world.machine("db"), world.machine("client")
        db.boot(sleep)
        heard = []
        for end in (db.kill, lambda: db.power_cut(Random(0)), db.restart):
            end()
            client.boot(connect)
            heard.append(await client.ended)
        return heard

    refused = ("ConnectionRefusedError", 0.0)
    assert simulate(play).value == [refused, ("TimeoutError", 5.0), refused]


# ── objects that machines share ──────────────────────────────────────────────


def test_a_shared_object_can_refuse_the_dead() -> None:
    refused: list[str] = []
    history: list[str] = []
    record = living_only(history.append)

    async def main() -> None:
        record("begins")
        try:
            await asyncio.sleep(100)
        finally:
            try:
                record("ends")
            except DeadLife as error:
                refused.append(str(error))

    end_after_a_second(main)
    assert history == ["begins"]
    assert refused == ["db is dead; what it still says, nobody hears"]


def test_machines_are_directed_from_outside() -> None:
    async def play(world: World) -> None:
        machine = world.machine("db")

        async def main() -> None:
            for forbidden in (
                machine.kill,
                machine.pause,
                machine.resume,
                machine.restart,
                lambda: machine.slow_cpu(0.5),
                lambda: machine.power_cut(Random(0)),
                lambda: world.machine("other"),
            ):
                with pytest.raises(InvalidState, match="outside all machines"):
                    forbidden()

        machine.boot(main)
        await machine.ended

    simulate(play).value  # noqa: B018


# ── pause ────────────────────────────────────────────────────────────────────


def test_a_paused_machine_stands_still_and_overdue_timers_fire_at_once() -> None:
    ticks: list[float] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for delay in (1.0, 3.0, 2.0, 7.0):
            loop.call_later(delay, ticks.append, delay)
        cancelled = loop.call_later(2.5, ticks.append, -1.0)
        loop.call_later(1.2, cancelled.cancel)
        await asyncio.sleep(8)
        ticks.append(round(now(), 3))

    async def play(world: World) -> None:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(1.5)
        machine.pause()
        await asyncio.sleep(4)
        assert ticks == [1.0]
        machine.resume()
        await asyncio.sleep(0.001)
        assert ticks == [1.0, 2.0, 3.0]
        await machine.ended

    simulate(play).value  # noqa: B018
    assert ticks == [1.0, 2.0, 3.0, 7.0, 8.0]


def test_a_pause_ends_with_the_process_that_was_paused() -> None:
    async def main() -> str:
        await asyncio.sleep(1)
        return "done"

    async def play(world: World) -> str:
        machine = world.machine("db")
        machine.pause()  # of what is off: nothing
        machine.boot(main)
        await asyncio.sleep(0.5)
        machine.pause()
        machine.kill()
        machine.restart()
        result: str = await machine.ended
        machine.resume()
        return result

    assert simulate(play).value == "done"


def test_a_slow_cpu_stays_slow_over_a_restart() -> None:
    async def main() -> float:
        began = now()
        for _ in range(20):
            await asyncio.sleep(0.004)
        return now() - began

    async def play(world: World) -> float:
        machine = world.machine("db")
        machine.slow_cpu(0.1)
        machine.boot(main)
        machine.kill()
        machine.restart()
        took: float = await machine.ended
        return took

    assert simulate(play).value > 0.5


def test_what_reaches_a_paused_machine_waits_for_it() -> None:
    order: list[str] = []

    async def play(world: World) -> None:
        event = asyncio.Event()

        async def main() -> None:
            await event.wait()
            order.append("woken")
            await asyncio.sleep(0)
            order.append("and on")

        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(1)
        machine.pause()
        event.set()
        await asyncio.sleep(1)
        order.append("resumed")
        machine.resume()
        await machine.ended

    simulate(play).value  # noqa: B018
    assert order == ["resumed", "woken", "and on"]


def test_a_pause_in_the_middle_of_a_turn_stops_what_is_ready() -> None:
    order: list[str] = []

    async def play(world: World) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            loop.call_soon(order.append, "first")
            world_loop_pause()
            loop.call_soon(order.append, "second")
            await asyncio.sleep(0)

        def world_loop_pause() -> None:
            world.loop.call_soon(machine.pause, context=world.context.copy())

        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(1)
        assert order == ["first"]
        machine.resume()
        await machine.ended

    simulate(play).value  # noqa: B018
    assert order == ["first", "second"]


def test_a_slow_cpu_stands_still_for_the_rest_of_each_period() -> None:
    async def main() -> list[float]:
        late = []
        for _ in range(200):
            due = now() + 0.0037
            await asyncio.sleep(0.0037)
            late.append(now() - due)
        return late

    async def play(world: World) -> list[float]:
        machine = world.machine("db")
        machine.slow_cpu(0.2)
        machine.boot(main)
        late: list[float] = await machine.ended
        machine.full_cpu()
        return late

    late = simulate(play).value
    assert max(late) == pytest.approx(0.08, abs=0.004)
    assert sum(lateness > 0.01 for lateness in late) == pytest.approx(33, abs=8)
