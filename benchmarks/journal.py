"""What the journal costs over a bare ``write`` and ``fdatasync``, and over a bare reading loop."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

from benchmarks.harness import Bar, Contender, Work
from sdkit.storage import Journal, JournalConfig, LocalDisk

SECONDS = 0.5
RECORD = b"x" * 100
RECORDS = 100_000
_HEAD = struct.Struct("<QII")


def table() -> list[Work]:
    return [
        *[_appends(clients) for clients in (1, 8, 64)],
        Work(
            "journal: records replayed per second, open included",
            "records/s",
            "more",
            [
                Contender("Journal.open and replay", "ours", _replay),
                Contender("decode + CRC", "limit", _bare_reading),
            ],
            [Bar("limit", 0.15)],
        ),
        Work(
            "journal: records of 100 bytes appended, durability none",
            "records/s",
            "more",
            [
                Contender("Journal.append", "ours", _unsynced),
                Contender("one write per 64", "limit", _bare_writing),
            ],
        ),
    ]


def _appends(clients: int) -> Work:
    return Work(
        f"journal: records of 100 bytes made durable, {clients} at once",
        "records/s",
        "more",
        [
            Contender("Journal.append, wait", "ours", lambda: _durable(clients)),
            Contender(f"write, fdatasync per {clients}", "limit", lambda: _fdatasync(clients)),
        ],
        limit_rate_min=2_000,
    )


def _in_a_directory(measure: Callable[[str], float]) -> float:
    # Not in /tmp, which is often memory: a sync there costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as directory:
        return measure(directory)


async def _open(directory: str, durability: str = "sync") -> Journal:
    config = JournalConfig(durability=durability)
    return await Journal.open(
        LocalDisk(directory), room="bench", config=config, random=random.Random(0)
    )


def _durable(clients: int) -> float:
    async def main(directory: str) -> float:
        journal = await _open(directory)
        began = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - began < SECONDS:
                await journal.wait(journal.append(RECORD))

        await asyncio.gather(*(client() for _ in range(clients)))
        rate = journal.end / (time.perf_counter() - began)
        await journal.close()
        return rate

    return _in_a_directory(lambda directory: asyncio.run(main(directory)))


def _fdatasync(clients: int) -> float:
    def measure(directory: str) -> float:
        file = os.open(f"{directory}/log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            os.write(file, b"x" * 140 * clients)
            os.fdatasync(file)
            count += clients
        os.close(file)
        return count / (time.perf_counter() - began)

    return _in_a_directory(measure)


def _unsynced() -> float:
    async def main(directory: str) -> float:
        journal = await _open(directory, "none")
        began = time.perf_counter()
        for number in range(RECORDS):
            journal.append(RECORD)
            if number % 64 == 0:
                await asyncio.sleep(0)
        rate = RECORDS / (time.perf_counter() - began)
        await journal.close()
        return rate

    return _in_a_directory(lambda directory: asyncio.run(main(directory)))


def _bare_writing() -> float:
    def measure(directory: str) -> float:
        file = os.open(f"{directory}/log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        began = time.perf_counter()
        for _ in range(RECORDS // 64):
            pieces: list[bytes] = []
            for lsn in range(64):
                pieces += _HEAD.pack(lsn, len(RECORD), crc32(RECORD)), RECORD
            os.write(file, b"".join(pieces))
        took = time.perf_counter() - began
        os.close(file)
        return RECORDS / took

    return _in_a_directory(measure)


def _replay() -> float:
    async def write(directory: str) -> None:
        journal = await _open(directory, "os")
        for _ in range(RECORDS):
            journal.append(RECORD)
        await journal.close()

    async def read(directory: str) -> float:
        found: list[bytes] = []
        began = time.perf_counter()
        journal = await _open(directory)
        await journal.replay(on_record=lambda lsn, record: found.append(record))
        rate = len(found) / (time.perf_counter() - began)
        await journal.close()
        return rate

    def measure(directory: str) -> float:
        asyncio.run(write(directory))
        return asyncio.run(read(directory))

    return _in_a_directory(measure)


def _bare_reading() -> float:
    record = _HEAD.pack(1, len(RECORD), crc32(RECORD)) + RECORD
    data = record * RECORDS
    found: list[bytes] = []
    began, at = time.perf_counter(), 0
    while at < len(data):
        _, length, crc = _HEAD.unpack_from(data, at)
        content = data[at + _HEAD.size : at + _HEAD.size + length]
        assert crc32(content) == crc
        found.append(content)
        at += _HEAD.size + length
    return len(found) / (time.perf_counter() - began)
