"""Interface: what a transactional store offers, embedded or over TCP.

A program written against `Store` and `Transaction` moves from a store inside
its own process to one behind a socket by changing the line that makes it:

    async with StoreEngine(host, StoreConfig()) as store:          # embedded
    async with StoreClient("127.0.0.1", 4000) as store:            # over TCP

    async with store.begin() as transaction:
        balance = int(await transaction.get(b"alice") or b"0")
        await transaction.put(b"alice", b"%d" % (balance - 30))

Things to notice
    1. `Store.begin` is a plain call. A snapshot is taken at the first
       statement (as in PostgreSQL), so beginning has nothing to wait for and
       costs no round trip.
    2. A *statement* is one call. `Transaction.scan` is one statement however
       long it streams: it keeps to the state at which it began.
    3. The type of an error says what to do next. An `Aborted` transaction is
       over and left nothing behind: repeat it from its start (`Store.run`
       does). Every other error of a statement changed nothing, and the
       transaction goes on.
    4. A statement that is cancelled while it waits has not happened. An embedded
       transaction goes on; over TCP nobody can know how far it came, so there the
       transaction ends.
    5. From the moment its commit record is in the log a transaction cannot be
       taken back. Whoever stops waiting for `Transaction.commit` (a time-out,
       a cancelled task, a lost connection) does not know how it ended, and
       must look.

These are Protocols because there are several: the engine, its client, and the
thin adapters through which ``spec.store`` examines other people's databases.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Literal, Protocol, Self, TypeAlias, TypeVar

T = TypeVar("T")


class Isolation(StrEnum):
    """How much one transaction sees of the others; `sdkit.store.isolation` has the rules."""

    READ_UNCOMMITTED = "read uncommitted"
    READ_COMMITTED = "read committed"
    REPEATABLE_READ = "repeatable read"
    SERIALIZABLE = "serializable"


Level: TypeAlias = (
    Isolation | Literal["read uncommitted", "read committed", "repeatable read", "serializable"]
)
"""A level as an argument: `Isolation`, or its text."""


@dataclass(slots=True)
class VersionInfo:
    """One version of a key. A chain of them is listed newest first."""

    position: int | None
    """Position in the log of the commit that wrote it; None while that is not yet visible."""
    value: bytes | None
    """None: the key was deleted."""
    transaction: int | None
    """Who wrote it, while that is not yet committed and visible."""


@dataclass(slots=True)
class TransactionInfo:
    """An open transaction, and whom it waits for."""

    id: int
    isolation: Isolation
    read_only: bool
    state: str
    """``active``, ``waiting`` (for a lock) or ``committing`` (its record is in the log)."""
    snapshot: int | None
    """The position it reads at; None before its first statement, and where each has its own."""
    age_s: float
    locks: list[bytes]
    """The keys it holds exclusive locks on, in the order in which it got them."""
    waits_for_key: bytes | None
    """The key that it waits for, or where the range that it waits for begins."""
    waits_for: list[int]
    """The transactions before it: who holds the key, then who asked earlier, in order.

    The first sixteen: behind a hot key there may be thousands.
    """
    reads: list[tuple[bytes, bytes | None]] = field(default_factory=list)
    """If it is serializable: what it has read, as ranges (an end of None lies behind all keys).

    Shared locks, or marks that lock nothing; the first sixteen.
    """


class Transaction(Protocol):
    """All or nothing.

    As a context manager it commits at the end of the block, or rolls back if
    the block raises. It belongs to one task at a time.

    Every statement raises:
        Aborted: the whole transaction is over and left nothing behind
            (`SerializationFailure`, `Deadlock`, `LockTimeout`, `IdleTimeout`).
            Reading fails so too, at serializable.
        InvalidState: it has ended, or another task is using it. Nothing changed.
        InvalidArgument, LimitExceeded: a key is empty or too long, a value too
            large. Nothing changed.
    and one that writes or locks, besides:
        ReadOnlyTransaction: it was begun with ``read_only``. Nothing changed.
        StoreFull: no memory for what it writes or locks. Nothing changed, but a lock
            that it has waited for is kept.
        DiskUnavailable: the log has failed and takes no more. Nothing changed.
    """

    @property
    def id(self) -> int:
        """Names it in errors and in `Store.transactions`."""
        ...

    @property
    def isolation(self) -> Isolation: ...

    async def get(self, key: bytes) -> bytes | None:
        """The value, or None if there is none.

        Waits for nobody, but at serializable by locking for whoever writes the key.
        """
        ...

    async def get_for_update(self, key: bytes) -> bytes | None:
        """The value, locked until the transaction ends.

        Waits for whoever holds the lock. Then levels that read a snapshot return
        its value, and fail if a newer one has been committed since; the others
        return the newest committed value.
        """
        ...

    async def put(self, key: bytes, value: bytes) -> None:
        """Set a value. Waits for the write lock."""
        ...

    async def delete(self, key: bytes) -> None:
        """Remove a key; fine if it does not exist. Waits for the write lock."""
        ...

    def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """Keys and values with ``start <= key < end``, in order of the keys' bytes.

        One statement: it sees the committed state, and the transaction's own
        writes, as they were when the first row was asked for. What the
        transaction itself writes while it streams does not show up in it. At
        serializable by locking it locks the range as it goes, and waits for
        whoever writes there.

        Args:
            end: where to stop, exclusive; None for no bound.
            prefix: only keys that begin with it, besides the range.
            reverse: from the last key to the first.
            limit: at most so many rows.
        """
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """A part that can fail alone: an exception in the block undoes its writes, and goes on up.

        They nest. Locks taken in the block are kept to the end of the transaction.
        """
        ...

    async def commit(self) -> int:
        """End it, durably. Returns the position of its record in the log (0 if it wrote nothing).

        Raises:
            Aborted: nothing of it happened; or see the class.
            DiskUnavailable: the disk took nothing of it (full): it did not happen.
            Indeterminate: the disk failed while it was being written.
        """
        ...

    async def rollback(self) -> None:
        """End it and leave nothing behind. Fine if it has been aborted already."""
        ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Store(Protocol):
    """An ordered map of bytes to bytes with transactions."""

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> Transaction:
        """A new transaction. Nothing waits and nothing is read before its first statement.

        Raises:
            InvalidArgument: there is no such level.
            Overloaded: too many are open. A client learns it at the first statement.
            Closed: the store is shutting down.
        """
        ...

    async def run(
        self,
        function: Callable[[Transaction], Awaitable[T]],
        *,
        isolation: Level = Isolation.REPEATABLE_READ,
        read_only: bool = False,
        attempts: int = 10,
    ) -> T:
        """Call ``function`` in a transaction and commit; again, after a pause, if it is aborted.

        ``function`` may be called several times, so what it does outside the
        transaction happens as often. Only `Aborted` is repeated, up to
        ``attempts`` calls; the last one's error is raised.
        """
        ...

    async def versions(self, key: bytes) -> list[VersionInfo]:
        """The version chain of a key, newest first; an uncommitted version leads."""
        ...

    async def transactions(self) -> list[TransactionInfo]:
        """Every open transaction, oldest first."""
        ...
