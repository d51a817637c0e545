"""Stores that each leave one rule out, with the property that has to notice.

Each is a variant of `sdkit.store.database.Database` in which one small method
is overridden: the rule that it stands for is missing, everything else works.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from sdkit.store.admission import Admission
from sdkit.store.database import Database
from sdkit.store.isolation import SerializationFailure
from sdkit.store.lock_manager import LockManager
from sdkit.store.optimistic import Conflicts, Tracked
from sdkit.store.scan import Cursor
from sdkit.store.transaction import State, Transaction
from sdkit.store.vacuum import Vacuum
from sdkit.store.versions import Versions
from sdkit.without import isolation
from sdkit.without import store as without

Part = Literal["one_session", "sessions", "instant_of_commit", "locking", "optimistic"]


class Mutant(NamedTuple):
    """A wrong store, and who must catch it."""

    database: type[Database]
    part: Part
    property: str


class ReadsWhatIsNotCommitted(Database):
    """A dirty read: the write set of whoever holds the lock shows through."""

    def get(self, transaction: Transaction, key: bytes) -> bytes | None:
        value = super().get(transaction, key)
        writer = self.locks.holders.get(key)
        return value if writer is None else writer.writes.get(key, value)


class KeepsTheFirstSnapshotAtReadCommitted(Database):
    """Read committed reads one state for the whole transaction."""

    def read_position(self, transaction: Transaction) -> int:
        if transaction.snapshot is None:
            transaction.snapshot = self.snapshots.take(self.visible)
        return transaction.snapshot


class ForgetsSavepoints(Database):
    """Undoing a savepoint leaves its writes in place."""

    def undo_savepoint(self, transaction: Transaction, depth: int) -> None:
        self.keep_savepoint(transaction, depth)


class UndoesTooMuch(Database):
    """Undoing a savepoint undoes the whole transaction."""

    def undo_savepoint(self, transaction: Transaction, depth: int) -> None:
        super().undo_savepoint(transaction, depth)
        transaction.writes.clear()


class ScansWithoutItsOwnWrites(Database):
    """A scan reads committed data only."""

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
        mine = dict(transaction.writes)
        transaction.writes.clear()
        try:
            return super().open_scan(
                transaction, start, end, prefix=prefix, reverse=reverse, limit=limit
            )
        finally:
            transaction.writes.update(mine)


class ScansWhatItWritesMeanwhile(Database):
    """A scan shows what its own transaction writes while it streams."""

    def scan_piece(self, transaction: Transaction, cursor: Cursor) -> list[tuple[bytes, bytes]]:
        rows = super().scan_piece(transaction, cursor)
        self.rows = rows  # what `write` below reaches into
        return rows

    def write(self, transaction: Transaction, key: bytes, value: bytes | None, grown: int) -> None:
        super().write(transaction, key, value, grown)
        rows: list[tuple[bytes, bytes]] = getattr(self, "rows", [])
        rows[:] = [row for row in rows if row[0] != key]


class ForgetsDeletes(Database):
    """A delete in the write set does not hide the committed value."""

    def get(self, transaction: Transaction, key: bytes) -> bytes | None:
        value = super().get(transaction, key)
        if value is None and key in transaction.writes:
            return self.versions.read(key, self.visible)
        return value


class ResurrectingVersions(Versions):
    def install(self, key: bytes, at: int, value: bytes | None) -> None:
        if value is not None:
            super().install(key, at, value)


class DeletesDoNotLast(Database):
    """A committed delete leaves the old value in place."""

    versions_type = ResurrectingVersions


class EagerVacuum(Vacuum):
    def is_needed(self, at: int, replaced_at: int) -> bool:
        return self._snapshots.anyone_from(at + 1, replaced_at)

    def collect(self) -> None:
        super().collect()
        self.due = self.queued
        self.step(self.queued)


class VacuumsWhatIsStillRead(Database):
    """A version that exactly the oldest snapshot reads is taken for dead."""

    vacuum_type = EagerVacuum


class PublishesInReverse(Database):
    """Commits that became durable together are shown last one first."""

    def publish(self, durable: int) -> None:
        ready = [entry for entry in self.committing if entry[0] <= durable]
        for entry in reversed(ready):
            self.committing.remove(entry)
            self.publish_one(*entry)


class KeepsLocksForEver(Database):
    """A rolled back transaction does not give its locks up."""

    def rollback(self, transaction: Transaction) -> None:
        transaction.locks.clear()
        transaction.lock_bytes = 0
        super().rollback(transaction)


class AnxiousLockManager(LockManager):
    def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
        return [transaction] if transaction.request is not None else []


class SeesDeadlocksEverywhere(Database):
    """Takes every wait for a deadlock."""

    lock_manager_type = AnxiousLockManager


class LetsTheDeadGoOn(Database):
    """A transaction can be used after its commit."""

    def begin_commit(self, transaction: Transaction) -> bool:
        if transaction.state is State.COMMITTED:
            return False
        return super().begin_commit(transaction)


class GenerousAdmission(Admission):
    def check_lock(self, transaction: Transaction, key: bytes) -> None:
        transaction.check_usable()


class WritesThoughReadOnly(Database):
    """Nobody looks whether a transaction may write."""

    admission_type = GenerousAdmission


class ReadsOnlyWhatIsCommitted(Database):
    """Read uncommitted is read committed."""

    def read_uncommitted(self, key: bytes) -> bytes | None:
        return self.versions.read(key, self.visible)


class AbortsWhoeverReads(Database):
    """Whoever has read anything cannot commit what it has written."""

    def check_commit(self, transaction: Transaction) -> SerializationFailure | None:
        assert transaction.tracked is not None
        if transaction.writes and self.conflicts.reads.count(transaction.tracked):
            return SerializationFailure("has read")
        return None


class DeletesWithoutLooking(Database):
    """That a delete has found nothing is not noted."""

    def delete(self, transaction: Transaction, key: bytes, grown: int) -> None:
        self.write(transaction, key, None, grown)


class TakesItsSnapshotBeforeItWaits(Database):
    """Who waits to read a key under its lock reads the state before the wait, and loses."""

    def reads_after_wait(self, transaction: Transaction, *, to_read: bool) -> bool:
        return False


class CountsEveryOverwriter(Database):
    """A reader is in conflict with all who overwrite what it has read, not with the first alone."""

    class More(Conflicts):
        def first_overwriter(self, reader: Tracked, key: bytes) -> Tracked | None:
            return None

        def read(self, reader: Tracked, key: bytes) -> SerializationFailure | None:
            for writer in self._writes.owners(key):
                if error := self.overwritten(reader, writer, key):
                    return error
            return super().read(reader, key)

    conflicts_type = More


MUTANTS: Final[list[Mutant]] = [
    Mutant(
        ReadsWhatIsNotCommitted,
        "sessions",
        "test_read_committed_reads_the_newest_committed_state",
    ),
    Mutant(without.LosesUpdates, "sessions", "test_the_first_updater_wins_at_repeatable_read"),
    Mutant(
        without.ReadsTheNewestAtRepeatableRead,
        "sessions",
        "test_repeatable_read_reads_the_state_at_its_first_statement",
    ),
    Mutant(
        KeepsTheFirstSnapshotAtReadCommitted,
        "sessions",
        "test_read_committed_reads_the_newest_committed_state",
    ),
    Mutant(ForgetsSavepoints, "one_session", "test_a_savepoint_undoes_its_block_and_nothing_else"),
    Mutant(UndoesTooMuch, "one_session", "test_a_savepoint_undoes_its_block_and_nothing_else"),
    Mutant(ScansWithoutItsOwnWrites, "one_session", "test_it_answers_like_a_dictionary"),
    Mutant(ScansWithoutItsOwnWrites, "sessions", "test_a_transaction_reads_its_own_writes"),
    Mutant(
        ScansWhatItWritesMeanwhile,
        "one_session",
        "test_a_scan_keeps_to_its_beginning_whatever_its_transaction_writes_meanwhile",
    ),
    Mutant(ForgetsDeletes, "one_session", "test_it_answers_like_a_dictionary"),
    Mutant(DeletesDoNotLast, "one_session", "test_it_answers_like_a_dictionary"),
    Mutant(
        VacuumsWhatIsStillRead,
        "sessions",
        "test_repeatable_read_reads_the_state_at_its_first_statement",
    ),
    Mutant(
        without.ShowsCommitsBeforeTheyAreDurable,
        "instant_of_commit",
        "test_nobody_sees_a_commit_before_it_is_durable",
    ),
    Mutant(
        without.ReleasesLocksAtTheAppend,
        "instant_of_commit",
        "test_its_locks_are_held_until_it_is_durable",
    ),
    Mutant(
        PublishesInReverse,
        "instant_of_commit",
        "test_commits_become_visible_in_the_order_of_the_log",
    ),
    Mutant(without.AbortsWhatIsCommitting, "instant_of_commit", "test_no_time_out_reaches_it"),
    Mutant(
        isolation.GivesLocksToTheLatecomer,
        "sessions",
        "test_locks_are_given_in_the_order_of_asking",
    ),
    Mutant(isolation.LetsEverybodyWrite, "sessions", "test_a_key_has_one_writer_at_a_time"),
    Mutant(KeepsLocksForEver, "sessions", "test_nobody_waits_for_nobody"),
    Mutant(without.NeverLooksForDeadlocks, "sessions", "test_a_deadlock_is_broken"),
    Mutant(SeesDeadlocksEverywhere, "sessions", "test_nobody_is_aborted_without_a_reason"),
    Mutant(LetsTheDeadGoOn, "one_session", "test_a_transaction_is_of_no_use_after_its_end"),
    Mutant(WritesThoughReadOnly, "one_session", "test_what_it_refuses_changes_nothing"),
    Mutant(ReadsOnlyWhatIsCommitted, "sessions", "test_read_uncommitted_reads_what_is_there"),
    Mutant(isolation.LocksNoRanges, "locking", "test_there_is_an_order_for_ranges"),
    Mutant(isolation.GivesReadLocksUpAtOnce, "locking", "test_there_is_an_order_for_keys"),
    Mutant(
        isolation.UpgradesStandInLine,
        "locking",
        "test_who_has_read_a_key_writes_it_before_those_who_wait_for_that",
    ),
    Mutant(isolation.LetsEverybodyWrite, "locking", "test_there_is_an_order_for_keys"),
    Mutant(isolation.LooksAtTheHeadOnly, "locking", "test_who_waits_has_somebody_in_its_way"),
    Mutant(
        isolation.AbortsInsteadOfReordering,
        "locking",
        "test_a_circle_that_only_the_order_of_asking_has_made_aborts_nobody",
    ),
    Mutant(TakesItsSnapshotBeforeItWaits, "sessions", "test_nobody_is_aborted_without_a_reason"),
    Mutant(CountsEveryOverwriter, "optimistic", "test_the_first_of_several_overwriters_counts"),
    Mutant(without.NeverLooksForDeadlocks, "locking", "test_all_come_to_an_end"),
    Mutant(AbortsWhoeverReads, "optimistic", "test_who_overlaps_with_nobody_is_never_aborted"),
    Mutant(KeepsLocksForEver, "locking", "test_nobody_waits_for_nobody"),
    Mutant(isolation.ForgetsWhoHasRead, "optimistic", "test_there_is_an_order_for_keys"),
    Mutant(isolation.ForgetsWhatIsOverwritten, "optimistic", "test_there_is_an_order_for_keys"),
    Mutant(isolation.CommitsWithoutALook, "optimistic", "test_there_is_an_order_for_ranges"),
    Mutant(
        isolation.TrustsThoseWhoOnlyRead,
        "optimistic",
        "test_a_report_does_not_see_what_no_order_passes_through",
    ),
    Mutant(isolation.ForgetsTheCommitted, "optimistic", "test_there_is_an_order_for_many"),
    Mutant(DeletesWithoutLooking, "optimistic", "test_there_is_an_order_for_many"),
]
