"""What a remote call costs: echo of 100 bytes over loopback, the server in a process of its own.

The limit is an `asyncio.Protocol` at both ends that cuts 4-byte-length frames
and sends each one on: no ids, no encoding, no futures, no limits. The peer is
rpyc, which serves Python objects between processes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import struct
import time
from collections import deque
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection as Pipe

import rpyc
from rpyc.utils.server import ThreadedServer

from benchmarks.harness import Bar, Contender, Work
from sdkit.rpc import Connection, Server, connect

SECONDS = 0.6  # per measurement
PAYLOAD = b"x" * 100
FRAME = struct.pack(">I", len(PAYLOAD)) + PAYLOAD
TIMEOUT_S = 10.0  # each call has a deadline, as calls should


def table() -> list[Work]:
    echo = "RPC echo of 100 bytes, "
    return [
        Work(
            echo + "1 connection × 64 in flight, plain handler",  # noqa: RUF001
            "calls/s",
            "more",
            [
                Contender("sdkit.rpc", "ours", lambda: _ours("echo", 1, 64)),
                Contender("rpyc", "peer", lambda: _rpyc(64)),
                Contender("raw asyncio.Protocol frames", "limit", lambda: _raw(1, 64)),
            ],
            [Bar("limit", 0.20), Bar("rpyc", 3.0)],
        ),
        Work(
            echo + "1 connection × 64 in flight, awaiting handler",  # noqa: RUF001
            "calls/s",
            "more",
            [
                Contender("sdkit.rpc", "ours", lambda: _ours("echo_later", 1, 64)),
                Contender("raw asyncio.Protocol frames", "limit", lambda: _raw(1, 64)),
            ],
            [Bar("limit", 0.14)],
        ),
        Work(
            echo + "16 connections × 1",  # noqa: RUF001
            "calls/s",
            "more",
            [
                Contender("sdkit.rpc", "ours", lambda: _ours("echo", 16, 1)),
                Contender("raw asyncio.Protocol frames", "limit", lambda: _raw(16, 1)),
            ],
            [Bar("limit", 0.5)],
        ),
    ]


# ---------------------------------------------------------------- ours


def echo(_connection: Connection, data: bytes) -> bytes:
    return data


async def echo_later(_connection: Connection, data: bytes) -> bytes:
    await asyncio.sleep(0)
    return data


async def serve_ours(port: Callable[[int], None]) -> None:
    async with Server({"echo": echo, "echo_later": echo_later}) as server:
        port(server.address[1])
        await asyncio.Event().wait()


def _ours(method: str, connections: int, in_flight: int) -> float:
    async def main() -> float:
        made = [await connect("127.0.0.1", _port("ours")) for _ in range(connections)]
        done, going_on = 0, True

        async def work(connection: Connection) -> None:
            nonlocal done
            while going_on:
                await connection.call(method, PAYLOAD, timeout_s=TIMEOUT_S)
                done += 1

        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for connection in made * in_flight:
                group.create_task(work(connection))
            await asyncio.sleep(SECONDS)
            rate = done / (time.perf_counter() - began)
            going_on = False
        for connection in made:
            await connection.close()
        return rate

    return asyncio.run(main())


# ---------------------------------------------------------------- the limit


class RawFrames(asyncio.Protocol):
    """Cuts frames and sends each one back; both the server and the client of the limit."""

    def __init__(self) -> None:
        self.frames = 0
        self._kept = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._kept:
            data = self._kept + data
        start, frames = 0, list[bytes]()
        while len(data) - start >= 4:
            stop = start + 4 + int.from_bytes(data[start : start + 4], "big")
            if stop > len(data):
                break
            frames.append(data[start:stop])
            start = stop
        self._kept = data[start:]
        self.frames += len(frames)
        if self._transport is not None:
            self._transport.write(b"".join(frames))


async def serve_raw(port: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(RawFrames, "127.0.0.1", 0)
    port(server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


def _raw(connections: int, in_flight: int) -> float:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(RawFrames, "127.0.0.1", _port("raw"))
            for _ in range(connections)
        ]
        began = time.perf_counter()
        for transport, _ in made:
            transport.write(FRAME * in_flight)
        await asyncio.sleep(SECONDS)
        rate = sum(protocol.frames for _, protocol in made) / (time.perf_counter() - began)
        for transport, _ in made:
            transport.abort()
        await asyncio.sleep(0)
        return rate

    return asyncio.run(main())


# ---------------------------------------------------------------- rpyc


class RpycEcho(rpyc.Service):  # type: ignore[misc]  # rpyc has no types
    def exposed_echo(self, data: bytes) -> bytes:
        return data


def serve_rpyc(port: Callable[[int], None]) -> None:
    server = ThreadedServer(RpycEcho, hostname="127.0.0.1", port=0)
    server._listen()  # start() would, but says nothing when it has
    port(server.port)
    server.start()


def _rpyc(in_flight: int) -> float:
    connection = rpyc.connect("127.0.0.1", _port("rpyc"))
    echo = rpyc.async_(connection.root.echo)
    began, done = time.perf_counter(), 0
    waiting = deque(echo(PAYLOAD) for _ in range(in_flight))
    while time.perf_counter() - began < SECONDS:
        waiting.popleft().wait()
        done += 1
        waiting.append(echo(PAYLOAD))
    rate = done / (time.perf_counter() - began)
    for answer in waiting:
        answer.wait()
    connection.close()
    return rate


# ---------------------------------------------------------------- servers in processes


@cache
def _port(name: str) -> int:
    """Start a server, once; it ends with this process."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    spawn.Process(target=run_server, args=(name, theirs), daemon=True).start()
    port: int = ours.recv()
    return port


def run_server(name: str, pipe: Pipe) -> None:
    """What the child process does."""
    if name == "rpyc":
        serve_rpyc(pipe.send)
    else:
        asyncio.run({"ours": serve_ours, "raw": serve_raw}[name](pipe.send))
