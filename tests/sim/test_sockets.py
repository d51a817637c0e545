"""Simulated connections: asyncio's own streams, protocols and TLS, unmodified, over them."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trustme

from sdkit.sim.loop import LATENCY_S, Deadlock, run

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def now() -> float:
    return asyncio.get_running_loop().time()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    await close(writer)


def port_of(server: asyncio.Server) -> int:
    port: int = server.sockets[0].getsockname()[1]
    return port


@asynccontextmanager
async def connected(
    handler: Handler, tls: ssl.SSLContext | None = None, trust: ssl.SSLContext | None = None
) -> AsyncIterator[Streams]:
    """A client's streams, connected to a server that has the other ends."""
    server = await asyncio.start_server(handler, "localhost", 0, ssl=tls)
    async with server:
        reader, writer = await asyncio.open_connection("localhost", port_of(server), ssl=trust)
        try:
            yield reader, writer
        finally:
            await close(writer)
    await asyncio.sleep(1)  # what is under way arrives, handlers end


# ── streams ──────────────────────────────────────────────────────────────────


def test_a_round_trip_takes_two_latencies_and_connecting_too() -> None:
    async def main() -> tuple[bytes, float, float]:
        async with connected(echo) as (reader, writer):
            connected_at = now()
            writer.write(b"hello")
            return await reader.readexactly(5), connected_at, now()

    hello, connected_at, answered_at = run(main(), latency_s=0.25)
    assert (hello, connected_at, answered_at) == (b"hello", 0.5, 1.0)


def test_a_half_closed_connection_still_answers() -> None:
    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()
        writer.write(everything.upper())
        await close(writer)

    async def main() -> bytes:
        async with connected(answer_at_the_end) as (reader, writer):
            writer.write(b"one ")
            writer.write(b"two")
            writer.write_eof()
            return await reader.read()

    assert run(main()) == b"ONE TWO"


def test_a_reader_that_stops_makes_the_writer_wait() -> None:
    written = 0

    async def reads_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)
        assert len(await reader.read(-1)) == 2_000_000
        await close(writer)

    async def main() -> float:
        nonlocal written
        async with connected(reads_late) as (reader, writer):
            for _ in range(200):
                writer.write(bytes(10_000))
                await writer.drain()
                if now() < 60:
                    written += 10_000
            writer.write_eof()
            assert await reader.read() == b""
            return now()

    assert run(main(), buffer_bytes=100_000) > 60
    assert 200_000 < written < 500_000  # the buffer, and those of both streams


def test_two_hundred_connections_at_once() -> None:
    async def main() -> int:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=256)

        async def client(number: int) -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            writer.write(b"%d\n" % number)
            line = await reader.readline()
            await close(writer)
            return line

        async with server:
            lines = await asyncio.gather(*(client(number) for number in range(200)))
            assert now() < 0.01
            await asyncio.sleep(1)
        return sum(int(line) for line in lines)

    assert run(main()) == sum(range(200))


def test_drawn_latencies_keep_the_order_of_one_connection_and_follow_the_seed() -> None:
    async def main() -> list[float]:
        arrivals: list[float] = []

        async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for number in range(50):
                assert int(await reader.readline()) == number
                arrivals.append(now())
            await close(writer)

        async with connected(note) as (_, writer):
            for number in range(50):
                writer.write(b"%d\n" % number)
                await asyncio.sleep(0.001)
        return arrivals

    assert run(main(), latency_s=(0, 0.1), seed=1) == run(main(), latency_s=(0, 0.1), seed=1)
    assert run(main(), latency_s=(0, 0.1), seed=1) != run(main(), latency_s=(0, 0.1), seed=2)


def test_a_full_accept_queue_makes_a_client_try_again_after_a_second() -> None:
    async def main() -> list[float]:
        server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1)

        async def client() -> float:
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            await close(writer)
            return now()

        async with server:
            times = await asyncio.gather(*(client() for _ in range(3)))
            await asyncio.sleep(1)
        return sorted(times)

    assert run(main(), latency_s=0.001) == [0.002, 0.002, 1.002]


# ── protocols ────────────────────────────────────────────────────────────────


class Notes(asyncio.Protocol):
    def __init__(self) -> None:
        self.heard = b""
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


class Buffered(asyncio.BufferedProtocol):
    def __init__(self) -> None:
        self.buffer = bytearray(7)
        self.heard = b""

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard += self.buffer[:nbytes]


