"""Durable update transactions over TCP: ours beside PostgreSQL through psycopg.

Eight clients, each on its own connection, read a key of their own share and write
it back, one transaction after the other, at repeatable read, every commit synced.
Ours: eight tasks of one asyncio process, the server in a process of its own.
PostgreSQL: eight threads with a psycopg connection each. The limit is the disk's:
eight records at a time appended and synced by a loop that does nothing else.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Bar, Contender, Work
from sdkit.cli.child import ServedRoom
from sdkit.store import StoreClient

SECONDS = 1.0  # per measurement
CLIENTS = 8
KEYS = 1_000

_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)


def works() -> list[Work]:
    contenders = [
        Contender("sdkit.store", "ours", _ours),
        Contender("fdatasync per 8 records", "limit", _limit),
    ]
    skipped, bars = "", [Bar("PostgreSQL 15", 0.35)]
    try:
        contenders.append(Contender("PostgreSQL 15", "peer", _postgresql()))
    except (ImportError, LookupError) as error:
        skipped = f"without PostgreSQL: {error}"
    return [
        Work(
            "durable update transactions over TCP, 8 clients",
            "transactions/s",
            "more",
            contenders,
            bars,
            limit_rate_min=2_000 * 8,
            skipped=skipped,
        )
    ]


def _ours() -> float:
    async def client(address: tuple[str, int], name: int, ends: float) -> int:
        done = 0
        async with StoreClient(*address) as store:
            while time.perf_counter() < ends:
                key = b"%d/%d" % (name, done % KEYS)
                async with store.begin() as transaction:
                    value = await transaction.get(key)
                    await transaction.put(key, b"%d" % (int(value or b"0") + 1))
                done += 1
        return done

    async def main(directory: Path) -> float:
        async with ServedRoom("store", directory) as served:
            address = await served.address()
            began = time.perf_counter()
            ends = began + SECONDS
            done = await asyncio.gather(*(client(address, n, ends) for n in range(CLIENTS)))
            return sum(done) / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(main(Path(directory)))


def _limit() -> float:
    record = b"x" * 64
    with tempfile.NamedTemporaryFile() as file:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < SECONDS:
            os.write(file.fileno(), record * CLIENTS)
            os.fdatasync(file.fileno())
            done += CLIENTS
        return done / (time.perf_counter() - began)


def _postgresql() -> Callable[[], float]:
    """Start a throw-away server for the rest of this process, as durable as it comes.

    Raises:
        LookupError: PostgreSQL is not installed.
        ImportError: psycopg is not.
    """
    import psycopg

    from tests.store.adapters import postgresql

    if reason := postgresql.why_not():
        raise LookupError(reason)
    address = _until_exit.enter_context(postgresql.server({"listen_addresses": ""}))
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("create table numbers (key bytea primary key, value bigint not null)")
        for name in range(CLIENTS):
            connection.execute(
                "insert into numbers select convert_to(%s || i, 'UTF8'), 0"
                "  from generate_series(0, %s) as i",
                (f"{name}/", KEYS - 1),
            )

    def measure() -> float:
        done = [0] * CLIENTS
        began = time.perf_counter()
        ends = began + SECONDS

        def client(name: int) -> None:
            with psycopg.connect(address) as connection:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                while time.perf_counter() < ends:
                    key = b"%d/%d" % (name, done[name] % KEYS)
                    row = connection.execute(
                        "select value from numbers where key = %s", (key,)
                    ).fetchone()
                    assert row is not None
                    connection.execute(
                        "update numbers set value = %s where key = %s", (row[0] + 1, key)
                    )
                    connection.commit()
                    done[name] += 1

        threads = [threading.Thread(target=client, args=(name,)) for name in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(done) / (time.perf_counter() - began)

    return measure
