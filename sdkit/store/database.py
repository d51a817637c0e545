"""Database: the store as a machine without a clock, a disk or a wait.

Everything that decides is here and in the cores it is made of; the engine
around it only waits, writes to the log and reads the clock. A call returns at
once. Where a transaction has to wait for a lock, it says so, and whoever is to
be woken up later is put into `LockManager.woken` by the call that makes it possible.

One commit, step by step
    1. `take_exclusive` takes the key's lock, or says that somebody is in the way;
       then `LockManager.begin_to_wait` stands in the queue.
    2. `write` puts the value into the transaction's write set.
    3. `begin_commit` makes it COMMITTING, if it may; the engine appends the record
       to the log and tells `appended` its position.
    4. Later the log says how far it is durable. `publish` then makes all
       commits up to there visible, **in the order of the log**: versions in,
       locks released, one after the other. Only now can anybody see them.
    5. If the disk refuses the record instead, `lose` undoes step 3.

Between 3 and 4 the locks are held and the versions hidden. Show a commit
before it is durable, and a reader has acted on something that a power cut
takes back. Release its locks, and the next writer builds on it.

Each rule that keeps a promise is a small method of its own (`read_position`,
`check_first_updater`, ...): a test leaves one out by overriding it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import ClassVar, Final

from sdkit.errors import Indeterminate, SdkitError
from sdkit.store import limits
from sdkit.store.admission import Admission
from sdkit.store.config import StoreConfig
from sdkit.store.isolation import Reads, SerializationFailure, Winners, overtaken
from sdkit.store.lock_manager import LockManager
from sdkit.store.locks import Kind, Request
from sdkit.store.optimistic import Conflicts
from sdkit.store.ranges import Range
from sdkit.store.scan import Cursor, within_prefix
from sdkit.store.snapshots import Snapshots
from sdkit.store.transaction import State, Transaction, idle_timeout
from sdkit.store.vacuum import Vacuum
from sdkit.store.versions import Versions
from sdkit.trace import event

IDLE_TICKS: Final = 4


class Database:
    """All transactions, locks and versions of one store.

    Args:
        config: the limits.
    """

    versions_type: ClassVar[type[Versions]] = Versions
    vacuum_type: ClassVar[type[Vacuum]] = Vacuum
    lock_manager_type: ClassVar[type[LockManager]] = LockManager
    admission_type: ClassVar[type[Admission]] = Admission
    conflicts_type: ClassVar[type[Conflicts]] = Conflicts

    def __init__(self, config: StoreConfig) -> None:
        self.config: Final = config
        self.snapshots: Final = Snapshots()
        self.versions: Final = self.versions_type(self.snapshots)
        self.vacuum: Final = self.vacuum_type(self.versions, self.snapshots)
        self.locks: Final = self.lock_manager_type(config, self.abort)
        self.conflicts: Final = self.conflicts_type()
        self.admission: Final = self.admission_type(config, self.versions, self.locks)
        self.transactions: Final[dict[int, Transaction]] = {}  # open ones, oldest first
        self.committing: Final[deque[tuple[int, Transaction]]] = deque()  # in log order
        self.visible = 0  # position of the newest commit that readers see
        self.aborts = 0  # so far
        self.on_change: Callable[[], None] = _ignore
        """Called when waiting transactions are to be woken, or the vacuum has work to do."""
        self._begun = 0
        self._winners: Final = Winners()

    # Beginning and reading

    def enter(self, transaction: Transaction) -> None:
        """Count a new transaction among the open ones; `Overloaded` beyond ``transactions_max``."""
        limits.check_open_transactions(len(self.transactions), self.config)
        self.transactions[transaction.id] = transaction

    def next_id(self) -> int:
        """A number for a new transaction, higher than any before."""
        self._begun += 1
        return self._begun

    def get(self, transaction: Transaction, key: bytes) -> bytes | None:
        """One read: own writes first, then the state that the level reads.

        If the level locks what it reads, the shared lock is held.
        """
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        # The checks of `limits.check_key`, without the call while all is well.
        if key.__class__ is not bytes or not 0 < len(key) <= self.config.key_bytes_max:
            limits.check_key(key, self.config)
        transaction.idle_ticks = 0
        if key in transaction.writes:
            return transaction.writes[key]
        position = transaction.snapshot
        if position is None:
            position = self.read_position(transaction)
            if transaction.rules.reads is Reads.UNCOMMITTED:
                return self.read_uncommitted(key)
        if transaction.tracked is not None:
            self._heed(transaction, self.conflicts.read(transaction.tracked, key))
        return self.versions.read(key, position)

    def read_uncommitted(self, key: bytes) -> bytes | None:
        """What whoever holds the lock of ``key`` has written so far; else what is committed."""
        writer = self.locks.holders.get(key)
        if writer is not None and key in writer.writes:
            return writer.writes[key]
        return self.versions.read(key, self.visible)

    def _heed(self, transaction: Transaction, failure: SerializationFailure | None) -> None:
        if failure is not None:
            self.abort(transaction, failure)
            raise transaction.refusal()

    def read_position(self, transaction: Transaction) -> int:
        """The position whose state a statement reads.

        The level decides: of a transaction that keeps one snapshot, the first
        statement takes it.
        """
        if not transaction.keeps_one_snapshot:
            return self.visible
        if transaction.snapshot is None:
            transaction.snapshot = self.snapshots.take(self.visible)
            if transaction.rules.tracks_reads:
                read_only = transaction.read_only
                transaction.tracked = self.conflicts.begin(transaction.id, self.visible, read_only)
        return transaction.snapshot

    def open_scan(
        self,
        transaction: Transaction,
        start: bytes,
        end: bytes | None,
        *,
        prefix: bytes | None,
        reverse: bool,
        limit: int | None,
    ) -> Cursor:
        """Begin a scan; `close_scan` must follow, unless the transaction ends before."""
        transaction.check_usable()
        limits.check_range(start, end, prefix, reverse, limit, self.config)
        if prefix:
            start, end = within_prefix(start, end, prefix)
        at = self.read_position(transaction)
        if transaction.reads_by_statement:
            self.snapshots.take(at)  # for as long as it streams
        writes = transaction.writes
        if transaction.rules.reads is Reads.UNCOMMITTED:
            # What all have written so far: O(all of it).
            every = (each.writes.items() for each in self.transactions.values())
            writes = dict(chain.from_iterable(every))
        cursor = Cursor(start, end, reverse=reverse, limit=limit, at=at, writes=writes)
        transaction.cursors.append(cursor)
        return cursor

    def scan_piece(self, transaction: Transaction, cursor: Cursor) -> list[tuple[bytes, bytes]]:
        """The next rows of a scan, perhaps none; `Cursor.done` says whether there are more.

        If the level locks what it reads, the range `Cursor.next_part` is locked.
        """
        transaction.check_usable()
        if transaction.tracked is not None:
            part = cursor.next_part(self.versions)
            self._heed(transaction, self.conflicts.read_range(transaction.tracked, *part))
        if transaction.rules.locks_reads:
            cursor.at = self.visible  # nobody can change the part any more
        return cursor.piece(self.versions)

    def close_scan(self, transaction: Transaction, cursor: Cursor) -> None:
        """End a scan. Fine if the end of the transaction has done so already."""
        if cursor in transaction.cursors:
            transaction.cursors.remove(cursor)
            if transaction.reads_by_statement:
                self.drop_snapshot(cursor.at)

    # Locking and writing

    def take_exclusive(self, transaction: Transaction, key: bytes) -> bool:
        """Take the exclusive lock of ``key`` to write it, unless somebody is in the way (False).

        Then `begin_to_wait`, and after the wait, `resume`.

        Raises:
            SerializationFailure: somebody has updated the key since the snapshot.
        """
        if not self.locks.table.is_free(transaction, key):
            return False
        self.begin_to_write(transaction, key)
        self.locks.take_exclusive(transaction, key)
        return True

    def begin_to_write(self, transaction: Transaction, key: bytes) -> None:
        """Before a key is written: take the snapshot, and see that it is not too old."""
        if transaction.snapshot is None:
            self.read_position(transaction)
        self.check_first_updater(transaction, key)

    def begin_to_wait(
        self, transaction: Transaction, kind: Kind, part: Range, *, to_read: bool = False
    ) -> None:
        """Stand in the queue for a lock.

        Args:
            to_read: the value is wanted under the lock (`interface.Transaction.get_for_update`).

        Raises:
            SerializationFailure, Deadlock: as `take_exclusive` and `LockManager.begin_to_wait`.
        """
        if kind is Kind.EXCLUSIVE and not self.reads_after_wait(transaction, to_read=to_read):
            self.begin_to_write(transaction, part[0])
        self.locks.begin_to_wait(Request(transaction, kind, *part))
        self._tell()  # a circle was dissolved, perhaps

    def reads_after_wait(self, transaction: Transaction, *, to_read: bool) -> bool:
        """Does it take its snapshot when it has the lock, and not before?

        Whoever has a snapshot already would lose to the one that it waits for. One
        that has read nothing yet need not have any. A put that waited would write
        over a value that its transaction has never seen, so it keeps to the rule.
        """
        return to_read and transaction.snapshot is None

    def check_first_updater(self, transaction: Transaction, key: bytes) -> None:
        """Abort a transaction that writes what has changed since its snapshot."""
        if not transaction.rules.first_updater_wins:
            return
        newest, snapshot = self.versions.newest.get(key), transaction.snapshot
        assert snapshot is not None
        if newest is not None and newest[0] > snapshot:
            winner = self._winners.at(newest[0])
            self._heed(transaction, overtaken(transaction.id, key, snapshot, newest[0], winner))

    def resume(self, transaction: Transaction, kind: Kind, part: Range) -> None:
        """Go on after a wait: the lock is held now. Raises what `begin_to_wait` does."""
        if transaction.state is not State.WAITING:
            raise transaction.refusal()
        transaction.state = State.ACTIVE
        if kind is Kind.EXCLUSIVE:
            self.begin_to_write(transaction, part[0])

    def give_up(self, transaction: Transaction) -> None:
        """Stop waiting, and be as before the statement. If the lock has just come, it is kept."""
        if transaction.state is State.WAITING:
            self.locks.withdraw(transaction)
            transaction.state = State.ACTIVE
            self._tell()

    def read_locked(self, transaction: Transaction, key: bytes) -> bytes | None:
        """The value of a key whose lock is held: nothing newer can be committed."""
        if key in transaction.writes:
            return transaction.writes[key]
        if transaction.tracked is not None:
            self._heed(transaction, self.conflicts.read(transaction.tracked, key))
        newest = self.versions.newest.get(key)
        return None if newest is None else newest[1]

    def write(self, transaction: Transaction, key: bytes, value: bytes | None, grown: int) -> None:
        """Put a value, for which there are ``grown`` bytes of room, into the write set."""
        transaction.set(key, value, grown)
        self.admission.write_bytes += grown

    def delete(self, transaction: Transaction, key: bytes, grown: int) -> None:
        """Put a delete into the write set, as `write` does.

        Deleting what is not there writes nothing (`Versions.install`), but it has found
        nothing, and whoever inserts the key meanwhile is in conflict with that: it
        counts as a read, too.
        """
        if transaction.tracked is not None:
            self._heed(transaction, self.conflicts.read(transaction.tracked, key))
        self.write(transaction, key, None, grown)

    def keep_savepoint(self, transaction: Transaction, depth: int) -> None:
        """End the savepoint of this depth and keep what was written in it."""
        self.admission.write_bytes -= transaction.keep_savepoint(depth)

    def undo_savepoint(self, transaction: Transaction, depth: int) -> None:
        """Undo what was written since the savepoint of this depth was opened."""
        self.admission.write_bytes -= transaction.undo_savepoint(depth)

    # Ending

    def begin_commit(self, transaction: Transaction) -> bool:
        """COMMITTING, if there is anything to put into the log; else COMMITTED, at once (False).

        Raises:
            SerializationFailure: it fits into no order with what others have read and committed.
        """
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        if transaction.tracked is not None:
            self._heed(transaction, self.check_commit(transaction))
        if not transaction.writes:
            self._end(transaction, State.COMMITTED)
            return False
        transaction.state = State.COMMITTING
        self._drop_snapshots(transaction)  # it reads nothing more, so it holds nothing up
        return True

    def check_commit(self, transaction: Transaction) -> SerializationFailure | None:
        """The last moment at which a transaction can be kept from committing."""
        assert transaction.tracked
        return self.conflicts.check_commit(transaction.tracked, transaction.writes)

    def appended(self, transaction: Transaction, position: int) -> None:
        """Its commit record is in the log at ``position``, which is higher than any before."""
        transaction.position = position
        if transaction.tracked is not None:
            self.conflicts.committed(transaction.tracked, transaction.writes, position)
        self.committing.append((position, transaction))

    def publish(self, durable: int) -> None:
        """Make every commit up to position ``durable`` visible, in the order of the log."""
        while self.committing and self.committing[0][0] <= durable:
            position, transaction = self.committing.popleft()
            self.publish_one(position, transaction)
        self.conflicts.forget(self.visible)

    def publish_one(self, position: int, transaction: Transaction) -> None:
        """Versions in, position forward, locks released: in one step, so that nobody sees half."""
        for key, value in transaction.writes.items():
            self.versions.install(key, position, value)
        if self.versions.to_clean:
            self.vacuum.collect()
        self.visible = position
        self._winners.remember(position, transaction.id)
        event("store.commit", transaction=transaction.id, position=position)
        self._end(transaction, State.COMMITTED)

    def lose(self, first_position: int, error: SdkitError) -> None:
        """The log has lost every record from ``first_position`` on.

        If the error says that they did not happen, the transactions are
        ABORTED; if it says that nobody knows, their outcome is UNKNOWN. Either
        way nothing of them becomes visible and their locks are free.
        """
        state = State.UNKNOWN if isinstance(error, Indeterminate) else State.ABORTED
        kept = [entry for entry in self.committing if entry[0] < first_position]
        lost = [entry[1] for entry in self.committing if entry[0] >= first_position]
        self.committing.clear()
        self.committing.extend(kept)
        self.conflicts.lost(first_position)
        for transaction in lost:
            transaction.fail(error)
            self._end(transaction, state)

    def rollback(self, transaction: Transaction) -> None:
        """End it and leave nothing behind. Fine if it was aborted already: then all is gone."""
        if transaction.state is State.ABORTED:
            transaction.state, transaction.reason = State.ROLLED_BACK, None
            return
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        self._end(transaction, State.ROLLED_BACK)

    def abort(self, transaction: Transaction, error: SdkitError) -> None:
        """End a transaction that is ACTIVE or WAITING; every later statement gets ``error``."""
        assert transaction.state in (State.ACTIVE, State.WAITING)
        if transaction.state is State.WAITING:
            self.locks.withdraw(transaction)
            self.locks.woken.append((transaction, error))
        transaction.fail(error)
        self.aborts += 1
        event("store.abort", transaction=transaction.id, code=error.code)
        self._end(transaction, State.ABORTED)

    def tick_idle(self) -> None:
        """A quarter of ``idle_transaction_timeout_s`` is over: abort who has been idle for four."""
        active = [each for each in self.transactions.values() if each.state is State.ACTIVE]
        for transaction in active:
            transaction.idle_ticks += 1
            if transaction.idle_ticks > IDLE_TICKS:
                limit_s = self.config.idle_transaction_timeout_s
                self.abort(transaction, idle_timeout(transaction.id, limit_s))

    def _end(self, transaction: Transaction, state: State) -> None:
        transaction.state = state
        del self.transactions[transaction.id]
        if transaction.snapshot is not None or transaction.cursors:
            self._drop_snapshots(transaction)
        tracked, transaction.tracked = transaction.tracked, None
        if tracked is not None and state is not State.COMMITTED:
            self.conflicts.ended(tracked)
            self.conflicts.forget(self.visible)
        elif tracked is not None and not transaction.writes:
            self.conflicts.committed(tracked, (), 0)
            self.conflicts.forget(self.visible)
        self.locks.release(transaction)
        self.admission.write_bytes -= transaction.let_go()
        self._tell()

    def _drop_snapshots(self, transaction: Transaction) -> None:
        if transaction.snapshot is not None:
            self.drop_snapshot(transaction.snapshot)
            transaction.snapshot = None
        while transaction.cursors:
            self.close_scan(transaction, transaction.cursors[-1])

    def drop_snapshot(self, position: int) -> None:
        """Somebody who read at ``position`` is done; the vacuum may have something to do."""
        oldest = self.snapshots.drop(position)
        if self.vacuum.queued:
            self.vacuum.ended(oldest=oldest)
            self._tell()

    def _tell(self) -> None:
        if self.locks.woken or self.vacuum.due:
            self.on_change()


def _ignore() -> None:
    """A database that nobody waits for has nobody to tell."""
