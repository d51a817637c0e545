"""Locks: one writer a key, and a queue of those who want to be next.

Two transactions that write the same key must not overtake each other (a dirty
write): the first takes the key's write lock and keeps it until its commit is
durable, or it is rolled back. The others wait *in the order in which they
asked*; without that, a lucky newcomer could starve them.

    holders   b"alice" -> T3
    queues    b"alice" -> [T5, T9]      T5 waits for T3; T9 for T3 and T5

Things to notice
    * Who waits for whom is asked of this table and stored nowhere else
      (`LockTable.waits_for`). A waiter waits for the holder *and* for those
      queued before it, whoever holds the key at the moment.
    * A lock that is given up goes to its first waiter in the same step. There
      is no moment at which it is free while somebody waits, so no newcomer can
      slip in between.
    * Reading takes no lock (`sdkit.store.versions`), and there are only
      exclusive ones. Shared and range locks belong to a level that reads by
      locks.

Gray and Reuter, "Transaction Processing" (1993), chapters 7 and 8.
"""

from __future__ import annotations

from collections import deque
from itertools import islice, takewhile
from typing import Final, Generic, TypeVar

from sdkit.errors import Aborted

Owner = TypeVar("Owner")


class LockTimeout(Aborted, TimeoutError):
    """A lock was not given up within ``lock_wait_timeout_s``; the waiting transaction ended."""

    code = "lock_timeout"


class LockTable(Generic[Owner]):
    """Exclusive locks on keys, each with a queue."""

    def __init__(self) -> None:
        self.holders: Final[dict[bytes, Owner]] = {}
        self._queues: Final[dict[bytes, deque[Owner]]] = {}  # never empty ones

    def enqueue(self, owner: Owner, key: bytes) -> None:
        """Stand in the queue for a lock that somebody else holds."""
        assert self.holders[key] is not owner
        self._queues.setdefault(key, deque()).append(owner)

    def release(self, key: bytes) -> Owner | None:
        """Give a lock up; returns the waiter that holds it now. O(1)."""
        queue = self._queues.get(key)
        if queue is None:
            del self.holders[key]
            return None
        following = self.take_next(queue)
        self.holders[key] = following
        if not queue:
            del self._queues[key]
        return following

    def take_next(self, queue: deque[Owner]) -> Owner:
        """Whose turn it is: who asked first."""
        return queue.popleft()

    def withdraw(self, owner: Owner, key: bytes) -> None:
        """Leave the queue without the lock. O(length of the queue)."""
        queue = self._queues[key]
        queue.remove(owner)
        if not queue:
            del self._queues[key]

    def waits_for(self, owner: Owner, key: bytes, most: int) -> list[Owner]:
        """Who comes before ``owner``, queued for ``key``: the holder, then those ahead of it.

        No more than ``most``: everybody's whole list, of a queue of n, would be n squared.
        """
        ahead = takewhile(lambda other: other is not owner, self._queues[key])
        return [self.holders[key], *islice(ahead, most - 1)]


def lock_timeout(number: int, key: bytes, holder: int, limit_s: float) -> LockTimeout:
    """The error that names the key and who holds it."""
    return LockTimeout(
        f"transaction {number} waited {limit_s} s (lock_wait_timeout_s) for {key!r}, "
        f"which transaction {holder} holds; repeat it from its start",
        transaction=number,
        key=key,
        holder=holder,
        limit_s=limit_s,
    )