def test_protocols_and_buffered_protocols_hear_everything() -> None:
    async def main() -> tuple[bytes, bytes]:
        loop = asyncio.get_running_loop()
        servers: list[Notes] = []

        def make() -> Notes:
            servers.append(Notes())
            return servers[-1]

        server = await loop.create_server(make, "127.0.0.1", 0)
        async with server:
            transport, client = await loop.create_connection(Buffered, "127.0.0.1", port_of(server))
            transport.writelines([b"to ", b"the ", b"server"])
            await asyncio.sleep(1)
            servers[0].transport.write(b"to the client, in pieces")
            await asyncio.sleep(1)
            transport.close()
            assert await servers[0].lost is None
        return servers[0].heard, client.heard

    assert run(main()) == (b"to the server", b"to the client, in pieces")


def test_sockets_used_through_the_loop_work() -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        with socket.socket() as listener, socket.socket() as client:
            for sock in (listener, client):
                assert isinstance(sock, socket.socket)
                sock.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            connecting = asyncio.create_task(loop.sock_connect(client, listener.getsockname()))
            accepted, address = await loop.sock_accept(listener)
            await connecting
            with accepted:
                assert address == client.getsockname()
                assert accepted.getsockname() == client.getpeername()
                await loop.sock_sendall(client, b"x" * 600_000)
                return await loop.sock_recv(accepted, 3)

    async def with_a_reader() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await main()

    run(with_a_reader())  # nobody reads the rest
    assert run(main(), buffer_bytes=1_000_000) == b"xxx"


# ── how connections end ──────────────────────────────────────────────────────


def test_an_abort_with_unread_bytes_reaches_the_other_side_as_a_reset() -> None:
    async def never_reads(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1)
        writer.transport.abort()

    async def main() -> None:
        async with await asyncio.start_server(never_reads, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
            writer.write(bytes(1_000_000))
            with pytest.raises(ConnectionResetError):
                await reader.read()
            with pytest.raises(ConnectionResetError):
                await close(writer)

    run(main())


def raw() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def pair() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """Two connected raw sockets."""
    loop = asyncio.get_running_loop()
    with raw() as listener, raw() as client:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        await loop.sock_connect(client, listener.getsockname())
        server, _ = await loop.sock_accept(listener)
        with server:
            yield client, server


async def one_latency() -> None:
    await asyncio.sleep(LATENCY_S * 1.5)


def test_writing_to_one_who_has_closed_is_accepted_once_and_then_refused() -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.close()
            await one_latency()
            assert client.recv(10) == b""
            assert client.send(b"who is there") == 12
            await one_latency()
            await one_latency()
            with pytest.raises(BrokenPipeError):
                client.send(b"nobody")
            assert client.recv(10) == b""

    run(main())


def test_a_reset_lets_us_read_what_had_arrived_and_says_so_once() -> None:
    async def main() -> None:
        async with pair() as (client, server):
            client.send(b"never read")
            server.send(b"last words")
            await one_latency()
            server.close()
            await one_latency()
            assert client.recv(100) == b"last words"
            with pytest.raises(ConnectionResetError):
                client.recv(100)
            assert client.recv(100) == b""
            with pytest.raises(BrokenPipeError):
                client.send(b"x")

    run(main())


def test_lingering_for_no_time_is_a_reset() -> None:
    async def main() -> None:
        async with pair() as (client, server):
            server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.close()
            await one_latency()
            with pytest.raises(ConnectionResetError):
                client.send(b"x")

    run(main())


def test_sending_blocks_when_the_buffer_is_full_and_goes_on_when_it_is_read() -> None:
    async def main() -> list[int]:
        sent = []
        async with pair() as (client, server):
            sent.append(client.send(b"x" * 1500))
            with pytest.raises(BlockingIOError):
                client.send(b"x")
            await one_latency()
            with pytest.raises(BlockingIOError):
                client.send(b"x")
            assert len(server.recv(300)) == 300
            sent.append(client.send(b"x" * 1500))
            with pytest.raises(BlockingIOError):
                client.recv(1)
        return sent

    assert run(main(), buffer_bytes=1000) == [1000, 300]


def test_a_socket_used_out_of_turn_says_what_a_real_one_says() -> None:
    async def main() -> None:
        async with pair() as (client, server):
            calls: list[tuple[Callable[[], object], int]] = [
                (lambda: client.connect(("127.0.0.1", 1)), errno.EISCONN),
                (lambda: client.accept(), errno.EINVAL),
                (lambda: raw().send(b"x"), errno.ENOTCONN),
                (lambda: raw().getpeername(), errno.ENOTCONN),
            ]
            for call, code in calls:
                with pytest.raises(OSError) as failure:
                    call()
                assert failure.value.errno == code
            client.shutdown(socket.SHUT_WR)
            with pytest.raises(BrokenPipeError):
                client.send(b"x")
            server.close()
            with pytest.raises(OSError) as failure:
                server.recv(1)
            assert failure.value.errno == errno.EBADF

    run(main())


# ── addresses ────────────────────────────────────────────────────────────────


def test_a_connection_to_a_port_where_nobody_listens_is_refused_after_a_round_trip() -> None:
    async def main() -> float:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", 9)
        return now()

    assert run(main(), latency_s=0.25) == 0.5


def test_a_closed_server_refuses_and_resets_those_who_still_waited() -> None:
    async def main() -> None:
        with raw() as client:
            with raw() as listener:
                listener.bind(("127.0.0.1", 0))
                listener.listen()
                address = listener.getsockname()
                await asyncio.get_running_loop().sock_connect(client, address)
            await one_latency()
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)

    run(main())


