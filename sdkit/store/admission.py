"""Admission: what a statement must pass before it may change anything.

A statement that cannot be carried out is refused at its door, so that a refusal
never has to be undone: the transaction is usable, it may write, the key is a
key, the value a value, and there is room for what it would take.

What room there is
    a transaction     ``transaction_bytes_max`` for its writes and locks
    all together      ``max_bytes`` for data, old versions, writes and locks

A put needs room in both. A delete and a lock need it too, but only beside what else
is uncommitted: they are the way out of a full store (`sdkit.store.limits`).
"""

from __future__ import annotations

from typing import Final

from sdkit.store import limits
from sdkit.store.config import StoreConfig
from sdkit.store.lock_manager import LockManager
from sdkit.store.ranges import Range
from sdkit.store.transaction import Transaction, read_only_refusal
from sdkit.store.versions import Versions


class Admission:
    """Checks statements against the limits, and counts what is uncommitted.

    Args:
        config: the limits.
        versions, locks: what takes memory already.
    """

    def __init__(self, config: StoreConfig, versions: Versions, locks: LockManager) -> None:
        self.write_bytes = 0  # memory of uncommitted writes
        self._config: Final = config
        self._versions: Final = versions
        self._locks: Final = locks

    @property
    def pending_bytes(self) -> int:
        """Memory of uncommitted writes, and of locks."""
        return self.write_bytes + self._locks.bytes

    def check_lock(self, transaction: Transaction, key: bytes) -> None:
        """Refuse to lock, or write, what cannot be locked or written."""
        transaction.check_usable()
        # The checks of `limits.check_key`, without the call while all is well. Types first,
        # everywhere: a client sees them before anything is sent, and all else the server.
        if key.__class__ is not bytes:
            limits.check_key_type(key)
        if transaction.read_only:
            raise read_only_refusal(transaction.id, key)
        if not 0 < len(key) <= self._config.key_bytes_max:
            limits.check_key(key, self._config)

    def check_put(self, transaction: Transaction, key: bytes, value: bytes) -> int:
        """Refuse a put that cannot be. Returns the memory that it would take, its lock aside."""
        if value.__class__ is not bytes:
            transaction.check_usable()
            limits.check_key_type(key)
            limits.check_value_type(key, value)
        self.check_lock(transaction, key)
        if len(value) > self._config.value_bytes_max:
            limits.check_value(key, value, self._config)
        used = self._versions.bytes + self.write_bytes + self._locks.bytes
        grown = transaction.growth(key, value)
        self._check_room(transaction, key, grown, used)
        return grown

    def check_delete(self, transaction: Transaction, key: bytes) -> int:
        """Refuse a delete that cannot be; a full store takes it, since it makes room.

        Returns what `check_put` does.
        """
        self.check_lock(transaction, key)
        grown = transaction.growth(key, None)
        self._check_room(transaction, key, grown, self.pending_bytes)
        return grown

    def check_get_for_update(self, transaction: Transaction, key: bytes) -> None:
        """Refuse a lock that cannot be; a full store gives it: a delete may follow."""
        self.check_lock(transaction, key)
        self._check_room(transaction, key, 0, self.pending_bytes)

    def check_shared(self, transaction: Transaction, key: bytes) -> None:
        """Refuse to lock a key for reading if it is none, or there is no room for the lock."""
        transaction.check_usable()
        limits.check_key(key, self._config)
        self._check_room(transaction, key, 0, self.pending_bytes)

    def check_range(self, transaction: Transaction, part: Range) -> None:
        """Refuse to lock a range for which there is no room."""
        transaction.check_usable()
        self._check_room(transaction, part[0] + (part[1] or b""), 0, self.pending_bytes)

    def _check_room(self, transaction: Transaction, key: bytes, more: int, used: int) -> None:
        if self._locks.holders.get(key) is not transaction:
            more += limits.LOCK_OVERHEAD_BYTES + len(key)
        config = self._config
        grown_to = transaction.write_bytes + transaction.lock_bytes + more
        if grown_to > config.transaction_bytes_max or used + more > config.max_bytes:
            limits.check_transaction_bytes(transaction.id, grown_to, config)
            limits.check_memory(used, more, config)
