"""Transactions of the embedded engine: what waits, what fails, and with which words."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from sdkit.errors import (
    Aborted,
    Closed,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    Overloaded,
)
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.storage import LocalHost
from sdkit.store import (
    Deadlock,
    IdleTimeout,
    Isolation,
    LockTimeout,
    ReadOnlyTransaction,
    SerializationFailure,
    StoreConfig,
    StoreEngine,
    StoreFull,
    Transaction,
)
from sdkit.store.database import Database
from sdkit.store.lock_manager import LockManager
from sdkit.store.transaction import Transaction as CoreTransaction
from tests.store.stores import engine_on, everything, put, until_state

READ_COMMITTED, REPEATABLE_READ = Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ


# The levels


def test_one_balance_read_twice_at_both_levels() -> None:
    """The example of the lesson: 100, 100 at repeatable read; 100, 200 at read committed."""

    async def read_twice(isolation: Isolation) -> list[bytes | None]:
        async with engine_on() as store:
            await put(store, balance=b"100")
            async with store.begin(isolation=isolation) as reader:
                first = await reader.get(b"balance")
                await put(store, balance=b"200")
                return [first, await reader.get(b"balance")]

    assert run(read_twice(REPEATABLE_READ)) == [b"100", b"100"]
    assert run(read_twice(READ_COMMITTED)) == [b"100", b"200"]


def test_a_snapshot_is_taken_at_the_first_statement_and_not_at_begin() -> None:
    async def main() -> bytes | None:
        async with engine_on() as store:
            transaction = store.begin()
            await put(store, a=b"1")
            async with transaction:
                return await transaction.get(b"a")

    assert run(main()) == b"1"


def test_the_loser_is_told_the_key_and_the_winner() -> None:
    async def main() -> None:
        async with engine_on() as store:
            await put(store, a=b"0")
            loser, winner = store.begin(), store.begin()
            await loser.get(b"a")
            await winner.put(b"a", b"1")
            waiting = asyncio.ensure_future(loser.put(b"a", b"2"))
            await until_state(store, loser, "waiting")
            position = await winner.commit()
            with pytest.raises(SerializationFailure) as failure:
                await waiting
            assert f"b'a' was updated by transaction {winner.id} in commit {position}" in str(
                failure.value
            )
            assert failure.value.fields["winner"] == winner.id
            with pytest.raises(SerializationFailure):
                await loser.get(b"a")  # it says so again, to whoever did not listen
            with pytest.raises(SerializationFailure):
                await loser.commit()
            await loser.rollback()
            assert await everything(store) == {b"a": b"1"}

    run(main())


def test_the_loser_goes_on_if_the_first_updater_rolls_back() -> None:
    async def main() -> dict[bytes, bytes]:
        async with engine_on() as store:
            first, second = store.begin(), store.begin()
            await second.get(b"a")
            await first.put(b"a", b"1")
            waiting = asyncio.ensure_future(second.put(b"a", b"2"))
            await until_state(store, second, "waiting")
            await first.rollback()
            await waiting
            await second.commit()
            return await everything(store)

    assert run(main()) == {b"a": b"2"}


def test_get_for_update_returns_the_newest_at_read_committed_and_fails_at_repeatable_read() -> None:
    async def main(isolation: Isolation) -> bytes | None:
        async with engine_on() as store:
            await put(store, a=b"0")
            writer = store.begin()
            await writer.put(b"a", b"1")
            async with store.begin(isolation=isolation) as second:
                await second.get(b"a")
                locking = asyncio.ensure_future(second.get_for_update(b"a"))
                await until_state(store, second, "waiting")
                await writer.commit()
                return await locking

    assert run(main(READ_COMMITTED)) == b"1"
    with pytest.raises(SerializationFailure):
        run(main(REPEATABLE_READ))


def test_a_scan_at_read_committed_is_one_statement_however_long_it_streams() -> None:
    async def main() -> list[bytes]:
        async with engine_on() as store:
            for number in range(600):
                await put(store, **{f"k{number:03}": b"old"})
            seen: list[bytes] = []
            async with store.begin(isolation=READ_COMMITTED) as reader:
                async for _, value in reader.scan():
                    if not seen:
                        await put(store, k599=b"new")
                    seen.append(value)
                assert await reader.get(b"k599") == b"new"
            return seen

    assert set(run(main())) == {b"old"}


def test_a_scan_that_is_left_early_holds_nothing() -> None:
    async def main() -> None:
        async with engine_on() as store:
            await put(store, a=b"1", b=b"2")
            reader = store.begin(isolation=READ_COMMITTED)
            async for _ in reader.scan():
                break
            await reader.rollback()
            assert store.gauges()["store.oldest_snapshot_lag"] == 0
            await put(store, a=b"2")
            assert store.gauges()["store.versions_held"] == 0

    run(main())


# Deadlocks and time-outs


def test_of_two_that_wait_for_each_other_the_younger_gives_way_at_once() -> None:
    async def main() -> float:
        async with engine_on() as store:
            old, young = store.begin(), store.begin()
            await old.put(b"a", b"old")
            await young.put(b"b", b"young")
            waiting = asyncio.ensure_future(young.put(b"a", b"young"))
            await until_state(store, young, "waiting")
            began = asyncio.get_running_loop().time()
            await old.put(b"b", b"old")
            took = asyncio.get_running_loop().time() - began
            with pytest.raises(Deadlock) as deadlock:
                await waiting
            assert sorted(deadlock.value.fields["cycle"]) == [old.id, young.id]  # type: ignore[call-overload]
            await old.commit()
            assert await everything(store) == {b"a": b"old", b"b": b"old"}
            assert store.gauges()["store.waits_total"] == 2
            assert store.gauges()["store.aborts_total"] == 1
            return took

    assert run(main()) == 0.0


def test_a_circle_that_closes_behind_others_in_a_queue_is_found() -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, between, last = (store.begin(isolation=READ_COMMITTED) for _ in range(3))
            await holder.put(b"hot", b"1")
            await last.put(b"own", b"3")
            waiting = []
            for session in (between, last):
                waiting.append(asyncio.ensure_future(session.put(b"hot", b"2")))
                await until_state(store, session, "waiting")
            await holder.put(b"own", b"1")  # closes: last waits for holder, holder for last
            [error] = await asyncio.gather(waiting[1], return_exceptions=True)
            assert isinstance(error, Deadlock)
            assert error.fields["cycle"] == [holder.id, last.id]
            assert error.fields["keys"] == [b"own", b"hot"]
            await holder.commit()
            await waiting[0]
            await between.commit()

    run(main())


def test_looking_for_a_deadlock_costs_the_way_to_it_and_not_the_queues_beside_it() -> None:
    class CountingManager(LockManager):
        steps = 0

        def waits_for(self, transaction: CoreTransaction) -> Iterable[CoreTransaction]:
            self.steps += 1
            return super().waits_for(transaction)

    class Counting(Database):
        lock_manager_type = CountingManager

    async def main() -> None:
        async with StoreEngine(SimulatedHost("db"), database=Counting) as store:
            database = store.database
            locks = database.locks
            assert isinstance(locks, CountingManager)
            hot = store.begin()
            await hot.put(b"hot", b"1")
            waiting = []
            for number in range(200):  # each holds a key that somebody waits for
                own = b"own %d" % number
                holder, waiter = store.begin(), store.begin()
                await holder.put(own, b"1")
                waiting.append(asyncio.ensure_future(waiter.put(own, b"2")))
                await asyncio.sleep(0)
                before = locks.steps
                waiting.append(asyncio.ensure_future(holder.put(b"hot", b"2")))
                await asyncio.sleep(0)
                assert locks.steps - before == 2  # itself, and who holds the hot key
            infos = await store.transactions()
            assert infos[-2].waits_for == [hot.id, *(info.id for info in infos[1:31:2])]
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(main())


def test_a_lock_wait_ends_after_its_limit_and_names_the_holder() -> None:
    async def main() -> float:
        async with engine_on(config=StoreConfig(lock_wait_timeout_s=2.0)) as store:
            holder, waiter = store.begin(), store.begin()
            await holder.put(b"a", b"1")
            began = asyncio.get_running_loop().time()
            with pytest.raises(LockTimeout, match=f"which transaction {holder.id} holds"):
                await waiter.put(b"a", b"2")
            assert isinstance(LockTimeout("x"), TimeoutError)
            took = asyncio.get_running_loop().time() - began
            await holder.commit()
            return took

    assert run(main()) == 2.0


def test_an_idle_transaction_is_aborted_and_its_locks_go_on() -> None:
    async def main() -> float:
        config = StoreConfig(idle_transaction_timeout_s=8.0, lock_wait_timeout_s=60.0)
        async with engine_on(config=config) as store:
            forgotten = store.begin()
            await forgotten.put(b"a", b"1")
            began = asyncio.get_running_loop().time()
            second = store.begin()
            await second.put(b"a", b"2")
            took = asyncio.get_running_loop().time() - began
            with pytest.raises(IdleTimeout, match=r"8\.0 s without a statement"):
                await forgotten.commit()
            await second.rollback()
            return took

    assert 8.0 <= run(main()) <= 10.0


def test_a_transaction_that_keeps_talking_is_never_idle() -> None:
    async def main() -> None:
        config = StoreConfig(idle_transaction_timeout_s=8.0)
        async with engine_on(config=config) as store, store.begin() as transaction:
            for _ in range(20):
                await asyncio.sleep(7.0)
                await transaction.get(b"a")

    run(main())


def test_a_cancelled_wait_leaves_the_queue_and_the_transaction_goes_on() -> None:
    async def main() -> dict[bytes, bytes]:
        async with engine_on() as store:
            holder, impatient = store.begin(), store.begin()
            await holder.put(b"a", b"1")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await impatient.put(b"a", b"2")
            await impatient.put(b"b", b"2")
            await holder.commit()
            await impatient.commit()
            return await everything(store)

    assert run(main()) == {b"a": b"1", b"b": b"2"}


# Wrong use


def test_two_tasks_cannot_use_one_transaction_at_once() -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder, shared = store.begin(), store.begin()
            await holder.put(b"a", b"1")
            waiting = asyncio.ensure_future(shared.put(b"a", b"2"))
            await until_state(store, shared, "waiting")
            with pytest.raises(InvalidState, match="one task at a time"):
                await shared.get(b"b")
            await holder.rollback()
            await waiting
            committing = asyncio.ensure_future(shared.commit())
            await until_state(store, shared, "committing")
            with pytest.raises(InvalidState, match="one task at a time"):
                await shared.rollback()
            assert await committing

    run(main())


def test_a_block_that_fails_ends_the_statement_that_another_task_left_waiting_in_it() -> None:
    async def main() -> None:
        async with engine_on() as store:
            holder = store.begin()
            await holder.put(b"a", b"1")
            with pytest.raises(ZeroDivisionError):
                async with store.begin() as shared:
                    waiting = asyncio.ensure_future(shared.put(b"a", b"2"))
                    await until_state(store, shared, "waiting")
                    raise ZeroDivisionError
            with pytest.raises(InvalidState, match="has ended"):
                await waiting
            await holder.commit()
            assert not await store.transactions()

    run(main())


@pytest.mark.parametrize("how", ["commit", "rollback"])
def test_a_transaction_is_of_no_use_after_its_end(how: str) -> None:
    async def main() -> None:
        async with engine_on() as store:
            transaction = store.begin()
            await transaction.put(b"a", b"1")
            await getattr(transaction, how)()
            word = {"commit": "committed", "rollback": "rolled back"}[how]
            with pytest.raises(InvalidState, match=f"is {word}; begin another one"):
                await transaction.get(b"a")
            with pytest.raises(InvalidState):
                [row async for row in transaction.scan()]

    run(main())


def test_what_breaks_a_limit_is_refused_by_name_and_changes_nothing() -> None:
    async def main() -> None:
        config = StoreConfig(key_bytes_max=4, value_bytes_max=8, transaction_bytes_max=4096)
        async with engine_on(config=config) as store:
            async with store.begin() as transaction:
                await transaction.put(b"a", b"1")
                with pytest.raises(InvalidArgument, match="a key is empty"):
                    await transaction.put(b"", b"1")
                with pytest.raises(InvalidArgument, match="a key is of type str"):
                    await transaction.get("a")  # type: ignore[arg-type]
                with pytest.raises(InvalidArgument, match="value of b'a' is of type NoneType"):
                    await transaction.put(b"a", None)  # type: ignore[arg-type]
                with pytest.raises(LimitExceeded, match="5 bytes; key_bytes_max is 4"):
                    await transaction.delete(b"abcde")
                with pytest.raises(LimitExceeded, match="9 bytes; value_bytes_max is 8"):
                    await transaction.put(b"a", b"123456789")
                with pytest.raises(InvalidArgument, match="limit is -1"):
                    [row async for row in transaction.scan(limit=-1)]
                with pytest.raises(InvalidArgument, match="end is int"):
                    [row async for row in transaction.scan(b"", 7)]  # type: ignore[arg-type]
                with pytest.raises(LimitExceeded, match="transaction_bytes_max is 4096"):
                    for number in range(100):
                        await transaction.put(b"%d" % number, b"1")
                assert await transaction.get(b"a") == b"1"
            assert (await everything(store))[b"a"] == b"1"

    run(main())


def test_a_read_only_transaction_neither_writes_nor_locks() -> None:
    async def main() -> None:
        async with engine_on() as store, store.begin(read_only=True) as transaction:
            for refused in (
                transaction.put(b"a", b"1"),
                transaction.delete(b"a"),
                transaction.get_for_update(b"a"),
            ):
                with pytest.raises(ReadOnlyTransaction, match="begun read-only"):
                    await refused
            assert await transaction.get(b"a") is None

    run(main())


def test_one_transaction_too_many_is_refused_and_one_less_is_enough() -> None:
    async def main() -> None:
        async with engine_on(config=StoreConfig(transactions_max=2)) as store:
            first, _second = store.begin(), store.begin()
            with pytest.raises(Overloaded, match="transactions_max is 2"):
                store.begin()
            await first.rollback()
            _third = store.begin()

    run(main())


def test_without_memory_writes_are_refused_while_reads_and_deletes_go_on() -> None:
    async def main() -> None:
        async with engine_on(config=StoreConfig(max_bytes=20_000)) as store:
            with pytest.raises(StoreFull, match="max_bytes is 20000"):
                for number in range(1_000):
                    await put(store, **{f"k{number}": b"x" * 100})
            full = len(await everything(store))
            assert full > 10
            async with store.begin() as transaction:
                for number in range(5):
                    await transaction.delete(b"k%d" % number)
            await put(store, again=b"1")
            assert len(await everything(store)) == full - 4
            assert store.gauges()["store.uncommitted_bytes"] == 0

    run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("durability", "sometimes"),
        ("interval_s", 0.0),
        ("lock_wait_timeout_s", -1.0),
        ("transactions_max", 0),
        ("value_bytes_max", 1 << 40),
        ("max_bytes", 0),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=f"{name} is"):
        StoreConfig(**{name: value})  # type: ignore[arg-type]


# Savepoints


def test_savepoints_nest_and_each_undoes_its_own() -> None:
    async def main() -> dict[bytes, bytes]:
        async with engine_on() as store:
            async with store.begin() as transaction:
                await transaction.put(b"a", b"1")
                with pytest.raises(ZeroDivisionError):
                    async with transaction.savepoint():
                        await transaction.put(b"a", b"2")
                        async with transaction.savepoint():
                            await transaction.put(b"b", b"2")
                        raise ZeroDivisionError
                async with transaction.savepoint():
                    await transaction.put(b"c", b"3")
            assert store.gauges()["store.uncommitted_bytes"] == 0
            return await everything(store)

    assert run(main()) == {b"a": b"1", b"c": b"3"}


def test_a_savepoint_in_a_loop_does_not_use_the_transaction_up() -> None:
    async def main() -> None:
        config = StoreConfig(transaction_bytes_max=4096, value_bytes_max=64)
        async with engine_on(config=config) as store, store.begin() as transaction:
            for number in range(1_000):
                with pytest.raises(ZeroDivisionError):
                    async with transaction.savepoint():
                        await transaction.put(b"a", b"%d" % number)
                        raise ZeroDivisionError

    run(main())


def test_a_lock_taken_in_a_savepoint_outlives_it() -> None:
    async def main() -> list[bytes]:
        async with engine_on() as store:
            transaction = store.begin()
            with pytest.raises(ZeroDivisionError):
                async with transaction.savepoint():
                    await transaction.put(b"a", b"1")
                    raise ZeroDivisionError
            [info] = await store.transactions()
            await transaction.rollback()
            return info.locks

    assert run(main()) == [b"a"]


def test_an_aborted_transaction_swallowed_inside_its_block_fails_at_the_end() -> None:
    async def main() -> None:
        async with engine_on(config=StoreConfig(lock_wait_timeout_s=1.0)) as store:
            holder = store.begin()
            await holder.put(b"a", b"1")
            with pytest.raises(LockTimeout):
                async with store.begin() as transaction:
                    try:
                        async with transaction.savepoint():
                            await transaction.put(b"a", b"2")
                    except Aborted:
                        pass  # wrong: it is over, and the end of the block says so
            await holder.rollback()

    run(main())


# run


def test_run_repeats_what_was_aborted_until_it_gets_through() -> None:
    async def main() -> tuple[dict[bytes, bytes], int]:
        attempts = 0

        async def add_one(transaction: Transaction) -> None:
            nonlocal attempts
            attempts += 1
            value = int(await transaction.get(b"n") or b"0")
            await asyncio.sleep(0.001)  # so that they meet
            await transaction.put(b"n", b"%d" % (value + 1))

        async with engine_on() as store:
            async with asyncio.TaskGroup() as group:
                for _ in range(8):
                    group.create_task(store.run(add_one, attempts=100))
            return await everything(store), attempts

    state, attempts = run(main())
    assert state == {b"n": b"8"}
    assert attempts > 8


def test_run_gives_up_after_its_attempts_and_repeats_nothing_but_aborts() -> None:
    calls: list[str] = []

    async def never(transaction: Transaction) -> None:
        calls.append("never")
        raise SerializationFailure("again")

    async def broken(transaction: Transaction) -> None:
        calls.append("broken")
        raise ZeroDivisionError

    async def main() -> None:
        async with engine_on() as store:
            with pytest.raises(SerializationFailure):
                await store.run(never, attempts=3)
            with pytest.raises(ZeroDivisionError):
                await store.run(broken, attempts=3)
            with pytest.raises(InvalidArgument, match="attempts is 0"):
                await store.run(never, attempts=0)

    run(main())
    assert calls == ["never"] * 3 + ["broken"]


# What an operator sees


def test_versions_shows_the_chain_with_the_uncommitted_version_first() -> None:
    async def main() -> None:
        async with engine_on() as store:
            first = await put(store, a=b"1")
            reader, writer = store.begin(), store.begin()
            await reader.get(b"a")
            second = await put(store, a=b"2")
            await writer.delete(b"a")
            chain = await store.versions(b"a")
            assert [(v.position, v.value, v.transaction) for v in chain] == [
                (None, None, writer.id),
                (second, b"2", None),
                (first, b"1", None),
            ]

    run(main())


def test_transactions_shows_who_waits_for_whom() -> None:
    async def main() -> None:
        async with engine_on() as store:
            sessions = [store.begin(isolation=READ_COMMITTED) for _ in range(3)]
            await sessions[0].put(b"a", b"0")
            waiting = []
            for session in sessions[1:]:
                waiting.append(asyncio.ensure_future(session.put(b"a", b"1")))
                await until_state(store, session, "waiting")
            infos = await store.transactions()
            assert [info.state for info in infos] == ["active", "waiting", "waiting"]
            assert [info.waits_for for info in infos] == [[], [1], [1, 2]]
            assert [info.waits_for_key for info in infos] == [None, b"a", b"a"]
            assert infos[0].locks == [b"a"]
            for session in sessions:
                await asyncio.gather(*waiting[: sessions.index(session)])
                await session.commit()

    run(main())


def test_a_long_reader_shows_in_the_gauges_and_its_end_frees_what_it_held() -> None:
    async def main() -> None:
        async with engine_on() as store:
            for number in range(300):
                await put(store, **{f"k{number}": b"old"})
            reader = store.begin(read_only=True)
            await reader.get(b"k0")
            for number in range(300):
                await put(store, **{f"k{number}": b"new"})
            held = store.gauges()
            assert held["store.versions_held"] == 300
            assert held["store.oldest_snapshot_lag"] == 300
            await reader.rollback()
            await asyncio.sleep(0.01)
            free = store.gauges()
            assert free["store.versions_held"] == free["store.vacuum_queue"] == 0
            assert free["store.versions_removed_total"] == 300
            assert free["store.bytes"] < held["store.bytes"]

    run(main())


def test_a_store_that_is_not_entered_says_how_to_enter_it(tmp_path: Path) -> None:
    how = r"the store is not open: write `async with StoreEngine"
    with LocalHost("db", tmp_path) as host:
        store = StoreEngine(host)
        with pytest.raises(Closed, match=how):
            store.begin()
        with pytest.raises(Closed, match=how):
            asyncio.run(store.sync())
        with pytest.raises(Closed, match=how):
            asyncio.run(store.transactions())


def test_closing_aborts_what_is_open_and_finishes_what_is_committing() -> None:
    async def main() -> None:
        disk = SimulatedDisk(sync_s=1.0)
        async with engine_on(disk) as store:
            active, holder, waiter = store.begin(), store.begin(), store.begin()
            await active.put(b"a", b"1")
            await holder.put(b"b", b"1")
            waiting = asyncio.ensure_future(waiter.put(b"b", b"2"))
            await until_state(store, waiter, "waiting")
            committer = store.begin()
            await committer.put(b"c", b"1")
            committing = asyncio.ensure_future(committer.commit())
            await until_state(store, committer, "committing")
        assert await committing
        with pytest.raises(Closed):
            await waiting
        with pytest.raises(Closed):
            await active.commit()
        with pytest.raises(Closed):
            store.begin()
        async with engine_on(disk) as store:
            assert await everything(store) == {b"c": b"1"}

    run(main())


def test_a_scan_beyond_any_key_is_refused_before_it_is_remembered() -> None:
    async def main() -> None:
        async with (
            engine_on() as store,
            store.begin(isolation=Isolation.SERIALIZABLE) as transaction,
        ):
            with pytest.raises(LimitExceeded, match="start has 1048576 bytes"):
                _ = [row async for row in transaction.scan(b"x" * (1 << 20))]
            longest = b"x" * store.config.key_bytes_max
            assert [row async for row in transaction.scan(longest + b"\0")] == []

    run(main())
