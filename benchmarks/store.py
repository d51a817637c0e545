"""The embedded store against SQLite, and against the least code that could do the job.

An *update* is one transaction that reads a key and writes it, among 10,000 keys
with values of 100 bytes. The limits are a dictionary and a log file: no
isolation, no locks, no limits, one record with a checksum for each update, and
one ``fdatasync`` for as many as are under way.
"""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgpack

from benchmarks import store_memory, store_tcp, store_turns
from benchmarks.harness import Bar, Contender, Work
from sdkit.storage import LocalHost
from sdkit.store import Isolation, StoreConfig, StoreEngine
from sdkit.store.config import Durability, Serializable

KEYS = 10_000
VALUE = b"x" * 100
SECONDS = 0.7
RECORDS = 100_000
Level: TypeAlias = tuple[Isolation, Serializable]
REPEATABLE_READ: Level = (Isolation.REPEATABLE_READ, "optimistic")
LEVELS: dict[str, Level] = {
    "repeatable read": REPEATABLE_READ,
    "serializable (optimistic)": (Isolation.SERIALIZABLE, "optimistic"),
    "serializable (locking)": (Isolation.SERIALIZABLE, "locking"),
}
key_of = [b"key-%012d" % number for number in range(KEYS)]


def table() -> list[Work]:
    return [
        Work(
            "durable update transactions, embedded, 8 at once",
            "transactions/s",
            "more",
            [
                Contender("sdkit", "ours", lambda: updates("sync", tasks=8)),
                Contender("SQLite WAL FULL, 8 threads", "peer", _sqlite_durable),
                Contender("dict + record + fdatasync per 8", "limit", lambda: _log(per_sync=8)),
            ],
            [Bar("best peer", 3.0), Bar("limit", 0.4)],
            limit_rate_min=2_000 * 8,
        ),
        Work(
            "durable update transactions, embedded, 1 client",
            "transactions/s",
            "more",
            [
                Contender("sdkit", "ours", lambda: updates("sync", tasks=1)),
                Contender("dict + record + fdatasync", "limit", lambda: _log(per_sync=1)),
            ],
            [Bar("limit", 0.45)],
            limit_rate_min=2_000,
        ),
        Work(
            "update transactions, durability none, embedded, repeatable read",
            "transactions/s",
            "more",
            [
                Contender("sdkit", "ours", lambda: updates("none", tasks=1)),
                Contender("SQLite :memory:", "peer", _sqlite_updates),
            ],
            [Bar("best peer", 0.4)],
        ),
        Work(
            "point reads inside one transaction, embedded",
            "reads/s",
            "more",
            [
                Contender("sdkit", "ours", reads),
                Contender("SQLite :memory:", "peer", _sqlite_reads),
                Contender("dict", "limit", _dict_reads),
            ],
            [Bar("best peer", 1.3)],
        ),
        Work(
            "scans of 1,000 rows, embedded",
            "scans/s",
            "more",
            [
                Contender("sdkit", "ours", _scans),
                Contender("SQLite :memory:", "peer", _sqlite_scans),
            ],
            [Bar("best peer", 1.0)],
        ),
        *_levels(),
        *store_tcp.works(),
        Work(
            "recovery, records replayed per second",
            "records/s",
            "more",
            [
                Contender("sdkit", "ours", _recovery),
                Contender("decode + CRC loop", "limit", _decode_loop),
            ],
            [Bar("limit", 0.15)],
        ),
        store_memory.work(),
        store_turns.work(),
    ]


