"""Back-pressure: a slow reader holds up a bounded amount, and no two wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sdkit.errors import Overloaded
from sdkit.rpc import Connection, Limits, connect
from sdkit.rpc.messages import CALL, STREAM
from sdkit.sim.loop import run
from tests.rpc.services import HELLO_OF_A_STRANGER, RawPeer, connected, raw_peer, serving


def test_a_producer_runs_ahead_of_its_reader_by_a_window_and_one_item() -> None:
    async def main() -> int:
        made = 0

        async def produce(_c: Connection) -> AsyncIterator[bytes]:
            nonlocal made
            while True:
                made += 1
                yield b"x" * 10_000

        limits = Limits(stream_window_bytes=100_000)
        async with (
            connected({"produce": produce}, limits) as (_, connection),
            connection.stream("produce") as stream,
        ):
            for _ in range(200):
                await anext(stream)
            await asyncio.sleep(1)
            return made

    assert 200 < run(main()) <= 200 + 11


def test_requests_are_not_read_while_their_answers_are_not() -> None:
    async def main() -> tuple[int, int]:
        begun = 0

        def big(_c: Connection) -> bytes:
            nonlocal begun
            begun += 1
            return b"x" * 20_000

        async with (
            serving({"big": big}, write_buffer_bytes=100_000) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            calls = 0
            for _ in range(20):  # a read of the server's after the other
                batch: list[object] = [
                    [CALL, calls + n, "big", [], None, None] for n in range(1, 21)
                ]
                calls += 20
                await peer.say(*batch)
                await asyncio.sleep(0.1)
            before = begun
            assert len([await peer.hear() for _ in range(calls)]) == calls
            return before, begun

    before, after = run(main(), buffer_bytes=65536)
    assert before < 100  # two hundred kilobytes of answers wait, and the batch that was read
    assert after == 400


def test_two_sides_with_full_buffers_do_not_wait_for_each_other() -> None:
    async def main() -> int:
        blob = b"x" * 10_000

        async def call_back(connection: Connection, blob: bytes) -> bytes:
            answers = await asyncio.gather(*(connection.call("echo", blob) for _ in range(10)))
            return b"".join(answers)[: len(blob)]  # type: ignore[arg-type]

        limits = Limits(write_buffer_bytes=2048)
        async with (
            serving({"call_back": call_back}, write_buffer_bytes=2048) as server,
            await connect(
                *server.address, limits=limits, handlers={"echo": lambda _c, value: value}
            ) as connection,
        ):
            calls = [connection.start("call_back", blob, timeout_s=100.0) for _ in range(10)]
            return sum(answer == blob for answer in await asyncio.gather(*calls))

    assert run(main(), buffer_bytes=4096) == 10


def test_who_starts_calls_without_end_is_refused_and_nothing_is_sent() -> None:
    async def main() -> int:
        stuck = asyncio.Event()

        async def never_reads(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.hear()
            await peer.say(HELLO_OF_A_STRANGER)
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            await stuck.wait()
            writer.transport.abort()

        server = await asyncio.start_server(never_reads, "127.0.0.1", 0)
        limits = Limits(write_buffer_bytes=10_000, write_buffer_bytes_max=1_000_000)
        connection = await connect(*server.sockets[0].getsockname()[:2], limits=limits)
        started = []
        with pytest.raises(Overloaded, match="reads too slowly"):
            while True:
                started.append(connection.start("echo", b"x" * 10_000))
                await asyncio.sleep(0)
        waiting = asyncio.create_task(connection.call("echo", 1))  # call waits for room instead
        await asyncio.sleep(1)
        assert not waiting.done()
        waiting.cancel()
        stuck.set()
        await connection.close()
        server.close()
        for future in started:
            future.exception()
        await asyncio.sleep(0.1)
        return len(started)

    assert 100 <= run(main(), buffer_bytes=4096) <= 110


def test_calls_in_flight_over_the_limit_are_refused_and_were_not_begun() -> None:
    async def main() -> list[str]:
        async with connected(calls_in_flight_max=3) as (server, connection):
            calls = [connection.start("sleep", 1.0) for _ in range(5)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert await connection.call("echo", 1) == 1
            assert sum(each.served for each in server.connections.values()) == 4
            return [type(each).__name__ for each in ended]

    assert run(main()) == ["str", "str", "str", "Overloaded", "Overloaded"]


def test_calling_and_cancelling_does_not_get_around_the_limit() -> None:
    async def main() -> int:
        running = most = 0

        async def stubborn(_c: Connection) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            try:
                await asyncio.sleep(1)
            except asyncio.CancelledError:
                await asyncio.sleep(1)  # cleaning up takes a while
            running -= 1

        async with connected({"stubborn": stubborn}, calls_in_flight_max=5) as (_, connection):
            for _ in range(50):
                connection.start("stubborn").cancel()
                await asyncio.sleep(0.01)
            await asyncio.sleep(5)
        return most

    assert run(main()) <= 5


def test_a_stream_does_not_hold_up_other_calls() -> None:
    async def main() -> bool:
        async with (
            connected() as (_, connection),
            connection.stream("count", 10**9, 100) as stream,
        ):
            await anext(stream)
            answers = await asyncio.gather(*(connection.call("echo", n) for n in range(100)))
            return answers == list(range(100))

    assert run(main())


def test_credit_is_counted_in_bytes_by_whoever_gives_it() -> None:
    async def main() -> list[int]:
        async with serving() as server, raw_peer(server) as peer:
            await peer.hello()
            await peer.say([STREAM, 1, "count", [100, 1000], None, None, 2500])
            items = [await peer.hear() for _ in range(3)]
            await asyncio.sleep(1)
            await peer.say([9, 1, 1])  # not enough: 3 items overdrew it by more than that
            await peer.say([CALL, 2, "echo", [1], None, None])
            items.append(await peer.hear())
            return [item[0] for item in items]

    assert run(main()) == [7, 7, 7, 5]


def test_a_server_that_calls_back_while_its_answers_are_not_read_still_hears_the_answer() -> None:
    """It has stopped reading requests; its own call needs the answer, so it reads again."""

    async def main() -> bool:
        heard = asyncio.Event()

        async def flood_and_ask(connection: Connection) -> bytes:
            await asyncio.sleep(0.5)
            connection.notify("note", b"x" * 500_000)  # fills the write buffer
            await asyncio.sleep(0.5)
            assert connection._flow.paused
            await connection.start("note", b"")
            heard.set()
            return b""

        async with (
            serving(
                {"flood": flood_and_ask}, write_buffer_bytes=20_000, stall_timeout_s=100.0
            ) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            await peer.say([CALL, 1, "flood", [], None, None])
            await asyncio.sleep(2)  # the note is not read, and the call behind it neither
            await peer.say([5, 2, None])  # but its answer is sent: id 2 is the next after 1
            await asyncio.sleep(1)
            return heard.is_set()

    assert run(main(), buffer_bytes=4096)
