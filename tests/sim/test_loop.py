"""Virtual time: unmodified asyncio programs, and hangs that say who waits where."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sdkit import host as hosts
from sdkit.sim import selector
from sdkit.sim.links import Tail
from sdkit.sim.loop import Deadlock, Livelock, run
from sdkit.sim.sockets import NotSimulated

Program = Callable[[], Coroutine[Any, Any, object]]


def now() -> float:
    return asyncio.get_running_loop().time()


def test_a_year_passes_at_once_and_to_the_nanosecond() -> None:
    async def main() -> tuple[float, float]:
        began = now()
        await asyncio.sleep(365 * 86_400)
        await asyncio.sleep(0.1)
        return began, now()

    assert run(main()) == (0.0, 31_536_000.1)


def test_timers_still_fire_when_a_nanosecond_is_lost_in_rounding() -> None:
    async def main() -> int:
        await asyncio.sleep(2.0**33)  # some 270 years; the clock's step is two microseconds
        for _ in range(1000):
            await asyncio.sleep(1e-9)
            await asyncio.sleep(0.001)
        return round((now() - 2.0**33) * 1000)

    assert run(main()) == pytest.approx(1000, rel=0.01)


def test_a_task_group_runs_side_by_side() -> None:
    async def main() -> tuple[list[int], float]:
        async def work(number: int) -> int:
            await asyncio.sleep(number)
            return number

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work(number)) for number in (3, 1, 2)]
        return [task.result() for task in tasks], now()

    assert run(main()) == ([3, 1, 2], 3.0)


def test_a_time_out_comes_after_its_time() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(100), 10)
        return now()

    assert run(main()) == 3610.0


def test_queues_gather_and_wait_work() -> None:
    async def main() -> tuple[list[int], int, float]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def produce() -> None:
            for number in range(3):
                await queue.put(number)
                await asyncio.sleep(1)

        async def consume() -> list[int]:
            return [await queue.get() for _ in range(3)]

        _, got = await asyncio.gather(produce(), consume())
        done, late = await asyncio.wait(
            [asyncio.create_task(asyncio.sleep(delay)) for delay in (5, 1, 9)],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for task in late:
            task.cancel()
        return got, len(done), now()

    assert run(main()) == ([0, 1, 2], 1, 4.0)


def test_what_is_left_over_is_cancelled_and_may_still_take_its_time() -> None:
    ended: list[float] = []

    async def left_over() -> None:
        try:
            await asyncio.sleep(1000)
        finally:
            await asyncio.sleep(5)
            ended.append(now())

    async def main() -> None:
        task = asyncio.create_task(left_over())
        await asyncio.sleep(1)
        assert not task.done()

    run(main())
    assert ended == [6.0]


def test_an_error_leaves_the_simulation_as_it_is() -> None:
    async def main() -> None:
        await asyncio.sleep(1)
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        run(main())


def test_the_current_host_lives_in_virtual_time() -> None:
    async def main() -> tuple[int, int, float]:
        host = hosts.current()
        wall_ns = host.now_ns()
        await asyncio.sleep(60)
        return host.now_ns() - wall_ns, host.monotonic_ns(), host.random.random()

    assert run(main())[:2] == (60 * 10**9, 60 * 10**9)
    assert run(main()) == run(main()) != run(main(), seed=1)
    assert hosts.current().name == "local"


# ── hangs ────────────────────────────────────────────────────────────────────


async def waits_for_ever() -> None:
    await asyncio.Event().wait()


def test_a_deadlock_names_every_task_and_where_it_waits() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_for_ever(), name="forgotten")

    with pytest.raises(Deadlock) as caught:
        run(main())
    text = str(caught.value)
    assert "task-1 waits for a future" in text
    assert "forgotten waits for a future" in text
    line = waits_for_ever.__code__.co_firstlineno + 1
    assert f"sim/test_loop.py:{line} in waits_for_ever" in text
    assert "in Event.wait" in text


def test_a_deadlock_names_the_task_that_another_waits_for() -> None:
    async def main() -> None:
        await asyncio.create_task(waits_for_ever(), name="the other")

    with pytest.raises(Deadlock, match="task-1 waits for the other"):
        run(main())


async def never_yields() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 1


def test_a_deadlock_looks_into_async_generators() -> None:
    async def main() -> None:
        async for _ in never_yields():
            pass

    with pytest.raises(Deadlock) as caught:
        run(main())
    line = never_yields.__code__.co_firstlineno + 1
    assert f"test_loop.py:{line} in never_yields" in str(caught.value)
    assert "in Event.wait" in str(caught.value)


async def sleeps() -> None:
    await asyncio.sleep(math.inf)


async def waits_with_an_endless_time_out() -> None:
    await asyncio.wait_for(asyncio.Event().wait(), math.inf)


async def is_within_an_endless_time_out() -> None:
    async with asyncio.timeout(math.inf):
        await asyncio.Event().wait()


async def is_to_be_called_at_the_end_of_time() -> None:
    loop = asyncio.get_running_loop()
    loop.call_later(math.inf, print)
    loop.call_at(math.inf, print)
    await asyncio.wait([loop.create_task(asyncio.Event().wait())], timeout=math.inf)


@pytest.mark.parametrize(
    "program",
    [
        sleeps,
        waits_with_an_endless_time_out,
        is_within_an_endless_time_out,
        is_to_be_called_at_the_end_of_time,
    ],
)
@pytest.mark.parametrize("lateness_s", [0.0, 1e-6])
def test_a_timer_that_never_fires_does_not_keep_a_deadlock_from_being_one(
    program: Program, lateness_s: float
) -> None:
    async def main() -> None:
        await asyncio.sleep(3)
        await program()

    with pytest.raises(Deadlock, match="at 3 s every task waits"):
        run(main(), lateness_s=lateness_s)


def test_beside_an_endless_time_out_messages_and_timers_arrive() -> None:
    async def main() -> float:
        async with asyncio.timeout(math.inf):
            async with await asyncio.start_server(hang_up, "127.0.0.1", 9) as server:
                reader, writer = await asyncio.open_connection("127.0.0.1", 9)
                assert await reader.read() == b""
                writer.close()
                server.close()
            await asyncio.sleep(1_000_000)
        return now()

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    assert 1_000_000 < run(main()) < 1_000_001


def test_a_time_of_any_length_is_one_jump() -> None:
    async def main() -> float:
        await asyncio.sleep(1e300)
        return now()

    assert run(main()) == 1e300


def test_a_timer_at_no_time_is_refused() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(math.nan, print)

    with pytest.raises(ValueError, match="nan"):
        run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"lateness_s": -1.0},
        {"lateness_s": math.nan},
        {"buffer_bytes": 0},
        {"buffer_bytes": True},
        {"latency_s": math.nan},
        {"latency_s": -0.001},
        {"latency_s": (0.0, math.inf)},
        {"latency_s": (0.0, 1.0, 2.0)},
        {"latency_s": Tail(0.1, math.nan)},
    ],
)
def test_what_a_simulation_cannot_be_made_with_is_refused(options: dict[str, Any]) -> None:
    async def main() -> None:
        pass

    program = main()
    with pytest.raises(ValueError, match=next(iter(options))):
        run(program, **options)
    program.close()


def test_a_livelock_is_an_error_and_not_a_hang() -> None:
    async def spin() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    with pytest.raises(Livelock, match=r"still 7.0 s\n(.*\n)*.* in .*spin"):

        async def main() -> None:
            await asyncio.sleep(7)
            await spin()

        run(main())


def test_a_busy_program_whose_time_moves_is_not_a_livelock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(selector, "TURNS_PER_INSTANT_MAX", 50)

    async def main() -> None:
        for _ in range(100):
            for _ in range(40):
                await asyncio.sleep(0)
            await asyncio.sleep(0.001)

    run(main())


# ── what a simulation has not ────────────────────────────────────────────────


async def in_a_thread() -> None:
    await asyncio.to_thread(print, "hello")


async def in_a_process() -> None:
    await asyncio.create_subprocess_exec("true")


async def in_a_shell() -> None:
    await asyncio.create_subprocess_shell("true")


async def on_a_signal() -> None:
    asyncio.get_running_loop().add_signal_handler(15, print)


async def over_udp() -> None:
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


async def through_a_pair() -> None:
    socket.socketpair()


async def blocking() -> None:
    socket.create_connection(("127.0.0.1", 80))


async def sleeping() -> None:
    time.sleep(0.001)  # noqa: ASYNC251


async def in_a_bare_thread() -> None:
    threading.Thread(target=print).start()


async def in_a_bare_process() -> None:
    subprocess.run(["true"], check=True)  # noqa: ASYNC221


async def with_its_own_tasks() -> None:
    asyncio.get_running_loop().set_task_factory(lambda loop, coro: asyncio.Task(coro, loop=loop))


@pytest.mark.parametrize(
    "program",
    [
        in_a_thread,
        in_a_process,
        in_a_shell,
        on_a_signal,
        over_udp,
        through_a_pair,
        blocking,
        sleeping,
        in_a_bare_thread,
        in_a_bare_process,
        with_its_own_tasks,
    ],
)
def test_what_would_leave_the_simulation_is_refused(program: Program) -> None:
    with pytest.raises(NotSimulated):
        run(program())


def test_after_a_simulation_sockets_are_real_again() -> None:
    real = socket.socket

    async def main() -> bool:
        return socket.socket is real

    async def fail() -> None:
        raise KeyError

    assert run(main()) is False
    assert socket.socket is real
    with pytest.raises(KeyError):
        run(fail())
    assert socket.socket is real


def test_other_threads_open_real_sockets_meanwhile() -> None:
    opened: list[type] = []
    simulating = threading.Event()

    def other() -> None:
        simulating.wait()
        with socket.socket() as sock:
            opened.append(type(sock))
        time.sleep(0)

    async def main() -> None:
        simulating.set()
        thread.join()

    real = socket.socket
    thread = threading.Thread(target=other)
    thread.start()
    run(main())
    assert opened == [real]


def test_two_threads_may_each_run_a_simulation() -> None:
    async def main() -> float:
        both.wait()
        await asyncio.sleep(1)
        both.wait()
        return now()

    real, both = socket.socket, threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        assert [it.result() for it in [pool.submit(lambda: run(main())) for _ in "ab"]] == [1, 1]
    assert socket.socket is real


# ── the same run, again and again ────────────────────────────────────────────


def test_tasks_and_futures_keep_one_order_in_sets() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        ballast = [object() for _ in range(next(noise))]
        futures = {loop.create_future() for _ in range(50)}
        tasks = {asyncio.create_task(asyncio.sleep(0)) for _ in range(50)}
        del ballast
        await asyncio.wait(tasks)
        return [task.get_name() for task in tasks] + [str(hash(future)) for future in futures]

    noise = itertools.cycle([0, 1000, 77_777])
    assert run(main()) == run(main()) == run(main())


def test_seeds_order_timers_of_one_instant_and_nothing_else() -> None:
    async def main() -> str:
        order: list[str] = []

        async def sleeper(name: str) -> None:
            await asyncio.sleep(1)
            order.append(name)

        await asyncio.gather(*(sleeper(name) for name in "abcdef"))
        assert now() < 1.001
        return "".join(order)

    orders = {seed: run(main(), seed=seed, lateness_s=1e-6) for seed in range(10)}
    assert len(set(orders.values())) > 5
    assert orders == {seed: run(main(), seed=seed, lateness_s=1e-6) for seed in range(10)}


PROGRAM = Path(__file__).with_name("program.py")


@pytest.fixture(scope="module")
def outputs() -> list[str]:
    """What one program prints under several hash seeds and heaps."""

    def start(hash_seed: str, ballast: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), ballast],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )

    processes = [start("1", "0"), start("2", "50000")]
    return [process.communicate(timeout=60)[0] for process in processes]


def test_a_program_takes_the_same_steps_under_every_hash_seed(outputs: list[str]) -> None:
    assert len(outputs[0].splitlines()) > 300
    assert outputs[0] == outputs[1]
