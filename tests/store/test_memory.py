"""Memory: what a transaction takes is counted, bounded, and given back when it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import LimitExceeded, SdkitError
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.store import (
    Isolation,
    LockTimeout,
    SerializationFailure,
    StoreConfig,
    StoreEngine,
    StoreFull,
    Transaction,
)
from sdkit.store.isolation import RULES
from sdkit.store.limits import LOCK_OVERHEAD_BYTES, WRITE_OVERHEAD_BYTES
from sdkit.store.records import encode_commit
from sdkit.store.transaction import MISSING
from sdkit.store.transaction import Transaction as CoreTransaction
from tests.store.stores import engine_on, everything, put, until_state

READ_COMMITTED = Isolation.READ_COMMITTED


async def refused(kind: type[SdkitError], statement: Awaitable[object]) -> str:
    """The message of the refusal, and nothing that would keep its frames alive."""
    try:
        await statement
    except kind as error:
        return str(error)
    raise AssertionError("it was not refused")


def uncommitted(store: StoreEngine) -> float:
    return store.gauges()["store.uncommitted_bytes"]


# It is given back


@pytest.mark.parametrize(
    "how", ["aborted", "rolled back", "timed out", "committed", "of unknown outcome"]
)
def test_a_transaction_that_has_ended_holds_none_of_its_values(how: str) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        async with engine_on(disk) as store:
            value = b"x" * 1000
            references = sys.getrefcount(value)
            transaction = store.begin()
            inside = store.database.transactions[transaction.id]
            await transaction.get(b"a")
            async with transaction.savepoint():
                await transaction.put(b"b", value)
                await transaction.put(b"b", value[:-1])
                await transaction.put(b"b", value)
            if how == "aborted":
                await put(store, a=b"1")
                await refused(SerializationFailure, transaction.put(b"a", value))
                await refused(SerializationFailure, transaction.get(b"a"))
            elif how == "timed out":
                holder = store.begin()
                await holder.put(b"a", b"1")
                await refused(LockTimeout, transaction.put(b"a", value))
                await holder.rollback()
            elif how == "of unknown outcome":
                disk.directory("store").fail("sync")
                await refused(SdkitError, transaction.commit())
            elif how == "committed":
                await transaction.commit()
                await put(store, b=b"1")  # else the store itself holds it
            else:
                await transaction.rollback()
            await asyncio.sleep(1)
            assert inside.state.value == ("aborted" if how == "timed out" else how)
            assert uncommitted(store) == 0
            assert not inside.writes
            assert not inside.locks
            assert sys.getrefcount(value) == references

    run(main())


def test_a_savepoint_that_is_kept_gives_back_what_it_kept_for_undoing() -> None:
    async def main() -> None:
        config = StoreConfig(transaction_bytes_max=4096, value_bytes_max=1024)
        async with engine_on(config=config) as store, store.begin() as transaction:
            await transaction.put(b"a", b"0" * 1000)
            before = uncommitted(store)
            for number in range(100):
                async with transaction.savepoint(), transaction.savepoint():
                    await transaction.put(b"a", b"%04d" % number * 250)
                    assert uncommitted(store) > before
            assert uncommitted(store) == before

    run(main())


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from([b"a", b"bb"]), st.binary(max_size=3)),
        st.tuples(st.just("delete"), st.sampled_from([b"a", b"bb"])),
        st.sampled_from([("open",), ("keep",), ("undo",)]),
    )
)


@given(steps)
def test_the_count_is_what_there_is_and_no_record_is_larger(
    program: list[tuple[object, ...]],
) -> None:
    transaction = CoreTransaction(1, READ_COMMITTED, RULES[READ_COMMITTED], read_only=False)
    counted = 0
    for step in program:
        depth = len(transaction.savepoints)
        match step:
            case ("put", bytes() as key, bytes() as value):
                grown = transaction.growth(key, value)
                transaction.set(key, value, grown)
                counted += grown
            case ("delete", bytes() as key):
                grown = transaction.growth(key, None)
                transaction.set(key, None, grown)
                counted += grown
            case ("open",) if depth < 5:
                transaction.open_savepoint()
            case ("keep",) if depth:
                counted -= transaction.keep_savepoint(depth)
            case ("undo",) if depth:
                counted -= transaction.undo_savepoint(depth)
        kept = [value for each in transaction.savepoints for value in each.before.values()]
        there = sum(
            WRITE_OVERHEAD_BYTES + len(key) + len(value or b"")
            for key, value in transaction.writes.items()
        ) + sum(
            WRITE_OVERHEAD_BYTES + (0 if value is MISSING or value is None else len(value))
            for value in kept
        )
        assert counted == transaction.memory_bytes == there
        if transaction.writes:
            assert len(encode_commit(transaction.writes)) <= transaction.memory_bytes


# It is bounded


@pytest.mark.parametrize("method", ["put", "delete", "get_for_update"])
def test_whatever_a_transaction_takes_is_bounded_and_what_was_taken_can_be_committed(
    method: str,
) -> None:
    statements: dict[str, Callable[[Transaction, bytes], Awaitable[object]]] = {
        "put": lambda transaction, key: transaction.put(key, b""),
        "delete": lambda transaction, key: transaction.delete(key),
        "get_for_update": lambda transaction, key: transaction.get_for_update(key),
    }

    async def main() -> None:
        config = StoreConfig(transaction_bytes_max=64_000, value_bytes_max=64)
        async with engine_on(config=config) as store:
            transaction = store.begin()
            taken = 0
            message = ""
            while not message:
                try:
                    await statements[method](transaction, b"%d" % taken)
                except LimitExceeded as error:
                    message = str(error)
                else:
                    taken += 1
                    assert uncommitted(store) <= 64_000
            assert "transaction_bytes_max is 64000" in message
            each = LOCK_OVERHEAD_BYTES + (method != "get_for_update") * WRITE_OVERHEAD_BYTES
            assert 64_000 / (each + 20) < taken < 64_000 / each
            await transaction.commit()
            assert uncommitted(store) == 0

    run(main())


def test_the_largest_key_and_value_fit_into_a_transaction() -> None:
    async def main() -> None:
        config = StoreConfig(
            key_bytes_max=2000, transaction_bytes_max=10_000, value_bytes_max=10_000 - 4000 - 1024
        )
        async with (
            engine_on(config=config) as store,
            store.begin() as transaction,
            transaction.savepoint(),
        ):
            await transaction.put(b"k" * 2000, b"v" * config.value_bytes_max)

    run(main())


def test_a_lock_that_was_waited_for_counts_for_whoever_gets_it() -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, waiter = store.begin(), store.begin()
            await holder.get_for_update(b"a")
            one = uncommitted(store)
            waiting = asyncio.ensure_future(waiter.get_for_update(b"a"))
            await until_state(store, waiter, "waiting")
            assert uncommitted(store) == one
            await holder.rollback()
            await waiting
            assert uncommitted(store) == one == LOCK_OVERHEAD_BYTES + 1
            await waiter.rollback()
            assert uncommitted(store) == 0

    run(main())


def test_puts_that_have_waited_for_a_lock_find_the_room_that_is_left() -> None:
    async def main() -> None:
        async with engine_on(config=StoreConfig(max_bytes=100_000)) as store:
            holder = store.begin()
            keys = [b"%d" % number for number in range(20)]
            for key in keys:
                await holder.get_for_update(key)
            waiters = [store.begin() for _ in keys]
            puts = [
                asyncio.ensure_future(waiter.put(key, b"x" * 20_000))
                for waiter, key in zip(waiters, keys, strict=True)
            ]
            await until_state(store, waiters[-1], "waiting")
            await holder.rollback()
            answers = await asyncio.gather(*puts, return_exceptions=True)
            assert [type(answer) for answer in answers] == [type(None)] * 4 + [StoreFull] * 16
            assert uncommitted(store) <= 100_000
            assert [info.locks for info in await store.transactions()] == [[key] for key in keys]
            await waiters[-1].put(keys[-1], b"small")  # refused, it goes on
            for waiter in waiters:
                await waiter.commit()
            assert set(await everything(store)) == {*keys[:4], keys[-1]}

    run(main())


def test_a_full_store_gives_locks_and_takes_deletes_and_no_flood_of_them() -> None:
    async def main() -> None:
        config = StoreConfig(
            max_bytes=100_000, transaction_bytes_max=30_000, value_bytes_max=10_000
        )
        async with engine_on(config=config) as store:
            with pytest.raises(StoreFull):
                for number in range(100):
                    await put(store, **{f"k{number}": b"x" * 5_000})
            before = len(await everything(store))
            async with store.begin() as transaction:
                assert await transaction.get_for_update(b"k0")
                await transaction.delete(b"k0")
            assert len(await everything(store)) == before - 1
            with pytest.raises(StoreFull, match="max_bytes is 100000"):
                flood = [store.begin() for _ in range(100)]
                for session, transaction in enumerate(flood):
                    for number in range(50):
                        await transaction.delete(b"none %d %d" % (session, number))
            assert 99_000 < uncommitted(store) <= 100_000

    run(main())
