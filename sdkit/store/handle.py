"""Handle: a transaction as its user holds it: the core's, with calls that can wait.

Each method is one call into `sdkit.store.database`, and at most one wait: for a
lock, or for the disk. Reading waits for nothing, so `EngineTransaction.get` is
a coroutine that never suspends; it is one because behind a socket it would.

Three consequences of that
    * A task that only writes, or that commits where durability is ``none``,
      would never let anybody else run, not even the journal. So a long scan,
      a large transaction and a row of such commits give the others a turn
      (`PIECES_PER_TURN`, `WRITES_PER_TURN`).
    * A server would make a task for every write, although few have to wait. So
      each has a twin that never does (`try_put` of `put`, ...).
    * A statement that fails before it waits has changed nothing, and one that
      is cancelled while it waits leaves the queue and has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sdkit.errors import Aborted, InvalidState
from sdkit.store.database import Database
from sdkit.store.interface import Isolation
from sdkit.store.transaction import State, Transaction

if TYPE_CHECKING:
    from sdkit.store.engine import StoreEngine

PIECES_PER_TURN: Final = 16  # of a scan: about four thousand keys
WRITES_PER_TURN: Final = 512  # of tasks that never wait: two or three milliseconds


class EngineTransaction(Transaction):
    """A transaction of a `StoreEngine`. Contracts: `sdkit.store.interface.Transaction`."""

    __slots__ = ("_database", "_engine")

    _engine: StoreEngine
    _database: Database

    def __init__(self, engine: StoreEngine, isolation: Isolation, read_only: bool) -> None:
        super().__init__(engine.database.next_id(), isolation, read_only)
        self._engine = engine
        self._database = engine.database

    async def get(self, key: bytes) -> bytes | None:
        return self._database.get(self, key)

    async def get_for_update(self, key: bytes) -> bytes | None:
        if not self.try_lock(key):
            await self._lock(key)
        return self._database.read_locked(self, key)

    async def put(self, key: bytes, value: bytes) -> None:
        if not self.try_put(key, value):
            await self._lock(key)
            self._database.check_put(self, key, value)  # others may have taken the room
            self._database.write(self, key, value)
        elif len(self.writes) % WRITES_PER_TURN == 0:
            await asyncio.sleep(0)

    async def delete(self, key: bytes) -> None:
        if not self.try_delete(key):
            await self._lock(key)
            self._database.check_delete(self, key)
            self._database.write(self, key, None)

    # The same, if they need not wait: else they say False and have changed nothing.

    def try_lock(self, key: bytes) -> bool:
        """Take the lock of ``key`` for an update. Raises what `get_for_update` does."""
        self._database.check_get_for_update(self, key)
        return self._take_if_free(key)

    def try_put(self, key: bytes, value: bytes) -> bool:
        """Set a value. Raises what `put` does."""
        self._engine.check_writable()
        self._database.check_put(self, key, value)
        if free := self._take_if_free(key):
            self._database.write(self, key, value)
        return free

    def try_delete(self, key: bytes) -> bool:
        """Remove a key. Raises what `delete` does."""
        self._engine.check_writable()
        self._database.check_delete(self, key)
        if free := self._take_if_free(key):
            self._database.write(self, key, None)
        return free

    def _take_if_free(self, key: bytes) -> bool:
        holder = self._database.locks.holders.get(key)
        return (holder is None or holder is self) and self._acquire(key)

    async def _lock(self, key: bytes) -> None:
        if not self._acquire(key):
            await self._engine.wait_for_lock(self, key)

    def _acquire(self, key: bytes) -> bool:
        try:
            return self._database.acquire(self, key)
        except Aborted:
            self._engine.settle()  # its locks have gone to others
            raise

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncGenerator[tuple[bytes, bytes], None]:
        cursor = self._database.open_scan(
            self, start, end, prefix=prefix, reverse=reverse, limit=limit
        )
        try:
            pieces = 0
            while not cursor.done:
                for row in self._database.scan_piece(self, cursor):
                    yield row
                pieces += 1
                if pieces % PIECES_PER_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            self._database.close_scan(self, cursor)
            self._engine.settle()

    def savepoint(self) -> EngineSavepoint:
        return EngineSavepoint(self, self._database)

    async def commit(self) -> int:
        count = len(self.writes)
        if not self._database.begin_commit(self):
            self._engine.settle()
            return 0
        position = self._engine.append(self)
        if self.state is not State.COMMITTED:
            await self._engine.durable(position)
        else:
            self._engine.writes_this_turn += count
            if self._engine.writes_this_turn >= WRITES_PER_TURN:
                self._engine.writes_this_turn = 0
                await asyncio.sleep(0)
        return position

    async def rollback(self) -> None:
        self._database.rollback(self)
        self._engine.settle()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            if self.state not in (State.COMMITTED, State.ROLLED_BACK):
                await self.commit()
        elif self.state is State.ACTIVE:
            await self.rollback()
        elif self.state is State.WAITING:  # another task is in the middle of a statement
            over = InvalidState(f"the block of transaction {self.id} has ended with an exception")
            self._database.abort(self, over)
            self._engine.settle()


class EngineSavepoint:
    """The block of `Transaction.savepoint`."""

    def __init__(self, transaction: EngineTransaction, database: Database) -> None:
        self._transaction = transaction
        self._database = database
        self._depth = 0  # before it is entered

    async def __aenter__(self) -> None:
        transaction = self._transaction
        if self._depth:
            raise InvalidState("a savepoint is entered twice; make another one")
        self._database.check_usable(transaction)
        self._depth = transaction.open_savepoint()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        transaction = self._transaction
        if transaction.state is not State.ACTIVE:
            return  # it has ended within the block; whoever ended it was told
        if kind is None:
            self._database.keep_savepoint(transaction, self._depth)
        else:
            self._database.undo_savepoint(transaction, self._depth)
