"""What the tests of the store share: an engine on a simulated disk, and waiting for a state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.store import StoreConfig, StoreEngine, Transaction
from sdkit.store.interface import Store


@asynccontextmanager
async def engine_on(
    disk: SimulatedDisk | None = None, config: StoreConfig | None = None
) -> AsyncIterator[StoreEngine]:
    async with StoreEngine(SimulatedHost("db", disk), config) as store:
        yield store


async def put(store: Store, **values: bytes) -> int:
    """Commit some keys; returns the position."""
    async with store.begin() as transaction:
        for key, value in values.items():
            await transaction.put(key.encode(), value)
        return await transaction.commit()


async def everything(store: Store) -> dict[bytes, bytes]:
    async with store.begin(read_only=True) as transaction:
        return {key: value async for key, value in transaction.scan()}


async def until(condition: Callable[[], bool]) -> None:
    """Give the others a turn until ``condition`` holds."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.0001)
    raise AssertionError("it never came to that")


async def until_state(store: Store, transaction: Transaction, state: str) -> None:
    for _ in range(10_000):
        infos = await store.transactions()
        if any(info.id == transaction.id and info.state == state for info in infos):
            return
        await asyncio.sleep(0.0001)
    raise AssertionError(f"transaction {transaction.id} is never {state}")
