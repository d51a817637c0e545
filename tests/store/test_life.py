"""What a store survives, and how it says so: threads, loops, forks, and what its users drop."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, TypeAlias

import pytest

from sdkit.errors import InvalidArgument, InvalidState
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.storage import LocalHost
from sdkit.store import (
    Deadlock,
    Isolation,
    ReadOnlyTransaction,
    SerializationFailure,
    Store,
    StoreClient,
    StoreConfig,
    StoreEngine,
    StoreServer,
    StoreServerConfig,
    Transaction,
)
from sdkit.store.statements import OpenTransaction
from tests.store.stores import engine_on, until

Opened: TypeAlias = Callable[[], Any]


@asynccontextmanager
async def embedded() -> AsyncIterator[tuple[Store, StoreEngine]]:
    async with engine_on() as store:
        yield store, store


@asynccontextmanager
async def over_tcp() -> AsyncIterator[tuple[Store, StoreEngine]]:
    async with (
        StoreServer(SimulatedHost("db"), StoreServerConfig()) as server,
        StoreClient(*server.address) as client,
    ):
        yield client, server.engine


WAYS = pytest.mark.parametrize("opened", [embedded, over_tcp])


def in_a_thread(main: Callable[[], Coroutine[Any, Any, object]]) -> BaseException | None:
    """What an event loop of its own, in another thread, gets."""
    caught: list[BaseException] = []

    def work() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(timeout=10)
    assert not thread.is_alive(), "it hangs"
    return caught[0] if caught else None


# Threads, loops, forks


def test_from_another_thread_and_loop_every_call_is_refused_and_nothing_hangs() -> None:
    async def main() -> None:
        host = SimulatedHost("db")
        async with StoreEngine(host) as store:
            holder, waiter = store.begin(), store.begin()
            await holder.put(b"a", b"1")

            async def begin() -> None:
                store.begin()

            async def work(transaction: Transaction) -> None:
                raise AssertionError("it was called")

            calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
                begin,
                lambda: store.run(work),
                store.transactions,
                store.sync,
                store.close,
                holder.commit,
                holder.rollback,
                lambda: waiter.put(b"a", b"2"),
                lambda: waiter.get_for_update(b"a"),
            ]
            for call in calls:
                error = in_a_thread(call)
                assert isinstance(error, InvalidState), call
                assert "belongs to the event loop that it was opened on" in str(error)
            await holder.commit()
            assert await waiter.get(b"a") == b"1"
            await waiter.commit()

    asyncio.run(main())


def test_a_client_in_a_second_asyncio_run_is_refused_by_name() -> None:
    async def first() -> StoreClient:
        async with StoreServer(SimulatedHost("db"), StoreServerConfig()) as server:
            client = StoreClient(*server.address)
            async with client.begin() as transaction:
                await transaction.put(b"a", b"1")
            return client

    async def second(client: StoreClient) -> None:
        transaction = client.begin()
        for statement in (transaction.get(b"a"), client.versions(b"a"), client.close()):
            with pytest.raises(InvalidState, match="a StoreClient belongs to the event loop"):
                await statement
        await transaction.rollback()

    client = asyncio.run(first())
    asyncio.run(second(client))


def test_a_transaction_of_a_client_is_refused_on_another_loop() -> None:
    async def main() -> None:
        async with over_tcp() as (store, _):
            transaction = store.begin()
            await transaction.put(b"a", b"1")
            for call in (
                lambda: transaction.get(b"a"),
                lambda: transaction.put(b"a", b"2"),
                transaction.commit,
                transaction.rollback,
            ):
                error = in_a_thread(call)
                assert isinstance(error, InvalidState), error
            await transaction.commit()

    asyncio.run(main())


def test_without_a_loop_begin_is_refused() -> None:
    async def main() -> StoreEngine:
        async with StoreEngine(SimulatedHost("db")) as store:
            caught: list[BaseException] = []

            def work() -> None:
                try:
                    store.begin()
                except InvalidState as error:
                    caught.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            assert "this call comes from no event loop" in str(caught[0])
        return store

    asyncio.run(main())


def test_a_call_may_be_handed_over_from_another_thread() -> None:
    """The remedy that the error names."""

    async def increment(transaction: Transaction) -> int:
        number = int(await transaction.get_for_update(b"n") or b"0") + 1
        await transaction.put(b"n", b"%d" % number)
        return number

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with StoreEngine(SimulatedHost("db")) as store:

            def work() -> int:
                call = asyncio.run_coroutine_threadsafe(store.run(increment), loop)
                return call.result(timeout=10)

            found = await asyncio.gather(*(asyncio.to_thread(work) for _ in range(8)))
            assert sorted(found) == list(range(1, 9))

    asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
def test_a_forked_child_is_refused() -> None:
    async def main() -> int:
        async with StoreEngine(SimulatedHost("db")) as store:
            child = os.fork()
            if not child:
                try:
                    store.begin()
                except InvalidState:
                    os._exit(7)
                os._exit(1)
            _, status = await asyncio.to_thread(os.waitpid, child, 0)
            return os.waitstatus_to_exitcode(status)

    assert asyncio.run(main()) == 7


def test_an_engine_is_entered_once() -> None:
    async def main() -> None:
        store = StoreEngine(SimulatedHost("db"))
        async with store:
            with pytest.raises(InvalidState, match="entered once"):
                await store.__aenter__()
            async with store.begin() as transaction:
                await transaction.put(b"a", b"1")
        with pytest.raises(InvalidState, match="entered once"):
            await store.__aenter__()

    run(main())


@WAYS
def test_a_savepoint_is_entered_once(opened: Opened) -> None:
    async def main() -> None:
        async with opened() as (store, _), store.begin() as transaction:
            block = transaction.savepoint()
            async with block:
                with pytest.raises(InvalidState, match="entered twice"):
                    await block.__aenter__()

    run(main())


# Dropped


@contextmanager
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@WAYS
def test_dropped_while_open_it_warns_and_its_locks_are_free_at_once(opened: Opened) -> None:
    async def main() -> None:
        async with opened() as (store, engine), store.begin() as other:
            with without_the_collector():
                transaction = store.begin()
                await transaction.put(b"a", b"1")
                waiting = asyncio.ensure_future(other.put(b"a", b"2"))
                await until(lambda: bool(engine.database.locks.waits))
                with pytest.warns(ResourceWarning, match="was dropped while it was open"):
                    del transaction
                await waiting
            assert len(engine.database.transactions) == 1

    run(main())


def test_dropped_in_another_thread_it_is_ended_at_home() -> None:
    async def main() -> None:
        async with StoreEngine(SimulatedHost("db")) as store:
            held = [store.begin()]
            await held[0].put(b"a", b"1")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                await asyncio.to_thread(held.clear)
            async with store.begin() as other:
                await other.put(b"a", b"2")

    asyncio.run(main())


def test_a_scan_keeps_its_transaction_and_so_does_a_savepoint() -> None:
    async def main() -> None:
        async with engine_on() as store:
            async with store.begin() as transaction:
                await transaction.put(b"a", b"1")
            rows = store.begin().scan()
            assert await anext(rows) == (b"a", b"1")
            block = store.begin().savepoint()
            async with block:
                assert len(store.database.transactions) == 2
            with pytest.warns(ResourceWarning):
                del block
            with pytest.warns(ResourceWarning):
                await rows.aclose()

    run(main())


async def commits(store: Store) -> Transaction:
    transaction = store.begin()
    await transaction.put(b"a", b"1")
    await transaction.commit()
    return transaction


async def rolls_back(store: Store) -> Transaction:
    transaction = store.begin()
    async with transaction.savepoint():
        await transaction.put(b"a", b"1")
    assert [row async for row in transaction.scan()]
    await transaction.rollback()
    return transaction


async def is_refused(store: Store) -> Transaction:
    transaction = store.begin(read_only=True)
    with pytest.raises(ReadOnlyTransaction):
        await transaction.put(b"a", b"1")
    await transaction.commit()
    return transaction


async def loses(store: Store) -> Transaction:
    transaction = store.begin()
    await transaction.get(b"a")
    async with store.begin() as faster:
        await faster.put(b"a", b"1")
    with pytest.raises(SerializationFailure):
        await transaction.put(b"a", b"2")
    with pytest.raises(SerializationFailure):
        await transaction.get(b"a")
    return transaction


async def is_a_victim(store: Store) -> Transaction:
    older, younger = store.begin(), store.begin()
    await older.put(b"a", b"1")
    await younger.put(b"b", b"1")
    waiting = asyncio.ensure_future(older.put(b"b", b"2"))
    await asyncio.sleep(0.1)
    with pytest.raises(Deadlock):
        await younger.put(b"a", b"2")
    await waiting
    await older.commit()
    return younger


async def is_cancelled(store: Store) -> Transaction:
    holder, waiter = store.begin(), store.begin()
    await holder.put(b"a", b"1")
    waiting = asyncio.ensure_future(waiter.put(b"a", b"2"))
    await asyncio.sleep(0.1)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await holder.rollback()
    await waiter.rollback()
    return waiter


ENDS: list[Callable[[Store], Awaitable[Transaction]]] = [
    commits,
    rolls_back,
    is_refused,
    loses,
    is_a_victim,
    is_cancelled,
]


@WAYS
@pytest.mark.parametrize("ends", ENDS)
def test_what_has_ended_and_is_dropped_is_freed_without_the_collector(
    opened: Opened, ends: Callable[[Store], Awaitable[Transaction]]
) -> None:
    async def main() -> None:
        async with opened() as (store, _):
            with without_the_collector():
                transaction = await ends(store)
                await asyncio.sleep(0.1)
                there = weakref.ref(transaction)
                del transaction
                await asyncio.sleep(0.1)
                assert there() is None, gc.get_referrers(there())
                alive = [it for it in gc.get_objects() if isinstance(it, OpenTransaction)]
                assert not alive

    run(main())


def test_a_closed_engine_is_freed_without_the_collector() -> None:
    async def main() -> None:
        with without_the_collector():
            store = StoreEngine(SimulatedHost("db"))
            async with store:
                await commits(store)
                await loses(store)
            await asyncio.sleep(0.1)
            there = weakref.ref(store)
            del store
            assert there() is None, gc.get_referrers(there())

    run(main())


def test_a_client_that_is_dropped_while_connected_warns_and_its_connection_ends() -> None:
    async def main() -> None:
        async with StoreServer(SimulatedHost("db"), StoreServerConfig()) as server:
            clients = [await StoreClient(*server.address).__aenter__()]
            assert len(server.connections) == 1
            with pytest.warns(ResourceWarning, match="dropped while it was connected"):
                clients.clear()
            await asyncio.sleep(1)
            assert not server.connections

    run(main())


# What is shown, and what is asked


def test_a_store_and_its_transactions_say_what_they_are() -> None:
    async def main() -> None:
        host = SimulatedHost("db")
        store = StoreEngine(host)
        assert repr(store) == "<StoreEngine on 'db', not open yet, at position 0, 0 transactions>"
        async with StoreServer(host, StoreServerConfig()) as server:
            store = server.engine
            client = StoreClient(*server.address, secret="hidden")
            address = f"127.0.0.1:{server.address[1]}"
            assert repr(client) == f"<StoreClient of {address}, not connected>"
        async with embedded() as (_, store), over_tcp() as (remote, _):
            for each in (store, remote):
                reader = each.begin(isolation="serializable", read_only=True)
                await reader.get(b"a")
                shown = repr(reader)
                assert shown == f"<transaction {reader.id}, serializable, read-only, active>"
                await reader.rollback()
                assert "rolled back" in repr(reader)
            assert "open, at position 0, 0 transactions" in repr(store)
            assert "connected" in repr(remote)

    run(main())


def test_a_handle_shows_what_a_transaction_promises_and_nothing_else() -> None:
    async def main() -> None:
        async with engine_on() as store, store.begin() as transaction:
            names = {name for name in dir(transaction) if not name.startswith("_")}
            assert names == {
                *("id", "isolation", "read_only"),
                *("get", "get_for_update", "put", "delete", "scan", "savepoint"),
                *("commit", "rollback"),
            }

    run(main())


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [("store://127.0.0.1:7000", "127.0.0.1", 7000), ("store://[::1]:1/", "::1", 1)],
)
def test_a_client_is_made_of_a_url(url: str, host: str, port: int) -> None:
    client = StoreClient.from_url(url, timeout_s=1.0)
    assert (client.address, client.timeout_s) == ((host, port), 1.0)


@pytest.mark.parametrize(
    "url",
    [
        *("", "store://", "store://host", "store://:7000", "store://host:0", "store://host:70000"),
        *("http://host:7000", "host:7000", "store://me:secret@host:7000", "store://host:7000/path"),
        *("store://host:7000#a", "store://ho\nst:7000"),
        *("store://host:7000\n", " store://host:7000"),
        *("store://host:7000?a=b", "store://[::1:7000", 7, None, b"store://host:7000", ["store"]),
    ],
)
def test_what_is_no_address_of_a_store_is_refused(url: object) -> None:
    with pytest.raises(InvalidArgument, match="write store://HOST:PORT"):
        StoreClient.from_url(url)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("host", value) for value in ("", None, 7, b"127.0.0.1")),
        *(("port", value) for value in (0, -1, 65536, True, "7000", 7000.0, None)),
        *(("timeout_s", value) for value in (-1, float("nan"), float("inf"), True, "3")),
        *(("connect_timeout_s", value) for value in (None, -1, float("nan"), 1e9, "3")),
    ],
)
def test_an_argument_of_a_client_that_cannot_be_meant_is_refused(name: str, value: object) -> None:
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 7000, name: value}
    with pytest.raises(InvalidArgument, match=f"{name} is"):
        StoreClient(**given)


async def generates(transaction: Transaction) -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [None, 7, "put", [], generates])
@WAYS
def test_run_refuses_what_is_no_function_before_it_begins(opened: Opened, function: Any) -> None:
    async def main() -> None:
        async with opened() as (store, engine):
            with pytest.raises(InvalidArgument, match="function is"):
                await store.run(function)
            assert engine.database.next_id() == 1, "nothing was begun"

    run(main())


@WAYS
def test_run_refuses_a_plain_function_and_commits_nothing_of_it(opened: Opened) -> None:
    async def main() -> None:
        async with opened() as (store, engine):
            with pytest.raises(InvalidArgument, match="an `async def`"):
                await store.run(lambda transaction: 7)
            assert not engine.database.transactions

    run(main())


def test_levels_are_named_by_their_text_as_well() -> None:
    async def work(transaction: Transaction) -> Isolation:
        return transaction.isolation

    async def main() -> None:
        async with embedded() as (one, _), over_tcp() as (other, _):
            for store in (one, other):
                assert await store.run(work, isolation="serializable") == "serializable"
                assert await store.run(work, isolation=Isolation.SERIALIZABLE) == "serializable"

    run(main())


def test_a_store_of_one_loop_can_be_opened_again_on_another(tmp_path: Any) -> None:
    async def once(number: int) -> int:
        with LocalHost("db", tmp_path) as host:
            async with StoreEngine(host, StoreConfig()) as store:
                async with store.begin() as transaction:
                    await transaction.put(b"%d" % number, b"")
                async with store.begin() as transaction:
                    return len([row async for row in transaction.scan()])

    assert [asyncio.run(once(number)) for number in range(3)] == [1, 2, 3]
