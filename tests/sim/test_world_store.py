"""A real server in a world: the store, on one machine, and its client on another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from sdkit import host as hosts
from sdkit.errors import Aborted, Indeterminate, Unavailable
from sdkit.rpc import Limits
from sdkit.sim.machine import Machine
from sdkit.sim.world import World, simulate
from sdkit.store import StoreClient, StoreServer, StoreServerConfig

SECRET = "a shared secret"
CONFIG = StoreServerConfig(host="0.0.0.0", port=7000, secret=SECRET, snapshot_log_bytes=4096)
LIMITS = Limits(handshake_timeout_s=0.3, stall_timeout_s=0.5, keepalive_s=0.2)


async def serve() -> None:
    async with StoreServer(hosts.current(), CONFIG):
        await asyncio.Event().wait()


@asynccontextmanager
async def client() -> AsyncIterator[StoreClient]:
    """One that is not connected yet."""
    store = StoreClient(
        "db", 7000, secret=SECRET, timeout_s=1.0, connect_timeout_s=0.5, limits=LIMITS
    )
    try:
        yield store
    finally:
        await store.close()


async def connected(store: StoreClient) -> StoreClient:
    while True:
        try:
            await store.connect()
        except Unavailable:
            await asyncio.sleep(0.05)
        else:
            return store


async def write(acknowledged: list[int]) -> None:
    async with client() as store:
        for number in range(300):
            try:
                await connected(store)
                async with store.begin() as transaction:
                    await transaction.put(b"key/%03d" % number, b"value")
            except (Unavailable, Indeterminate, Aborted):
                continue
            acknowledged.append(number)
            await asyncio.sleep(0.01)


async def read() -> set[int]:
    async with client() as store:
        await connected(store)
        async with store.begin(read_only=True) as transaction:
            return {int(key[4:]) async for key, _ in transaction.scan(prefix=b"key/")}


def kill(machine: Machine, _random: Random) -> None:
    machine.kill()


def cut_power(machine: Machine, random: Random) -> None:
    machine.power_cut(random)


def kill_and_cut_power(machine: Machine, random: Random) -> None:
    machine.kill()
    machine.power_cut(random)


@pytest.mark.parametrize("end", [kill, cut_power, kill_and_cut_power])
def test_what_was_acknowledged_outlives_its_machine(
    end: Callable[[Machine, Random], None],
) -> None:
    async def play(world: World) -> tuple[list[int], set[int]]:
        acknowledged: list[int] = []
        random = Random(3)
        db, writer, reader = (world.machine(name) for name in ("db", "writer", "reader"))
        db.boot(serve)
        writer.boot(lambda: write(acknowledged))
        for _ in range(5):
            await asyncio.sleep(random.uniform(0.2, 0.4))
            end(db, random)
            await asyncio.sleep(random.uniform(0.0, 0.2))
            db.restart()
        await writer.ended
        reader.boot(read)
        return acknowledged, await reader.ended

    acknowledged, found = simulate(play, seed=5).value
    assert len(acknowledged) > 200
    assert set(acknowledged) <= found


def test_a_server_that_stands_still_serves_its_client_later() -> None:
    async def put() -> float:
        async with client() as store:
            await connected(store)
            began = asyncio.get_running_loop().time()
            async with store.begin() as transaction:
                await transaction.put(b"key", b"value")
            return asyncio.get_running_loop().time() - began

    async def play(world: World) -> float:
        db, shop = world.machine("db"), world.machine("shop")
        db.boot(serve)
        shop.boot(put)
        await asyncio.sleep(0.0035)  # its hello is under way
        db.pause()
        await asyncio.sleep(0.15)
        db.resume()
        took: float = await shop.ended
        return took

    assert simulate(play).value > 0.1


def test_a_client_without_a_server_is_told_so() -> None:
    async def ask() -> str:
        async with client() as store:
            try:
                await store.connect()
            except Unavailable as error:
                return error.code
        return "connected"

    async def play(world: World) -> list[str]:
        answers = []
        world.machine("db")
        shop = world.machine("shop")
        for _ in range(2):
            shop.boot(ask)
            answers.append(await shop.ended)
        return answers

    assert simulate(play).value == ["not_connected", "not_connected"]


def test_a_clean_stop_leaves_nothing_behind() -> None:
    async def serve_a_while() -> None:
        async with StoreServer(hosts.current(), CONFIG):
            await asyncio.sleep(1)

    async def play(world: World) -> list[str]:
        db, shop = world.machine("db"), world.machine("shop")
        db.boot(serve_a_while)
        shop.boot(lambda: write([]))
        await db.ended
        return [task.get_name() for task in asyncio.all_tasks() if "db" in task.get_name()]

    assert simulate(play).value == []
