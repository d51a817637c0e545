"""A statement that need not wait is answered at once; one that must is a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import cast

import pytest

from sdkit.net import Connection
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Isolation, ReadOnlyTransaction, StoreServer, StoreServerConfig
from sdkit.store.handle import EngineTransaction
from tests.store.stores import engine_on, everything, put

TRIES: dict[str, Callable[[EngineTransaction, bytes], bool]] = {
    "put": lambda transaction, key: transaction.try_put(key, b"1"),
    "delete": lambda transaction, key: transaction.try_delete(key),
    "get_for_update": lambda transaction, key: transaction.try_lock(key),
}


@pytest.mark.parametrize("method", TRIES)
def test_a_try_changes_nothing_where_it_would_have_to_wait(method: str) -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, other = store.begin(), store.begin()
            await holder.put(b"a", b"0")
            before = await store.transactions(), store.gauges()["store.uncommitted_bytes"]
            assert not TRIES[method](other, b"a")
            assert (await store.transactions(), store.gauges()["store.uncommitted_bytes"]) == before
            await holder.rollback()
            assert not store.database.locks.woken
            assert TRIES[method](other, b"a")
            assert TRIES[method](other, b"a"), "it holds the lock already"
            await other.commit()
            reader = store.begin(read_only=True)
            with pytest.raises(ReadOnlyTransaction):
                TRIES[method](reader, b"a")

    run(main())


def test_a_lock_that_comes_free_between_trying_and_waiting_is_taken() -> None:
    async def main() -> dict[bytes, bytes]:
        async with engine_on() as store:
            holder, other = store.begin(), store.begin()
            await holder.put(b"a", b"0")
            assert not other.try_put(b"a", b"1")
            waiting = other.put(b"a", b"1")  # its first step is still to come
            await holder.rollback()
            async with asyncio.timeout(0):
                await waiting
            await other.commit()
            return await everything(store)

    assert run(main()) == {b"a": b"1"}


def test_the_server_makes_a_task_only_for_what_has_to_wait() -> None:
    class Peer:
        id = 1

        def on_close(self, callback: Callable[[], None]) -> None:
            pass

    async def main() -> None:
        peer = cast(Connection, Peer())
        host = SimulatedHost("db", SimulatedDisk())
        async with StoreServer(host, StoreServerConfig()) as server:
            await put(server.engine, a=b"0")
            call = server.handlers()
            for number in (1, 2):
                call["begin"](peer, number, Isolation.READ_COMMITTED.value, False)
            assert call["get_for_update"](peer, 1, b"a") == b"0"
            assert call["put"](peer, 1, b"a", b"1") is None
            assert call["get_for_update"](peer, 1, b"a") == b"1"
            assert call["delete"](peer, 1, b"b") is None
            waits: list[CoroutineType[None, None, object]] = []
            for method, *arguments in (("put", b"2"), ("delete",), ("get_for_update",)):
                waiting = call[str(method)](peer, 2, b"a", *arguments)
                assert isinstance(waiting, CoroutineType)
                waits.append(waiting)
            call["rollback"](peer, 1)
            assert [await waiting for waiting in waits] == [None, None, None]
            call["rollback"](peer, 2)

    run(main())


def test_who_only_reads_lets_the_others_have_a_turn() -> None:
    async def main() -> None:
        async with engine_on() as store:
            turns = 0

            async def other() -> None:
                nonlocal turns
                while True:
                    turns += 1
                    await asyncio.sleep(0)

            task = asyncio.ensure_future(other())
            async with store.begin(read_only=True) as transaction:
                for _ in range(20_000):
                    await transaction.get(b"a")
            assert turns >= 4
            before = turns
            for _ in range(20_000):
                async with store.begin(read_only=True) as transaction:
                    await transaction.get(b"a")
            assert turns >= before + 8
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(main())
