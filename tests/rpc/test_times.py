"""Times: every time-out of this room, in virtual time: neither early nor late."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sdkit.errors import (
    Closed,
    ConnectionLost,
    DeadlineExceeded,
    NotConnected,
)
from sdkit.rpc import Connection, Limits, Stalled, connect
from sdkit.rpc.messages import CALL, GOODBYE, PING, PONG, STREAM
from sdkit.sim.loop import run
from tests.rpc.services import HELLO_OF_A_STRANGER, RawPeer, connected, now, raw_peer, serving

LATE_S = 0.06  # a tick and the network


def test_a_call_ends_at_its_deadline_and_its_handler_is_cancelled() -> None:
    async def main() -> None:
        cancelled_at: list[float] = []

        async def slow(_c: Connection) -> None:
            try:
                await asyncio.sleep(100)
            finally:
                cancelled_at.append(now())

        async with connected({"slow": slow}) as (_, connection):
            began = now()
            with pytest.raises(DeadlineExceeded):
                await connection.call("slow", timeout_s=2.0)
            assert 2.0 <= now() - began <= 2.0 + LATE_S
            await asyncio.sleep(0.1)
            assert 2.0 <= cancelled_at[0] - began <= 2.0 + LATE_S

    run(main())


def test_the_server_keeps_the_deadline_by_itself() -> None:
    async def main() -> tuple[int, str, float]:
        async with serving() as server, raw_peer(server) as peer:
            await peer.hello()
            began = now()
            await peer.say([CALL, 1, "sleep", [100.0], 3_000_000_000, None])
            kind, _, _, code, *_ = await peer.hear()
            return kind, code, now() - began

    kind, code, took = run(main())
    assert (kind, code) == (6, "deadline_exceeded")
    assert 3.0 <= took <= 3.0 + LATE_S


def test_calls_of_a_handler_get_no_more_time_than_it_has() -> None:
    async def main() -> float:
        async with serving() as inner:

            async def outer(_c: Connection) -> object:
                async with await connect(*inner.address) as further:
                    return await further.call("sleep", 100.0, timeout_s=50.0)

            async with connected({"outer": outer}) as (_, connection):
                with pytest.raises(DeadlineExceeded):
                    await connection.call("outer", timeout_s=1.0)
                await asyncio.sleep(0.2)
                (left,) = inner.connections.values() or [None]
                assert left is None or left.calls_in == 0
                return now()

    assert run(main()) < 1.4


def test_a_nested_call_carries_the_time_that_is_left() -> None:
    async def main() -> list[float]:
        left: list[float] = []

        async def inner(_c: Connection) -> None:
            began = now()
            try:
                await asyncio.sleep(100)
            finally:
                left.append(now() - began)

        async with serving({"inner": inner}) as far:
            further = await connect(*far.address)

            async def outer(_c: Connection) -> None:
                await asyncio.sleep(1.5)
                await further.call("inner")

            async with connected({"outer": outer}) as (_, connection):
                with pytest.raises(DeadlineExceeded):
                    await connection.call("outer", timeout_s=2.0)
                await asyncio.sleep(0.2)
            await further.close()
        return left

    (left,) = run(main())
    assert 0.49 <= left <= 0.5 + 2 * LATE_S


def test_a_connection_made_in_a_handler_does_not_keep_its_deadline() -> None:
    async def main() -> None:
        kept: list[Connection] = []

        async def back(connection: Connection) -> object:
            return await connection.call("echo", "still here")

        async with serving({"back": back}) as far:

            async def opens(_c: Connection) -> None:
                handlers = {"echo": lambda _c, value: value}
                kept.append(await connect(*far.address, handlers=handlers))

            async with connected({"opens": opens}) as (_, connection):
                await connection.call("opens", timeout_s=1.0)
                await asyncio.sleep(5)
                assert await kept[0].call("back") == "still here"
            await kept[0].close()

    run(main())


def test_a_stream_ends_at_its_deadline() -> None:
    async def drip(_c: Connection) -> AsyncIterator[int]:
        while True:
            await asyncio.sleep(0.4)
            yield 0

    async def main() -> int:
        async with connected({"drip": drip}) as (_, connection):
            seen = 0
            with pytest.raises(DeadlineExceeded):
                async for _ in connection.stream("drip", timeout_s=1.0):
                    seen += 1
            return seen

    assert run(main()) == 2


def test_a_stranger_who_says_nothing_is_sent_away() -> None:
    async def main() -> tuple[str, float]:
        async with serving(handshake_timeout_s=3.0) as server, raw_peer(server) as peer:
            return await peer.hear_the_end(), now()

    code, at = run(main())
    assert code == "not_connected"
    assert 3.0 <= at <= 3.0 + LATE_S


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def main() -> float:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        with pytest.raises(NotConnected, match="within 2 s"):
            await connect(*server.sockets[0].getsockname()[:2], timeout_s=2.0)
        took = now()
        server.close()
        await asyncio.sleep(0.1)
        return took

    assert run(main()) == pytest.approx(2.0, abs=LATE_S)


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    async def main() -> None:
        async with connected(idle_timeout_s=10.0) as (_, connection):
            await connection.call("sleep", 25.0)
            assert connection.is_open
            for _ in range(5):
                await asyncio.sleep(8.0)
                await connection.call("echo", 1)
            await asyncio.sleep(21.0)
            with pytest.raises((NotConnected, Closed), match="idle for 10 s"):
                await connection.call("echo", 1)

    run(main())


def test_a_peer_that_has_gone_silent_is_asked_and_then_given_up() -> None:
    async def main() -> tuple[list[object], float]:
        heard: list[object] = []

        async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.hear()
            await peer.say(HELLO_OF_A_STRANGER)
            while message := await peer.hear():
                heard.append(message[0])
                if len(heard) == 2:
                    await peer.say([PONG])  # a sign of life, once
            writer.close()

        server = await asyncio.start_server(mute, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        connection = await connect(*address, limits=Limits(keepalive_s=5.0))
        await asyncio.sleep(100.0)  # nobody waits for anything: nobody asks
        began = now()
        with pytest.raises(ConnectionLost, match="nothing heard"):
            await connection.call("echo", 1)
        took = now() - began
        await connection.wait_closed()
        server.close()
        await asyncio.sleep(0.1)
        return heard, took

    heard, took = run(main())
    assert heard == [CALL, PING, PING, GOODBYE]
    assert took == pytest.approx(15.0, abs=3 * LATE_S)  # 5 + 10 after the sign of life


def test_a_stream_that_nobody_reads_is_ended_and_its_producer_with_it() -> None:
    async def main() -> tuple[float, str]:
        ended: list[float] = []

        async def endless(_c: Connection) -> AsyncIterator[bytes]:
            try:
                while True:
                    yield b"x" * 1000
            finally:
                ended.append(now())

        async with connected({"endless": endless}, stall_timeout_s=20.0) as (_, connection):
            stream = connection.stream("endless")
            await asyncio.sleep(30.0)
            with pytest.raises(Stalled, match="nothing was read for 20 s") as caught:
                async for _ in stream:
                    pass
            assert await connection.call("echo", 1) == 1
            return ended[0], caught.value.code

    at, code = run(main())
    assert code == "stalled"
    assert at == pytest.approx(20.0, abs=LATE_S)


def test_a_slow_reader_that_keeps_reading_is_not_ended() -> None:
    async def main() -> int:
        async with connected(stall_timeout_s=20.0) as (_, connection):
            seen = 0
            async for _ in connection.stream("count", 40, 50_000):
                seen += 1
                await asyncio.sleep(4.0)
            return seen

    assert run(main()) == 40


def test_a_peer_that_reads_nothing_at_all_is_cut_off() -> None:
    async def main() -> float:
        async with serving(stall_timeout_s=15.0) as server, raw_peer(server) as peer:
            await peer.hello()
            credit = 1 << 30  # generous, and then it never reads
            await peer.say([STREAM, 1, "count", [10**9, 1000], None, None, credit])
            (theirs,) = server.connections.values()
            await theirs.wait_closed()
            return now()

    assert run(main(), buffer_bytes=65536) == pytest.approx(15.0, abs=3.0)


def test_a_time_is_refused_that_makes_no_sense() -> None:
    for name in ("handshake_timeout_s", "stall_timeout_s", "keepalive_s", "idle_timeout_s"):
        with pytest.raises(ValueError, match=f"{name} is 0"):
            Limits(**{name: 0})


def test_an_idle_time_shorter_than_the_handshake_time_is_kept() -> None:
    async def main() -> float:
        async with serving(idle_timeout_s=2.0, handshake_timeout_s=60.0) as server:
            connection = await connect(*server.address)
            await connection.wait_closed()
            return now()

    assert 2.0 <= run(main()) <= 4.0 + LATE_S
