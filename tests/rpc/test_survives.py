"""Threads, event loops, forks and the garbage collector: what each public object survives."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import warnings
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sdkit.errors import InvalidArgument, InvalidState, NotConnected, SdkitError
from sdkit.rpc import Connection, Server, Stream, connect
from sdkit.sim.loop import run
from sdkit.store import StoreClient
from tests.rpc.services import connected, serving


async def forever(_connection: Connection) -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1


async def uses(connection: Connection, stream: Stream) -> list[Coroutine[Any, Any, object]]:
    async def start() -> object:
        return await connection.start("echo", 1)

    async def notify() -> None:
        connection.notify("echo", 1)

    async def new_stream() -> None:
        connection.stream("count", 1)

    async def read() -> object:
        return await anext(stream)

    ends = [connection.close(), connection.wait_closed()]
    return [connection.call("echo", 1), start(), notify(), new_stream(), read(), *ends]


async def refused(connection: Connection, stream: Stream) -> int:
    """How often use from here is refused by name."""
    count = 0
    for use in await uses(connection, stream):
        with pytest.raises(InvalidState, match="event loop"):
            await use
        count += 1
    return count


def in_a_thread(make: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    found: list[Any] = []

    def work() -> None:
        try:
            found.append(asyncio.run(make()))
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return found[0]


def test_a_connection_used_in_another_thread_says_so_and_goes_on() -> None:
    async def main() -> None:
        async with connected({"forever": forever}) as (_, connection):
            stream = connection.stream("forever")
            await anext(stream)

            def elsewhere() -> object:
                return in_a_thread(lambda: refused(connection, stream))

            assert await asyncio.get_running_loop().run_in_executor(None, elsewhere) == 7
            connection.start("echo", 0)  # also in a turn that has read the clock already
            assert elsewhere() == 7
            assert await connection.call("echo", 1) == 1
            assert await anext(stream) == 1

    asyncio.run(main())


def test_a_connection_used_in_a_second_loop_says_so() -> None:
    kept: list[Any] = []

    async def first() -> None:
        server = await Server({"forever": forever}).__aenter__()
        connection = await connect(*server.address)
        stream = connection.stream("forever")
        await anext(stream)
        kept.extend([connection, stream])

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # that loop was left in disorder
        asyncio.run(first())
        assert asyncio.run(refused(*kept)) == 7
        kept.clear()
        gc.collect()


def test_a_connection_used_outside_any_loop_says_so() -> None:
    async def first() -> Connection:
        async with serving() as server:
            return await connect(*server.address)

    connection = asyncio.run(first())
    with pytest.raises(InvalidState, match="event loop"):
        connection.notify("echo", 1)


def status_of_child(use: Callable[[], None]) -> int:
    """0 if ``use`` is refused by name in a forked child."""
    child = os.fork()
    if child == 0:
        try:
            use()
        except InvalidState:
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_connection_used_in_a_forked_child_says_so_and_the_parent_goes_on() -> None:
    async def main() -> None:
        async with connected() as (_, connection):
            assert status_of_child(lambda: connection.notify("echo", 1)) == 0
            assert await connection.call("echo", 1) == 1

    asyncio.run(main())


def test_a_client_of_a_store_used_in_a_second_loop_says_so() -> None:
    async def first(client: StoreClient) -> None:
        async with serving() as server:
            client._port = server.address[1]
            await client.connect()

    async def second(client: StoreClient) -> None:
        transaction = client.begin()
        for use in (client.connect(), client.metrics(), client.close(), transaction.get(b"a")):
            with pytest.raises(InvalidState, match=r"this call comes from another event loop"):
                await use
        await transaction.rollback()  # of which no server knows

    client = StoreClient("127.0.0.1", 1)
    asyncio.run(first(client))
    asyncio.run(second(client))


def test_a_server_left_in_another_loop_says_so() -> None:
    server = Server()

    async def enter() -> None:
        await server.__aenter__()

    async def leave() -> None:
        with pytest.raises(InvalidState, match="left in the event loop"):
            await server.__aexit__(None, None, None)

    first = asyncio.new_event_loop()
    first.run_until_complete(enter())
    asyncio.run(leave())
    first.run_until_complete(server.__aexit__(None, None, None))
    first.close()


def test_a_server_that_does_not_run_cannot_be_left() -> None:
    server = Server()

    async def main() -> None:
        with pytest.raises(InvalidState, match="does not run"):
            await server.__aexit__(None, None, None)
        async with server:
            with pytest.raises(InvalidState, match="runs already"):
                await server.__aenter__()
        with pytest.raises(InvalidState, match="does not run"):
            await server.__aexit__(None, None, None)

    run(main())


# ------------------------------------------------------------- the garbage collector


@contextmanager
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_connection_that_was_closed_and_dropped_is_freed_without_the_collector() -> None:
    async def main() -> None:
        async with serving({"forever": forever}) as server:
            with without_collector():
                connection = await connect(*server.address)
                await connection.call("echo", {"a": 1})
                stream = connection.stream("forever")
                await anext(stream)
                with pytest.raises(SdkitError):
                    await connection.call("fail", timeout_s=1)
                await connection.close()
                with pytest.raises(NotConnected):
                    await connection.call("echo", 1)
                gone: list[weakref.ref[Any]] = [weakref.ref(connection)]
                gone.append(weakref.ref(connection._session))
                del connection, stream
                await asyncio.sleep(0.1)
                assert all(each() is None for each in gone)

    run(main())


def test_so_are_the_servers_ends_and_the_server() -> None:
    gone: list[weakref.ref[Any]] = []

    async def main() -> None:
        server = Server()
        async with server:
            connection = await connect(*server.address)
            with pytest.raises(SdkitError):
                await connection.call("no such method")
            gone.extend(weakref.ref(each) for each in server.connections.values())
            await connection.close()
            await asyncio.sleep(0.1)
            assert server.connections == {}
            assert [each() for each in gone] == [None]
        gone.append(weakref.ref(server))
        del server
        await asyncio.sleep(0.1)
        assert gone[1]() is None

    with without_collector():
        run(main())


def test_so_is_a_connection_that_the_peer_broke_off() -> None:
    async def main() -> None:
        async with serving() as server:
            with without_collector():
                connection = await connect(*server.address)
                (other,) = server.connections.values()
                gone: list[weakref.ref[Any]] = [weakref.ref(connection)]
                gone.append(weakref.ref(other))
                assert connection._flow.transport is not None
                connection._flow.transport.write(b"nonsense")
                await connection.wait_closed()
                del connection, other
                await asyncio.sleep(0.1)
                assert all(each() is None for each in gone)

    run(main())


def test_so_is_one_that_was_never_made() -> None:
    made: list[weakref.ref[Any]] = []

    class Noted(Connection):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            made.append(weakref.ref(self))

    async def main() -> None:
        async with serving(secret="correct horse") as server:
            address = server.address
            with without_collector():
                with pytest.raises(SdkitError):
                    await connect(*address, connection_type=Noted)
                await asyncio.sleep(0.1)
                assert made[0]() is None
        with without_collector():
            with pytest.raises(NotConnected):
                await connect(*address, connection_type=Noted)
            assert made[1]() is None

    run(main())


def test_a_failed_call_leaves_nothing_to_the_collector() -> None:
    class Data(dict[str, int]):
        """Can be referred to weakly."""

    async def main() -> None:
        async with connected({"forever": forever}) as (_, connection):
            with without_collector():
                data = Data(x=1)
                gone = weakref.ref(data)

                async def ask(argument: Data) -> None:
                    with pytest.raises(SdkitError):
                        await connection.call("fail", argument)
                    with pytest.raises(SdkitError):
                        await connection.call("echo", {(1,): argument})
                    with pytest.raises(SdkitError):
                        async for _ in connection.stream("echo", argument):
                            pass

                await ask(data)
                del data
                assert gone() is None

    run(main())


def test_a_client_of_a_store_dropped_while_connected_warns_and_ends_its_connection() -> None:
    async def main() -> None:
        async with serving() as server:
            client = StoreClient(*server.address)
            await client.connect()
            assert len(server.connections) == 1
            gone = weakref.ref(client)
            with without_collector():
                with pytest.warns(ResourceWarning, match="was dropped while"):
                    del client
                assert gone() is None
            await asyncio.sleep(0.1)
            assert server.connections == {}

    run(main())


def test_a_client_of_a_store_that_was_closed_is_freed_in_silence() -> None:
    async def main() -> None:
        async with serving() as server:
            with without_collector(), warnings.catch_warnings():
                warnings.simplefilter("error")
                async with StoreClient(*server.address) as client:
                    gone = weakref.ref(client)
                del client
                assert gone() is None

    run(main())


def test_a_stream_dropped_in_another_thread_is_cancelled_in_its_own() -> None:
    ended = asyncio.Event()

    async def noted(_connection: Connection) -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            ended.set()

    async def main() -> None:
        async with connected({"noted": noted}) as (_, connection):
            held = [connection.stream("noted")]
            await anext(held[0])
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
            async with asyncio.timeout(10):
                await ended.wait()

    asyncio.run(main())


def test_a_server_shows_where_it_listens() -> None:
    async def main() -> None:
        server = Server()
        assert repr(server) == "<Server local, not listening>"
        async with server, await connect(*server.address):
            await asyncio.sleep(0.1)
            assert repr(server) == f"<Server local at 127.0.0.1:{server.address[1]}, 1 connections>"
        assert repr(server) == "<Server local, not listening>"

    run(main())


@pytest.mark.parametrize("given", [{"config": "x" * 10**6}, {"host": list(range(10**5))}])
def test_what_a_server_refuses_it_repeats_in_part(given: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument) as refused:
        Server(**given)
    assert len(str(refused.value)) < 300
