"""Other people's asyncio libraries, unmodified, in virtual time on a simulated network."""

from __future__ import annotations

import asyncio
import time
from asyncio import StreamReader as Reader
from asyncio import StreamWriter as Writer
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import websockets
from aiohttp import web
from redis import asyncio as redis
from redis import exceptions
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff, NoBackoff

from sdkit.sim.loop import run
from sdkit.sim.world import World, simulate


def now() -> float:
    return asyncio.get_running_loop().time()


# ── redis-py ─────────────────────────────────────────────────────────────────


class TinyRedis:
    """A few commands of Redis over RESP 2, with mishaps on demand."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.connections = 0
        self.breaks: set[int] = set()  # connections, by number, that break in a GET's answer

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.connections += 1
        number = self.connections
        try:
            while command := await self._read(reader):
                if command[0] == b"GET" and number in self.breaks:
                    writer.write(b"$1000\r\nonly the beg")
                    await writer.drain()
                    await asyncio.sleep(0.1)
                    writer.transport.abort()
                    return
                writer.write(await self._answer(command))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _read(self, reader: Reader) -> list[bytes]:
        if not (line := await reader.readline()):
            return []
        words = []
        for _ in range(int(line[1:])):
            length = int((await reader.readline())[1:])
            words.append((await reader.readexactly(length + 2))[:-2])
        return [words[0].upper(), *words[1:]]

    async def _answer(self, command: list[bytes]) -> bytes:
        match command:
            case [b"PING"]:
                return b"+PONG\r\n"
            case [b"CLIENT", *_]:
                return b"+OK\r\n"
            case [b"SET", key, value]:
                self.values[key] = value
                return b"+OK\r\n"
            case [b"GET", key]:
                if (found := self.values.get(key)) is None:
                    return b"$-1\r\n"
                return b"$%d\r\n%s\r\n" % (len(found), found)
            case [b"INCRBY", key, by]:
                self.values[key] = b"%d" % (int(self.values.get(key, b"0")) + int(by))
                return b":%s\r\n" % self.values[key]
            case [b"BLPOP", _, seconds]:
                await asyncio.sleep(float(seconds))
                return b"*-1\r\n"
        return b"-ERR unknown command\r\n"


@asynccontextmanager
async def tiny_redis(**options: Any) -> AsyncIterator[tuple[TinyRedis, Any]]:
    tiny = TinyRedis()
    async with await asyncio.start_server(tiny.serve, "127.0.0.1", 6379):
        async with redis.Redis(host="localhost", protocol=2, **options) as client:
            yield tiny, client
        await asyncio.sleep(0.1)  # until the server has seen the end of the connections


def test_redis_py_sets_gets_and_pipelines() -> None:
    async def main() -> list[Any]:
        async with tiny_redis() as (_, client):
            await client.set("a", "1")
            async with client.pipeline(transaction=False) as pipeline:
                pipeline.incr("a").incr("a").get("missing")
                return [await client.get("a"), *await pipeline.execute(), await client.get("a")]

    assert run(main()) == [b"1", 2, 3, None, b"3"]


def test_fifty_tasks_share_the_pool_of_redis_py_in_the_same_way_in_every_run() -> None:
    async def main() -> tuple[bytes, int, float]:
        async with tiny_redis(max_connections=100) as (tiny, client):

            async def work(number: int) -> None:
                for _ in range(5):
                    await client.incr("count")
                    await asyncio.sleep(number / 100)

            async with asyncio.TaskGroup() as group:
                for number in range(50):
                    group.create_task(work(number))
            return await client.get("count"), tiny.connections, now()

    first, again = (run(main(), latency_s=(0.001, 0.02), seed=7) for _ in range(2))
    assert first[0] == b"250"
    assert first == again


def test_redis_py_gives_up_after_its_time_out() -> None:
    async def main() -> float:
        no_retry = Retry(NoBackoff(), 0)
        async with tiny_redis(socket_timeout=30, retry=no_retry) as (_, client):
            began = now()
            with pytest.raises(exceptions.TimeoutError):
                await client.blpop(["queue"], timeout=3600)
            gave_up = now() - began
            await asyncio.sleep(3600)  # until the server's answer to nobody
            return gave_up

    assert run(main()) == pytest.approx(30, abs=0.1)


def test_redis_py_reports_a_reset_in_the_middle_of_an_answer() -> None:
    async def main() -> bytes | None:
        async with tiny_redis(retry=Retry(NoBackoff(), 0)) as (tiny, client):
            await client.set("a", "whole")
            tiny.breaks = {1}
            with pytest.raises(exceptions.ConnectionError):
                await client.get("a")
            value: bytes | None = await client.get("a")
            return value

    assert run(main()) == b"whole"


def test_redis_py_retries_by_itself_after_a_reset_and_its_back_off_is_virtual_and_seeded() -> None:
    async def main() -> tuple[bytes | None, int, float]:
        # Full jitter: it draws from the `random` module.
        retry = Retry(ExponentialBackoff(cap=60, base=10), 5)
        async with tiny_redis(retry=retry) as (tiny, client):
            tiny.values[b"a"] = b"whole"
            tiny.breaks = {1, 2}
            return await client.get("a"), tiny.connections, now()

    value, connections, seconds = run(main())
    assert (value, connections) == (b"whole", 3)
    assert seconds > 20
    assert run(main())[2] == seconds


# ── websockets ───────────────────────────────────────────────────────────────


async def echo(connection: websockets.ServerConnection) -> None:
    async for message in connection:
        await connection.send(message)


def test_websockets_shake_hands_send_ping_and_close() -> None:
    async def main() -> tuple[list[str | bytes], float, int | None]:
        async with (
            websockets.serve(echo, "127.0.0.1", 8000),
            websockets.connect("ws://localhost:8000", proxy=None) as connection,
        ):
            answers = []
            for message in ("hello", b"\x00" * 70_000):
                await connection.send(message)
                answers.append(await connection.recv())
            latency_s = await (await connection.ping())
            await connection.close()
            return answers, latency_s, connection.close_code

    answers, latency_s, code = run(main(), latency_s=0.25)
    assert answers == ["hello", b"\x00" * 70_000]
    assert latency_s == pytest.approx(0.5)
    assert code == 1000


def test_websockets_notice_a_peer_that_no_longer_answers_pings() -> None:
    async def silent(reader: Reader, writer: Writer) -> None:
        """Shakes hands, and then reads without ever answering."""
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line[19:] for line in request.splitlines() if line.startswith("Sec-WebSocket-K"))
        accept = websockets.utils.accept_key(key)
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %s\r\n\r\n" % accept.encode()
        )
        while await reader.read(65536):
            pass
        writer.close()

    async def main() -> float:
        async with await asyncio.start_server(silent, "127.0.0.1", 8000):
            connection = await websockets.connect(
                "ws://localhost:8000", proxy=None, ping_interval=20, ping_timeout=15
            )
            with pytest.raises(websockets.ConnectionClosedError, match="keepalive ping timeout"):
                await connection.recv()
            noticed = now()
            await connection.close()
            await asyncio.sleep(1)
            return noticed

    assert 35 <= run(main()) < 50


def test_websockets_report_a_reset_in_the_middle_of_a_message() -> None:
    async def begin_and_break(connection: websockets.ServerConnection) -> None:
        transport = connection.transport
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"\x81\x7e\x10\x00only the beginning")
        await asyncio.sleep(0.1)
        transport.abort()

    async def main() -> type[BaseException]:
        async with (
            websockets.serve(begin_and_break, "127.0.0.1", 8000),
            websockets.connect("ws://localhost:8000", proxy=None) as connection,
        ):
            with pytest.raises(websockets.ConnectionClosedError) as broken:
                await connection.recv()
            return type(broken.value)

    assert run(main()) is websockets.ConnectionClosedError


def test_websockets_connect_again_until_the_server_is_back_with_a_virtual_back_off() -> None:
    async def restart() -> None:
        async with websockets.serve(echo, "127.0.0.1", 8000):
            await asyncio.sleep(4.2)
        await asyncio.sleep(30)
        async with websockets.serve(echo, "127.0.0.1", 8000):
            await asyncio.sleep(120)

    async def main() -> tuple[list[str], float]:
        server = asyncio.create_task(restart())
        await asyncio.sleep(0.1)
        said = list[str]()
        async for connection in websockets.connect("ws://localhost:8000", proxy=None):
            try:
                while len(said) < 10:
                    await connection.send(f"message {len(said)}")
                    said.append(str(await connection.recv()))
                    await asyncio.sleep(1)
                await connection.close()
                break
            except websockets.ConnectionClosed:
                continue
        finished = now()
        await server
        return said, finished

    said, finished = run(main())
    assert said == [f"message {number}" for number in range(10)]
    assert finished > 35
    assert run(main())[1] == finished  # its first delay is drawn at random


def test_websockets_connect_again_after_the_servers_machine_was_killed() -> None:
    async def serve() -> None:
        async with websockets.serve(echo, "0.0.0.0", 8000):
            await asyncio.Event().wait()

    async def talk() -> list[str]:
        said = list[str]()
        async for connection in websockets.connect("ws://echo:8000", proxy=None):
            try:
                while len(said) < 10:
                    await connection.send(f"message {len(said)}")
                    said.append(str(await connection.recv()))
                    await asyncio.sleep(1)
                await connection.close()
                break
            except websockets.ConnectionClosed:
                continue
        return said

    async def play(world: World) -> list[str]:
        server, client = world.machine("echo"), world.machine("client")
        server.boot(serve)
        await asyncio.sleep(0.5)
        client.boot(talk)
        await asyncio.sleep(4.2)
        server.kill()
        await asyncio.sleep(30)
        server.restart()
        said: list[str] = await client.ended
        return said

    done = simulate(play, seed=5)
    assert done.value == [f"message {number}" for number in range(10)]
    assert done.virtual_seconds > 35
    assert simulate(play, seed=5).digest == done.digest


# ── aiohttp ──────────────────────────────────────────────────────────────────


async def with_aiohttp(
    handler: Callable[[web.Request], Coroutine[Any, Any, web.StreamResponse]],
    play: Callable[[aiohttp.ClientSession], Coroutine[Any, Any, Any]],
) -> Any:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 8080).start()
    try:
        async with aiohttp.ClientSession("http://localhost:8080") as session:
            return await play(session)
    finally:
        await runner.cleanup()


def test_aiohttp_answers_its_own_client_with_a_date_of_the_virtual_present() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response({"path": request.path, "body": await request.text()})

    async def play(session: aiohttp.ClientSession) -> tuple[Any, str]:
        await asyncio.sleep(86_400)
        async with session.post("/a/b", data="x" * 100_000) as response:
            return await response.json(), response.headers["Date"]

    answer, date = run(with_aiohttp(handler, play))
    assert answer == {"path": "/a/b", "body": "x" * 100_000}
    assert date == "Sun, 02 Jan 2000 00:00:00 GMT"


def test_aiohttp_gives_up_after_its_time_out() -> None:
    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(600)
        return web.Response()

    async def play(session: aiohttp.ClientSession) -> float:
        began = now()
        with pytest.raises(TimeoutError):
            await session.get("/", timeout=aiohttp.ClientTimeout(total=300))
        return now() - began

    assert run(with_aiohttp(handler, play)) == pytest.approx(300, abs=1)


def test_aiohttp_reports_a_reset_in_the_middle_of_a_body() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"only the beginning")
        await asyncio.sleep(0.1)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def play(session: aiohttp.ClientSession) -> bytes:
        async with session.get("/") as response:
            beginning = await response.content.readexactly(18)
            with pytest.raises(aiohttp.ClientError):
                await response.read()
            return beginning

    assert run(with_aiohttp(handler, play)) == b"only the beginning"


def test_what_libraries_measure_is_virtual_too() -> None:
    began = time.monotonic()

    async def handler(_: web.Request) -> web.Response:
        await asyncio.sleep(10 * 86_400)
        return web.Response(text="late")

    async def play(session: aiohttp.ClientSession) -> str:
        timeout = aiohttp.ClientTimeout(total=None)
        async with session.get("/", timeout=timeout) as response:
            return await response.text()

    assert run(with_aiohttp(handler, play)) == "late"
    assert time.monotonic() - began < 60
