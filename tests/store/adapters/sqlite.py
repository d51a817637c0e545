"""SQLite in WAL mode behind `sdkit.store.interface`: one connection a transaction.

What its model allows: readers keep a snapshot and never wait; there is one
writer at a time, and a second one is turned away at once (``SQLITE_BUSY``), as
is one whose snapshot is no longer the newest. Both are reported as `Aborted`.
There is no read committed.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from sdkit.errors import Aborted, InvalidArgument, InvalidState
from sdkit.store import ReadOnlyTransaction
from sdkit.store.interface import Isolation, Level, Transaction, TransactionInfo, VersionInfo

T = TypeVar("T")


class SqliteStore:
    """A database file; `close` ends what is still open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ids = itertools.count(1)
        self.open: dict[int, SqliteTransaction] = {}
        connection = self.connect()
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE data (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID")
        connection.close()

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None, timeout=0)

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> SqliteTransaction:
        transaction = SqliteTransaction(self, next(self._ids), Isolation(isolation), read_only)
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
        raise NotImplementedError("SQLite does not show its versions")

    async def transactions(self) -> list[TransactionInfo]:
        return []  # nobody ever waits

    def close(self) -> None:
        for transaction in list(self.open.values()):
            transaction.end("ROLLBACK")


class SqliteTransaction:
    """One connection."""

    def __init__(
        self, store: SqliteStore, number: int, isolation: Isolation, read_only: bool
    ) -> None:
        self._store = store
        self.id = number
        self.isolation = isolation
        self._read_only = read_only
        self._connection: sqlite3.Connection | None = store.connect()
        self._connection.execute("BEGIN")
        self._savepoints = 0

    @contextmanager
    def statement(self, key: bytes = b"k", *, writes: bool = False) -> Iterator[sqlite3.Connection]:
        if self._connection is None:
            raise InvalidState("the transaction has ended")
        if not key:
            raise InvalidArgument("a key is empty")
        if writes and self._read_only:
            raise ReadOnlyTransaction("begun read-only")
        try:
            yield self._connection
        except sqlite3.OperationalError as error:
            self.end("ROLLBACK")
            raise Aborted(str(error)) from error

    async def get(self, key: bytes) -> bytes | None:
        with self.statement(key) as connection:
            row = connection.execute("SELECT v FROM data WHERE k = ?", (key,)).fetchone()
            return None if row is None else row[0]

    async def get_for_update(self, key: bytes) -> bytes | None:
        with self.statement(key, writes=True) as connection:
            connection.execute("UPDATE data SET v = v WHERE k = ?", (key,))
        return await self.get(key)

    async def put(self, key: bytes, value: bytes) -> None:
        with self.statement(key, writes=True) as connection:
            connection.execute("INSERT OR REPLACE INTO data VALUES (?, ?)", (key, value))

    async def delete(self, key: bytes) -> None:
        with self.statement(key, writes=True) as connection:
            connection.execute("DELETE FROM data WHERE k = ?", (key,))

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        query = (
            "SELECT k, v FROM data WHERE k >= :start AND (:end IS NULL OR k < :end)"
            " AND (:prefix IS NULL OR substr(k, 1, length(:prefix)) = :prefix)"
            f" ORDER BY k {'DESC' if reverse else 'ASC'} LIMIT :most"
        )
        with self.statement() as connection:
            most = -1 if limit is None else limit
            values = {"start": start, "end": end, "prefix": prefix or None, "most": most}
            rows = connection.execute(query, values).fetchall()
        for key, value in rows:
            yield key, value

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        self._savepoints += 1
        name = f"s{self._savepoints}"
        with self.statement() as connection:
            connection.execute(f"SAVEPOINT {name}")
        try:
            yield
        except BaseException:
            connection.execute(f"ROLLBACK TO {name}")
            raise
        finally:
            connection.execute(f"RELEASE {name}")

    async def commit(self) -> int:
        with self.statement():
            self.end("COMMIT")
        return 0

    async def rollback(self) -> None:
        if self._connection is not None:
            self.end("ROLLBACK")

    def end(self, how: str) -> None:
        if self._connection is not None:
            connection, self._connection = self._connection, None
            try:
                if connection.in_transaction:
                    connection.execute(how)
            finally:
                connection.close()
                del self._store.open[self.id]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            await (self.commit() if kind is None else self.rollback())
