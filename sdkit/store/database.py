"""Database: the store as a machine without a clock, a disk or a wait.

Everything that decides is here and in the cores it is made of; the engine
around it only waits, writes to the log and reads the clock. A call returns at
once. Where a transaction has to wait for a lock, `acquire` says so, and
whoever is to be woken up later is put into `Database.woken` by the call that
makes it possible.

One commit, step by step
    1. `acquire` takes the key's write lock, or stands in the queue. Beginning
       to wait is the moment at which a deadlock can close, so it is looked for
       there.
    2. `write` puts the value into the transaction's write set.
    3. `begin_commit` makes it COMMITTING; the engine appends the record to the
       log and tells `appended` its position.
    4. Later the log says how far it is durable. `publish` then makes all
       commits up to there visible, **in the order of the log**: versions in,
       locks released, one after the other. Only now can anybody see them.
    5. If the disk refuses the record instead, `lose` undoes step 3.

Between 3 and 4 the locks are held and the versions hidden. Show a commit
before it is durable, and a reader has acted on something that a power cut
takes back. Release its locks, and the next writer builds on it.

Each rule that keeps a promise is a small method of its own (`read_position`,
`check_first_updater`, `publish_one`, ...), so that a test can leave one out by
overriding it and show what breaks.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar, Final

from sdkit.errors import Indeterminate, SdkitError
from sdkit.store import limits
from sdkit.store.config import StoreConfig
from sdkit.store.deadlock import choose_victim, deadlock_error, find_cycle
from sdkit.store.isolation import Winners, serialization_failure
from sdkit.store.locks import LockTable, lock_timeout
from sdkit.store.scan import Cursor, within_prefix
from sdkit.store.snapshots import Snapshots
from sdkit.store.transaction import State, Transaction, idle_timeout, read_only_refusal
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
    lock_table_type: ClassVar[type[LockTable[Transaction]]] = LockTable

    def __init__(self, config: StoreConfig) -> None:
        self.config: Final = config
        self.snapshots: Final = Snapshots()
        self.versions: Final = self.versions_type(self.snapshots)
        self.vacuum: Final = self.vacuum_type(self.versions, self.snapshots)
        self.locks: Final = self.lock_table_type()
        self.transactions: Final[dict[int, Transaction]] = {}  # open ones, oldest first
        self.committing: Final[deque[tuple[int, Transaction]]] = deque()  # in log order
        self.visible = 0  # position of the newest commit that readers see
        self.pending_bytes = 0  # memory of uncommitted writes and of locks
        self.woken: Final[list[tuple[Transaction, SdkitError | None]]] = []
        """Who waits no more: with the lock (None), or aborted with the error."""
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
        """One read: own writes first, then the committed state that the level reads."""
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
        return self.versions.read(key, position)

    def read_position(self, transaction: Transaction) -> int:
        """The position whose state a statement reads.

        The level decides: of a transaction that keeps one snapshot, the first
        statement takes it.
        """
        if not transaction.keeps_one_snapshot:
            return self.visible
        if transaction.snapshot is None:
            transaction.snapshot = self.snapshots.take(self.visible)
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
        self.check_usable(transaction)
        limits.check_range(start, end, prefix, limit)
        if prefix:
            start, end = within_prefix(start, end, prefix)
        at = self.read_position(transaction)
        if not transaction.keeps_one_snapshot:
            self.snapshots.take(at)  # for as long as it streams
        cursor = Cursor(start, end, reverse=reverse, limit=limit, at=at, writes=transaction.writes)
        transaction.cursors.append(cursor)
        return cursor

    def scan_piece(self, transaction: Transaction, cursor: Cursor) -> list[tuple[bytes, bytes]]:
        """The next rows of a scan, perhaps none; `Cursor.done` says whether there are more."""
        self.check_usable(transaction)
        return cursor.piece(self.versions)

    def close_scan(self, transaction: Transaction, cursor: Cursor) -> None:
        """End a scan. Fine if the end of the transaction has done so already."""
        if cursor in transaction.cursors:
            transaction.cursors.remove(cursor)
            if not transaction.keeps_one_snapshot:
                self.drop_snapshot(cursor.at)

    def check_usable(self, transaction: Transaction) -> None:
        """Refuse a statement unless the transaction is ACTIVE; note that it is not idle."""
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        transaction.idle_ticks = 0

    # Locking and writing

    def check_lock(self, transaction: Transaction, key: bytes) -> None:
        """Refuse a lock, or a write, that cannot be; before anything has changed."""
        self.check_usable(transaction)
        if transaction.read_only:
            raise read_only_refusal(transaction.id, key)
        if key.__class__ is not bytes or not 0 < len(key) <= self.config.key_bytes_max:
            limits.check_key(key, self.config)

    def check_put(self, transaction: Transaction, key: bytes, value: bytes) -> None:
        """Refuse a put that cannot be; before anything has changed."""
        self.check_lock(transaction, key)
        if value.__class__ is not bytes or len(value) > self.config.value_bytes_max:
            limits.check_value(key, value, self.config)
        used = self.versions.bytes + self.pending_bytes
        self._check_room(transaction, key, transaction.growth(key, value), used)

    def check_delete(self, transaction: Transaction, key: bytes) -> None:
        """Refuse a delete that cannot be; a full store takes it, since it makes room."""
        self.check_lock(transaction, key)
        self._check_room(transaction, key, transaction.growth(key, None), self.pending_bytes)

    def check_get_for_update(self, transaction: Transaction, key: bytes) -> None:
        """Refuse a lock that cannot be; a full store gives it: a delete may follow."""
        self.check_lock(transaction, key)
        self._check_room(transaction, key, 0, self.pending_bytes)

    def _check_room(self, transaction: Transaction, key: bytes, more: int, used: int) -> None:
        if self.locks.holders.get(key) is not transaction:
            more += limits.LOCK_OVERHEAD_BYTES + len(key)
        limits.check_transaction_bytes(transaction.id, transaction.memory_bytes + more, self.config)
        limits.check_memory(used, more, self.config)

    def acquire(self, transaction: Transaction, key: bytes) -> bool:
        """Take the write lock of ``key``, or begin to wait for it (False).

        After a wait that ended well, call `resume`.

        Raises:
            SerializationFailure: somebody has updated the key since the snapshot.
            Deadlock: this transaction would wait for itself, and is the victim.
        """
        if transaction.snapshot is None:
            self.read_position(transaction)  # the first statement takes the snapshot
        self.check_first_updater(transaction, key)
        holder = self.locks.holders.get(key)
        if holder is None:
            self.locks.holders[key] = transaction
            self.pending_bytes += transaction.add_lock(key)
        elif holder is not transaction:
            self._begin_to_wait(transaction, key, holder)
            return False
        return True

    def check_first_updater(self, transaction: Transaction, key: bytes) -> None:
        """Abort a transaction that writes what has changed since its snapshot."""
        if not transaction.rules.first_updater_wins:
            return
        newest, snapshot = self.versions.newest.get(key), transaction.snapshot
        assert snapshot is not None
        if newest is not None and newest[0] > snapshot:
            winner = self._winners.at(newest[0])
            error = serialization_failure(
                transaction.id, key, snapshot=snapshot, position=newest[0], winner=winner
            )
            self.abort(transaction, error)
            raise transaction.refusal()

    def resume(self, transaction: Transaction, key: bytes) -> None:
        """Go on after a wait: the lock of ``key`` is held now. Raises what `acquire` does."""
        if transaction.state is not State.WAITING:
            raise transaction.refusal()
        transaction.state = State.ACTIVE
        self.check_first_updater(transaction, key)

    def give_up(self, transaction: Transaction) -> None:
        """Stop waiting, and be as before the statement. If the lock has just come, it is kept."""
        if transaction.state is State.WAITING:
            self._leave_queue(transaction)
            transaction.state = State.ACTIVE

    def read_locked(self, transaction: Transaction, key: bytes) -> bytes | None:
        """The value of a key whose lock is held: nothing newer can be committed."""
        if key in transaction.writes:
            return transaction.writes[key]
        newest = self.versions.newest.get(key)
        return None if newest is None else newest[1]

    def write(self, transaction: Transaction, key: bytes, value: bytes | None) -> None:
        """Put a value (None: a delete) into the write set; the key's lock is held."""
        self.pending_bytes += transaction.set(key, value)

    def keep_savepoint(self, transaction: Transaction, depth: int) -> None:
        """End the savepoint of this depth and keep what was written in it."""
        self.pending_bytes -= transaction.keep_savepoint(depth)

    def undo_savepoint(self, transaction: Transaction, depth: int) -> None:
        """Undo what was written since the savepoint of this depth was opened."""
        self.pending_bytes -= transaction.undo_savepoint(depth)

    # Ending

    def begin_commit(self, transaction: Transaction) -> bool:
        """COMMITTING, if there is anything to put into the log; else COMMITTED, at once (False)."""
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        if not transaction.writes:
            self._end(transaction, State.COMMITTED)
            return False
        transaction.state = State.COMMITTING
        self._drop_snapshots(transaction)  # it reads nothing more, so it holds nothing up
        return True

    def appended(self, transaction: Transaction, position: int) -> None:
        """Its commit record is in the log at ``position``, which is higher than any before."""
        transaction.position = position
        self.committing.append((position, transaction))

    def publish(self, durable: int) -> None:
        """Make every commit up to position ``durable`` visible, in the order of the log."""
        while self.committing and self.committing[0][0] <= durable:
            position, transaction = self.committing.popleft()
            self.publish_one(position, transaction)

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
        for transaction in lost:
            transaction.fail(error)
            self._end(transaction, state)

    def rollback(self, transaction: Transaction) -> None:
        """End it and leave nothing behind. Fine if it was aborted already."""
        if transaction.state is State.ABORTED:
            return
        if transaction.state is not State.ACTIVE:
            raise transaction.refusal()
        self._end(transaction, State.ROLLED_BACK)

    def abort(self, transaction: Transaction, error: SdkitError) -> None:
        """End a transaction that is ACTIVE or WAITING; every later statement gets ``error``."""
        assert transaction.state in (State.ACTIVE, State.WAITING)
        if transaction.state is State.WAITING:
            self._leave_queue(transaction)
            self.woken.append((transaction, error))
        transaction.fail(error)
        event("store.abort", transaction=transaction.id, code=error.code)
        self._end(transaction, State.ABORTED)

    def time_out_wait(self, transaction: Transaction) -> None:
        """It has waited for ``lock_wait_timeout_s``: abort it, unless the lock has just come."""
        key = transaction.waits_for_key
        if key is not None:
            holder, limit_s = self.locks.holders[key].id, self.config.lock_wait_timeout_s
            self.abort(transaction, lock_timeout(transaction.id, key, holder, limit_s))

    def tick_idle(self) -> None:
        """A quarter of ``idle_transaction_timeout_s`` is over: abort who has been idle for four."""
        active = [each for each in self.transactions.values() if each.state is State.ACTIVE]
        for transaction in active:
            transaction.idle_ticks += 1
            if transaction.idle_ticks > IDLE_TICKS:
                limit_s = self.config.idle_transaction_timeout_s
                self.abort(transaction, idle_timeout(transaction.id, limit_s))

    # Waiting

    def _begin_to_wait(self, transaction: Transaction, key: bytes, holder: Transaction) -> None:
        transaction.state = State.WAITING
        transaction.waits_for_key = key
        self.locks.enqueue(transaction, key)
        event("store.wait", transaction=transaction.id, key=key, holder=holder.id)
        while cycle := self.find_deadlock(transaction):
            victim = choose_victim(cycle)
            steps = [(each.id, each.waits_for_key or b"") for each in cycle]
            error = deadlock_error(victim.id, steps)
            event("store.deadlock", victim=victim.id, cycle=tuple(each.id for each in cycle))
            self.abort(victim, error)
            if victim is transaction:
                raise transaction.refusal()

    def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
        """The cycle that this transaction has closed by beginning to wait; empty if none."""
        return find_cycle(transaction, self.holder_before)

    def holder_before(self, transaction: Transaction) -> Transaction | None:
        """Who holds what it waits for; None if it does not wait."""
        key = transaction.waits_for_key
        return None if key is None else self.locks.holders[key]

    def _leave_queue(self, transaction: Transaction) -> None:
        if transaction.waits_for_key is not None:
            self.locks.withdraw(transaction, transaction.waits_for_key)
            transaction.waits_for_key = None

    def _end(self, transaction: Transaction, state: State) -> None:
        transaction.state = state
        del self.transactions[transaction.id]
        self._drop_snapshots(transaction)
        for key in transaction.locks:
            self.release(key)
        self.pending_bytes -= transaction.let_go()

    def release(self, key: bytes) -> None:
        """Give a lock up, to whoever asked first."""
        following = self.locks.release(key)
        if following is not None:
            following.waits_for_key = None
            self.pending_bytes += following.add_lock(key)
            self.woken.append((following, None))

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
