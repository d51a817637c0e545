"""Calls: both ways, many at once, in order, with errors that are themselves on the other side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from sdkit.errors import (
    Aborted,
    Closed,
    ConnectionLost,
    InternalError,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    NotConnected,
    SdkitError,
    UnknownMethod,
)
from sdkit.net.flow import PARTS_PER_WRITE
from sdkit.rpc import AnswerTooLarge, Connection, Detached, Interrupted, Limits, connect
from sdkit.rpc.hello import Side
from sdkit.rpc.session import Session
from sdkit.sim.loop import run
from sdkit.trace import Record, listening, span
from tests.rpc import services
from tests.rpc.services import connected, now, serving


class Lost(Aborted):
    """An error of a room of our own."""

    code = "tests_lost"


def test_a_value_comes_back_as_it_went() -> None:
    async def main() -> None:
        async with connected() as (_, connection):
            for value in (None, True, -1, 1 << 63, 0.5, "täxt", b"\xff", [1, [2]], {"a": {1: b""}}):
                assert await connection.call("echo", value) == value

    run(main())


def test_answers_come_in_any_order_and_nobody_waits_for_another() -> None:
    async def main() -> tuple[list[object], float]:
        ended: list[object] = []
        async with connected() as (_, connection):

            async def caller(seconds: float) -> None:
                await connection.call("sleep", seconds)
                ended.append(seconds)

            await asyncio.gather(*(caller(seconds) for seconds in (3.0, 1.0, 2.0)))
            return ended, now()

    ended, at = run(main())
    assert ended == [1.0, 2.0, 3.0]
    assert 3.0 <= at < 3.1


def test_handlers_begin_in_the_order_of_the_calls_whatever_their_kind() -> None:
    begun: list[int] = []

    def plain(_c: Connection, n: int) -> None:
        begun.append(n)

    async def task(_c: Connection, n: int) -> None:
        begun.append(n)
        await asyncio.sleep(1)

    async def items(_c: Connection, n: int) -> AsyncIterator[int]:
        begun.append(n)
        yield n

    def makes_a_task(_c: Connection, n: int) -> object:
        begun.append(n)
        return asyncio.sleep(1)

    async def main() -> None:
        handlers = {"plain": plain, "task": task, "items": items, "makes": makes_a_task}
        kinds = Random(1).choices(list(handlers), k=200)
        async with connected(handlers) as (_, connection):
            waiting: list[asyncio.Future[object]] = []
            streams = []
            for n, kind in enumerate(kinds):
                if kind == "items":
                    streams.append(connection.stream(kind, n))
                else:
                    waiting.append(connection.start(kind, n))
            await asyncio.gather(*waiting)
            for stream in streams:
                await stream.aclose()

    run(main())
    assert begun == list(range(200))


@pytest.mark.parametrize(("calls", "sends"), [(31, 1), (64, 2), (65, 3)])
def test_calls_started_in_one_turn_leave_thirty_two_at_a_time(calls: int, sends: int) -> None:
    async def main() -> list[int]:
        async with connected() as (_, connection):
            transport = connection._flow.transport
            assert transport is not None
            sent: list[int] = []
            write = transport.write
            transport.write = lambda data: (sent.append(len(data)), write(data))[1]  # type: ignore
            await asyncio.gather(*(connection.call("echo", n) for n in range(calls)))
            return list(sent)

    assert len(run(main())) == sends


def test_either_side_may_call_and_a_handler_may_call_back() -> None:
    async def ask_back(connection: Connection, n: int) -> object:
        return await connection.call("double", n)

    def double(_c: Connection, n: int) -> int:
        return 2 * n

    async def main() -> object:
        async with (
            serving({"ask_back": ask_back}) as server,
            await connect(*server.address, handlers={"double": double}) as connection,
        ):
            return await connection.call("ask_back", 21)

    assert run(main()) == 42


def test_a_notification_is_carried_out_and_not_answered() -> None:
    async def main() -> list[object]:
        seen: list[object] = []
        done = asyncio.Event()

        def note(_c: Connection, value: object) -> None:
            seen.append(value)
            done.set()

        async with connected({"note": note}) as (_, connection):
            connection.notify("note", "hello")
            connection.notify("fail")  # nobody hears of it
            await done.wait()
            assert await connection.call("echo", 1) == 1
        return seen

    assert run(main()) == ["hello"]


@pytest.mark.parametrize(
    ("method", "arguments", "error", "text"),
    [
        ("nothing", (), UnknownMethod, "no method 'nothing'"),
        ("sleep", ("1",), InvalidArgument, "takes float as seconds, not str"),
        ("sleep", (), InvalidArgument, "takes 1 arguments, 0 were given"),
        ("count", (1,), InvalidArgument, r"ask for it with stream\(\)"),
        ("lose", (), Lost, "lost the race"),
    ],
)
def test_an_error_is_itself_on_the_other_side(
    method: str, arguments: tuple[object, ...], error: type[SdkitError], text: str
) -> None:
    def lose(_c: Connection) -> None:
        raise Lost("lost the race", key=b"k", winner=7)

    async def main() -> SdkitError:
        async with connected({"lose": lose}) as (_, connection):
            with pytest.raises(error, match=text) as caught:
                await connection.call(method, *arguments)
            assert await connection.call("echo", 1) == 1
            return caught.value

    found = run(main())
    assert type(found) is error
    if error is Lost:
        assert found.fields == {"key": b"k", "winner": 7}


def test_an_unexpected_exception_is_logged_and_not_told_to_strangers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> str:
        async with connected() as (_, connection):
            with pytest.raises(InternalError) as caught:
                await connection.call("fail")
            return str(caught.value)

    with caplog.at_level(logging.ERROR, "sdkit.rpc"):
        text = run(main())
    assert "swordfish" not in text
    assert "swordfish" in caplog.text


def test_an_answer_that_cannot_travel_fails_the_call_and_not_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def odd(_c: Connection) -> object:
        return object()

    def echo_long(_c: Connection, n: int) -> bytes:
        return b"x" * n

    async def main() -> None:
        handlers: dict[str, Callable[..., object]] = {"odd": odd, "echo_long": echo_long}
        async with connected(handlers, Limits(frame_bytes_max=5000)) as (_, connection):
            with pytest.raises(InternalError):
                await connection.call("odd")
            with pytest.raises(AnswerTooLarge, match="at most 5000"):
                await connection.call("echo_long", 6000)
            assert await connection.call("echo", 1) == 1

    run(main())


def test_a_call_longer_than_the_peer_accepts_is_refused_before_it_is_sent() -> None:
    async def main() -> None:
        async with connected(frame_bytes_max=5000) as (_, connection):
            with pytest.raises(LimitExceeded, match="at most 5000"):
                await connection.call("echo", b"x" * 5000)
            assert await connection.call("echo", 1) == 1

    run(main())


def test_a_future_that_a_handler_returns_is_the_answer() -> None:
    def later(_c: Connection) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_later(1.0, future.set_result, "later")
        return future

    def failing(_c: Connection) -> asyncio.Future[str]:
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        future.set_exception(Lost("too late"))
        return future

    async def main() -> object:
        async with connected({"later": later, "failing": failing}) as (_, connection):
            with pytest.raises(Lost):
                await connection.call("failing")
            return await connection.call("later")

    assert run(main()) == "later"


def test_giving_up_cancels_a_coroutine_and_a_future_but_not_a_detached_one() -> None:
    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        futures = {name: loop.create_future() for name in ("plain", "detached")}
        seen: list[str] = []

        async def task(_c: Connection) -> None:
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                seen.append("task cancelled")
                raise

        def plain(_c: Connection) -> object:
            return futures["plain"]

        def detached(_c: Connection) -> object:
            return Detached(futures["detached"])

        handlers: dict[str, Callable[..., object]]
        handlers = {"task": task, "plain": plain, "detached": detached}
        async with connected(handlers) as (server, connection):
            started = [connection.start(name) for name in handlers]
            called = asyncio.create_task(connection.call("task"))
            await asyncio.sleep(0.1)
            for future in (*started, called):
                future.cancel()
            await asyncio.sleep(0.1)
            assert next(iter(server.connections.values())).calls_in == 0
            assert futures["plain"].cancelled()
            assert not futures["detached"].done()
            futures["detached"].set_result("committed")
            assert await connection.call("echo", 1) == 1
        return seen

    assert run(main()) == ["task cancelled", "task cancelled"]


def test_a_call_cancelled_in_the_turn_it_is_made_in_leaves_nothing_behind() -> None:
    async def main() -> None:
        async with connected() as (server, connection):
            connection.start("sleep", 50.0).cancel()
            stream = connection.stream("count", 3)
            await stream.aclose()
            assert await connection.call("echo", 1) == 1
            await asyncio.sleep(0.1)
            assert next(iter(server.connections.values())).calls_in == 0

    run(main())


def test_a_lost_connection_makes_sent_calls_indeterminate_and_others_not() -> None:
    async def main() -> None:
        async with serving() as server, await connect(*server.address) as connection:
            sent = connection.start("sleep", 10.0)
            await asyncio.sleep(0.1)
            assert connection._flow.transport is not None
            connection._flow.transport.abort()
            unsent = connection.start("sleep", 10.0)
            with pytest.raises(ConnectionLost):
                await sent
            with pytest.raises(NotConnected):
                await unsent
            with pytest.raises(NotConnected):
                await connection.call("echo", 1)
            with pytest.raises(NotConnected):
                connection.stream("count", 1)

    run(main())


def test_what_belongs_to_a_connection_is_told_of_its_end_and_its_handlers_are_cancelled() -> None:
    async def main() -> list[str]:
        told: list[str] = []

        async def hold(connection: Connection) -> None:
            connection.on_close(lambda: told.append(f"end of {connection.id}"))
            try:
                await asyncio.sleep(100)
            finally:
                told.append("released")

        async with serving({"hold": hold}) as server:
            async with await connect(*server.address) as connection:
                connection.start("hold").cancelled()
                await asyncio.sleep(0.1)
                (ours,) = server.connections.values()
                assert connection._flow.transport is not None
                connection._flow.transport.abort()
                await ours.wait_closed()
                ours.on_close(lambda: told.append("late"))
            assert not server.connections
            return [line.replace(str(ours.id), "it") for line in told]

    assert run(main()) == ["end of it", "released", "late"]


def test_closing_fails_what_is_in_flight_and_takes_no_more() -> None:
    async def main() -> None:
        async with serving() as server:
            connection = await connect(*server.address)
            call = connection.start("sleep", 10.0)
            await asyncio.sleep(0.1)
            await connection.close()
            with pytest.raises(ConnectionLost, match="closed at this side"):
                await call
            with pytest.raises(NotConnected):
                connection.notify("echo", 1)
            await connection.close()

    run(main())


def test_a_stream_gives_its_items_in_order_and_then_its_error() -> None:
    async def broken(_c: Connection, to: int) -> AsyncIterator[int]:
        for n in range(to):
            yield n
        raise Lost("at the end")

    async def main() -> list[object]:
        async with connected({"broken": broken}) as (_, connection):
            items: list[object] = []
            with pytest.raises(Lost):
                async for item in connection.stream("broken", 500):
                    items.append(item)  # noqa: PERF401  what came before the error counts
            return items

    assert run(main()) == list(range(500))


def test_a_stream_left_half_way_cancels_its_producer() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def endless(_c: Connection) -> AsyncIterator[int]:
            try:
                while True:
                    yield 0
            finally:
                ended.append("cleaned up")

        async with connected({"endless": endless}) as (server, connection):
            async with connection.stream("endless") as stream:
                assert await anext(stream) == 0
            await asyncio.sleep(0.1)
            dropped = connection.stream("endless")
            assert await anext(dropped) == 0
            del dropped  # as `break` out of an `async for` does
            await asyncio.sleep(0.1)
            assert next(iter(server.connections.values())).calls_in == 0
            return ended

    assert run(main()) == ["cleaned up", "cleaned up"]


def test_a_producer_that_goes_on_after_its_cancellation_is_closed() -> None:
    async def main() -> None:
        closed = 0

        async def deaf(_connection: Connection) -> AsyncIterator[int]:
            nonlocal closed
            try:
                while True:
                    yield 1
                    with suppress(asyncio.CancelledError):
                        await asyncio.sleep(1)
            finally:
                closed += 1

        async with connected({"deaf": deaf}, calls_in_flight_max=2) as (server, connection):
            for _ in range(3):  # more than may be in flight
                async with connection.stream("deaf") as stream:
                    assert await anext(stream) == 1
                await asyncio.sleep(5)
            assert closed == 3
            assert next(iter(server.connections.values())).calls_in == 0

    run(main())


def test_a_call_of_a_method_that_is_no_stream_as_one_is_refused() -> None:
    async def main() -> None:
        async with connected() as (_, connection):
            for method, argument in (("echo", 1), ("sleep", 1.0)):
                with pytest.raises(InvalidArgument, match="is no stream"):
                    await anext(connection.stream(method, argument))

    run(main())


def test_a_stream_has_one_reader_at_a_time() -> None:
    async def silent(_c: Connection) -> AsyncIterator[int]:
        await asyncio.sleep(100)
        yield 0

    async def main() -> None:
        async with (
            connected({"silent": silent}) as (_, connection),
            connection.stream("silent") as stream,
        ):
            first = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            with pytest.raises(InvalidState, match="one reader"):
                await anext(stream)
            first.cancel()

    run(main())


def test_spans_go_on_at_the_other_side_while_somebody_listens() -> None:
    async def outer(connection: Connection) -> object:
        return await connection.call("inner")

    def inner(_c: Connection) -> None: ...

    async def main() -> list[Record]:
        records: list[Record] = []
        async with (
            serving({"outer": outer}) as server,
            await connect(*server.address, handlers={"inner": inner}) as connection,
        ):
            with listening(records.append), span("test.all"):
                await connection.call("outer")
                await asyncio.sleep(0.1)
        return records

    spans = {
        f"{record.name} {record.fields.get('method', '')}": record
        for record in run(main())
        if record.duration_ns is not None
    }
    path = ["test.all ", "rpc.call outer", "rpc.serve outer", "rpc.call inner", "rpc.begin inner"]
    for parent, child in pairwise(spans[name] for name in path):
        assert parent.context is not None
        assert child.context is not None
        assert child.parent_id == parent.context.span_id
        assert child.context.trace_id == parent.context.trace_id


def test_a_handler_that_is_interrupted_by_others_leaves_its_caller_in_doubt() -> None:
    async def main() -> None:
        task: asyncio.Task[object] | None = None

        async def victim(_c: Connection) -> None:
            nonlocal task
            task = asyncio.current_task()
            await asyncio.sleep(100)

        async with connected({"victim": victim}) as (_, connection):
            call = connection.start("victim")
            await asyncio.sleep(0.1)
            assert task is not None
            task.cancel()
            with pytest.raises(Interrupted):
                await call

    run(main())


def test_all_of_it_works_on_real_sockets_too() -> None:
    async def main() -> None:
        async with connected() as (_, connection):
            assert await connection.call("echo", [1, b"x" * 300_000]) == [1, b"x" * 300_000]
            items = [item async for item in connection.stream("count", 3000, 500)]
            assert len(items) == 3000
            with pytest.raises(UnknownMethod):
                await connection.call("nothing")
            call = connection.start("sleep", 60.0)
            call.cancel()
        with pytest.raises(Closed if connection.is_open else NotConnected):
            connection.notify("echo", 1)

    asyncio.run(main())


@pytest.mark.parametrize("method", ["echo", "sleep"])
def test_the_first_answers_leave_before_the_last_are_made(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    take = Session.take_output

    def counted(session: Session[Any]) -> bytes:
        if session.side is Side.SERVER:
            written.append(len(session.outbox.parts) // 2)
        return take(session)

    async def main() -> None:
        async with connected() as (_, connection):
            monkeypatch.setattr(Session, "take_output", counted)
            await asyncio.gather(*(connection.call(method, 0) for _ in range(100)))

    run(main())
    assert sum(written) >= 100
    assert max(written) == PARTS_PER_WRITE // 2


@pytest.mark.parametrize("before", [5, 31, 40])
def test_a_call_back_behind_many_answers_has_the_time_that_it_was_given(before: int) -> None:
    async def wait(_connection: Connection) -> None:
        await asyncio.sleep(0)

    def back(connection: Connection) -> asyncio.Future[object]:
        return connection.start("pong", timeout_s=5.0)

    async def pong(_connection: Connection) -> str:
        await asyncio.sleep(1.0)
        return "pong"

    async def main() -> list[object]:
        async with (
            serving({"wait": wait, "echo": services.echo, "back": back}) as server,
            await connect(*server.address, handlers={"pong": pong}) as connection,
        ):
            await asyncio.sleep(60.0)  # so that a clock not read is a clock that is wrong
            calls = [connection.start("wait")]
            calls += [connection.start("echo", 0) for _ in range(before)]
            return await asyncio.gather(*calls, connection.start("back"))

    assert run(main())[-1] == "pong"
