"""Server: a config that refuses by name, a start that listens, an end that leaves nothing."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import pytest

from sdkit.errors import (
    AddressInUse,
    Closed,
    ConnectionLost,
    InvalidArgument,
    InvalidState,
    Overloaded,
)
from sdkit.net import InsecureListener
from sdkit.rpc import Connection, Interrupted, Server, ServerConfig, connect
from sdkit.rpc.messages import CALL
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from tests.rpc.services import HANDLERS, connected, echo, now, raw_peer, serving


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", -1),
        ("port", 65536),
        ("host", ""),
        ("secret", "short"),
        ("connections_max", 0),
        ("calls_in_flight_max", 0),
        ("frame_bytes_max", 100),
        ("stream_window_bytes", 0),
        ("write_buffer_bytes", 0),
        ("write_buffer_bytes_max", 1),
        ("handshake_timeout_s", 0),
        ("idle_timeout_s", -1.0),
        ("stall_timeout_s", 0),
        ("keepalive_s", 0),
        ("grace_s", -1),
    ],
)
def test_a_bad_value_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=name):
        ServerConfig(**{name: value})


def test_a_port_in_use_is_an_error_that_names_it() -> None:
    async def main() -> None:
        async with serving() as first:
            host, port = first.address
            with pytest.raises(AddressInUse, match=f"cannot listen on 127.0.0.1:{port}"):
                async with serving(host=host, port=port):
                    pass
            async with await connect(host, port) as connection:
                assert await connection.call("echo", 1) == 1

    run(main())


def test_listening_wider_without_secret_or_tls_warns_and_with_a_secret_does_not() -> None:
    async def main(**config: Any) -> None:
        async with serving(host="0.0.0.0", **config):
            pass

    with pytest.warns(InsecureListener, match="everybody who reaches this address"):
        asyncio.run(main())
    asyncio.run(main(secret="long enough"))  # a warning would be an error here


def test_one_connection_too_many_is_told_so_and_the_others_stay() -> None:
    async def main() -> None:
        async with serving(connections_max=2) as server:
            first = await connect(*server.address)
            second = await connect(*server.address)
            with pytest.raises(Overloaded, match="2 connections already"):
                await connect(*server.address)
            assert await first.call("echo", 1) == 1
            await first.close()
            await asyncio.sleep(0.1)
            async with await connect(*server.address) as third:
                assert await third.call("echo", 3) == 3
            await second.close()
            assert "sdkit_server_connections_refused_total 1" in server.metrics_text()

    run(main())


def test_what_was_begun_is_finished_and_what_was_not_is_known_not_to_have_happened() -> None:
    async def main() -> None:
        server = Server(HANDLERS, ServerConfig(grace_s=10.0))
        await server.__aenter__()
        connection = await connect(*server.address)
        begun = connection.start("sleep", 3.0)
        await asyncio.sleep(0.1)
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        crossing = connection.start("echo", 1)  # the goodbye is under way, and so is this
        await asyncio.sleep(0)
        with pytest.raises(Closed, match="did not look at this call"):
            await crossing
        with pytest.raises(Closed, match="takes no new calls"):
            connection.start("echo", 1)
        assert await begun == "awake"
        await leaving
        assert 3.0 <= now() < 3.5
        await connection.close()

    run(main())


def test_what_does_not_end_within_the_grace_time_is_cancelled() -> None:
    async def main() -> None:
        cleaned_up = []

        async def slow(_c: Connection) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                cleaned_up.append(now())

        async with serving({"slow": slow}, grace_s=2.0) as server:
            connection = await connect(*server.address)
            call = connection.start("slow")
            await asyncio.sleep(0.1)
        assert now() == pytest.approx(2.1, abs=0.05)
        assert len(cleaned_up) == 1
        with pytest.raises((Interrupted, ConnectionLost)) as caught:
            await call
        assert caught.value.kind == "indeterminate"
        await connection.close()

    run(main())


def test_idle_connections_do_not_hold_the_end_up() -> None:
    async def main() -> float:
        server = Server(HANDLERS, ServerConfig(grace_s=60.0))
        await server.__aenter__()
        kept = [await connect(*server.address) for _ in range(5)]
        async with raw_peer(server) as stranger:
            await asyncio.sleep(1.0)
            await server.__aexit__(None, None, None)
            took = now() - 1.0
            assert await stranger.hear() == []
        for connection in kept:
            await connection.wait_closed()
        return took

    assert run(main()) < 0.1


def test_nothing_remains_however_it_ends() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(ZeroDivisionError):
            async with serving(grace_s=0.05) as server:
                address = server.address
                connection = await connect(*address)
                connection.start("sleep", 1000.0).add_done_callback(lambda f: f.exception())
                async with raw_peer(server) as peer:
                    await peer.hello()
                    await peer.say([CALL, 1, "sleep", [1000.0], None, None])
                    await asyncio.sleep(0.05)
                    raise ZeroDivisionError
        await connection.close()
        assert asyncio.all_tasks() == before
        assert not server.connections
        with socket.socket() as probe:
            assert probe.connect_ex(address) != 0

    asyncio.run(main())


def test_a_room_starts_before_it_listens_and_stops_after_the_last_handler() -> None:
    happened: list[str] = []

    class Room(Server):
        def handlers(self) -> Mapping[str, Any]:
            return {"echo": echo, "slow": self.slow}

        async def slow(self, _c: Connection) -> None:
            try:
                await asyncio.sleep(1000)
            finally:
                happened.append("handler ended")

        async def starting(self) -> None:
            with pytest.raises(InvalidState, match="does not listen"):
                _ = self.address
            happened.append("recovered")

        async def stopping(self) -> None:
            happened.append("closed")

        def gauges(self) -> Mapping[str, float]:
            return {"room.open_transactions": 3}

    async def main() -> None:
        async with (
            Room(config=ServerConfig(grace_s=0.1), host=SimulatedHost("db")) as room,
            await connect(*room.address) as connection,
        ):
            assert connection.peer == "db"
            assert "sdkit_room_open_transactions 3" in str(await connection.call("metrics"))
            connection.start("slow").add_done_callback(lambda f: f.exception())
            await asyncio.sleep(0.1)
            await connection.call("echo", 1)

    run(main())
    assert happened == ["recovered", "handler ended", "closed"]


def test_a_start_that_fails_closes_what_was_opened() -> None:
    happened: list[str] = []

    class Broken(Server):
        async def starting(self) -> None:
            raise OSError("no disk")

        async def stopping(self) -> None:
            happened.append("closed")

    async def main() -> None:
        with pytest.raises(OSError, match="no disk"):
            async with Broken():
                pass

    run(main())
    assert happened == ["closed"]


def test_every_server_answers_metrics_and_counts_events_when_asked_to() -> None:
    async def main() -> str:
        async with connected(count_events=True) as (_, connection):
            for n in range(3):
                await connection.call("echo", n)
            return str(await connection.call("metrics"))

    text = run(main())
    assert "sdkit_server_connections 1" in text
    assert "sdkit_server_calls_in_flight 1" in text
    assert "sdkit_rpc_begin_seconds_count 3" in text


def test_handlers_run_on_the_host_of_their_server() -> None:
    def where(_c: Connection) -> str:
        from sdkit import host as hosts

        return hosts.current().name

    async def main() -> object:
        async with (
            Server({"where": where}, host=SimulatedHost("db")) as server,
            await connect(*server.address) as connection,
        ):
            return await connection.call("where")

    assert run(main()) == "db"


def test_it_comes_back_on_the_same_port() -> None:
    async def main() -> None:
        async with serving() as server:
            address = server.address
            connection = await connect(*address)
            await connection.call("echo", 1)
        await connection.close()
        async with serving(port=address[1]), await connect(*address) as connection:
            assert await connection.call("echo", 2) == 2

    asyncio.run(main())
