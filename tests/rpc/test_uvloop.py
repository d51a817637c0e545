"""All of it runs on uvloop, the event loop that many asyncio servers run on."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme

from sdkit.errors import (
    AuthenticationFailed,
    ConnectionLost,
    DeadlineExceeded,
    InternalError,
    InvalidArgument,
    InvalidState,
    NotConnected,
    Overloaded,
)
from sdkit.rpc import Connection, connect
from sdkit.storage import LocalHost
from sdkit.store import StoreClient, StoreServer, StoreServerConfig
from tests.rpc.services import SECRET, connected, serving

uvloop = pytest.importorskip("uvloop")


def run(main: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def test_calls_streams_and_errors() -> None:
    async def main() -> None:
        async with connected(secret=SECRET) as (_, connection):
            blob = b"x" * 1_000_000
            calls = [connection.call("echo", [number, blob]) for number in range(20)]
            assert await asyncio.gather(*calls) == [[number, blob] for number in range(20)]
            assert len([row async for row in connection.stream("count", 3000, 300)]) == 3000
            with pytest.raises(InternalError):
                await connection.call("fail")
            with pytest.raises(InvalidArgument):
                await connection.call("echo", {(1,): 2})
            with pytest.raises(DeadlineExceeded):
                await connection.call("sleep", 1000.0, timeout_s=0.01)
            connection.notify("echo", 1)

    run(main())


def test_both_ways_and_giving_up() -> None:
    stopped = asyncio.Event()

    async def ask_back(connection: Connection) -> object:
        return await connection.call("name")

    async def endless(_connection: Connection) -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 10_000
        finally:
            stopped.set()

    async def main() -> None:
        handlers = {"ask_back": ask_back, "endless": endless}
        async with (
            serving(handlers) as server,
            await connect(*server.address, handlers={"name": lambda _c: "ada"}) as connection,
        ):
            assert await connection.call("ask_back") == "ada"
            async with connection.stream("endless") as items:
                async for _ in items:
                    break
            await stopped.wait()
            waiting = asyncio.ensure_future(connection.call("sleep", 1000.0))
            await asyncio.sleep(0)
            await connection.close()
            with pytest.raises(ConnectionLost):
                await waiting

    run(main())


def test_whom_it_does_not_let_in() -> None:
    async def main() -> None:
        async with serving(secret=SECRET, connections_max=1) as server:
            with pytest.raises(AuthenticationFailed):
                await connect(*server.address, secret="another one")
            async with await connect(*server.address, secret=SECRET):
                with pytest.raises(Overloaded):
                    await connect(*server.address, secret=SECRET)
            address = server.address
        with pytest.raises(NotConnected, match="refused"):
            await connect(*address)

    run(main())


def test_tls() -> None:
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)

    async def main() -> None:
        async with serving(ssl=context) as server:
            connection = await connect(*server.address, ssl=trusting, server_hostname="localhost")
            async with connection:
                assert await connection.call("echo", b"x" * 1_000_000) == b"x" * 1_000_000
            with pytest.raises(NotConnected, match="TLS"):
                await connect(*server.address)
            with pytest.raises(AuthenticationFailed):
                await connect(*server.address, ssl=ssl.create_default_context())

    run(main())


def test_a_slow_reader_pushes_back() -> None:
    made = 0

    async def endless(_connection: Connection) -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * 10_000

    async def main() -> None:
        async with connected({"endless": endless}) as (_, connection):
            stream = connection.stream("endless")
            await anext(stream)
            seen = -1
            while seen != made:  # until it stands still
                seen = made
                await asyncio.sleep(0.05)
            assert made < 100
            await stream.aclose()

    run(main())


def test_a_connection_of_another_loop_is_refused_by_name() -> None:
    kept: list[Connection] = []

    async def first() -> None:
        async with serving() as server:
            kept.append(await connect(*server.address))
            await kept[0].close()
            kept.append(await connect(*server.address))

    async def second() -> None:
        with pytest.raises(InvalidState, match="event loop"):
            await kept[1].call("echo", 1)

    run(first())
    run(second())


def test_a_store_and_its_client(tmp_path: Path) -> None:
    async def main() -> None:
        with LocalHost("db", tmp_path) as host:
            async with (
                StoreServer(host, StoreServerConfig()) as server,
                StoreClient(*server.address) as store,
            ):
                async with store.begin() as transaction:
                    for number in range(300):
                        await transaction.put(b"%03d" % number, b"x" * 100)
                async with store.begin() as transaction:
                    rows = [key async for key, _ in transaction.scan()]
                assert len(rows) == 300

    run(main())
