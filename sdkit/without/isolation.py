"""Isolation: what each rule of the levels is for, serializable above all."""

from __future__ import annotations

from typing import Final

from sdkit.store.database import Database
from sdkit.store.deadlock import find_cycle
from sdkit.store.isolation import SerializationFailure
from sdkit.store.lock_manager import LockManager
from sdkit.store.locks import LockTable, Request
from sdkit.store.optimistic import Conflicts, Tracked
from sdkit.store.scan import Cursor
from sdkit.store.transaction import Transaction
from sdkit.without.parts import Safeguard


class LocksNoRanges(Database):
    """A scan locks the keys that are there, and not the places between them."""

    class Manager(LockManager):
        def take_range(self, transaction: Transaction, start: bytes, end: bytes | None) -> bool:
            return True

    lock_manager_type = Manager

    def scan_piece(self, transaction: Transaction, cursor: Cursor) -> list[tuple[bytes, bytes]]:
        rows = super().scan_piece(transaction, cursor)
        if transaction.rules.locks_reads:
            for key, _ in rows:
                self.locks.take_shared(transaction, key)
        return rows


class GivesReadLocksUpAtOnce(Database):
    """A shared lock is held while it is read, and no longer."""

    class Manager(LockManager):
        def take_shared(self, transaction: Transaction, key: bytes) -> bool:
            taken = super().take_shared(transaction, key)
            self.table.shared.forget(transaction)
            return taken

    lock_manager_type = Manager


class UpgradesStandInLine(Database):
    """Who has read a key and wants to write it waits behind those who wait for it."""

    class Manager(LockManager):
        class Table(LockTable[Transaction]):
            def goes_first(self, request: Request[Transaction]) -> bool:
                return False

        table_type = Table

    lock_manager_type = Manager


class GivesLocksToTheLatecomer(Database):
    """The last one to ask gets the lock first."""

    class Manager(LockManager):
        class Table(LockTable[Transaction]):
            def next_of(self, key: bytes) -> Request[Transaction] | None:
                for request in reversed(self._queues.get(key, ())):
                    return None if any(self.held_against(request)) else request
                return None

        table_type = Table

    lock_manager_type = Manager


class LooksAtTheHeadOnly(Database):
    """When a lock is given up, only the first of the queue is looked at."""

    class Manager(LockManager):
        class Table(LockTable[Transaction]):
            def next_of(self, key: bytes) -> Request[Transaction] | None:
                for head in self._queues.get(key, ()):
                    return None if any(self.before(head)) else head
                return None

        table_type = Table

    lock_manager_type = Manager


class AbortsInsteadOfReordering(Database):
    """Takes a circle that only the order of asking has made for a deadlock."""

    class Manager(LockManager):
        def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
            return find_cycle(transaction, self.stands_behind)

    lock_manager_type = Manager


class LetsEverybodyWrite(Database):
    """Nobody waits for a lock that is held, and so nobody holds one."""

    def take_exclusive(self, transaction: Transaction, key: bytes) -> bool:
        self.begin_to_write(transaction, key)
        return True


class ForgetsWhatIsOverwritten(Database):
    """Nobody notes that a transaction reads what has been overwritten by now."""

    class Fewer(Conflicts):
        def overwritten(
            self, reader: Tracked, writer: Tracked, key: bytes
        ) -> SerializationFailure | None:
            return None

    conflicts_type = Fewer


class ForgetsWhoHasRead(Database):
    """A commit does not tell those who have read what it overwrites."""

    class Fewer(Conflicts):
        def missed(self, reader: Tracked, writer: Tracked) -> None:
            pass

    conflicts_type = Fewer


class CommitsWithoutALook(Database):
    """A pivot commits, whoever has read what it writes."""

    def check_commit(self, transaction: Transaction) -> SerializationFailure | None:
        return None


class TrustsThoseWhoOnlyRead(Database):
    """A transaction that writes nothing is taken to be harmless."""

    class Fewer(Conflicts):
        def is_dangerous(self, reader: Tracked, pivot: Tracked) -> bool:
            return not reader.read_only and super().is_dangerous(reader, pivot)

    conflicts_type = Fewer


class ForgetsTheCommitted(Database):
    """Only open transactions are remembered."""

    class Fewer(Conflicts):
        def forget(self, visible: int) -> None:
            while self._committed:
                self._drop(self._committed.popleft())

    conflicts_type = Fewer


class ScansWhatIsNewByNow(Database):
    """Each part of a scan reads the newest state, and not the one at which it began."""

    def scan_piece(self, transaction: Transaction, cursor: Cursor) -> list[tuple[bytes, bytes]]:
        if not transaction.reads_by_statement:
            return super().scan_piece(transaction, cursor)
        began, cursor.at = cursor.at, self.visible
        try:
            return super().scan_piece(transaction, cursor)
        finally:
            cursor.at = began


SAFEGUARDS: Final = (
    Safeguard(
        "store.exclusive_locks",
        "who writes a key that another has written waits until that one has ended",
        "two build on the same value, and the update of one is lost",
        "database",
        LetsEverybodyWrite,
    ),
    Safeguard(
        "store.lock_order",
        "a lock goes to whoever asked first",
        "somebody who asked early waits until it times out",
        "database",
        GivesLocksToTheLatecomer,
    ),
    Safeguard(
        "store.statement_snapshot",
        "a scan at read committed keeps to the state at which it began",
        "a sum over moving money is of two states, and wrong",
        "database",
        ScansWhatIsNewByNow,
    ),
    Safeguard(
        "store.range_locks",
        "serializable by locking locks the places where nothing is, too",
        "a phantom: a key appears in a range that somebody decides by",
        "database",
        LocksNoRanges,
    ),
    Safeguard(
        "store.two_phase",
        "a shared lock is held to the end of its transaction",
        "write skew: what was decided by has changed before the decision is written",
        "database",
        GivesReadLocksUpAtOnce,
    ),
    Safeguard(
        "store.upgrade_order",
        "who has read a key writes it before those who wait for that reader",
        "it waits for somebody who waits for it, until a time-out ends them",
        "database",
        UpgradesStandInLine,
    ),
    Safeguard(
        "store.every_waiter",
        "when a lock is given up, all who wait for it are looked at",
        "somebody waits, and nobody is in its way",
        "database",
        LooksAtTheHeadOnly,
    ),
    Safeguard(
        "store.conflict_on_read",
        "reading what a concurrent commit has overwritten is a conflict",
        "write skew, where the read comes after the commit",
        "database",
        ForgetsWhatIsOverwritten,
    ),
    Safeguard(
        "store.conflict_on_commit",
        "committing what an open transaction has read is a conflict",
        "write skew, where the read comes before the commit",
        "database",
        ForgetsWhoHasRead,
    ),
    Safeguard(
        "store.check_at_commit",
        "the pivot of a dangerous structure cannot commit",
        "conflicts are noted, and nobody acts on them",
        "database",
        CommitsWithoutALook,
    ),
    Safeguard(
        "store.read_only_anomaly",
        "transactions that only read are part of a dangerous structure, too",
        "a report shows a state that no order of the others passes through",
        "database",
        TrustsThoseWhoOnlyRead,
    ),
    Safeguard(
        "store.committed_conflicts",
        "what a transaction has read is remembered until all that overlap it have ended",
        "who commits early escapes the conflicts of those who commit late",
        "database",
        ForgetsTheCommitted,
    ),
)