def test_a_port_in_use_is_refused_and_free_again_after_its_server_closed() -> None:
    async def main() -> None:
        server = await asyncio.start_server(echo, "127.0.0.1", 7000)
        for host in ("127.0.0.1", "0.0.0.0"):
            with pytest.raises(OSError) as failure:
                await asyncio.start_server(echo, host, 7000)
            assert failure.value.errno == errno.EADDRINUSE
        server.close()
        await server.wait_closed()
        async with await asyncio.start_server(echo, "127.0.0.1", 7000):
            pass

    run(main())


def test_port_zero_gives_another_port_each_time() -> None:
    async def main() -> int:
        ports = set()
        for _ in range(10):
            async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
                ports.add(port_of(server))
        return len(ports)

    assert run(main()) == 10


def test_names_lead_to_addresses_and_unknown_ones_are_errors() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with await asyncio.start_server(echo, "db", 5432) as server:
            assert server.sockets[0].getsockname() == ("10.0.0.1", 5432)
            _, writer = await asyncio.open_connection("db", 5432)
            await close(writer)
            await asyncio.sleep(1)
        with pytest.raises(socket.gaierror, match=r"example\.org"):
            await asyncio.open_connection("example.org", 80)
        with pytest.raises(OSError) as failure:
            await asyncio.open_connection("93.184.215.14", 80)
        assert failure.value.errno == errno.ENETUNREACH
        assert await loop.getnameinfo(("10.0.0.1", 80)) == ("db", "80")
        assert await loop.getnameinfo(("10.0.0.1", 80), socket.NI_NUMERICHOST) == (
            "10.0.0.1",
            "80",
        )

    run(main(), names={"db": "10.0.0.1"})


def test_ipv6_works_and_is_another_network() -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, "::1", 80) as server:
            assert server.sockets[0].getsockname() == ("::1", 80, 0, 0)
            reader, writer = await asyncio.open_connection("::1", 80)
            assert writer.get_extra_info("peername") == ("::1", 80, 0, 0)
            writer.write(b"six")
            assert await reader.readexactly(3) == b"six"
            await close(writer)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", 80)
            await asyncio.sleep(1)

    run(main())


def test_a_server_on_every_address_is_reached_at_each() -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, None, 80):
            for host in ("127.0.0.1", "127.0.0.2", "db"):
                _, writer = await asyncio.open_connection(host, 80)
                await close(writer)
            await asyncio.sleep(1)

    run(main(), names={"db": "10.0.0.1"})


def test_waiting_for_a_client_that_never_comes_is_a_deadlock() -> None:
    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            await server.serve_forever()

    with pytest.raises(Deadlock, match=r"in Server\.serve_forever"):
        run(main())


# ── TLS ──────────────────────────────────────────────────────────────────────


def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with an RSA certificate, and one that trusts it."""
    authority = trustme.CA(key_type=trustme.KeyType.RSA)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost", key_type=trustme.KeyType.RSA).configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.fixture(scope="module")
def tls() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return contexts()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_runs_over_simulated_connections(
    tls: tuple[ssl.SSLContext, ssl.SSLContext], version: ssl.TLSVersion
) -> None:
    async def main() -> tuple[bytes, str]:
        async with connected(echo, *contexts_of(version)) as (reader, writer):
            writer.write(b"secret" * 10_000)
            heard = await reader.readexactly(60_000)
            return heard[:6], writer.get_extra_info("ssl_object").version()

    def contexts_of(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        tls[1].minimum_version = tls[1].maximum_version = version
        return tls

    heard, spoken = run(main())
    assert heard == b"secret"
    assert spoken == version.name.replace("_", ".")


def test_a_connection_can_be_upgraded_to_tls(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.start_tls(tls[0])
        await echo(reader, writer)

    async def main() -> bytes:
        async with connected(upgrade) as (reader, writer):
            writer.write(b"STARTTLS\n")
            assert await reader.readline() == b"go ahead\n"
            await writer.start_tls(tls[1], server_hostname="localhost")
            writer.write(b"hidden\n")
            return await reader.readline()

    assert run(main()) == b"hidden\n"


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def main() -> None:
        with pytest.raises(ssl.SSLCertVerificationError):
            async with connected(echo, tls[0], ssl.create_default_context()):
                pass

    run(main())
