"""Connecting: what cannot work is refused by name, and what fails says why."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme

from sdkit.errors import InvalidArgument, NotConnected, ProtocolError
from sdkit.rpc import Connection, Limits, Server, ServerConfig, connect
from sdkit.sim.loop import run
from sdkit.store import StoreClient
from sdkit.trace.record import Record, listening
from tests.rpc.services import serving


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server on localhost, and of a client that trusts it."""
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"host": "a\0b"}, "^host is "),
    ({"host": "a\ud800"}, "^host is "),
    ({"host": b"localhost"}, "^host is "),
    ({"host": "x" * 1_000_000}, r"^host is .{60,100}1000000 long"),
    ({"port": 80.0}, "^port is "),
    ({"secret": 5}, "^secret is of type int"),
    ({"server_hostname": "localhost"}, "server_hostname is .* ssl is not given"),
    ({"ssl": True}, "^ssl is True"),
    ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, "for the other side"),
    ({"ssl": ssl.create_default_context(), "server_hostname": 5}, "^server_hostname is 5"),
    ({"ssl": ssl.create_default_context(), "server_hostname": "a\0"}, "^server_hostname is"),
]
ONLY_OF_CONNECTIONS: list[tuple[dict[str, Any], str]] = [
    ({"limits": {"keepalive_s": 1}}, "^limits is "),
    ({"handlers": ["echo"]}, "^handlers is "),
    ({"handlers": {"a": 7}}, "^handler a is 7"),
    ({"handlers": {7: print}}, "^handlers holds 7"),
    ({"handlers": {"a": lambda: 1}}, "must take the connection"),
    ({"connection_type": Server}, "^connection_type is "),
    ({"connection_type": "Connection"}, "^connection_type is "),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG + ONLY_OF_CONNECTIONS)
def test_an_argument_of_the_wrong_kind_is_named(wrong: dict[str, Any], said: str) -> None:
    async def main() -> None:
        with pytest.raises(InvalidArgument, match=said):
            await connect(**{"host": "127.0.0.1", "port": 1, **wrong})

    run(main())


@pytest.mark.parametrize(("wrong", "said"), WRONG)
def test_a_client_of_a_store_refuses_the_same(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        StoreClient(**{"host": "127.0.0.1", "port": 1, **wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"host": "a\0b"}, "^host is "),
        ({"host": 5}, "^host is "),
        ({"secret": 12345678}, "^secret is of type int"),
        ({"ssl": "cert.pem"}, "^ssl is "),
        ({"count_events": "yes"}, "^count_events is "),
        ({"ssl": ssl.create_default_context()}, "for the other side"),
    ],
)
def test_a_configuration_refuses_the_same(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        ServerConfig(**wrong)


@pytest.mark.parametrize(
    "handlers", [["echo"], {"a": 7}, {7: print}, {"a": lambda: 1}, {"a": None}, 5]
)
def test_a_server_refuses_handlers_of_the_wrong_kind_when_it_is_given_them(handlers: Any) -> None:
    with pytest.raises(InvalidArgument, match="handler"):
        Server(handlers)


def test_a_callback_that_is_none_is_refused_when_it_is_given() -> None:
    async def late() -> None: ...

    async def main() -> None:
        async with serving() as server, await connect(*server.address) as connection:
            for wrong in (None, 7, late, late()):
                with pytest.raises(InvalidArgument, match=r"^callback is "):
                    connection.on_close(wrong)  # type: ignore[arg-type]
            with pytest.raises(InvalidArgument, match=r"^error is "):
                connection.refuse("go away")  # type: ignore[arg-type]

    run(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_no_program_listens_the_connection_was_refused(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]

        async def main() -> None:
            with pytest.raises(NotConnected, match="refused; no program listens there"):
                await connect(host, port)

        asyncio.run(main())


def test_a_tls_client_at_a_plain_server_is_told_so_and_so_is_the_server(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    said: list[Record] = []

    async def main() -> None:
        async with serving() as server:
            with pytest.raises(ProtocolError, match="does not speak TLS; leave ssl out"):
                await connect(*server.address, ssl=contexts[1], server_hostname="localhost")

    with listening(said.append, "rpc.break"):
        asyncio.run(main())
    assert "it looks like TLS" in str(said[0].fields["reason"])


def test_a_plain_client_at_a_tls_server_is_told_so(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def main() -> None:
        async with serving(ssl=contexts[0]) as server:
            with pytest.raises(NotConnected, match="if it speaks TLS, pass ssl"):
                await connect(*server.address)

    asyncio.run(main())


def test_a_plain_client_that_is_sent_an_alert_of_tls_is_told_so() -> None:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x15\x03\x01\x00\x02\x02\x46")  # an alert: protocol version
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            with pytest.raises(ProtocolError, match="it looks like TLS"):
                await connect(*server.sockets[0].getsockname()[:2])

    asyncio.run(main())


def test_a_tls_client_at_a_program_that_hangs_up_is_told_so(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()[:2]
            with pytest.raises((NotConnected, ProtocolError), match="TLS"):
                await connect(*address, ssl=contexts[1], server_hostname="localhost")

    asyncio.run(main())


def test_a_server_that_ends_gives_up_a_tls_handshake_that_does_not_come_to_its_end(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with serving(ssl=contexts[0], grace_s=0.0) as server:
            reader, writer = await asyncio.open_connection(*server.address)
            while asyncio.all_tasks() == before:  # noqa: ASYNC110  there is no event for this
                await asyncio.sleep(0.01)
        assert asyncio.all_tasks() == before
        assert await reader.read() == b""
        writer.close()

    asyncio.run(main())


def test_limits_and_connection_types_of_the_right_kind_are_taken() -> None:
    class Mine(Connection):
        pass

    async def main() -> None:
        async with (
            serving() as server,
            await connect(*server.address, limits=Limits(), connection_type=Mine) as connection,
        ):
            assert type(connection) is Mine

    run(main())
