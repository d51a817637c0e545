"""PostgreSQL behind `sdkit.store.interface`, and a server of it that is thrown away.

`server` starts one in a temporary directory, on a socket there and no port. It
refuses to run as root, so as root it runs as the user ``postgres``.

Differences that the specification is told of (`PROMISES`): it locks rows, so a
key without one is neither locked nor in conflict; and it does not promise the
order in which waiters get a row.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg

from sdkit.errors import Aborted, InvalidArgument, InvalidState
from sdkit.spec.store import Promises
from sdkit.store import ReadOnlyTransaction
from sdkit.store.interface import Isolation, Level, Transaction, TransactionInfo, VersionInfo

T = TypeVar("T")

PROMISES: Final = Promises(
    reads_after_wait=False, in_order=False, absent_keys=False, positions=False, dirty_reads=False
)
SETTINGS: Final = {
    "fsync": "off",
    "listen_addresses": "",
    "deadlock_timeout": "20ms",
    "max_connections": "50",
    "shared_buffers": "16MB",
}


def binary(name: str) -> str | None:
    """Where PostgreSQL's ``name`` is, if it is installed."""
    places = [str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")]
    return shutil.which(
        name, path=os.pathsep.join([*sorted(places, reverse=True), *os.get_exec_path()])
    )


def why_not() -> str | None:
    """Why there is no PostgreSQL to test against; None if there is."""
    if binary("initdb") is None or binary("postgres") is None:
        return "PostgreSQL is not installed"
    if os.geteuid() == 0 and shutil.which("runuser") is None:
        return "PostgreSQL does not run as root, and there is no runuser"
    return None


@contextmanager
def server(settings: Mapping[str, str] = SETTINGS) -> Iterator[str]:
    """Run one with these settings; yields how to connect."""
    # A socket's path is at most some hundred characters long, so not in pytest's directory.
    # Not a TemporaryDirectory, whose end of process comes before anybody else's.
    directory = tempfile.mkdtemp(prefix="pg")
    try:
        with _running_in(directory, settings):
            yield _answering(f"host={directory} user=postgres dbname=postgres")
    finally:
        shutil.rmtree(directory)


@contextmanager
def _running_in(directory: str, settings: Mapping[str, str]) -> Iterator[None]:
    user: list[str] = []
    if os.geteuid() == 0:
        shutil.chown(directory, "postgres")
        user = ["runuser", "-u", "postgres", "--"]
    initdb, postgres, control = binary("initdb"), binary("postgres"), binary("pg_ctl")
    assert initdb
    assert postgres
    assert control
    data = f"{directory}/data"
    make = [*user, initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, cwd=directory)
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    process = subprocess.Popen(
        [*user, postgres, "-D", data, "-k", directory, *options],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        stop = [*user, control, "-D", data, "-m", "immediate", "-w", "stop"]
        subprocess.run(stop, check=False, capture_output=True, cwd=directory)
        process.wait()


def _answering(where: str) -> str:
    for _ in range(3_000):
        try:
            psycopg.connect(where).close()
            return where
        except psycopg.OperationalError:
            subprocess.run(["sleep", "0.01"], check=True)
    raise TimeoutError("PostgreSQL does not answer")


class PostgresqlStore:
    """One table, emptied at the beginning; a connection for each transaction, kept for reuse."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._ids = itertools.count(1)
        self._idle: list[psycopg.AsyncConnection[Any]] = []
        self.open: dict[int, PostgresqlTransaction] = {}

    async def __aenter__(self) -> Self:
        self._watcher = await self.connect()
        await self._watcher.set_autocommit(True)
        await self._watcher.execute(
            "CREATE TABLE IF NOT EXISTS data (k bytea PRIMARY KEY, v bytea); TRUNCATE data"
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        rollbacks = [transaction.rollback() for transaction in self.open.values()]
        await asyncio.gather(*rollbacks, return_exceptions=True)
        for connection in [self._watcher, *self._idle]:
            await connection.close()

    async def connect(self) -> psycopg.AsyncConnection[Any]:
        if self._idle:
            return self._idle.pop()
        return await psycopg.AsyncConnection.connect(self._where)

    async def give_back(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if connection.closed:
            return
        self._idle.append(connection)

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> PostgresqlTransaction:
        transaction = PostgresqlTransaction(self, next(self._ids), Isolation(isolation), read_only)
        self.open[transaction.id] = transaction
        return transaction

    async def run(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Level = Isolation.REPEATABLE_READ,
        read_only: bool = False,
        attempts: int = 10,
    ) -> T:
        raise NotImplementedError("the specification does not ask for it")

    async def versions(self, key: bytes) -> list[VersionInfo]:
        raise NotImplementedError("PostgreSQL shows versions only through extensions")

    async def transactions(self) -> list[TransactionInfo]:
        cursor = await self._watcher.execute(
            "SELECT pid FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0"
        )
        waiting = {pid for (pid,) in await cursor.fetchall()}
        return [transaction.info(waiting) for transaction in self.open.values()]


class PostgresqlTransaction:
    """One transaction on one connection."""

    def __init__(
        self, store: PostgresqlStore, number: int, isolation: Isolation, read_only: bool
    ) -> None:
        self._store = store
        self.id = number
        self.isolation = isolation
        self._read_only = read_only
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._ended = False
        self._aborted: Aborted | None = None
        self._savepoints = 0

    def info(self, waiting: set[int]) -> TransactionInfo:
        pid = self._connection.info.backend_pid if self._connection else None
        return TransactionInfo(
            id=self.id,
            isolation=self.isolation,
            read_only=self._read_only,
            state="waiting" if pid in waiting else "active",
            snapshot=None,
            age_s=0.0,
            locks=[],
            waits_for_key=None,
            waits_for=[],
        )

    async def execute(self, query: str, *values: object, key: bytes = b"k") -> Any:
        if self._aborted is not None:
            raise self._aborted
        if self._ended:
            raise InvalidState("the transaction has ended")
        if not key:
            raise InvalidArgument("a key is empty")
        if self._connection is None:
            self._connection = await self._store.connect()
            access = "READ ONLY" if self._read_only else "READ WRITE"
            level = self.isolation.value.upper()
            await self._connection.execute(f"BEGIN ISOLATION LEVEL {level} {access}")
        try:
            return await self._connection.execute(query, values or None, binary=True)
        except psycopg.errors.ReadOnlySqlTransaction as error:
            # PostgreSQL fails the transaction; a statement that is refused shall change nothing.
            await self._connection.execute("ROLLBACK")
            await self._connection.execute("BEGIN READ ONLY")
            raise ReadOnlyTransaction("begun read-only") from error
        except (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected) as error:
            self._aborted = Aborted(str(error))
            await self.end("ROLLBACK")
            raise self._aborted from error

    async def get(self, key: bytes) -> bytes | None:
        cursor = await self.execute("SELECT v FROM data WHERE k = %s", key, key=key)
        row = await cursor.fetchone()
        return None if row is None else row[0]

    async def get_for_update(self, key: bytes) -> bytes | None:
        cursor = await self.execute("SELECT v FROM data WHERE k = %s FOR UPDATE", key, key=key)
        row = await cursor.fetchone()
        return None if row is None else row[0]

    async def put(self, key: bytes, value: bytes) -> None:
        # The update first: at repeatable read only it notices that a row of the
        # snapshot was deleted meanwhile.
        cursor = await self.execute("UPDATE data SET v = %s WHERE k = %s", value, key, key=key)
        if cursor.rowcount == 0:
            insert = "INSERT INTO data VALUES (%s, %s) ON CONFLICT (k) DO UPDATE SET v = EXCLUDED.v"
            await self.execute(insert, key, value)

    async def delete(self, key: bytes) -> None:
        await self.execute("DELETE FROM data WHERE k = %s", key, key=key)

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        cursor = await self.execute(
            "SELECT k, v FROM data WHERE k >= %s AND (%s::bytea IS NULL OR k < %s)"
            " AND (%s::bytea IS NULL OR substr(k, 1, length(%s::bytea)) = %s)"
            f" ORDER BY k {'DESC' if reverse else 'ASC'} LIMIT %s::bigint",
            *(start, end, end, prefix, prefix, prefix, limit),
        )
        for key, value in await cursor.fetchall():
            yield key, value

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        self._savepoints += 1
        name = f"s{self._savepoints}"
        await self.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            await self.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            await self.execute(f"RELEASE {name}")

    async def commit(self) -> int:
        await self.execute("SELECT 1")
        await self.end("COMMIT")
        return 0

    async def rollback(self) -> None:
        if not self._ended:
            await self.end("ROLLBACK")

    async def end(self, how: str) -> None:
        self._ended = True
        del self._store.open[self.id]
        connection, self._connection = self._connection, None
        if connection is not None and not connection.closed:
            try:
                await connection.execute(how)
            except psycopg.errors.SerializationFailure as error:  # found out at the commit
                self._aborted = Aborted(str(error))
                raise self._aborted from error
            finally:
                await self._store.give_back(connection)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._ended:
            await (self.commit() if kind is None else self.rollback())
