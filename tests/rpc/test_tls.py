"""TLS: an `ssl.SSLContext` on both sides is all it takes."""

from __future__ import annotations

import asyncio
import ssl

import pytest
import trustme

from sdkit.errors import AuthenticationFailed, NotConnected
from sdkit.rpc import Connection, connect
from tests.rpc.services import SECRET, raw_peer, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def test_calls_and_streams_work_over_tls(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        async with serving(ssl=server_context(authority), secret=SECRET) as server:
            connection = await connect(
                *server.address, secret=SECRET, ssl=trusting, server_hostname="localhost"
            )
            async with connection:
                blob = b"x" * 1_000_000
                answers = await asyncio.gather(*(connection.call("echo", blob) for _ in range(3)))
                assert answers == [blob] * 3
                assert len([row async for row in connection.stream("count", 3000, 300)]) == 3000

    asyncio.run(main())


def test_a_certificate_that_is_not_trusted_is_refused(authority: trustme.CA) -> None:
    async def main() -> None:
        async with serving(ssl=server_context(authority)) as server:
            with pytest.raises(AuthenticationFailed, match="certificate"):
                await connect(
                    *server.address, ssl=ssl.create_default_context(), server_hostname="localhost"
                )

    asyncio.run(main())


def test_plain_bytes_at_a_tls_port_harm_nobody(authority: trustme.CA) -> None:
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        async with serving(ssl=server_context(authority)) as server:
            with pytest.raises(NotConnected):
                await connect(*server.address, timeout_s=5.0)
            async with raw_peer(server) as peer:
                peer.writer.write(b"x" * 100)
                await peer.reader.read()
            good: Connection = await connect(
                *server.address, ssl=trusting, server_hostname="localhost"
            )
            async with good:
                assert await good.call("echo", 1) == 1

    asyncio.run(main())
