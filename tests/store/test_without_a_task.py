"""A statement that need not wait is answered at once; one that must is a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import CoroutineType
from typing import cast

import pytest

from sdkit.errors import InvalidState
from sdkit.rpc import Connection
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import (
    Isolation,
    ReadOnlyTransaction,
    StoreEngine,
    StoreServer,
    StoreServerConfig,
)
from sdkit.store.statements import OpenTransaction
from tests.store.stores import engine_on, everything, put

TRIES: dict[str, Callable[[OpenTransaction, bytes], object]] = {
    "put": lambda transaction, key: transaction.put_now(key, b"1"),
    "delete": lambda transaction, key: transaction.delete_now(key),
    "get_for_update": lambda transaction, key: transaction.get_for_update_now(key),
}


def begin(store: StoreEngine, *, read_only: bool = False) -> OpenTransaction:
    return store.open_transaction(Isolation.REPEATABLE_READ, read_only)


@pytest.mark.parametrize("method", TRIES)
def test_a_statement_that_has_to_wait_has_changed_nothing_when_it_returns(method: str) -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, other = begin(store), begin(store)
            assert holder.put_now(b"a", b"0") is None
            before = await store.transactions(), store.gauges()["store.uncommitted_bytes"]
            rest = TRIES[method](other, b"a")
            assert isinstance(rest, CoroutineType)
            rest.close()
            assert (await store.transactions(), store.gauges()["store.uncommitted_bytes"]) == before
            holder.rollback()
            assert not store.database.locks.woken
            for _ in range(2):  # the second time, it holds the lock already
                assert not isinstance(TRIES[method](other, b"a"), CoroutineType)
            await other.commit()
            with pytest.raises(ReadOnlyTransaction):
                TRIES[method](begin(store, read_only=True), b"a")

    run(main())


def test_a_lock_that_comes_free_before_the_rest_begins_is_taken() -> None:
    async def main() -> dict[bytes, bytes]:
        async with engine_on() as store:
            holder, other = begin(store), begin(store)
            assert holder.put_now(b"a", b"0") is None
            rest = other.put_now(b"a", b"1")  # its first step is still to come
            assert isinstance(rest, CoroutineType)
            holder.rollback()
            async with asyncio.timeout(0):
                await rest
            await other.commit()
            return await everything(store)

    assert run(main()) == {b"a": b"1"}


def test_the_rest_of_a_statement_is_refused_if_its_transaction_has_ended_meanwhile() -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, other = begin(store), begin(store)
            assert holder.put_now(b"a", b"0") is None
            rests = [tries(other, b"a") for tries in TRIES.values()]
            other.rollback()
            holder.rollback()
            for rest in rests:
                assert isinstance(rest, CoroutineType)
                with pytest.raises(InvalidState):
                    await rest
            assert not store.database.locks.holders

    run(main())


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
