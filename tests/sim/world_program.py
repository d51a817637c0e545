"""A store that is killed and loses power under its clients; run by test_digest.py.

It prints what the clients saw, and the digest. Sets of tasks, cancelled calls,
abandoned generators and garbage are part of it: what usually follows memory
addresses.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from random import Random

from sdkit import host as hosts
from sdkit.errors import SdkitError
from sdkit.rpc import Limits
from sdkit.sim.world import World, simulate
from sdkit.store import StoreClient, StoreServer, StoreServerConfig

CONFIG = StoreServerConfig(host="0.0.0.0", port=7000, secret="a shared secret")
PORT = 7000
LIMITS = Limits(handshake_timeout_s=0.3, stall_timeout_s=0.5, keepalive_s=0.2)


async def serve() -> None:
    async with StoreServer(hosts.current(), CONFIG):
        await asyncio.Event().wait()


async def ticks() -> AsyncIterator[int]:
    try:
        for number in range(1_000):
            await asyncio.sleep(0.01)
            yield number
    finally:
        await asyncio.sleep(0)


async def client() -> list[str]:
    host = hosts.current()
    seen = []
    async for number in ticks():
        if number == 60:
            break
        try:
            seen.append(await attempt(host.name, number))
        except SdkitError as error:
            seen.append(error.code)
    return seen


async def attempt(name: str, number: int) -> str:
    async with StoreClient(
        "db", PORT, secret="a shared secret", timeout_s=0.4, connect_timeout_s=0.3, limits=LIMITS
    ) as store:
        async with store.begin() as transaction:
            await transaction.put(b"%s/%d" % (name.encode(), number), b"value")
        racing = {asyncio.create_task(read(store, n)) for n in range(5)}
        done, late = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await asyncio.gather(*racing, return_exceptions=True)
        return "+".join(task.get_name().split("-")[-1] for task in done)


async def read(store: StoreClient, number: int) -> None:
    async with store.begin(read_only=True) as transaction:
        await transaction.get(b"%d" % number)


async def play(world: World) -> list[list[str]]:
    db = world.machine("db")
    db.boot(serve)
    clients = [world.machine(f"client-{number}") for number in range(3)]
    for machine in clients:
        machine.boot(client)
    random = Random(5)
    for _ in range(6):
        await asyncio.sleep(random.uniform(0.05, 0.2))
        if random.random() < 0.5:
            db.kill()
        else:
            db.power_cut(random)
        await asyncio.sleep(random.uniform(0.0, 0.05))
        db.restart()
    return [await machine.ended for machine in clients]


if __name__ == "__main__":
    ballast = [object() for _ in range(int(sys.argv[1]))]
    run = simulate(play, seed=7, latency_s=(0.000_2, 0.003))
    for seen in run.value:
        print(*seen)
    print(run.digest, run.virtual_seconds)
