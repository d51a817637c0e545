"""Statements: the calls on a transaction, each of which answers at once or returns its rest.

A statement checks its arguments, takes its lock and calls `sdkit.store.database`. It
waits at most once, for the lock or the disk; only a scan waits for each of its parts.
Most statements do not wait. A server that made a task for each of them would spend
most of its time on tasks. So a statement begins as a plain call. Only if it has to
wait, it returns a coroutine, the *rest*, instead of the answer:

    answer = transaction.get_now(key)             a value: done
    if isinstance(answer, CoroutineType): ...     the rest: waits for the lock, and goes on

The user's handle (`sdkit.store.handle`) awaits the rest at once; the server
gives it to a task.

Three consequences
    * A statement that is cancelled while it waits leaves the queue, and has
      changed nothing.
    * The rest begins some time after the call that has returned it. Meanwhile the
      lock may have become free, and nothing would wake the rest. So it tries first.
    * A task that only reads, or that commits with durability ``none``, never
      waits. Nothing else would run, not even the journal. So a long scan, a large
      transaction, and many reads or such commits in a row give the others a turn
      (`PIECES_PER_TURN`, `WRITES_PER_TURN`, `WORK_PER_TURN`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, TypeVar

from sdkit.errors import SdkitError
from sdkit.store.config import StoreConfig
from sdkit.store.database import Database
from sdkit.store.home import Home
from sdkit.store.interface import Isolation
from sdkit.store.isolation import rules_of
from sdkit.store.locks import Kind
from sdkit.store.ranges import Range, just
from sdkit.store.transaction import State, Transaction

T = TypeVar("T")
if TYPE_CHECKING:
    Answer: TypeAlias = T | CoroutineType[Any, Any, T]
else:  # a server evaluates the types of its handlers, and before 3.13 that one takes no index
    Answer = T | Coroutine[Any, Any, T]
Rows: TypeAlias = list[tuple[bytes, bytes]]

PIECES_PER_TURN: Final = 16  # of a scan: about four thousand keys
CANCEL_TURNS: Final = 4  # of the event loop: so long a cancelled statement may take to end
WORK_PER_TURN: Final = 4096  # reads by tasks that never wait; a write counts as eight
WRITES_PER_TURN: Final = 512  # of tasks that never wait: two or three milliseconds


def rest(coroutine: Coroutine[Any, Any, T]) -> CoroutineType[Any, Any, T]:
    """Return ``coroutine`` as the rest of a statement: mypy knows its narrower type then."""
    assert isinstance(coroutine, CoroutineType)
    return coroutine


class Engine(Protocol):
    """The engine, as far as statements need it; `sdkit.store.engine` has the contracts."""

    work_this_turn: int

    @property
    def config(self) -> StoreConfig: ...
    @property
    def database(self) -> Database: ...
    @property
    def home(self) -> Home: ...
    def check_writable(self) -> None: ...
    def append(self, transaction: Transaction) -> int: ...
    def durable(self, position: int) -> Awaitable[None]: ...
    async def wait_for_lock(
        self, transaction: Transaction, kind: Kind, part: Range, *, to_read: bool
    ) -> None: ...
    def abandon(self, transaction: Transaction, error: SdkitError) -> None: ...
    def dropped(self, transaction: OpenTransaction) -> None: ...


class OpenTransaction(Transaction):
    """A transaction of an engine, with the calls that can wait. See `interface.Transaction`."""

    __slots__ = ("database", "engine")

    def __init__(self, engine: Engine, isolation: Isolation, read_only: bool) -> None:
        self.engine: Final = engine
        self.database: Final[Database] = engine.database
        rules = rules_of(isolation, engine.config.serializable)
        super().__init__(self.database.next_id(), isolation, rules, read_only)

    def get_now(self, key: bytes) -> Answer[bytes | None]:
        """The value of ``key``, or the rest of reading it."""
        database = self.database
        if self.rules.locks_reads:
            database.admission.check_shared(self, key)
            if not database.locks.take_shared(self, key):
                return rest(self._get_later(key))
        return database.get(self, key)

    async def _get_later(self, key: bytes) -> bytes | None:
        self.check_usable()
        if not self.database.locks.take_shared(self, key):
            await self._wait(Kind.SHARED, just(key))
        return self.database.get(self, key)

    def get_for_update_now(self, key: bytes) -> Answer[bytes | None]:
        """The value of ``key`` under its lock, or the rest of reading it."""
        self.database.admission.check_get_for_update(self, key)
        if not self.database.take_exclusive(self, key):
            return rest(self._get_for_update_later(key))
        return self.database.read_locked(self, key)

    async def _get_for_update_later(self, key: bytes) -> bytes | None:
        await self._lock(key, to_read=True)
        return self.database.read_locked(self, key)

    def put_now(self, key: bytes, value: bytes) -> Answer[None]:
        """Set a value. Returns None if that is done, or the rest of it."""
        self.engine.check_writable()
        database = self.database
        grown = database.admission.check_put(self, key, value)
        if not database.take_exclusive(self, key):
            return rest(self._put_later(key, value))
        database.write(self, key, value, grown)
        return None

    async def _put_later(self, key: bytes, value: bytes) -> None:
        await self._lock(key)
        grown = self.database.admission.check_put(self, key, value)  # others may use the memory
        self.database.write(self, key, value, grown)

    def delete_now(self, key: bytes) -> Answer[None]:
        """Remove a key. Returns None if that is done, or the rest of it."""
        self.engine.check_writable()
        grown = self.database.admission.check_delete(self, key)
        if not self.database.take_exclusive(self, key):
            return rest(self._delete_later(key))
        self.database.delete(self, key, grown)
        return None

    async def _delete_later(self, key: bytes) -> None:
        await self._lock(key)
        grown = self.database.admission.check_delete(self, key)
        self.database.delete(self, key, grown)

    async def pieces(
        self,
        start: bytes,
        end: bytes | None,
        prefix: bytes | None,
        reverse: bool,
        limit: int | None,
    ) -> AsyncGenerator[Rows, None]:
        """Yield the rows of a scan in pieces, maybe empty. See `interface.Transaction.scan`."""
        database = self.database
        cursor = database.open_scan(self, start, end, prefix=prefix, reverse=reverse, limit=limit)
        try:
            count = 0
            while not cursor.done:
                if self.rules.locks_reads:
                    await self._lock_range(cursor.next_part(database.versions))
                yield database.scan_piece(self, cursor)
                count += 1
                if count % PIECES_PER_TURN == 0:
                    await asyncio.sleep(0)
        finally:
            database.close_scan(self, cursor)

    async def commit(self) -> int:
        """End it, durably. See `interface.Transaction.commit`."""
        self.engine.home.check()
        engine, count = self.engine, len(self.writes)
        if not self.database.begin_commit(self):
            position, work = 0, 1
        else:
            position = engine.append(self)
            if self.state is not State.COMMITTED:
                await engine.durable(position)
                return position
            work = count * WORK_PER_TURN // WRITES_PER_TURN
        engine.work_this_turn += work
        if engine.work_this_turn >= WORK_PER_TURN:
            await self.give_turn()
        return position

    def rollback(self) -> None:
        """End it and leave nothing behind. See `interface.Transaction.rollback`."""
        self.engine.home.check()
        self.database.rollback(self)

    async def after_cancelled(self, statement: Callable[[], Answer[T]]) -> T:
        """Make a statement, once a cancelled one before it has ended.

        A cancelled statement takes some turns of the event loop to end, and over a
        network the next one may come sooner.
        """
        for _ in range(CANCEL_TURNS):
            if self.state is not State.WAITING:
                break
            await asyncio.sleep(0)
        answer = statement()
        return await answer if isinstance(answer, CoroutineType) else answer

    async def give_turn(self) -> None:
        """Let other tasks run, after much work in calls that did not wait."""
        self.engine.work_this_turn = 0
        await asyncio.sleep(0)

    async def _lock(self, key: bytes, *, to_read: bool = False) -> None:
        self.check_usable()
        if not self.database.take_exclusive(self, key):
            await self._wait(Kind.EXCLUSIVE, just(key), to_read=to_read)

    async def _lock_range(self, part: Range) -> None:
        self.database.admission.check_range(self, part)
        if not self.database.locks.take_range(self, *part):
            await self._wait(Kind.RANGE, part)

    async def _wait(self, kind: Kind, part: Range, *, to_read: bool = False) -> None:
        self.engine.home.check()
        await self.engine.wait_for_lock(self, kind, part, to_read=to_read)
