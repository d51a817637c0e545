"""The store behind a socket: the interface of the embedded one, and what a network adds.

All in virtual time, over simulated connections; `test_process` has the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdkit.errors import (
    AuthenticationFailed,
    Closed,
    ConnectionLost,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    NotConnected,
    Overloaded,
)
from sdkit.rpc import Connection, connect
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import (
    Deadlock,
    IdleTimeout,
    Isolation,
    ReadOnlyTransaction,
    SerializationFailure,
    StoreClient,
    StoreServer,
    StoreServerConfig,
    TransactionLost,
)

SLOW_S = 5.0  # a sync of a slow disk


@asynccontextmanager
async def serving(*, sync_s: float = 1e-4, **settings: Any) -> AsyncIterator[StoreServer]:
    host = SimulatedHost("db", SimulatedDisk(sync_s=sync_s))
    async with StoreServer(host, StoreServerConfig(**settings)) as server:
        yield server


@asynccontextmanager
async def client_of(server: StoreServer, **options: Any) -> AsyncIterator[StoreClient]:
    async with StoreClient(*server.address, **options) as store:
        yield store


def with_store(
    test: Callable[[StoreServer, StoreClient], Awaitable[None]], **settings: Any
) -> None:
    async def main() -> None:
        async with serving(**settings) as server, client_of(server) as store:
            await test(server, store)

    run(main())


async def put(store: StoreClient, key: bytes, value: bytes) -> None:
    async with store.begin() as transaction:
        await transaction.put(key, value)


async def get(store: StoreClient, key: bytes) -> bytes | None:
    async with store.begin(read_only=True) as transaction:
        return await transaction.get(key)


def test_what_one_client_commits_another_reads() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        await put(store, b"alice", b"100")
        async with client_of(server) as other:
            assert await get(other, b"alice") == b"100"

    with_store(test)


def test_a_long_scan_arrives_whole_and_in_order() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            for number in range(2_000):
                await transaction.put(b"%05d" % number, b"x" * 200)
        async with store.begin() as transaction:
            rows = [key async for key, _ in transaction.scan(prefix=b"0")]
            assert rows == [b"%05d" % number for number in range(2_000)]
            last = [key async for key, _ in transaction.scan(reverse=True, limit=2)]
            assert last == [b"01999", b"01998"]

    with_store(test)


def test_a_scan_that_is_left_in_the_middle_leaves_the_transaction_usable() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            for number in range(2_000):
                await transaction.put(b"%05d" % number, b"x" * 200)
        async with store.begin() as transaction:
            scan = transaction.scan()
            assert await anext(scan) == (b"00000", b"x" * 200)
            await scan.aclose()  # type: ignore[attr-defined]
            await transaction.put(b"a", b"1")
        assert await get(store, b"a") == b"1"
        assert not server.engine.database.transactions

    with_store(test)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda t: t.put(b"", b""), InvalidArgument, "a key is empty"),
        (lambda t: t.put(b"k" * 1025, b""), LimitExceeded, "key_bytes_max is 1024"),
        (lambda t: t.put(b"k", b"v" * 2_000_000), LimitExceeded, "value_bytes_max is 1048576"),
        (lambda t: t.get("text"), InvalidArgument, "a key is of type str"),
        (lambda t: t.put(b"k", None), InvalidArgument, "is of type NoneType"),
        (lambda t: anext(t.scan(limit=-1)), InvalidArgument, "limit is -1"),
        (lambda t: anext(t.scan(end="z")), InvalidArgument, "end is str; bounds"),
    ],
)
def test_what_is_refused_is_named_and_the_transaction_goes_on(
    call: Callable[[Any], Awaitable[object]], error: type[Exception], said: str
) -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            await transaction.put(b"before", b"1")
            with pytest.raises(error, match=said):
                await call(transaction)
            await transaction.put(b"after", b"2")
        assert await get(store, b"before") == b"1"
        assert await get(store, b"after") == b"2"

    with_store(test)


def test_a_transaction_is_of_no_use_after_its_end() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            await transaction.put(b"a", b"1")
        for call in (transaction.get(b"a"), transaction.put(b"a", b"2"), transaction.commit()):
            with pytest.raises(InvalidState, match="is committed"):
                await call

    with_store(test)


def test_a_transaction_belongs_to_its_connection() -> None:
    """Every number of another connection is tried; none opens anything."""

    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            await transaction.put(b"secret", b"1")
            async with await connect(*server.address) as stranger:
                for number in range(10):
                    with pytest.raises(InvalidState, match="no open transaction number"):
                        await stranger.call("get", number, b"secret")

    with_store(test)


def test_two_tasks_cannot_use_one_transaction_at_once() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            await transaction.get(b"a")
            under_way = asyncio.create_task(transaction.put(b"a", b"1"))
            await asyncio.sleep(0)
            with pytest.raises(InvalidState, match="one task at a time"):
                await transaction.put(b"b", b"2")
            await under_way
        assert await get(store, b"a") == b"1"
        assert await get(store, b"b") is None

    with_store(test)


def test_nothing_is_said_of_a_transaction_while_it_commits() -> None:
    """A rollback that seemed to succeed would say that nothing of it happened."""

    async def test(_server: StoreServer, store: StoreClient) -> None:
        transaction = store.begin()
        await transaction.put(b"a", b"1")
        committing = asyncio.create_task(transaction.commit())
        await asyncio.sleep(0)
        for call in (transaction.rollback, transaction.commit, lambda: transaction.get(b"a")):
            with pytest.raises(InvalidState, match="one task at a time"):
                await call()
        assert await committing
        assert await get(store, b"a") == b"1"

    with_store(test)


def test_the_server_too_refuses_two_statements_of_one_transaction_at_once() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as holder:
            await holder.put(b"a", b"1")
            async with await connect(*server.address) as raw:
                await raw.call("begin", 1, "repeatable read", False)
                waiting = raw.start("put", 1, b"a", b"2")
                with pytest.raises(InvalidState, match="one task at a time"):
                    await raw.call("get", 1, b"b")
                waiting.cancel()

    with_store(test)


def test_the_error_of_a_begin_is_told_by_the_first_statement() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        open_ones = [store.begin() for _ in range(3)]
        for transaction in open_ones[:2]:
            await transaction.get(b"a")
        with pytest.raises(Overloaded, match="2"):
            await open_ones[2].get(b"a")
        await open_ones[0].rollback()
        assert await get(store, b"a") is None
        await open_ones[1].rollback()

    with_store(test, transactions_max=2)


def test_an_unknown_level_is_refused_by_name() -> None:
    async def test(server: StoreServer, _store: StoreClient) -> None:
        async with await connect(*server.address) as raw:
            with pytest.raises(InvalidArgument, match="isolation is 'chaos'; it must"):
                await raw.call("begin", 1, "chaos", False)

    with_store(test)


def test_a_level_may_be_named_in_words_and_a_wrong_one_is_refused_at_begin() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        for each in (store, server.engine):
            transaction = each.begin(isolation="read committed")
            assert transaction.isolation is Isolation.READ_COMMITTED
            await transaction.rollback()
            with pytest.raises(InvalidArgument, match="isolation is 'serial'; it must be one of"):
                each.begin(isolation="serial")  # type: ignore[arg-type]

    with_store(test)


def test_a_read_only_transaction_writes_nothing() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin(read_only=True) as transaction:
            with pytest.raises(ReadOnlyTransaction):
                await transaction.put(b"a", b"1")
        assert await get(store, b"a") is None

    with_store(test)


def test_the_loser_of_a_race_learns_the_key_and_the_winner() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as loser:
            await loser.get(b"a")
            async with store.begin() as winner:
                await winner.put(b"a", b"1")
            with pytest.raises(SerializationFailure, match="b'a'") as caught:
                await loser.put(b"a", b"2")
            assert caught.value.fields["key"] == b"a"
            with pytest.raises(SerializationFailure):
                await loser.get(b"a")
            await loser.rollback()
        assert await get(store, b"a") == b"1"

    with_store(test)


def test_run_repeats_what_was_aborted_and_every_increment_counts() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async def increment(transaction: Any) -> None:
            value = int(await transaction.get(b"n") or b"0")
            await transaction.put(b"n", b"%d" % (value + 1))

        async with client_of(server) as other, asyncio.TaskGroup() as group:
            for number in range(20):
                chosen = store if number % 2 else other
                group.create_task(chosen.run(increment, attempts=100))
        assert await get(store, b"n") == b"20"

    with_store(test)


def test_a_deadlock_between_two_clients_is_found_at_once_and_shows_its_cycle() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with client_of(server) as other:
            one, two = store.begin(), other.begin()
            await one.put(b"a", b"1")
            await two.put(b"b", b"2")
            waiting = asyncio.create_task(one.put(b"b", b"1"))
            await asyncio.sleep(0.01)
            began = asyncio.get_running_loop().time()
            with pytest.raises(Deadlock) as caught:
                await asyncio.gather(waiting, two.put(b"a", b"2"))
            assert asyncio.get_running_loop().time() - began < 0.01
            assert str(one.id) in str(caught.value)
            assert str(two.id) in str(caught.value)
            for transaction in (one, two):
                await transaction.rollback()

    with_store(test)


def test_savepoints_undo_their_block_and_nothing_else() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            await transaction.put(b"a", b"1")
            with pytest.raises(KeyError):
                async with transaction.savepoint():
                    await transaction.put(b"a", b"2")
                    async with transaction.savepoint():
                        await transaction.put(b"b", b"3")
                    raise KeyError
            async with transaction.savepoint():
                await transaction.put(b"c", b"4")
        assert [await get(store, key) for key in (b"a", b"b", b"c")] == [b"1", None, b"4"]

    with_store(test)


@pytest.mark.parametrize("depth", [-1, 0, 2, 99])
def test_a_savepoint_that_is_not_there_cannot_be_ended(depth: int) -> None:
    async def test(server: StoreServer, _store: StoreClient) -> None:
        async with await connect(*server.address) as raw:
            await raw.call("begin", 1, "repeatable read", False)
            assert await raw.call("savepoint", 1) == 1
            for method in ("undo_savepoint", "keep_savepoint"):
                with pytest.raises((InvalidArgument, InvalidState)):
                    await raw.call(method, 1, depth)

    with_store(test)


def test_versions_and_transactions_are_seen_from_outside() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        await put(store, b"a", b"1")
        async with store.begin() as writer:
            await writer.put(b"a", b"2")
            waiter = store.begin(isolation=Isolation.READ_COMMITTED)
            waiting = asyncio.create_task(waiter.get_for_update(b"a"))
            await asyncio.sleep(0.01)
            assert [(v.position, v.value, v.transaction) for v in await store.versions(b"a")] == [
                (None, b"2", writer.id),
                (1, b"1", None),
            ]
            first, second = await store.transactions()
            assert (first.id, first.state, first.locks) == (writer.id, "active", [b"a"])
            assert second.isolation is Isolation.READ_COMMITTED
            assert (second.state, second.waits_for_key) == ("waiting", b"a")
            assert second.waits_for == [writer.id]
        assert await waiting == b"2"
        await waiter.rollback()

    with_store(test)


def test_the_metrics_of_a_server_show_the_store() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        await put(store, b"a", b"1")
        text = await store.metrics()
        assert "\nsdkit_store_keys 1\n" in text
        assert "\nsdkit_server_connections 1\n" in text

    with_store(test)


# What the network can do to a transaction


def test_a_client_that_goes_away_gives_its_locks_to_the_next_at_once() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with client_of(server) as goner:
            transaction = goner.begin()
            await transaction.put(b"a", b"1")
            waiting = asyncio.create_task(put(store, b"a", b"2"))
            await asyncio.sleep(0.01)
            assert not waiting.done()
        async with asyncio.timeout(0.1):
            await waiting
        assert await get(store, b"a") == b"2"
        assert not server.engine.database.transactions

    with_store(test)


def test_a_client_that_goes_away_while_it_waits_leaves_the_queue() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as holder:
            await holder.put(b"a", b"1")
            async with client_of(server) as goner:
                waiting = asyncio.create_task(goner.begin().put(b"a", b"2"))
                await asyncio.sleep(0.01)
            with pytest.raises(TransactionLost):
                await waiting
        assert await get(store, b"a") == b"1"
        assert not server.engine.database.transactions

    with_store(test)


def test_a_commit_completes_although_its_client_has_gone() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        goner = StoreClient(*server.address)
        transaction = goner.begin()
        await transaction.put(b"a", b"1")
        committing = asyncio.create_task(transaction.commit())
        await asyncio.sleep(SLOW_S / 2)
        await goner.close()
        with pytest.raises(ConnectionLost):
            await committing
        assert await get(store, b"a") is None, "visible before it is durable"
        await asyncio.sleep(SLOW_S)
        assert await get(store, b"a") == b"1"

    with_store(test, sync_s=SLOW_S)


def test_a_transaction_whose_connection_is_lost_before_commit_did_not_happen() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        transaction = store.begin()
        await transaction.put(b"a", b"1")
        for connection in list(server.connections.values()):
            connection.begin_close()
        with pytest.raises(TransactionLost, match="nothing of the transaction happened"):
            await transaction.put(b"b", b"2")
        with pytest.raises(TransactionLost):
            await transaction.commit()
        await transaction.rollback()
        assert await get(store, b"a") is None, "and the client has connected again"

    with_store(test)


def test_run_goes_on_over_a_new_connection() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        tries = 0

        async def cut_the_first_time(transaction: Any) -> None:
            nonlocal tries
            tries += 1
            await transaction.put(b"a", b"%d" % tries)
            if tries == 1:
                for connection in list(server.connections.values()):
                    connection.begin_close()
            await transaction.put(b"b", b"%d" % tries)

        await store.run(cut_the_first_time)
        assert (await get(store, b"a"), await get(store, b"b")) == (b"2", b"2")

    with_store(test)


def test_a_commit_whose_answer_is_late_is_indeterminate_and_may_have_happened() -> None:
    async def main() -> None:
        async with (
            serving(sync_s=SLOW_S) as server,
            client_of(server, timeout_s=1.0) as hasty,
            client_of(server) as store,
        ):
            transaction = hasty.begin()
            await transaction.put(b"a", b"1")
            with pytest.raises(TimeoutError):
                await transaction.commit()
            with pytest.raises(InvalidState, match="its answer was lost"):
                await transaction.get(b"a")
            await asyncio.sleep(SLOW_S)
            assert await get(store, b"a") == b"1"

    run(main())


def test_a_commit_that_is_refused_gives_its_locks_back() -> None:
    """All the calls that a connection may have wait for a lock; the commit is one too many."""

    async def test(server: StoreServer, store: StoreClient) -> None:
        holder = store.begin()
        await holder.put(b"hot", b"1")
        full = StoreClient(*server.address)
        refused = full.begin()
        await refused.put(b"mine", b"1")
        others = [full.begin() for _ in range(8)]
        for other in others:
            await other.get(b"hot")
        waiting = [asyncio.create_task(other.put(b"hot", b"2")) for other in others]
        await asyncio.sleep(0.1)
        with pytest.raises(Overloaded):
            await refused.commit()
        with pytest.raises(InvalidState, match="its commit was refused"):
            await refused.get(b"mine")
        await holder.rollback()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(1):
            await put(store, b"mine", b"2")
        assert await get(store, b"mine") == b"2"
        await full.close()

    with_store(test, calls_in_flight_max=8)


def test_a_commit_that_is_cancelled_gives_its_locks_back_however_it_ends() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        transaction = store.begin()
        await transaction.put(b"a", b"1")
        committing = asyncio.create_task(transaction.commit())
        await asyncio.sleep(0)
        committing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await committing
        async with asyncio.timeout(1):
            await store.run(lambda other: other.put(b"a", b"2"))
        assert await get(store, b"a") == b"2"
        assert not server.engine.database.transactions

    with_store(test)


def test_a_statement_that_is_late_ends_its_transaction() -> None:
    async def main() -> None:
        async with (
            serving() as server,
            client_of(server, timeout_s=1.0) as hasty,
            client_of(server) as store,
        ):
            async with store.begin() as holder:
                await holder.put(b"a", b"1")
                transaction = hasty.begin()
                await transaction.put(b"b", b"2")
                with pytest.raises(TransactionLost, match="put was not answered"):
                    await transaction.put(b"a", b"2")
            await asyncio.sleep(0.1)
            assert await get(store, b"b") is None
            assert not server.engine.database.transactions

    run(main())


def test_a_scan_that_is_late_ends_its_transaction() -> None:
    async def main() -> None:
        async with (
            serving(serializable="locking") as server,
            client_of(server, timeout_s=1.0) as hasty,
            client_of(server) as store,
        ):
            async with store.begin() as holder:
                await holder.put(b"a", b"1")
                transaction = hasty.begin(isolation="serializable")
                await transaction.put(b"b", b"2")
                began_s = asyncio.get_running_loop().time()
                with pytest.raises(TransactionLost, match="scan was not answered"):
                    await anext(transaction.scan())
                assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.0, abs=0.1)
            await asyncio.sleep(0.1)
            assert await get(store, b"b") is None
            assert not server.engine.database.transactions

    run(main())


def test_a_scan_may_take_longer_than_a_wait_for_its_rows() -> None:
    async def main() -> None:
        async with serving() as server, client_of(server, timeout_s=1.0) as store:
            for key in (b"a", b"b", b"c"):
                await put(store, key, bytes(40_000))
            async with store.begin() as transaction:
                keys = []
                async for key, _ in transaction.scan():
                    keys.append(key)
                    await asyncio.sleep(0.9)
            assert keys == [b"a", b"b", b"c"]

    run(main())


def test_a_statement_that_is_cancelled_on_the_way_ends_its_transaction() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as holder:
            await holder.put(b"a", b"1")
            transaction = store.begin()
            await transaction.put(b"b", b"2")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await transaction.put(b"a", b"2")
            with pytest.raises(InvalidState, match="put was cancelled"):
                await transaction.commit()
        assert await get(store, b"b") is None
        assert not server.engine.database.transactions

    with_store(test)


def test_an_idle_transaction_is_ended_and_says_so() -> None:
    async def test(_server: StoreServer, store: StoreClient) -> None:
        transaction = store.begin()
        await transaction.put(b"a", b"1")
        await asyncio.sleep(100)
        with pytest.raises(IdleTimeout):
            await transaction.put(b"b", b"2")
        assert await get(store, b"a") is None

    with_store(test)


def test_a_client_that_stops_reading_in_the_middle_of_a_scan_hinders_nobody() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        async with store.begin() as transaction:
            for number in range(4_000):
                await transaction.put(b"%05d" % number, b"x" * 1_000)
        async with client_of(server) as sleeper:
            transaction = sleeper.begin()
            scan = transaction.scan()
            await anext(scan)
            for number in range(10):
                await put(store, b"other", b"%d" % number)
            await asyncio.sleep(10)
            waiting = sum(map(unsent_bytes, server.connections.values()))
            assert waiting < 600_000, "of four million bytes"
            await scan.aclose()  # type: ignore[attr-defined]

    with_store(test)


def unsent_bytes(connection: Connection) -> int:
    assert connection._flow.transport is not None
    return connection._flow.transport.get_write_buffer_size()


def test_too_many_connections_are_told_so() -> None:
    async def test(server: StoreServer, store: StoreClient) -> None:
        with pytest.raises(Overloaded, match="1 connections"):
            await StoreClient(*server.address).connect()
        assert await get(store, b"a") is None

    with_store(test, connections_max=1)


def test_a_wrong_secret_is_refused_and_never_sent() -> None:
    async def main() -> None:
        async with serving(secret="correct horse") as server:
            with pytest.raises(AuthenticationFailed):
                await StoreClient(*server.address, secret="wrong battery").connect()
            with pytest.raises(AuthenticationFailed):
                await StoreClient(*server.address).connect()
            async with client_of(server, secret="correct horse") as store:
                await put(store, b"a", b"1")

    run(main())


def test_a_server_that_is_not_there_is_not_connected() -> None:
    async def main() -> None:
        async with serving() as server:
            address = server.address
        with pytest.raises(NotConnected):
            await StoreClient(*address).connect()

    run(main())


def test_a_closed_client_begins_nothing() -> None:
    async def test(server: StoreServer, _store: StoreClient) -> None:
        gone = StoreClient(*server.address)
        transaction = gone.begin()
        await gone.close()
        with pytest.raises(Closed):
            gone.begin()
        with pytest.raises(Closed):
            await transaction.get(b"a")

    with_store(test)


def test_a_stop_under_load_ends_in_time_and_keeps_what_was_acknowledged() -> None:
    async def main() -> None:
        disk = SimulatedDisk(sync_s=0.01)
        acknowledged: list[bytes] = []

        async def write(address: tuple[str, int], name: int) -> None:
            async with StoreClient(*address) as store:
                for number in range(10_000):
                    key = b"%d/%d" % (name, number)
                    try:
                        await put(store, key, b"1")
                    except (NotConnected, Closed, ConnectionLost, TransactionLost):
                        return
                    acknowledged.append(key)

        loop = asyncio.get_running_loop()
        async with StoreServer(SimulatedHost("db", disk), StoreServerConfig(grace_s=2)) as server:
            writers = [asyncio.create_task(write(server.address, name)) for name in range(8)]
            await asyncio.sleep(1)
            stopping_at = loop.time()
        assert loop.time() - stopping_at < 2.5
        await asyncio.gather(*writers)
        assert len(acknowledged) > 100
        async with (
            StoreServer(SimulatedHost("db", disk), StoreServerConfig()) as server,
            client_of(server) as store,
            store.begin() as transaction,
        ):
            kept = {key async for key, _ in transaction.scan()}
        assert kept >= set(acknowledged)

    run(main())


def test_a_value_that_fits_in_no_frame_is_refused_when_the_config_is_made() -> None:
    with pytest.raises(InvalidArgument, match="frame_bytes_max is 1048576"):
        StoreServerConfig(frame_bytes_max=1 << 20)


def test_a_read_that_is_given_up_leaves_nothing_behind_and_its_transaction_goes_on() -> None:
    """Over TCP the next statement may come before the cancelled one has ended."""

    async def main() -> None:
        config = StoreServerConfig(serializable="locking")
        async with (
            StoreServer(SimulatedHost("db"), config) as server,
            StoreClient(*server.address) as holding,
            StoreClient(*server.address) as store,
        ):
            holder = holding.begin()
            await holder.put(b"s", b"1")
            for number in range(20):
                async with store.begin(isolation=Isolation.SERIALIZABLE) as transaction:
                    await transaction.put(b"own", b"%d" % number)
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(transaction.get(b"s"), 0.01)
                    if number % 2:
                        await transaction.put(b"own too", b"1")
            await holder.commit()
            assert not await store.transactions()
            assert server.gauges()["store.uncommitted_bytes"] == 0
            assert await get(store, b"own") == b"19"

    run(main())


def test_a_commit_that_is_refused_does_not_hide_its_transaction() -> None:
    """Two tasks use one transaction; when their client goes away, so does it."""

    async def main() -> None:
        config = StoreServerConfig(serializable="locking")
        async with (
            StoreServer(SimulatedHost("db"), config) as server,
            StoreClient(*server.address) as holding,
        ):
            holder = holding.begin()
            await holder.put(b"s", b"1")
            async with StoreClient(*server.address) as store:
                connection = await store.connect()
                connection.start("begin", 1, "serializable", False)
                await connection.call("put", 1, b"own", b"1")
                waiting = connection.start("get", 1, b"s")
                with pytest.raises(InvalidState, match="one task at a time"):
                    await connection.call("commit", 1)
                assert not waiting.done()
            await asyncio.sleep(1)
            assert [info.locks for info in await holding.transactions()] == [[b"s"]]
            await asyncio.gather(waiting, return_exceptions=True)

    run(main())
