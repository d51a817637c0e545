"""The conversation on ``docs/rpc.md``: every message of a short run, as it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from sdkit.errors import DeadlineExceeded
from sdkit.host import running_on
from sdkit.rpc import Connection, Limits, Server, ServerConfig, connect
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.trace import Record, SequenceDiagram, listening

SECRET = "shared by both sides"


async def rows(_connection: Connection, count: int) -> AsyncIterator[object]:
    for number in range(count):
        yield [number, b"x" * 400]


async def slow(_connection: Connection) -> None:
    await asyncio.sleep(60)


def draw() -> str:
    """A handshake, two calls answered out of order, a stream with credit, a deadline, the end."""
    picture = SequenceDiagram(_label)
    with listening(picture):
        run(_conversation())
    return picture.text()


def _label(record: Record) -> str | None:
    if record.name != "rpc.send":
        return None
    facts = record.fields
    method = f" {facts['method']}" if "method" in facts else ""
    code = f" {facts['code']}" if "code" in facts else ""
    number = f" {facts['id']}" if "id" in facts and facts["kind"] != "GOODBYE" else ""
    return f"{facts['kind']}{number}{method}{code}"


async def _conversation() -> None:
    async with Server(
        {"rows": rows, "slow": slow, "add": lambda _c, a, b: a + b},
        ServerConfig(secret=SECRET),
        host=SimulatedHost("server"),
    ) as server:
        with running_on(SimulatedHost("client")):
            limits = Limits(stream_window_bytes=1024)
            connection = await connect(*server.address, secret=SECRET, limits=limits)
            async with connection:
                late = connection.start("slow", timeout_s=1.0)
                await connection.call("add", 2, 3)
                async for _ in connection.stream("rows", 5):
                    pass
                try:
                    await late
                except DeadlineExceeded:
                    await asyncio.sleep(0.1)
