"""Store: what each rule of its transactions is for."""

from __future__ import annotations

from typing import Final

from sdkit.store.database import Database
from sdkit.store.lock_manager import LockManager
from sdkit.store.transaction import State, Transaction
from sdkit.without.parts import Safeguard


class ShowsCommitsBeforeTheyAreDurable(Database):
    """Publishes at the append instead of at the disk's word."""

    def appended(self, transaction: Transaction, position: int) -> None:
        for key, value in transaction.writes.items():
            self.versions.install(key, position, value)
        self.visible = position
        super().appended(transaction, position)

    def publish_one(self, position: int, transaction: Transaction) -> None:
        shown = self.visible
        super().publish_one(position, transaction)
        self.visible = max(shown, position)


class ReleasesLocksAtTheAppend(Database):
    """Gives the locks up before the commit is durable."""

    def appended(self, transaction: Transaction, position: int) -> None:
        super().appended(transaction, position)
        self.locks.release(transaction)


class AbortsWhatIsCommitting(Database):
    """The idle time-out does not spare a transaction whose record is in the log."""

    def tick_idle(self) -> None:
        super().tick_idle()
        for _, transaction in list(self.committing):
            self.committing.clear()
            transaction.state = State.ACTIVE
            self.rollback(transaction)


class LosesUpdates(Database):
    """Nobody looks whether the key has changed since the snapshot."""

    def check_first_updater(self, transaction: Transaction, key: bytes) -> None:
        pass


class ReadsTheNewestAtRepeatableRead(Database):
    """Every statement of a repeatable read takes a snapshot of its own."""

    def get(self, transaction: Transaction, key: bytes) -> bytes | None:
        committed = transaction.writes.get(key, self.versions.read(key, self.visible))
        super().get(transaction, key)
        return committed


class NeverLooksForDeadlocks(Database):
    """Waits, and waits."""

    class Manager(LockManager):
        def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
            return []

    lock_manager_type = Manager


class WaitsForLocksForEver(Database):
    """Nobody is told that a lock was not to be had in time."""

    class Manager(LockManager):
        def time_out_wait(self, transaction: Transaction) -> None:
            pass

    lock_manager_type = Manager


class LetsTheIdleSleep(Database):
    """A transaction without statements keeps its locks for ever."""

    def tick_idle(self) -> None:
        pass


SAFEGUARDS: Final = (
    Safeguard(
        "store.visible_when_durable",
        "a commit is shown when it is durable, no earlier",
        "somebody has read, and acted on, what a power cut takes back",
        "database",
        ShowsCommitsBeforeTheyAreDurable,
    ),
    Safeguard(
        "store.locks_until_durable",
        "a committing transaction keeps its locks until it is durable",
        "the next writer builds on a value that nobody has seen: updates are lost",
        "database",
        ReleasesLocksAtTheAppend,
    ),
    Safeguard(
        "store.no_abort_after_commit",
        "from the append of its commit record on, nothing can abort a transaction",
        "it is aborted in memory and committed in the log",
        "database",
        AbortsWhatIsCommitting,
    ),
    Safeguard(
        "store.first_updater_wins",
        "a key that has changed since the snapshot cannot be written",
        "two transfers read the same balance, and one of them is lost",
        "database",
        LosesUpdates,
    ),
    Safeguard(
        "store.one_snapshot",
        "a repeatable read reads one state",
        "a balance is computed from two different moments",
        "database",
        ReadsTheNewestAtRepeatableRead,
    ),
    Safeguard(
        "store.deadlock_search",
        "a circle of waiting transactions is broken at once",
        "they wait for one another until a time-out ends them",
        "database",
        NeverLooksForDeadlocks,
    ),
    Safeguard(
        "store.lock_timeout",
        "a wait for a lock ends after a while",
        "one forgotten transaction, and everybody waits",
        "database",
        WaitsForLocksForEver,
    ),
    Safeguard(
        "store.idle_timeout",
        "a transaction without statements is aborted after a while",
        "a client that has fallen asleep holds its locks for ever",
        "database",
        LetsTheIdleSleep,
    ),
)
