"""The smallest remote call: a numbered line of JSON goes out, and its answer comes back.

A remote call looks like a local one: it has a name, arguments and a result. It travels
over a TCP connection. Each request has a number, and its answer repeats the number. So
many calls can share a connection, and a slow call does not delay the others.

    client                                            server
      {"id": 1, "method": "square", "args": [7]}  ──>
      {"id": 2, "method": "wait", "args": [0.2]}  ──>
                                                 <──  {"id": 1, "result": 49}
                                                 <──  {"id": 2, "result": "waited 0.2 s"}

    $ python -m sdkit.rpc.smallest
    square(7) = 49
    three calls at once: waited 0.2 s, waited 0.1 s, 81
    the answers came as: 81, waited 0.1 s, waited 0.2 s
    square("seven"): RemoteError, TypeError: can't multiply sequence by non-int of type 'str'
    the server is gone: ConnectionError, the connection was lost
    did that call happen? The error does not say.

What it gets wrong, and where that is answered
    1. An error arrives as text. `messages` carries kind, code and fields, and the caller
       gets the error itself.
    2. A caller waits for ever, and a handler works for one that has left: a deadline
       travels with a call (`sdkit.net.deadlines`), and `serving` has the handler cancelled.
    3. A caller who gives up tells nobody: `asking` does.
    4. There are no streams, so an answer has to fit into one line: `stream`.
    5. A lost connection does not say whether the call has happened. `session` knows
       which calls never left, and which the other side has not looked at.
    6. A client may start as many handlers as it likes: `limits`.
    7. A bad call is not refused, and may get no answer: JSON turns a tuple into a list and
       cannot carry bytes, and a handler may raise what is no `Exception`. `frames` refuses
       what cannot travel, and `handling` gives each call exactly one answer.
    8. A line may be as long as memory, and everybody may call: `limits`, `hello`. (No
       property sees it: the specification has no enemies. ``tests/rpc/test_hostile.py``.)
    9. Answers for a client that does not read pile up: `outbox`. (Nor this:
       ``tests/rpc/test_pressure.py``.)

The specification of calls is run against this file. It fails at numbers 1 to 7 only
(``tests/rpc/test_smallest.py``).
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

Handlers = Mapping[str, Callable[..., Any]]


class RemoteError(Exception):
    """The handler raised; the text is what it said."""


async def serve(handlers: Handlers) -> asyncio.Server:
    """Answer the calls of everybody who connects to 127.0.0.1, at a free port."""

    async def answer(writer: asyncio.StreamWriter, request: dict[str, Any]) -> None:
        reply: dict[str, Any] = {"id": request["id"]}
        try:
            result = handlers[request["method"]](*request["args"])
            reply["result"] = await result if inspect.isawaitable(result) else result
            line = json.dumps(reply)
        except Exception as error:
            line = json.dumps({"id": request["id"], "error": f"{type(error).__name__}: {error}"})
        writer.write(line.encode() + b"\n")

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                while line := await reader.readline():
                    tasks.create_task(answer(writer, json.loads(line)))
        finally:
            writer.close()

    return await asyncio.start_server(converse, "127.0.0.1", 0)


class SmallestClient:
    """The calling end of one connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.last_id = 0
        self.waiting: dict[int, asyncio.Future[Any]] = {}
        self.reading = asyncio.ensure_future(self.read(reader))

    async def call(self, method: str, *args: Any) -> Any:
        """Return what the handler returns; raise `RemoteError` if it raises."""
        if self.reading.done():
            raise ConnectionError("the connection was lost")
        self.last_id += 1
        request = {"id": self.last_id, "method": method, "args": args}
        self.writer.write(json.dumps(request).encode() + b"\n")
        waiter = self.waiting[self.last_id] = asyncio.get_running_loop().create_future()
        return await waiter

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Give each answer to the call whose number it repeats."""
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                reply = json.loads(line)
                waiter = self.waiting.pop(reply["id"])
                if waiter.done():
                    continue  # its caller has given up
                if "error" in reply:
                    waiter.set_exception(RemoteError(reply["error"]))
                else:
                    waiter.set_result(reply["result"])
        for waiter in self.waiting.values():
            if not waiter.done():
                waiter.set_exception(ConnectionError("the connection was lost"))

    async def close(self) -> None:
        """End the connection, and the calls that still wait."""
        self.writer.close()
        await asyncio.wait([self.reading])


async def connect(port: int) -> SmallestClient:
    """Open a connection to a server on this machine."""
    return SmallestClient(*await asyncio.open_connection("127.0.0.1", port))


async def wait(seconds: float) -> str:
    """A handler that takes its time."""
    await asyncio.sleep(seconds)
    return f"waited {seconds} s"


async def main() -> None:
    """Show it at work."""
    server = await serve({"square": lambda number: number * number, "wait": wait})
    client = await connect(server.sockets[0].getsockname()[1])
    print(f"square(7) = {await client.call('square', 7)}")

    came: list[object] = []

    async def note(method: str, argument: float) -> Any:
        came.append(answer := await client.call(method, argument))
        return answer

    answers = await asyncio.gather(note("wait", 0.2), note("wait", 0.1), note("square", 9))
    print("three calls at once: " + ", ".join(map(str, answers)))
    print("the answers came as: " + ", ".join(map(str, came)))
    try:
        await client.call("square", "seven")
    except RemoteError as error:
        print(f'square("seven"): RemoteError, {error}')

    server.close()
    client.writer.write_eof()
    await asyncio.wait([client.reading])
    try:
        await client.call("square", 7)
    except ConnectionError as error:
        print(f"the server is gone: ConnectionError, {error}")
        print("did that call happen? The error does not say.")
    await client.close()


if __name__ == "__main__":
    asyncio.run(main())
