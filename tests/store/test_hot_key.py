"""Many who change one key by the recommended pattern come to their end one after the other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.storage import LocalHost
from sdkit.store import (
    Isolation,
    SerializationFailure,
    Store,
    StoreClient,
    StoreConfig,
    StoreEngine,
    StoreServer,
    StoreServerConfig,
    Transaction,
)
from sdkit.trace import Record, listening

CALLERS = 200
SNAPSHOTS = [Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE]


async def increment(transaction: Transaction) -> None:
    before = int(await transaction.get_for_update(b"key") or b"0")
    await transaction.put(b"key", b"%d" % (before + 1))


async def all_increment(stores: list[Store], isolation: Isolation) -> None:
    """Each caller makes one attempt. In the end nobody's increment is missing."""
    calls = [
        stores[number % len(stores)].run(increment, isolation=isolation, attempts=1)
        for number in range(CALLERS)
    ]
    failed = [
        error for error in await asyncio.gather(*calls, return_exceptions=True) if error is not None
    ]
    assert not failed, f"{len(failed)} failed, as in {failed[0]}"
    async with stores[0].begin() as after:
        assert await after.get(b"key") == b"%d" % CALLERS


@pytest.mark.parametrize("isolation", list(Isolation))
def test_two_hundred_callers_of_one_key_all_succeed_embedded(isolation: Isolation) -> None:
    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            await all_increment([store], isolation)

    run(main())


def test_two_hundred_callers_of_one_key_all_succeed_where_it_is_locked_to_read() -> None:
    async def main() -> None:
        config = StoreConfig(serializable="locking")
        async with StoreEngine(SimulatedHost("db"), config) as store:
            await all_increment([store], Isolation.SERIALIZABLE)

    run(main())


def test_two_hundred_callers_of_one_key_all_succeed_over_tcp(tmp_path: Path) -> None:
    async def main() -> None:
        with LocalHost("db", tmp_path) as host:
            async with (
                StoreServer(host, StoreServerConfig()) as server,
                StoreClient(*server.address) as one,
                StoreClient(*server.address) as two,
            ):
                await all_increment([one, two], Isolation.REPEATABLE_READ)

    asyncio.run(main())


@pytest.mark.parametrize("isolation", SNAPSHOTS)
def test_after_the_wait_it_reads_one_state_that_is_as_new_as_the_lock(isolation: Isolation) -> None:
    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            first, waiter = store.begin(isolation=isolation), store.begin(isolation=isolation)
            await first.put(b"a", b"1")
            await first.put(b"b", b"1")
            waiting = asyncio.ensure_future(waiter.get_for_update(b"a"))
            await asyncio.sleep(0)
            await first.commit()
            assert await waiting == b"1"
            async with store.begin() as later:
                await later.put(b"b", b"2")
            assert await waiter.get(b"b") == b"1", "the state when it got the lock"
            with pytest.raises(SerializationFailure):
                await waiter.put(b"b", b"3")

    run(main())


@pytest.mark.parametrize("isolation", SNAPSHOTS)
@pytest.mark.parametrize("statement", ["get", "put"])
def test_who_has_read_or_written_before_still_loses(isolation: Isolation, statement: str) -> None:
    """Its snapshot is older than the lock, and nothing can make it newer."""

    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            first, waiter = store.begin(isolation=isolation), store.begin(isolation=isolation)
            await first.put(b"a", b"1")
            if statement == "get":
                assert await waiter.get(b"other") is None
            else:
                await waiter.put(b"other", b"1")
            waiting = asyncio.ensure_future(waiter.get_for_update(b"a"))
            await asyncio.sleep(0)
            await first.commit()
            with pytest.raises(SerializationFailure):
                await waiting

    run(main())


def test_a_wait_that_was_cancelled_has_taken_no_snapshot() -> None:
    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            first, waiter = store.begin(), store.begin()
            await first.put(b"a", b"1")
            waiting = asyncio.ensure_future(waiter.get_for_update(b"a"))
            await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await first.commit()
            assert await waiter.get(b"a") == b"1"

    run(main())


def test_nobody_repeats_anything_for_a_hot_key() -> None:
    repeated: list[Record] = []

    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            with listening(repeated.append, "store.retry"):
                await asyncio.gather(*(store.run(increment) for _ in range(50)))

    run(main())
    assert not repeated