def _levels() -> list[Work]:
    """The price of each level, on work that never conflicts."""
    serializable = LEVELS["serializable (optimistic)"]
    return [
        Work(
            "durable update transactions, embedded, 8 at once: repeatable read, "
            "serializable (optimistic), serializable (locking)",
            "transactions/s",
            "more",
            [
                *_at_each_level(lambda level: updates("sync", tasks=8, level=level)),
                Contender("dict + record + fdatasync per 8", "limit", lambda: _log(per_sync=8)),
            ],
            [Bar("limit", 0.4)],
            limit_rate_min=2_000 * 8,
        ),
        Work(
            "update transactions, durability none, embedded: serializable (optimistic), "
            "serializable (locking)",
            "transactions/s",
            "more",
            [
                *_at_each_level(lambda level: updates("none", tasks=1, level=level)),
                Contender("SQLite :memory:", "peer", _sqlite_updates),
            ],
            [Bar("best peer", 0.4)],
        ),
        Work(
            "point reads inside one transaction, serializable (optimistic)",
            "reads/s",
            "more",
            [
                Contender("sdkit", "ours", lambda: reads(serializable)),
                Contender("SQLite :memory:", "peer", _sqlite_reads),
                Contender("dict", "limit", _dict_reads),
            ],
            [Bar("best peer", 1.2)],
        ),
    ]


def _at_each_level(measure: Callable[[Level], float]) -> list[Contender]:
    return [Contender(name, "ours", partial(measure, level)) for name, level in LEVELS.items()]


# Ours


def _with_store(
    durability: Durability,
    main: Callable[[StoreEngine], Coroutine[Any, Any, float]],
    serializable: Serializable = "optimistic",
) -> float:
    async def run(directory: str) -> float:
        with LocalHost("bench", directory) as host:
            config = StoreConfig(durability=durability, serializable=serializable)
            async with StoreEngine(host, config) as store:
                for start in range(0, KEYS, 1_000):
                    async with store.begin() as transaction:
                        for key in key_of[start : start + 1_000]:
                            await transaction.put(key, VALUE)
                return await main(store)

    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(run(directory))


def updates(durability: Durability, *, tasks: int, level: Level = REPEATABLE_READ) -> float:
    """Update transactions a second."""
    isolation, serializable = level

    async def main(store: StoreEngine) -> float:
        done = 0
        end = time.perf_counter() + SECONDS

        async def client(seed: int) -> None:
            nonlocal done
            # Each has keys of its own: what is measured is the path, not the waiting.
            mine = key_of[seed::tasks]
            choose = random.Random(seed).randrange
            while time.perf_counter() < end:
                transaction = store.begin(isolation=isolation)
                key = mine[choose(len(mine))]
                value = await transaction.get(key)
                await transaction.put(key, (value or b"")[1:] + b"y")
                await transaction.commit()
                done += 1

        await _together(client(seed) for seed in range(tasks))
        return done / SECONDS

    return _with_store(durability, main, serializable)


async def _together(clients: Any) -> None:
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(client)


def reads(level: Level = REPEATABLE_READ) -> float:
    """Point reads a second, in one transaction."""
    isolation, serializable = level

    async def main(store: StoreEngine) -> float:
        keys = random.Random(1).choices(key_of, k=1_000)
        async with store.begin(isolation=isolation) as transaction:
            return await _rate(1_000, lambda: _get_each(transaction.get, keys))

    return _with_store("none", main, serializable)


async def _get_each(get: Callable[[bytes], Awaitable[bytes | None]], keys: list[bytes]) -> None:
    for key in keys:
        await get(key)


def _scans() -> float:
    async def main(store: StoreEngine) -> float:
        starts = iter(random.Random(1).choices(range(KEYS - 1_000), k=1_000_000))

        async with store.begin() as transaction:

            async def once() -> None:
                start = next(starts)
                rows = [row async for row in transaction.scan(key_of[start], limit=1_000)]
                assert len(rows) == 1_000

            return await _rate(1, once)

    return _with_store("none", main)


async def _rate(count: int, once: Callable[[], Awaitable[None]]) -> float:
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        await once()
        done += count
    return done / (time.perf_counter() - began)


def _recovery() -> float:
    async def fill(directory: str) -> None:
        with LocalHost("bench", directory) as host:
            config = StoreConfig(durability="none", snapshot_log_bytes=1 << 40)
            async with StoreEngine(host, config) as store:
                for number in range(RECORDS):
                    transaction = store.begin()
                    await transaction.put(key_of[number % KEYS], VALUE)
                    await transaction.commit()

    async def recover(directory: str) -> float:
        with LocalHost("bench", directory) as host:
            began = time.perf_counter()
            async with StoreEngine(host, StoreConfig()):
                return RECORDS / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(fill(directory))
        return asyncio.run(recover(directory))


