"""Durable update transactions over TCP: ours beside PostgreSQL through psycopg.

Eight clients, each on its own connection, read a key of their own share and write
it back, one transaction after the other, at repeatable read, every commit synced.
Ours: eight tasks of one asyncio process, the server in a process of its own.
PostgreSQL: eight threads with a psycopg connection each. The limit is the disk's:
eight records at a time appended and synced by a loop that does nothing else.

And transfers among ten accounts, as in TPC-B: two balances change, a line of history
is added. All eight clients want the same ten rows, at serializable, and whoever is
aborted begins again; only what commits counts. PostgreSQL looks for deadlocks
after 10 ms and not after its usual second, which would be most of what is measured.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from random import Random

from benchmarks.harness import Bar, Contender, Work
from sdkit.cli.child import ServedRoom
from sdkit.store import Isolation, StoreClient, Transaction
from sdkit.store.config import Serializable

SECONDS = 1.0  # per measurement
CLIENTS = 8
KEYS = 1_000
ACCOUNTS = [b"account %d" % number for number in range(10)]

_until_exit = contextlib.ExitStack()
atexit.register(_until_exit.close)


def works() -> list[Work]:
    contenders = [
        Contender("sdkit.store", "ours", _ours),
        Contender("fdatasync per 8 records", "limit", _limit),
    ]
    transfers = [
        Contender("serializable (optimistic)", "ours", lambda: _our_transfers("optimistic")),
        Contender("serializable (locking)", "ours", lambda: _our_transfers("locking")),
    ]
    skipped, bars = "", [Bar("PostgreSQL 15", 0.35)]
    try:
        updates, theirs = _postgresql()
        contenders.append(Contender("PostgreSQL 15", "peer", updates))
        transfers.append(Contender("PostgreSQL 15", "peer", theirs))
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
        ),
        Work(
            "TPC-B-like contended transfers on 10 accounts, 8 clients over TCP, each serializable",
            "transactions/s",
            "more",
            transfers,
            [Bar("PostgreSQL 15", 0.3)],
            skipped=skipped,
        ),
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


def _our_transfers(serializable: Serializable) -> float:
    async def client(address: tuple[str, int], name: int, ends: float) -> int:
        done, random = 0, Random(name)
        async with StoreClient(*address) as store:

            async def transfer(transaction: Transaction) -> None:
                source, target = random.sample(ACCOUNTS, 2)
                for key, amount in ((source, -1), (target, 1)):
                    value = await transaction.get_for_update(key)
                    await transaction.put(key, b"%d" % (int(value or b"0") + amount))
                await transaction.put(b"%d/%d" % (name, done), b"1")  # its line in the history

            while time.perf_counter() < ends:
                await store.run(transfer, isolation=Isolation.SERIALIZABLE, attempts=1000)
                done += 1
        return done

    async def main(directory: Path) -> float:
        served = ServedRoom("store", directory, ["--serializable", serializable])
        async with served:
            address = await served.address()
            began = time.perf_counter()
            ends = began + SECONDS
            done = await asyncio.gather(*(client(address, n, ends) for n in range(CLIENTS)))
            return sum(done) / (time.perf_counter() - began)

    with tempfile.TemporaryDirectory() as directory:
        return asyncio.run(main(Path(directory)))


def _postgresql() -> tuple[Callable[[], float], Callable[[], float]]:
    """Start a throw-away server for the rest of this process, as durable as it comes.

    Returns what measures its updates, and what measures its transfers.

    Raises:
        LookupError: PostgreSQL is not installed.
        ImportError: psycopg is not.
    """
    import psycopg

    from tests.store.adapters import postgresql

    if reason := postgresql.why_not():
        raise LookupError(reason)
    address = _until_exit.enter_context(
        postgresql.server({"listen_addresses": "", "deadlock_timeout": "10ms"})
    )
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("create table numbers (key bytea primary key, value bigint not null)")
        for name in range(CLIENTS):
            connection.execute(
                "insert into numbers select convert_to(%s || i, 'UTF8'), 0"
                "  from generate_series(0, %s) as i",
                (f"{name}/", KEYS - 1),
            )

        connection.execute("create table accounts (key bytea primary key, value bigint not null)")
        connection.execute("create table history (name int, number int)")
        for account in ACCOUNTS:
            connection.execute("insert into accounts values (%s, 0)", (account,))
    return partial(_their_updates, address), partial(_their_transfers, address)


def _their_updates(address: str) -> float:
    import psycopg

    def client(name: int, ends: float) -> int:
        done = 0
        with psycopg.connect(address) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            while time.perf_counter() < ends:
                key = b"%d/%d" % (name, done % KEYS)
                row = connection.execute(
                    "select value from numbers where key = %s", (key,)
                ).fetchone()
                assert row is not None
                connection.execute(
                    "update numbers set value = %s where key = %s", (row[0] + 1, key)
                )
                connection.commit()
                done += 1
        return done

    return _in_threads(client)


def _their_transfers(address: str) -> float:
    import psycopg

    update = "update accounts set value = value + %s where key = %s"

    def client(name: int, ends: float) -> int:
        done, random = 0, Random(name)
        with psycopg.connect(address) as connection:
            connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
            while time.perf_counter() < ends:
                source, target = random.sample(ACCOUNTS, 2)
                try:
                    connection.execute(update, (-1, source))
                    connection.execute(update, (1, target))
                    connection.execute("insert into history values (%s, %s)", (name, done))
                    connection.commit()
                    done += 1
                except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected):
                    connection.rollback()
        return done

    return _in_threads(client)


def _in_threads(client: Callable[[int, float], int]) -> float:
    """Clients at once, each in a thread; what they do a second together."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        ends = began + SECONDS
        done = list(pool.map(lambda name: client(name, ends), range(CLIENTS)))
    return sum(done) / (time.perf_counter() - began)
