"""One bad call never reaches another: each is refused, or gets its one answer, by itself."""

from __future__ import annotations

import asyncio
import enum
import math
import struct
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import msgpack
import pytest

from sdkit.errors import (
    Closed,
    Indeterminate,
    InternalError,
    InvalidArgument,
    LimitExceeded,
    ProtocolError,
    Rejected,
    SdkitError,
    Unavailable,
)
from sdkit.rpc import Connection, Detached, Interrupted, Limits, connect
from sdkit.rpc.messages import CALL, GOODBYE, HELLO
from sdkit.sim.loop import run
from tests.rpc.services import HELLO_OF_A_STRANGER, connected, frame, now


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = wrap(value)
    return value


class Lying(dict[str, int]):
    """Says that it holds more than it gives out: MessagePack believes that."""

    def __len__(self) -> int:
        return 5


class Raising(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no items today")


class Colour(enum.IntEnum):
    RED = 1


CANNOT_TRAVEL = {
    "a tuple as a key": {(1, 2): "a"},
    "such a key far inside": [{"a": [{(1,): 1}]}],
    "an extension": msgpack.ExtType(5, b"data"),
    "an empty extension": msgpack.ExtType(5, b""),
    "an extension inside": {"a": [msgpack.ExtType(1, b"")]},
    "a timestamp": msgpack.Timestamp(1, 2),
    "a set": {1, 2},
    "an object": object(),
    "a class": int,
    "a function": print,
    "65 bits": 1 << 64,
    "a negative number of 65 bits": -(1 << 63) - 1,
    "such a number inside": [[1 << 70]],
    "half of a character": "\ud800",
    "half of a character as a key": {"\udfff": 1},
    "a list nested too deep": nested(1100, lambda value: [value]),
    "a map nested too deep": nested(1100, lambda value: {"a": value}),
    "a map that lies about its length": Lying(a=1),
    "a map that raises": Raising(a=1),
    "a complex number": 1j,
    "an exception": ValueError("x"),
}
CAN_TRAVEL = {
    "nested deep": (deep := nested(600, lambda value: [value]), deep),
    "a tuple": ((1, (2,)), [1, [2]]),
    "an enum": (Colour.RED, 1),
    "an ordered map": (OrderedDict(a=1), {"a": 1}),
    "a bytearray": (bytearray(b"a"), b"a"),
    "a view": (memoryview(b"a"), b"a"),
    "keys of every simple kind": ({None: 1, 2.5: 2, b"k": 3, "k": 4, 7: 5}, None),
    "infinity": ([math.inf], [math.inf]),
}


@asynccontextmanager
async def an_innocent(
    handlers: dict[str, Callable[..., object]] | None = None,
) -> AsyncIterator[Connection]:
    """A connection with a slow call on it, which must not notice what else happens there."""
    async with connected(handlers) as (server, connection):
        slow = asyncio.ensure_future(connection.call("sleep", 5.0))
        await asyncio.sleep(0.1)
        yield connection
        assert connection.is_open
        assert await connection.call("echo", "after") == "after"
        assert await slow == "awake"
        await asyncio.sleep(0.1)
        assert [each.calls_in for each in server.connections.values()] == [0]
        began = now()
    assert now() - began < 1, "leaving waits for nothing that is over"


def asks(connection: Connection) -> Iterator[Callable[..., object]]:
    yield connection.call
    yield connection.start
    yield connection.notify
    yield connection.stream


@pytest.mark.parametrize("value", CANNOT_TRAVEL.values(), ids=CANNOT_TRAVEL.keys())
def test_what_cannot_travel_is_refused_where_it_is_sent(value: object) -> None:
    async def main() -> None:
        async with an_innocent() as connection:
            for ask in asks(connection):
                with pytest.raises(InvalidArgument, match="cannot be sent"):
                    outcome = ask("echo", value)
                    if asyncio.iscoroutine(outcome):
                        await outcome
            assert await connection.call("echo", "next") == "next"

    run(main())


@pytest.mark.parametrize("method", [None, b"echo", 7, ["echo"], object(), ("echo",), "ech\ud800"])
def test_a_method_that_is_no_text_is_refused_by_name(method: Any) -> None:
    async def main() -> None:
        async with an_innocent() as connection:
            for ask in asks(connection):
                with pytest.raises(InvalidArgument, match=r"method is|cannot be sent"):
                    outcome = ask(method)
                    if asyncio.iscoroutine(outcome):
                        await outcome

    run(main())


@pytest.mark.parametrize(("value", "arrives"), CAN_TRAVEL.values(), ids=CAN_TRAVEL.keys())
def test_what_can_travel_does(value: object, arrives: object) -> None:
    async def main() -> None:
        async with an_innocent({"give": lambda _connection: value}) as connection:
            wanted = value if arrives is None else arrives
            assert await connection.call("echo", value) == wanted
            assert await connection.call("give") == wanted

    run(main())


@pytest.mark.parametrize("kind", ["plain", "async", "future", "detached", "stream"])
@pytest.mark.parametrize("value", CANNOT_TRAVEL.values(), ids=CANNOT_TRAVEL.keys())
def test_an_answer_that_cannot_travel_is_an_error_of_that_call_alone(
    value: object, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with an_innocent(handlers_that(kind, lambda: value)) as connection:
            with pytest.raises(InternalError, match="failed"):
                await asked(connection, kind)

    run(main())
    assert "cannot be sent" in caplog.text


# ------------------------------------------------------------- what a handler raises


class ForgetsItsMessage(Unavailable):
    code = "tests_forgets"

    def __init__(self) -> None:
        pass


class CannotBePrinted(Rejected):
    code = "tests_cannot_be_printed"

    def __str__(self) -> str:
        raise RuntimeError("not today")


class CannotBeTold(Rejected):
    code = "tests_cannot_be_told"

    def to_wire(self) -> Any:
        raise RuntimeError("not today")


class TellsNonsense(Rejected):
    code = "tests_tells_nonsense"

    def to_wire(self) -> Any:
        return 1, None, object(), [7]


class CannotBeMade(Unavailable):
    code = "tests_cannot_be_made"

    def __new__(cls, _one: int, _two: int) -> Any:
        return super().__new__(cls)

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class StopsTheIteration(Unavailable, StopIteration):
    code = "tests_stops"


class OfTheProcess(BaseException):
    """As a test framework or an application server defines one."""


class CannotBeShown(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not today")

    __repr__ = __str__


RAISED: dict[str, tuple[Callable[[], BaseException], type[SdkitError]]] = {
    "a cancellation": (asyncio.CancelledError, Interrupted),
    "a time-out": (TimeoutError, InternalError),
    "the end of a generator": (GeneratorExit, InternalError),
    "one for the process": (OfTheProcess, InternalError),
    "a group": (lambda: BaseExceptionGroup("two", [OfTheProcess()]), InternalError),
    "one that cannot be shown": (CannotBeShown, InternalError),
    "an error as the message": (lambda: InvalidArgument(ValueError()), InvalidArgument),  # type: ignore[arg-type]
    "a number as the message": (lambda: Unavailable(7), Unavailable),  # type: ignore[arg-type]
    "another error": (lambda: Unavailable(OSError("down")), Unavailable),  # type: ignore[arg-type]
    "half a character": (lambda: Unavailable("\ud800", at="\udc00"), Unavailable),
    "a fact that cannot travel": (lambda: Rejected("no", why=object()), Rejected),
    "facts that could not be read": (lambda: Rejected("no", why={(1,): 2}), Rejected),
    "a message too long": (lambda: Rejected("x" * 20_000_000), Rejected),
    "no message": (ForgetsItsMessage, Unavailable),
    "one that cannot be printed": (lambda: CannotBePrinted("no"), Rejected),
    "one that cannot be told": (lambda: CannotBeTold("no"), Rejected),
    "one that tells nonsense": (lambda: TellsNonsense("no"), SdkitError),
    "one that cannot be made": (lambda: CannotBeMade(1, 2), Unavailable),
    "one that ends an iteration": (lambda: StopsTheIteration("no"), SdkitError),
}


@pytest.mark.parametrize("kind", ["plain", "async", "future", "detached", "stream"])
@pytest.mark.parametrize(("make", "arrives"), RAISED.values(), ids=RAISED.keys())
def test_whatever_a_handler_raises_its_call_alone_gets_one_answer(
    make: Callable[[], BaseException], arrives: type[SdkitError], kind: str
) -> None:
    def fail() -> object:
        raise make()

    async def main() -> None:
        async with an_innocent(handlers_that(kind, fail)) as connection:
            with pytest.raises(SdkitError) as caught:
                await asked(connection, kind)
            if kind == "plain":
                assert isinstance(caught.value, arrives)

    run(main())


@pytest.mark.parametrize("kind", ["plain", "async", "future"])
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_ends_the_process_goes_further_after_the_answer(
    kind: str, error: type[BaseException]
) -> None:
    outcomes: list[object] = []
    loop = asyncio.new_event_loop()

    def fail() -> object:
        raise error

    async def main() -> None:
        async with connected(handlers_that(kind, fail)) as (_, connection):
            with_it = asyncio.gather(
                connection.call("m"), connection.call("echo", 1), return_exceptions=True
            )
            outcomes.extend(await with_it)
            began = now()
        assert now() - began < 1

    try:
        task = loop.create_task(main())
        with pytest.raises(error):
            loop.run_until_complete(task)
        loop.run_until_complete(task)  # had it not ended the process
    finally:
        loop.close()
    assert isinstance(outcomes[0], Indeterminate)
    assert outcomes[1] == 1


def handlers_that(kind: str, do: Callable[[], object]) -> dict[str, Callable[..., object]]:
    """A handler ``m`` of one kind that returns or raises what ``do`` does."""

    async def late() -> object:
        await asyncio.sleep(0.1)
        return do()

    def plain(_connection: Connection) -> object:
        return do()

    async def asynchronous(_connection: Connection) -> object:
        return await late()

    def future(_connection: Connection) -> object:
        made = asyncio.get_running_loop().create_future()

        def settle() -> None:
            try:
                made.set_result(do())
            except StopIteration:
                made.cancel()  # asyncio takes no such error
            except BaseException as error:
                made.set_exception(error)

        asyncio.get_running_loop().call_later(0.1, settle)
        return made

    def detached(connection: Connection) -> object:
        return Detached(asyncio.ensure_future(late()))

    async def stream(_connection: Connection) -> AsyncIterator[object]:
        yield await late()

    return {
        "m": {
            "plain": plain,
            "async": asynchronous,
            "future": future,
            "detached": detached,
            "stream": stream,
        }[kind]
    }


async def asked(connection: Connection, kind: str) -> object:
    if kind != "stream":
        return await connection.call("m")
    return [item async for item in connection.stream("m")]


# ------------------------------------------------------------- handlers of other odd kinds


class Odd:
    """An iterator whose parts can each be made wrong."""

    def __init__(self, **parts: Any) -> None:
        self.parts = parts

    def __aiter__(self) -> Odd:
        return self

    def __anext__(self) -> Any:
        return self.parts["anext"]()

    @property
    def aclose(self) -> Any:
        return self.parts["aclose"]


def raising(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    "parts",
    [
        {"anext": lambda: 7, "aclose": lambda: None},
        {"anext": raising(OfTheProcess()), "aclose": 7},
        {"anext": raising(RuntimeError()), "aclose": raising(OfTheProcess())},
        {"anext": raising(StopAsyncIteration()), "aclose": raising(asyncio.CancelledError())},
        {"anext": raising(asyncio.CancelledError()), "aclose": lambda: 7},
        {"anext": raising(RuntimeError())},
    ],
)
def test_a_stream_that_is_made_wrong_ends_all_the_same(parts: dict[str, Any]) -> None:
    async def main() -> None:
        async with an_innocent({"odd": lambda _connection: Odd(**parts)}) as connection:
            await asyncio.gather(asked_stream(connection), return_exceptions=True)
            for _ in range(3):
                await asyncio.sleep(0.1)

    async def asked_stream(connection: Connection) -> None:
        async with asyncio.timeout(1):
            async for _ in connection.stream("odd"):
                pass

    run(main())


def test_a_future_of_another_loop_is_refused() -> None:
    other = asyncio.new_event_loop()
    future = other.create_future()

    async def main() -> None:
        handlers = {"m": lambda _connection: future, "d": lambda _connection: Detached(future)}
        async with an_innocent(handlers) as connection:
            for method in handlers:
                with pytest.raises(InternalError):
                    await connection.call(method)

    run(main())
    other.close()


def test_a_handler_whose_task_is_cancelled_before_its_first_step_is_answered() -> None:
    """A program that ends may cancel every task of its loop, and some have not begun."""

    def end_all() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() in ("late", "items"):
                task.cancel()

    async def wait() -> None:
        await asyncio.sleep(1)

    async def numbers() -> AsyncIterator[int]:
        yield 1

    def late(_connection: Connection) -> object:
        asyncio.get_running_loop().call_soon(end_all)  # before the task that this leads to
        return wait()

    def items(_connection: Connection) -> object:
        asyncio.get_running_loop().call_soon(end_all)
        return numbers()

    async def main() -> None:
        async with an_innocent({"late": late, "items": items}) as connection:
            calls = [connection.start("late"), connection.start("echo", 1)]
            with pytest.raises(Interrupted):
                await calls[0]
            assert await calls[1] == 1
            with pytest.raises(Interrupted):
                await anext(connection.stream("items"))

    run(main())


def test_all_of_several_handlers_that_are_cancelled_before_their_first_step_are_answered() -> None:
    def end_all(_connection: Connection) -> None:
        def cancel() -> None:
            for task in asyncio.all_tasks():
                if task.get_name() == "late":
                    task.cancel()

        asyncio.get_running_loop().call_soon(cancel)  # before the tasks of the same read

    async def late(_connection: Connection) -> None:
        await asyncio.sleep(1)

    async def main() -> list[object]:
        async with an_innocent({"end_all": end_all, "late": late}) as connection:
            connection.notify("end_all")
            calls = [connection.start("late", timeout_s=10.0) for _ in range(3)]
            return await asyncio.gather(*calls, return_exceptions=True)

    assert [type(each) for each in run(main())] == [Interrupted] * 3


# ------------------------------------------------------------- a peer that cannot read us


def test_a_call_that_ended_the_connection_is_not_advised_to_go_elsewhere() -> None:
    """Of another implementation, say: it cannot read a call, and tells us so."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def hear() -> Any:
            (length,) = struct.unpack(">I", await reader.readexactly(4))
            return msgpack.unpackb(await reader.readexactly(length))

        assert (await hear())[0] == HELLO
        writer.write(frame(HELLO_OF_A_STRANGER))
        assert [(await hear())[0] for _ in range(3)] == [CALL] * 3
        error = ["rejected", "protocol_error", "a frame of 9 bytes cannot be read", {}]
        writer.write(frame([GOODBYE, 1, error]))
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            connection = await connect(*server.sockets[0].getsockname()[:2])
            calls = [connection.start("m", number) for number in range(3)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            await connection.wait_closed()
        before, culprit, after = outcomes
        assert isinstance(before, Indeterminate)
        assert isinstance(culprit, ProtocolError)
        assert "elsewhere" not in str(culprit)
        assert isinstance(after, Closed)

    run(main())


def test_a_message_that_only_this_peer_finds_too_long_names_it() -> None:
    async def main() -> None:
        async with connected(frame_bytes_max=5000, limits=Limits()) as (_, connection):
            with pytest.raises(LimitExceeded, match="accepts at most 5000"):
                await connection.call("echo", [b"x" * 6000])
            assert await connection.call("echo", 1) == 1

    run(main())
