"""The store as a process of its own, on a real disk and real sockets, treated badly."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from sdkit.cli.child import ServedRoom
from sdkit.errors import (
    Closed,
    ConnectionLost,
    DiskUnavailable,
    NotConnected,
    Overloaded,
    SdkitError,
)
from sdkit.store import StoreClient, TransactionLost

GOES_AWAY = (NotConnected, Closed, ConnectionLost, TransactionLost)


async def put(store: StoreClient, key: bytes, value: bytes) -> None:
    async with store.begin() as transaction:
        await transaction.put(key, value)


async def keys_of(served: ServedRoom) -> set[bytes]:
    async with (
        StoreClient(*await served.address()) as store,
        store.begin(read_only=True) as transaction,
    ):
        return {key async for key, _ in transaction.scan()}


async def write_until_it_ends(
    address: tuple[str, int], name: int, acknowledged: list[bytes]
) -> None:
    async with StoreClient(*address) as store:
        for number in range(1_000_000):
            key = b"%d/%d" % (name, number)
            try:
                await put(store, key, b"x" * 100)
            except GOES_AWAY:
                return
            acknowledged.append(key)


async def after_some(acknowledged: list[bytes], count: int) -> None:
    while len(acknowledged) < count:  # noqa: ASYNC110  no event tells how far they are
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load_ends_it_cleanly_and_loses_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    async def main() -> None:
        acknowledged: list[bytes] = []
        served = ServedRoom("store", tmp_path, ["--grace-s", "2s"])
        async with served:
            address = await served.address()
            writers = [
                asyncio.create_task(write_until_it_ends(address, name, acknowledged))
                for name in range(8)
            ]
            await after_some(acknowledged, 200)
            assert served.pid is not None
            os.kill(served.pid, number)
            async with asyncio.timeout(20):
                await asyncio.gather(*writers)
                assert await served.wait() == 0
            await served.start()
            assert await keys_of(served) >= set(acknowledged)
            assert not served.notes, "a clean end needs no repair"

    asyncio.run(main())


def test_a_full_disk_refuses_commits_by_name_and_serves_reads_and_loses_nothing(
    tmp_path: Path,
) -> None:
    """The file size limit of the process makes the disk full, in the middle of a commit."""

    async def main() -> None:
        full = ServedRoom("store", tmp_path)
        limit = 'ulimit -f 256; exec "$@"'  # blocks of 1024 bytes
        full._command = ["bash", "-c", limit, "bash", *full._command]
        acknowledged: list[bytes] = []
        async with full, StoreClient(*await full.address()) as store:
            with pytest.raises(DiskUnavailable, match=r"File too large|full"):
                for number in range(1_000):
                    await put(store, b"%04d" % number, b"x" * 1_000)
                    acknowledged.append(b"%04d" % number)
            assert len(acknowledged) > 100
            assert await keys_of(full) == set(acknowledged), "what was refused did not happen"
            with pytest.raises(DiskUnavailable):
                await put(store, b"more", b"x" * 10_000)
        roomy = ServedRoom("store", tmp_path)
        async with roomy:
            assert await keys_of(roomy) == set(acknowledged)
            async with StoreClient(*await roomy.address()) as store:
                await put(store, b"more", b"x" * 10_000)

    asyncio.run(main())


def test_a_flipped_byte_in_a_synced_place_keeps_it_from_starting(tmp_path: Path) -> None:
    async def main() -> str:
        async with (
            ServedRoom("store", tmp_path) as served,
            StoreClient(*await served.address()) as store,
        ):
            for number in range(50):
                await put(store, b"%04d" % number, b"x" * 100)
        segments = sorted((tmp_path / "store").glob("*.wal"))
        segment = max(segments, key=lambda path: path.stat().st_size)
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        with pytest.raises(NotConnected) as caught:
            await ServedRoom("store", tmp_path).start()
        assert segment.read_bytes() == data, "a refusal changes nothing"
        return f"{segment.name}: {caught.value}"

    said = asyncio.run(main())
    name, _, rest = said.partition(": ")
    assert "status 2" in rest
    assert name in rest
    assert "Traceback" not in rest


def test_a_client_process_that_is_killed_gives_its_locks_to_the_next(tmp_path: Path) -> None:
    holder = """
import asyncio, sys
from sdkit.store import StoreClient
async def main():
    async with StoreClient("127.0.0.1", int(sys.argv[1])) as store:
        transaction = store.begin()
        await transaction.put(b"a", b"1")
        print("held", flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""

    async def main() -> None:
        async with (
            ServedRoom("store", tmp_path) as served,
            StoreClient(*await served.address()) as store,
        ):
            _, port = await served.address()
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", holder, str(port), stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            assert await process.stdout.readline() == b"held\n"
            waiting = asyncio.create_task(put(store, b"a", b"2"))
            while (await store.transactions())[-1].state != "waiting":  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            process.kill()
            async with asyncio.timeout(5):
                await waiting
            await process.communicate()

    asyncio.run(main())


Attack = Callable[[tuple[str, int]], Awaitable[None]]


async def send_garbage(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(os.urandom(100_000))
    await asyncio.wait_for(reader.read(), 10)  # it answers, perhaps, and closes
    writer.close()


async def announce_a_huge_frame(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"\xff\xff\xff\xff" + b"x" * 1_000)
    await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def speak_http(address: tuple[str, int]) -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    await asyncio.wait_for(reader.read(), 10)
    writer.close()


async def connect_and_leave(address: tuple[str, int]) -> None:
    for _ in range(50):
        _, writer = await asyncio.open_connection(*address)
        writer.close()


@pytest.mark.parametrize(
    "attack", [send_garbage, announce_a_huge_frame, speak_http, connect_and_leave]
)
def test_a_hostile_peer_hinders_nobody(tmp_path: Path, attack: Attack) -> None:
    async def main() -> None:
        async with (
            ServedRoom("store", tmp_path) as served,
            StoreClient(*await served.address()) as store,
        ):
            address = await served.address()
            await put(store, b"before", b"1")
            with suppress(ConnectionError):  # it was reset, which is an answer as well
                await attack(address)
            await put(store, b"after", b"2")
            assert await keys_of(served) == {b"before", b"after"}

    asyncio.run(main())


def test_a_connection_too_many_is_told_so_and_the_others_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            ServedRoom("store", tmp_path, ["--connections-max", "2"]) as served,
            StoreClient(*await served.address()) as one,
            StoreClient(*await served.address()) as two,
        ):
            with pytest.raises(Overloaded):
                await StoreClient(*await served.address()).connect()
            await put(one, b"a", b"1")
            await put(two, b"b", b"2")

    asyncio.run(main())


def test_every_error_of_a_server_process_is_one_of_ours(tmp_path: Path) -> None:
    async def main() -> None:
        async with (
            ServedRoom("store", tmp_path, ["--max-bytes", "64KiB"]) as served,
            StoreClient(*await served.address()) as store,
        ):
            with pytest.raises(SdkitError) as caught:
                for number in range(1_000):
                    await put(store, b"%d" % number, b"x" * 1_000)
            assert caught.value.code == "store_full"
            assert len(await keys_of(served)) > 10, "reads go on"

    asyncio.run(main())