# SQLite


def _sqlite(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
    if path != ":memory:":
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS data (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")
    return connection


def _filled(path: str) -> sqlite3.Connection:
    connection = _sqlite(path)
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO data VALUES (?, ?)", [(key, VALUE) for key in key_of])
    connection.execute("COMMIT")
    return connection


def _sqlite_client(connection: sqlite3.Connection, begin: str, keys: list[bytes]) -> int:
    done, end = 0, time.perf_counter() + SECONDS
    choose, execute = random.Random(len(keys)).randrange, connection.execute
    while time.perf_counter() < end:
        key = keys[choose(len(keys))]
        execute(begin)
        [value] = execute("SELECT v FROM data WHERE k = ?", (key,)).fetchone()
        execute("UPDATE data SET v = ? WHERE k = ?", (value[1:] + b"y", key))
        execute("COMMIT")
        done += 1
    return done


def _sqlite_updates() -> float:
    connection = _filled(":memory:")
    try:
        return _sqlite_client(connection, "BEGIN", key_of) / SECONDS
    finally:
        connection.close()


def _sqlite_durable() -> float:
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "bench.db")
        _filled(path).close()
        counts: list[int] = []

        def client(seed: int) -> None:
            connection = _sqlite(path)
            counts.append(_sqlite_client(connection, "BEGIN IMMEDIATE", key_of[seed::8]))
            connection.close()

        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / SECONDS


def _sqlite_reads() -> float:
    connection = _filled(":memory:")
    keys = random.Random(1).choices(key_of, k=1_000)
    execute, done, began = connection.execute, 0, time.perf_counter()
    execute("BEGIN")
    while time.perf_counter() - began < SECONDS:
        for key in keys:
            execute("SELECT v FROM data WHERE k = ?", (key,)).fetchone()
        done += 1_000
    rate = done / (time.perf_counter() - began)
    connection.close()
    return rate


def _sqlite_scans() -> float:
    connection = _filled(":memory:")
    starts = random.Random(1).choices(range(KEYS - 1_000), k=1_000_000)
    execute, done, began = connection.execute, 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        query = "SELECT k, v FROM data WHERE k >= ? ORDER BY k LIMIT 1000"
        rows = list(execute(query, (key_of[starts[done]],)))
        assert len(rows) == 1_000
        done += 1
    rate = done / (time.perf_counter() - began)
    connection.close()
    return rate


# The least code


def _record(writes: dict[bytes, bytes]) -> bytes:
    content: bytes = msgpack.packb(writes)
    return struct.pack("<II", len(content), zlib.crc32(content)) + content


def _log(*, per_sync: int) -> float:
    with tempfile.TemporaryDirectory() as directory:
        file = os.open(Path(directory) / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        data = dict.fromkeys(key_of, VALUE)
        choose, done, began = random.Random(1).randrange, 0, time.perf_counter()
        while time.perf_counter() - began < SECONDS:
            records = []
            for _ in range(per_sync):
                key = key_of[choose(KEYS)]
                data[key] = data[key][1:] + b"y"
                records.append(_record({key: data[key]}))
            os.write(file, b"".join(records))
            os.fdatasync(file)
            done += per_sync
        rate = done / (time.perf_counter() - began)
        os.close(file)
        return rate


def _dict_reads() -> float:
    data = dict.fromkeys(key_of, VALUE)
    keys = random.Random(1).choices(key_of, k=1_000)
    done, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        for key in keys:
            data.get(key)
        done += 1_000
    return done / (time.perf_counter() - began)


def _decode_loop() -> float:
    log = b"".join(_record({key_of[number % KEYS]: VALUE}) for number in range(RECORDS))
    state: dict[bytes, bytes] = {}
    began, offset = time.perf_counter(), 0
    while offset < len(log):
        length, crc = struct.unpack_from("<II", log, offset)
        content = log[offset + 8 : offset + 8 + length]
        assert zlib.crc32(content) == crc
        state.update(msgpack.unpackb(content))
        offset += 8 + length
    return RECORDS / (time.perf_counter() - began)
