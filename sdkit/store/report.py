"""Report: what an operator sees: version chains, who waits for whom, gauges.

Nothing is kept for these: each is read off the cores at the moment of asking.
"""

from __future__ import annotations

from typing import Final

from sdkit.store.database import Database
from sdkit.store.interface import TransactionInfo, VersionInfo
from sdkit.store.limits import check_key_type
from sdkit.store.ranges import Range
from sdkit.store.transaction import State, Transaction

MEANINGS: Final = {
    "store.keys": "Keys that are there, deleted ones included while somebody may see them.",
    "store.bytes": "Memory for keys and versions, roughly.",
    "store.bytes_max": "The limit of that memory (max_bytes).",
    "store.uncommitted_bytes": "Memory for write sets, savepoints and locks.",
    "store.position": "Position in the log of the newest visible commit.",
    "store.oldest_snapshot_lag": "How many commits the oldest reader is behind.",
    "store.versions_held": "Old versions and tombstones that are kept for readers.",
    "store.versions_removed_total": "Old versions and tombstones removed since the start.",
    "store.vacuum_queue": "Keys that the vacuum will visit.",
    "store.transactions": "Transactions that are open.",
    "store.transactions_waiting": "Open transactions that wait for a lock.",
    "store.transactions_committing": "Open transactions whose commit is in the log.",
    "store.waits_total": "How often a statement had to wait for a lock, since the start.",
    "store.aborts_total": "Transactions that the store has aborted, since the start.",
    "store.oldest_transaction_s": "Age of the oldest open transaction in seconds.",
    "store.conflict_marks": "What committed serializable (optimistic) transactions have read and "
    "written, as long as it matters: entries, and coarser ones beyond a bound.",
    "store.log_bytes": "Bytes of log since the last snapshot: what a restart reads.",
    "store.failed": "1 after the disk has failed and writes are refused, else 0.",
}
SHOWN_MAX: Final = 16  # of those before a waiting transaction; of what one has read


def describe_versions(database: Database, key: bytes) -> list[VersionInfo]:
    """The version chain of a key, newest first; an uncommitted version leads."""
    check_key_type(key)
    chain = [
        VersionInfo(position=at, value=value, transaction=None)
        for at, value, _ in database.versions.chain(key)
    ]
    writer = database.locks.holders.get(key)
    if writer is not None and key in writer.writes:
        chain.insert(0, VersionInfo(position=None, value=writer.writes[key], transaction=writer.id))
    return chain


def describe_transaction(
    database: Database, transaction: Transaction, now_s: float
) -> TransactionInfo:
    """One open transaction, and whom it waits for."""
    request = transaction.request
    if transaction.state is State.COMMITTING:
        state = "committing"
    else:
        state = "active" if request is None else "waiting"
    return TransactionInfo(
        id=transaction.id,
        isolation=transaction.isolation,
        read_only=transaction.read_only,
        state=state,
        snapshot=transaction.snapshot,
        age_s=now_s - transaction.began_s,
        locks=list(transaction.locks),
        waits_for_key=None if request is None else request.key,
        waits_for=[other.id for other in database.locks.before(transaction, SHOWN_MAX)],
        reads=_reads(database, transaction),
    )


def _reads(database: Database, transaction: Transaction) -> list[Range]:
    if transaction.tracked is not None:
        return database.conflicts.reads.listed(transaction.tracked, SHOWN_MAX)
    return database.locks.table.shared.listed(transaction, SHOWN_MAX)


def gauges(database: Database, now_s: float) -> dict[str, float]:
    """Present values, by the names that the metrics print."""
    transactions = database.transactions.values()
    oldest = database.snapshots.oldest
    first = next(iter(transactions), None)
    return {
        "store.keys": len(database.versions.newest),
        "store.bytes": database.versions.bytes,
        "store.uncommitted_bytes": database.admission.pending_bytes,
        "store.bytes_max": database.config.max_bytes,
        "store.position": database.visible,
        "store.oldest_snapshot_lag": 0 if oldest is None else database.visible - oldest,
        "store.versions_held": database.vacuum.held,
        "store.versions_removed_total": database.vacuum.removed,
        "store.vacuum_queue": database.vacuum.queued,
        "store.transactions": len(transactions),
        "store.transactions_waiting": sum(t.request is not None for t in transactions),
        "store.transactions_committing": len(database.committing),
        "store.conflict_marks": database.conflicts.marks,
        "store.waits_total": database.locks.waits,
        "store.aborts_total": database.aborts,
        "store.oldest_transaction_s": 0.0 if first is None else now_s - first.began_s,
    }
