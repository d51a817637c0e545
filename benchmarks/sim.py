"""What a simulation costs: CPU time per message, per jump of the clock, per virtual second.

A simulated run waits for nothing, so what counts is how much a processor does
for it: everything here is measured in CPU time of the process. The limit of the
echo is the same program on real loopback sockets, client and server in one
process in both cases; a heartbeat is one line to the next of five machines.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any
from unittest import mock

from benchmarks.harness import Bar, Contender, Work
from sdkit.sim.digest import Digest
from sdkit.sim.loop import run
from sdkit.sim.world import World, simulate

ROUND_TRIPS = 10_000
JUMPS = 50_000
MACHINES = 5
HEARTBEAT_S = 0.1
VIRTUAL_S = 200.0
PORT = 7000


def table() -> list[Work]:
    return [
        Work(
            "CPU per message, echo of 100 bytes over asyncio streams",
            "us CPU a message",
            "less",
            [
                Contender("sdkit.sim", "ours", lambda: _echo_us(run)),
                Contender("real loopback", "limit", lambda: _echo_us(asyncio.run)),
            ],
            [Bar("limit", 0.7, at_most=True)],
        ),
        Work(
            "idle time jumps: one task that sleeps again and again",
            "jumps a CPU second",
            "more",
            [Contender("sdkit.sim", "ours", _jumps)],
        ),
        Work(
            "five hosts that each send a heartbeat every 100 ms",
            "virtual seconds a CPU second",
            "more",
            [Contender("sdkit.sim", "ours", _heartbeats)],
            [Bar("", 300.0)],
        ),
        Work(
            "cost of the digest: the same five hosts",
            "us CPU a heartbeat",
            "less",
            [
                Contender("with it", "ours", lambda: _us_a_heartbeat(_heartbeats)),
                Contender("without", "limit", lambda: _us_a_heartbeat(_without_digest)),
            ],
        ),
    ]


def _cpu_s(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


# ---------------------------------------------------------------- echo


async def _echo() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        for _ in range(ROUND_TRIPS):
            writer.write(b"x" * 99 + b"\n")
            await reader.readline()
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.01)  # until the server has closed its end


def _echo_us(runner: Callable[[Coroutine[Any, Any, None]], None]) -> float:
    return _cpu_s(lambda: runner(_echo())) / (2 * ROUND_TRIPS) * 1e6


# ---------------------------------------------------------------- time


def _jumps() -> float:
    async def main() -> None:
        for _ in range(JUMPS):
            await asyncio.sleep(1.0)

    return JUMPS / _cpu_s(lambda: run(main()))


# ---------------------------------------------------------------- five hosts


async def _ring(world: World) -> None:
    def program(number: int) -> Callable[[], Coroutine[Any, Any, None]]:
        async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readline():
                pass
            writer.close()

        async def main() -> None:
            async with await asyncio.start_server(listen, f"host-{number}", PORT):
                await asyncio.sleep(1.0)  # until all listen
                following = f"host-{(number + 1) % MACHINES}"
                _, writer = await asyncio.open_connection(following, PORT)
                while True:
                    writer.write(b"alive\n")
                    await writer.drain()
                    await asyncio.sleep(HEARTBEAT_S)

        return main

    for number in range(MACHINES):
        world.machine(f"host-{number}")
    for number, machine in enumerate(world.machines.values()):
        machine.boot(program(number))
    await asyncio.sleep(VIRTUAL_S)


def _heartbeats() -> float:
    cpu_s = _cpu_s(lambda: simulate(_ring, seed=1).value)
    return VIRTUAL_S / cpu_s


def _without_digest() -> float:
    with (
        mock.patch.object(Digest, "add", _take_nothing),
        mock.patch.object(Digest, "add_message", _take_nothing),
    ):
        return _heartbeats()


def _take_nothing(*_: object) -> None:
    pass


def _us_a_heartbeat(measure: Callable[[], float]) -> float:
    return 1e6 / measure() / (MACHINES / HEARTBEAT_S)
