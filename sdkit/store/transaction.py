"""Transaction: its states, its write set, and savepoints.

A transaction is a promise that its writes happen together or not at all. The
easiest way to keep it is not to make them before the end: each write goes into
the transaction's own *write set*, where only it looks, and the commit moves the
whole set into the versions at once. Rolling back is forgetting a dictionary.

    ACTIVE ---- lock busy ----> WAITING
       |  <---- lock granted ------ |
       |                            | deadlock, time-out
       | commit     \\ error, idle   v
       v             +--------> ABORTED
    COMMITTING -- durable --> COMMITTED
       |-- the disk took nothing --> ABORTED
       '-- the disk failed --------> UNKNOWN          rollback --> ROLLED_BACK

Things to notice
    * COMMITTING begins when the record is appended to the log. From there on
      only the log decides; there is no arrow back, and no time-out, cancelled
      task, lost client or deadlock search looks at it any more.
    * WAITING is also what tells two tasks apart that use one transaction at
      once: a statement is refused unless the state is ACTIVE.
    * An ABORTED transaction remembers why, and says so to every later
      statement: a caller that swallowed the first error cannot go on unaware.
    * A *savepoint* is a dictionary of what each key in the write set was before
      the block touched it. Undoing puts that back; keeping hands it down to the
      savepoint outside, or lets go of it. So the cost is that of the keys
      touched, however often each was written.
    * What it takes is counted by the byte, as it comes and as it goes
      (`Transaction.memory_bytes`): each write, each value that a savepoint keeps, each
      lock. A write counts for more than it takes in the log, so a transaction
      that was let grow to its limit can always be committed.
    * When it has ended it lets go of all that: those who hold on to an aborted
      transaction, perhaps for ever, hold nothing but its reason.
    * Locks taken inside a savepoint stay when it is undone, as in InnoDB.
      Others may wait a little longer than they must; in return the key that
      was read under the lock cannot change before the transaction ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeVar

from sdkit.errors import Aborted, InvalidState, LimitExceeded, Rejected, SdkitError
from sdkit.store.interface import Isolation
from sdkit.store.isolation import Reads, Rules
from sdkit.store.limits import LOCK_OVERHEAD_BYTES, WRITE_OVERHEAD_BYTES
from sdkit.store.locks import Request
from sdkit.store.optimistic import Tracked
from sdkit.store.scan import Cursor

Error = TypeVar("Error", bound=SdkitError)

SAVEPOINT_DEPTH_MAX: Final = 100


class State(Enum):
    """Where a transaction is in its life."""

    ACTIVE = "active"
    WAITING = "waiting"
    COMMITTING = "committing"
    COMMITTED = "committed"
    ROLLED_BACK = "rolled back"
    ABORTED = "aborted"
    UNKNOWN = "of unknown outcome"


class ReadOnlyTransaction(Rejected):
    """A transaction begun with ``read_only`` tried to write or to lock."""

    code = "read_only_transaction"


class IdleTimeout(Aborted, TimeoutError):
    """The transaction went without a statement for longer than ``idle_transaction_timeout_s``."""

    code = "idle_timeout"


def read_only_refusal(number: int, key: bytes) -> ReadOnlyTransaction:
    """The error that names the key."""
    return ReadOnlyTransaction(
        f"transaction {number} was begun read-only and can neither write nor lock {key!r}",
        transaction=number,
        key=key,
    )


def idle_timeout(number: int, limit_s: float) -> IdleTimeout:
    """The error that names the limit."""
    return IdleTimeout(
        f"transaction {number} went {limit_s} s without a statement "
        "(idle_transaction_timeout_s); repeat it from its start",
        transaction=number,
        limit_s=limit_s,
    )


class _Missing(Enum):
    MISSING = 0


MISSING: Final = _Missing.MISSING  # "not in the write set", where None means "deleted"


@dataclass(slots=True)
class Savepoint:
    """What the write set was before a block."""

    before: dict[bytes, bytes | _Missing | None]  # of the keys that the block has written
    write_bytes: int


class Transaction:
    """What one transaction knows and holds. `sdkit.store.database` moves it through its states."""

    __slots__ = (
        "age",
        "began_s",
        "cursors",
        "id",
        "idle_ticks",
        "isolation",
        "lock_bytes",
        "locks",
        "position",
        "read_only",
        "reason",
        "request",
        "rules",
        "savepoints",
        "shared_ranges",
        "snapshot",
        "state",
        "tracked",
        "write_bytes",
        "writes",
    )

    def __init__(self, number: int, isolation: Isolation, rules: Rules, read_only: bool) -> None:
        self.id: Final = number
        self.isolation: Final = isolation
        self.read_only: Final = read_only
        self.rules: Final = rules
        self.state = State.ACTIVE
        self.snapshot: int | None = None  # held from the first statement on, if the level has one
        self.writes: Final[dict[bytes, bytes | None]] = {}  # None: delete
        self.write_bytes = 0
        self.age = 0  # from its first lock on: its number among all that lock
        self.locks: Final[list[bytes]] = []  # exclusive ones
        self.shared_ranges = 0  # shared locks on ranges
        self.lock_bytes = 0  # of all of them
        self.request: Request[Transaction] | None = None  # while it stands in a queue
        self.tracked: Tracked | None = None  # from the first statement on, if the level asks for it
        self.savepoints: Final[list[Savepoint]] = []
        self.cursors: list[Cursor] = []  # scans under way
        self.position = 0  # of its commit record
        self.reason: SdkitError | None = None  # why it was aborted
        self.idle_ticks = 0
        self.began_s = 0.0

    @property
    def keeps_one_snapshot(self) -> bool:
        """Do all its statements read the same state?"""
        return self.rules.reads is Reads.NEWEST_AT_FIRST_STATEMENT

    @property
    def reads_by_statement(self) -> bool:
        """Does each statement read a state of its own, which a scan has to hold on to?"""
        return self.rules.reads in (Reads.UNCOMMITTED, Reads.NEWEST_AT_STATEMENT)

    @property
    def memory_bytes(self) -> int:
        """The memory that its writes and locks take, roughly."""
        return self.write_bytes + self.lock_bytes

    def fail(self, error: SdkitError) -> None:
        """Remember why it was aborted, and not the traceback, with all that hangs on it."""
        self.reason = fresh(error)

    def check_usable(self) -> None:
        """Refuse a statement unless it is ACTIVE; note that it is not idle."""
        if self.state is not State.ACTIVE:
            raise self.refusal()
        self.idle_ticks = 0

    def refusal(self) -> SdkitError:
        """Why a statement cannot be taken in the present state."""
        if self.reason is not None:
            return fresh(self.reason)
        if self.state in (State.WAITING, State.COMMITTING):
            return InvalidState(
                f"transaction {self.id} is {self.state.value}; one task at a time may use it",
                transaction=self.id,
            )
        return InvalidState(
            f"transaction {self.id} is {self.state.value}; begin another one", transaction=self.id
        )

    def growth(self, key: bytes, value: bytes | None) -> int:
        """The memory that a write would take, its lock aside; negative if it gives some back."""
        before = self.writes.get(key, MISSING)
        if before is MISSING:
            grown = WRITE_OVERHEAD_BYTES + len(key) + size(value)
        else:
            grown = size(value) - size(before)
        if self.savepoints and key not in self.savepoints[-1].before:
            grown += before_size(before)
        return grown

    def set(self, key: bytes, value: bytes | None, grown: int) -> None:
        """Note a write, and the memory that it takes (`growth`)."""
        if self.savepoints:
            self.savepoints[-1].before.setdefault(key, self.writes.get(key, MISSING))
        self.writes[key] = value
        self.write_bytes += grown

    def add_lock(self, key: bytes) -> int:
        """Note an exclusive lock. Returns the memory that it takes."""
        grown = LOCK_OVERHEAD_BYTES + len(key)
        self.locks.append(key)
        self.lock_bytes += grown
        return grown

    def add_shared(self, key: bytes) -> int:
        """Note a shared lock, whose keys together are ``key``. Returns the memory that it takes."""
        grown = LOCK_OVERHEAD_BYTES + len(key)
        self.lock_bytes += grown
        return grown

    def let_go(self) -> int:
        """Forget writes and savepoints: it has ended. Returns the memory given back."""
        freed = self.write_bytes
        self.write_bytes = 0
        self.writes.clear()
        self.savepoints.clear()
        return freed

    def open_savepoint(self) -> int:
        """Begin a savepoint inside the present one. Returns its depth, from 1."""
        if len(self.savepoints) >= SAVEPOINT_DEPTH_MAX:
            raise LimitExceeded(
                f"transaction {self.id} has {SAVEPOINT_DEPTH_MAX} savepoints inside each other; "
                "that is the most there may be",
                transaction=self.id,
            )
        self.savepoints.append(Savepoint({}, self.write_bytes))
        return len(self.savepoints)

    def keep_savepoint(self, depth: int) -> int:
        """End the savepoint of this depth, which must be the innermost; its writes stay.

        Returns the memory given back: what the savepoint outside does not need.
        """
        self._check_innermost(depth)
        inner = self.savepoints.pop().before
        outer = self.savepoints[-1].before if self.savepoints else None
        freed = 0
        for key, value in inner.items():
            if outer is None or key in outer:
                freed += before_size(value)
            else:
                outer[key] = value
        self.write_bytes -= freed
        return freed

    def undo_savepoint(self, depth: int) -> int:
        """End the savepoint of this depth, and undo its writes. Returns the memory given back."""
        self._check_innermost(depth)
        savepoint = self.savepoints.pop()
        for key, value in savepoint.before.items():
            if value is MISSING:
                del self.writes[key]
            else:
                self.writes[key] = value
        freed = self.write_bytes - savepoint.write_bytes
        self.write_bytes = savepoint.write_bytes
        return freed

    def _check_innermost(self, depth: int) -> None:
        if len(self.savepoints) != depth:
            raise InvalidState(
                f"a savepoint of transaction {self.id} ends at depth {depth} while there are "
                f"{len(self.savepoints)}; savepoints end in the opposite order of their beginning",
                transaction=self.id,
            )


def size(value: bytes | None) -> int:
    """Bytes in a value; a delete has none."""
    return 0 if value is None else len(value)


def before_size(value: bytes | _Missing | None) -> int:
    """The memory that a savepoint takes for one key."""
    return WRITE_OVERHEAD_BYTES + (0 if value is MISSING else size(value))


def fresh(error: Error) -> Error:
    """The same once more, without the traceback and all that hangs on it."""
    again = error.__class__.__new__(error.__class__)
    SdkitError.__init__(again, error.message, **error.fields)
    return again
