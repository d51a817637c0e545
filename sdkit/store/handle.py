"""Handle: a transaction as its user holds it: the core's, with calls that can wait.

Each method is one call into `sdkit.store.database`, and at most one wait: for a
lock, or for the disk. Where reading waits for nothing, `EngineTransaction.get` is
a coroutine that never suspends; it is one because behind a socket it would.

Three consequences of that
    * A task that only reads, or that commits where durability is ``none``,
      would never let anybody else run, not even the journal. So a long scan,
      a large transaction and a row of reads or of such commits give the others
      a turn (`PIECES_PER_TURN`, `WRITES_PER_TURN`, `WORK_PER_TURN`).
    * A server would make a task for every write, although few have to wait. So
      each has a twin that never does (`try_put` of `put`, ...).
    * A statement that fails before it waits has changed nothing, and one that
      is cancelled while it waits leaves the queue and has changed nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, Self, TypeVar

from sdkit.errors import Aborted, InvalidState
from sdkit.store.database import Database
from sdkit.store.interface import Isolation
from sdkit.store.isolation import rules_of
from sdkit.store.locks import Kind
from sdkit.store.ranges import Range, just
from sdkit.store.transaction import State, Transaction

if TYPE_CHECKING:
    from sdkit.store.engine import StoreEngine

P = ParamSpec("P")
T = TypeVar("T")

PIECES_PER_TURN: Final = 16  # of a scan: about four thousand keys
CANCEL_TURNS: Final = 4
WORK_PER_TURN: Final = 4096  # reads by tasks that never wait; a write is eight of them
WRITES_PER_TURN: Final = 512  # of tasks that never wait: two or three milliseconds


class EngineTransaction(Transaction):
    """A transaction of a `StoreEngine`. Contracts: `sdkit.store.interface.Transaction`."""

    __slots__ = ("_database", "_engine")

    _engine: StoreEngine
    _database: Database

    def __init__(self, engine: StoreEngine, isolation: Isolation, read_only: bool) -> None:
        self._engine = engine
        self._database = database = engine.database
        rules = rules_of(isolation, engine.config.serializable)
        super().__init__(database.next_id(), isolation, rules, read_only)

    async def get(self, key: bytes) -> bytes | None:
        if self.rules.locks_reads and not self.try_share(key):
            await self._wait(Kind.SHARED, just(key))
        value = self.read(key)
        self._engine.work_this_turn += 1
        if self._engine.work_this_turn >= WORK_PER_TURN:
            await self._give_turn()
        return value

    async def get_for_update(self, key: bytes) -> bytes | None:
        if not self.try_lock(key):
            await self._wait(Kind.EXCLUSIVE, just(key), to_read=True)
        return self.read_locked(key)

    async def put(self, key: bytes, value: bytes) -> None:
        if not self.try_put(key, value):
            await self._wait(Kind.EXCLUSIVE, just(key))
            # Others may have taken the room.
            grown = self._database.admission.check_put(self, key, value)
            self._database.write(self, key, value, grown)
        elif len(self.writes) % WRITES_PER_TURN == 0:
            await asyncio.sleep(0)

    async def delete(self, key: bytes) -> None:
        if not self.try_delete(key):
            await self._wait(Kind.EXCLUSIVE, just(key))
            grown = self._database.admission.check_delete(self, key)
            self._settled(self._database.delete, key, grown)

    # The same, if they need not wait: else they say False and have changed nothing.

    def try_share(self, key: bytes) -> bool:
        """Take the shared lock of ``key``. Raises what `get` does."""
        self._database.admission.check_shared(self, key)
        return self._database.locks.take_shared(self, key)

    def try_lock(self, key: bytes) -> bool:
        """Take the lock of ``key`` for an update. Raises what `get_for_update` does."""
        self._database.admission.check_get_for_update(self, key)
        return self._take_exclusive(key)

    def try_put(self, key: bytes, value: bytes) -> bool:
        """Set a value. Raises what `put` does."""
        self._engine.check_writable()
        grown = self._database.admission.check_put(self, key, value)
        if taken := self._take_exclusive(key):
            self._database.write(self, key, value, grown)
        return taken

    def try_delete(self, key: bytes) -> bool:
        """Remove a key. Raises what `delete` does."""
        self._engine.check_writable()
        grown = self._database.admission.check_delete(self, key)
        if taken := self._take_exclusive(key):
            self._settled(self._database.delete, key, grown)
        return taken

    def read(self, key: bytes) -> bytes | None:
        """The value of ``key``. Where the level locks what it reads, the lock is held."""
        try:  # and not `_settled`: one call less, where calls are most of the cost
            return self._database.get(self, key)
        except Aborted:
            self._engine.settle()
            raise

    def read_locked(self, key: bytes) -> bytes | None:
        """The value of ``key``, whose exclusive lock is held."""
        return self._settled(self._database.read_locked, key)

    def _take_exclusive(self, key: bytes) -> bool:
        try:
            return self._database.take_exclusive(self, key)
        except Aborted:
            self._engine.settle()
            raise

    def _settled(
        self, call: Callable[Concatenate[Self, P], T], *given: P.args, **by: P.kwargs
    ) -> T:
        """Call into the core; if that aborts this transaction, its locks have gone to others."""
        try:
            return call(self, *given, **by)
        except Aborted:
            self._engine.settle()
            raise

    async def _lock_range(self, part: Range) -> None:
        self._database.admission.check_range(self, part)
        if not self._database.locks.take_range(self, *part):
            await self._wait(Kind.RANGE, part)

    async def after_cancelled(self, statement: Callable[[], Awaitable[T]]) -> T:
        """Make a statement; one that is under way may have been cancelled just now.

        A cancelled statement takes some turns of the event loop to end, and over a
        network the next one may come sooner.
        """
        for _ in range(CANCEL_TURNS):
            if self.state is not State.WAITING:
                break
            await asyncio.sleep(0)
        return await statement()

    async def _give_turn(self) -> None:
        self._engine.work_this_turn = 0
        await asyncio.sleep(0)

    async def _wait(self, kind: Kind, part: Range, *, to_read: bool = False) -> None:
        self._settled(self._database.begin_to_wait, kind, part, to_read=to_read)
        await self._engine.wait_for_lock(self, kind, part)

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
                if self.rules.locks_reads:
                    await self._lock_range(cursor.next_part(self._database.versions))
                for row in self._settled(self._database.scan_piece, cursor):
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
        try:
            logged = self._database.begin_commit(self)
        except Aborted:
            self._engine.settle()
            raise
        if not logged:
            self._engine.settle()
            self._engine.work_this_turn += 1
            if self._engine.work_this_turn >= WORK_PER_TURN:
                await self._give_turn()
            return 0
        position = self._engine.append(self)
        if self.state is not State.COMMITTED:
            await self._engine.durable(position)
        else:
            self._engine.work_this_turn += count * WORK_PER_TURN // WRITES_PER_TURN
            if self._engine.work_this_turn >= WORK_PER_TURN:
                await self._give_turn()
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
        transaction.check_usable()
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
