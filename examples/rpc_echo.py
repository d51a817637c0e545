"""A server, a client, and what a remote call can do that a local one cannot: run out of time.

python examples/rpc_echo.py
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sdkit.errors import DeadlineExceeded, InvalidArgument
from sdkit.rpc import Connection, Server, connect


def echo(_connection: Connection, text: str) -> str:
    return text


async def sleep(_connection: Connection, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        print("server: nobody waits any more, so I stop")
        raise


async def count(_connection: Connection, to: int) -> AsyncIterator[int]:
    for number in range(to):
        yield number


async def main() -> None:
    async with (
        Server({"echo": echo, "sleep": sleep, "count": count}) as server,
        await connect(*server.address) as connection,
    ):
        print("client:", await connection.call("echo", "hello"))

        answers = await asyncio.gather(*(connection.call("echo", f"{n}") for n in range(5)))
        print("client: five calls at once on one connection:", *answers)

        total = 0
        async for number in connection.stream("count", 100_000):
            assert isinstance(number, int)
            total += number
        print("client: the sum of a stream:", total)

        try:
            await connection.call("echo", 7)
        except InvalidArgument as error:
            print("client:", error)

        try:
            await connection.call("sleep", 60.0, timeout_s=0.2)
        except DeadlineExceeded as error:
            print("client:", error)
        await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
