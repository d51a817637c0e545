"""Handlers, a server around them, and a peer that says what it likes: for the tests here."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import msgpack

from sdkit.rpc import Connection, Server, ServerConfig, connect
from sdkit.rpc.hello import Hello
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import GOODBYE

STRANGER = Hello(b"n" * 32, False, 1 << 20, "raw")
HELLO_OF_A_STRANGER = STRANGER.to_message()
SECRET = "correct horse battery staple"


def echo(_connection: Connection, value: object) -> object:
    return value


async def sleep(_connection: Connection, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "awake"


async def count(_connection: Connection, to: int, size: int = 0) -> AsyncIterator[object]:
    for number in range(to):
        yield [number, b"x" * size]


def fail(_connection: Connection) -> None:
    raise RuntimeError("the password is swordfish")


HANDLERS: Mapping[str, Callable[..., object]] = {
    "echo": echo,
    "sleep": sleep,
    "count": count,
    "fail": fail,
}


@asynccontextmanager
async def serving(
    handlers: Mapping[str, Callable[..., object]] | None = None, **config: Any
) -> AsyncIterator[Server]:
    """A server with the handlers above, and more."""
    async with Server({**HANDLERS, **(handlers or {})}, ServerConfig(**config)) as server:
        yield server


@asynccontextmanager
async def connected(
    handlers: Mapping[str, Callable[..., object]] | None = None,
    limits: Limits | None = None,
    **config: Any,
) -> AsyncIterator[tuple[Server, Connection]]:
    """A server and one connection to it."""
    async with (
        serving(handlers, **config) as server,
        await connect(*server.address, secret=config.get("secret"), limits=limits) as connection,
    ):
        yield server, connection


def now() -> float:
    return asyncio.get_running_loop().time()


def frame(message: object) -> bytes:
    packed: bytes = msgpack.packb(message)
    return struct.pack(">I", len(packed)) + packed


class RawPeer:
    """A client that sends what it likes and reads only when told to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, *messages: object) -> None:
        self.writer.write(b"".join(map(frame, messages)))
        await self.writer.drain()

    async def hear(self) -> list[Any]:
        """The next message; an empty list once the server has closed."""
        try:
            (length,) = struct.unpack(">I", await self.reader.readexactly(4))
            message: list[Any] = msgpack.unpackb(
                await self.reader.readexactly(length), strict_map_key=False
            )
        except (asyncio.IncompleteReadError, ConnectionError):
            return []
        return message

    async def hello(self, **changes: object) -> list[Any]:
        await self.say(replace(STRANGER, **changes).to_message())  # type: ignore[arg-type]
        return await self.hear()

    async def hear_the_end(self) -> str:
        """The code of the goodbye that ends the connection; "" if it just ends."""
        code = ""
        while message := await self.hear():
            if message[0] == GOODBYE and message[2] is not None:
                code = message[2][1]
        return code


@asynccontextmanager
async def raw_peer(server: Server) -> AsyncIterator[RawPeer]:
    reader, writer = await asyncio.open_connection(*server.address)
    try:
        yield RawPeer(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
