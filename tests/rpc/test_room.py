"""Room: what a peer asks for and does not read costs us a bounded amount, whatever it asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sdkit.errors import Overloaded, SdkitError
from sdkit.rpc import Connection, Detached, Server
from sdkit.rpc.messages import CALL, CANCEL, NOTIFY, PING, RESULT, STREAM
from sdkit.sim.loop import run
from tests.rpc.services import RawPeer, connected, now, raw_peer, serving

ANSWER = b"x" * 20_000
ROOM = 100_000
CALLS = 400


def blob(_c: Connection) -> bytes:
    return ANSWER


async def blob_later(_c: Connection) -> bytes:
    await asyncio.sleep(0.1)
    return ANSWER


def blob_in_a_future(_c: Connection) -> asyncio.Future[bytes]:
    return asyncio.ensure_future(blob_later(_c))


def blob_detached(_c: Connection) -> Detached:
    return Detached(blob_later(_c))


KINDS: list[Callable[..., object]] = [blob, blob_later, blob_in_a_future, blob_detached]


@asynccontextmanager
async def flooded(
    handler: Callable[..., object], calls: int = CALLS, **config: Any
) -> AsyncIterator[tuple[Server, Connection, RawPeer]]:
    """A server that was asked for many answers in one packet, and a peer that reads none."""
    async with (
        serving({"blob": handler}, write_buffer_bytes=ROOM, **config) as server,
        raw_peer(server) as peer,
    ):
        await peer.hello()
        await peer.say(*([CALL, n, "blob", [], None, None] for n in range(1, calls + 1)))
        (connection,) = server.connections.values()
        await asyncio.sleep(1)
        yield server, connection, peer


def unsent(connection: Connection) -> int:
    assert connection._flow.transport is not None
    return connection._flow.transport.get_write_buffer_size() + connection._outbox.bytes


@pytest.mark.parametrize("handler", KINDS)
def test_answers_asked_for_in_one_packet_wait_until_they_are_read(
    handler: Callable[..., object],
) -> None:
    async def main() -> tuple[int, set[int]]:
        async with flooded(handler) as (_, connection, peer):
            waiting = unsent(connection)
            heard = set()
            for _ in range(CALLS):
                kind, id_, value = await peer.hear()
                assert (kind, value) == (RESULT, ANSWER)
                heard.add(id_)
            assert connection.calls_in == 0
            await peer.say([CALL, CALLS + 1, "echo", [1], None, None])
            assert await peer.hear() == [RESULT, CALLS + 1, 1]
            return waiting, heard

    waiting, heard = run(main(), buffer_bytes=65536)
    assert waiting <= 2 * ROOM + len(ANSWER)  # a turn's answers, upon a buffer nearly full
    assert heard == set(range(1, CALLS + 1))


def test_what_has_to_wait_for_room_is_begun_in_order() -> None:
    begun = []

    def note(_c: Connection, number: int) -> bytes:
        begun.append(number)
        return ANSWER

    async def note_later(_c: Connection, number: int) -> bytes:
        begun.append(number)
        return ANSWER

    async def main() -> None:
        async with (
            serving({"plain": note, "task": note_later}, write_buffer_bytes=ROOM) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            methods = ["plain" if n % 3 else "task" for n in range(60)]
            await peer.say(*([CALL, n + 1, m, [n], None, None] for n, m in enumerate(methods)))
            await asyncio.sleep(1)
            assert len(begun) < 20
            for _ in range(60):
                assert (await peer.hear())[0] == RESULT

    run(main(), buffer_bytes=65536)
    assert begun == list(range(60))


def test_a_peer_that_reads_quickly_leaves_turns_for_the_others() -> None:
    turns = [0]  # how many were begun in each

    def counted(_c: Connection) -> bytes:
        if turns[-1] == 0:
            asyncio.get_running_loop().call_soon(turns.append, 0)
        turns[-1] += 1
        return ANSWER

    async def main() -> None:
        async with connected({"blob": counted}, write_buffer_bytes=ROOM) as (_, connection):
            calls = [connection.start("blob") for _ in range(CALLS)]
            assert set(await asyncio.gather(*calls)) == {ANSWER}

    run(main(), buffer_bytes=1 << 30)  # everything sent is gone at once
    assert sum(turns) == CALLS
    assert max(turns) == ROOM // len(ANSWER)


def test_a_call_that_waits_for_room_can_be_cancelled_and_is_not_begun() -> None:
    begun: list[int] = []

    def note(_c: Connection, number: int) -> bytes:
        begun.append(number)
        return ANSWER

    async def main() -> None:
        async with (
            serving({"note": note}, write_buffer_bytes=ROOM) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            calls = [[CALL, n, "note", [n], None, None] for n in range(1, 51)]
            await peer.say(*calls, [CANCEL, 50], [CALL, 51, "note", [51], None, None])
            heard = [(await peer.hear())[1] for _ in range(50)]
            assert heard == [*range(1, 50), 51]
            (connection,) = server.connections.values()
            assert connection.calls_in == 0

    run(main(), buffer_bytes=65536)
    assert begun == [*range(1, 50), 51]


@pytest.mark.parametrize("handler", KINDS)
def test_a_server_that_stops_does_not_work_off_what_nobody_reads(
    handler: Callable[..., object],
) -> None:
    async def main() -> tuple[float, int]:
        async with flooded(handler, grace_s=2.0) as (server, connection, _):
            began, before = now(), connection.served
            await server._listener.close()
            return now() - began, connection.served - before

    took, begun = run(main(), buffer_bytes=65536)
    assert 2.0 <= took <= 4.0
    assert begun == 0


def test_a_server_that_stops_still_answers_a_peer_that_reads() -> None:
    async def main() -> int:
        async with flooded(blob, grace_s=5.0) as (server, _, peer):
            stopping = asyncio.create_task(server._listener.close())
            heard = 0
            while message := await peer.hear():
                heard += message[0] == RESULT
            await stopping
            return heard

    assert run(main(), buffer_bytes=65536) == CALLS


def test_a_peer_that_makes_us_talk_and_does_not_read_is_cut_off() -> None:
    """We wait for an answer of its own, so we go on reading; it sends pings without end."""

    async def main() -> str:
        async def ask(connection: Connection) -> None:
            await connection.call("question", ANSWER)

        async with (
            serving({"ask": ask}, write_buffer_bytes=1024, write_buffer_bytes_max=50_000) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            await peer.say([CALL, 1, "ask", [], None, None])
            await asyncio.sleep(1)
            (connection,) = server.connections.values()
            for _ in range(50):
                if connection._session.ended is None:
                    await peer.say(*[[PING]] * 1000)
                    await asyncio.sleep(0.01)
                    assert unsent(connection) < 120_000
            return connection._session.ended.code if connection._session.ended else "still there"

    assert run(main(), buffer_bytes=4096) == "stalled"


def test_the_producers_of_streams_with_endless_credit_wait_for_room_too() -> None:
    async def main() -> int:
        async with (
            serving(write_buffer_bytes=ROOM, stall_timeout_s=100) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            streams = ([STREAM, n, "count", [99, 20_000], None, None, 1 << 30] for n in range(1, 9))
            await peer.say(*streams)
            await asyncio.sleep(1)
            (connection,) = server.connections.values()
            waiting = unsent(connection)
            items = 0
            while items < 8 * 99:
                items += (await peer.hear())[0] == 7
            return waiting

    assert run(main(), buffer_bytes=65536) <= 2 * ROOM + 20_000


def test_calls_started_without_a_turn_between_them_are_bounded_too() -> None:
    async def main() -> int:
        async with connected(write_buffer_bytes=1024) as (_, connection):
            started: list[asyncio.Future[object]] = []
            with pytest.raises(Overloaded, match="nothing was sent"):
                while len(started) < 10_000:
                    started.append(connection.start("echo", b"x" * (1 << 20)))
            for call in started:
                call.cancel()
            return len(started)

    assert 64 <= run(main(), buffer_bytes=65536) <= 70


def test_a_call_on_a_connection_that_was_lost_while_full_does_not_wait_for_room() -> None:
    async def main() -> str:
        async with connected() as (server, connection):
            for each in server.connections.values():
                assert each._flow.transport is not None
                each._flow.transport.pause_reading()
            calls = [connection.start("echo", b"x" * 1_000_000) for _ in range(5)]
            await asyncio.sleep(0.1)
            assert connection._flow.paused
            assert connection._flow.transport is not None
            connection._flow.transport.abort()
            await asyncio.gather(*calls, return_exceptions=True)
            with pytest.raises(SdkitError) as caught:
                await connection.call("echo", 1)
            return caught.value.code

    assert run(main(), buffer_bytes=65536) == "not_connected"


# ------------------------------------------------------------- calls in flight


def test_what_ends_something_gets_in_where_everything_else_waits() -> None:
    """Statements wait for a lock, up to the limit; the rollback that frees it is one more."""

    async def main() -> list[object]:
        free = asyncio.Event()

        async def statement(_c: Connection) -> str:
            await free.wait()
            return "done"

        def rollback(_c: Connection) -> None:
            free.set()

        handlers = {"statement": statement, "rollback": rollback}
        async with connected(handlers, calls_in_flight_max=5) as (_, connection):
            calls = [connection.start("statement") for _ in range(6)]
            connection.notify("rollback")
            return [
                each.code if isinstance(each, SdkitError) else each
                for each in await asyncio.gather(*calls, return_exceptions=True)
            ]

    assert run(main()) == ["done"] * 5 + ["overloaded"]


def test_plain_calls_in_one_packet_are_not_refused_for_their_number() -> None:
    async def main() -> bool:
        async with connected(calls_in_flight_max=5) as (_, connection):
            calls = [connection.start("echo", n) for n in range(100)]
            return await asyncio.gather(*calls) == list(range(100))

    assert run(main())


def test_plain_handlers_whose_answers_take_time_have_a_limit_as_well() -> None:
    async def main() -> int:
        begun = 0

        def wait(_c: Connection) -> asyncio.Future[None]:
            nonlocal begun
            begun += 1
            return asyncio.get_running_loop().create_future()

        async with (
            serving({"wait": wait}, calls_in_flight_max=5, grace_s=0) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            await peer.say(*([NOTIFY, n, "wait", [], None, None] for n in range(1, 51)))
            await asyncio.sleep(1)
        return begun

    assert run(main()) == 10
