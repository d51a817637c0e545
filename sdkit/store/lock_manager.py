"""Lock manager: who gets a lock, who waits for it, and who has to give way.

`sdkit.store.locks` is a table and knows what conflicts. Here transactions come
in: they are ACTIVE or WAITING, have limits, and can be aborted.

    take_...           the lock is held, unless somebody is in the way
    begin_to_wait      stand in the queue: the moment at which a circle can close,
                       so it is looked for here and nowhere else. One of holders
                       is a deadlock, and somebody is aborted; in any other the
                       queues are reordered
    release            at the end of a transaction; who waited is in `woken`

Strict two-phase locking: no lock is given up before the transaction ends, and the
end of one that commits is when it is durable. So whoever gets a lock finds
nothing under it that may still be taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import ClassVar, Final
from weakref import WeakMethod

from sdkit.errors import SdkitError
from sdkit.store.config import StoreConfig
from sdkit.store.deadlock import choose_victim, deadlock_error, find_cycle
from sdkit.store.locks import Kind, LockTable, Request, lock_timeout
from sdkit.store.transaction import State, Transaction
from sdkit.trace import event


class LockManager:
    """The locks of all transactions of one store.

    Args:
        config: how long one waits.
        abort: ends a transaction with an error; a method of who owns this.
    """

    table_type: ClassVar[type[LockTable[Transaction]]] = LockTable

    def __init__(
        self, config: StoreConfig, abort: Callable[[Transaction, SdkitError], None]
    ) -> None:
        self.table: Final = self.table_type()
        self.holders: Final = self.table.holders
        self.bytes = 0  # memory of all locks
        self.waits = 0  # how often somebody has begun to wait
        self.woken: Final[list[tuple[Transaction, SdkitError | None]]] = []
        """Who waits no more: with the lock (None), or aborted with the error."""
        self._limit_s: Final = config.lock_wait_timeout_s
        self._abort_method: Final = WeakMethod(abort)  # its owner owns this one
        self._ages: Final = count(1)

    def _abort(self, transaction: Transaction, error: SdkitError) -> None:
        abort = self._abort_method()
        assert abort is not None
        abort(transaction, error)

    # Taking

    def take_exclusive(self, transaction: Transaction, key: bytes) -> None:
        """Take the exclusive lock of ``key``, for which nobody is in the way."""
        if self.holders.get(key) is not transaction:
            if not transaction.age:
                transaction.age = next(self._ages)
            self.table.take_exclusive(transaction, key)
            self.bytes += transaction.add_lock(key)

    def take_shared(self, transaction: Transaction, key: bytes) -> bool:
        """Take a shared lock of ``key`` unless somebody is in the way (False)."""
        if self.holders.get(key) is transaction or self.table.shared.has(transaction, key):
            return True
        if not transaction.age:
            transaction.age = next(self._ages)
        taken = self.table.take_shared(transaction, key)
        if taken:
            self.bytes += transaction.add_shared(key)
        return taken

    def take_range(self, transaction: Transaction, start: bytes, end: bytes | None) -> bool:
        """Take a shared lock of a range unless somebody is in the way (False)."""
        if not transaction.age:
            transaction.age = next(self._ages)
        taken = self.table.take(Request(transaction, Kind.RANGE, start, end))
        if taken:
            self._count_range(transaction, start, end)
        return taken

    def _count_range(self, transaction: Transaction, start: bytes, end: bytes | None) -> None:
        # What joins a range that it has already takes nothing more.
        if len(self.table.shared.ranges[transaction]) > transaction.shared_ranges:
            transaction.shared_ranges += 1
            self.bytes += transaction.add_shared(start + (end or b""))

    # Waiting

    def begin_to_wait(self, request: Request[Transaction]) -> None:
        """Stand in the queue.

        Raises:
            Deadlock: this transaction would wait for itself, and is the victim.
        """
        transaction = request.owner
        if not transaction.age:
            transaction.age = next(self._ages)
        transaction.state = State.WAITING
        transaction.request = request
        self.waits += 1
        self.table.enqueue(request)
        holder = next(self.table.before(request))
        event("store.wait", transaction=transaction.id, key=request.key, holder=holder.id)
        while cycle := self.find_deadlock(transaction):
            victim = choose_victim(cycle)
            steps = [(each.id, each.request.key if each.request else b"") for each in cycle]
            error = deadlock_error(victim.id, steps)
            event("store.deadlock", victim=victim.id, cycle=tuple(each.id for each in cycle))
            self._abort(victim, error)
            if victim is transaction:
                raise transaction.refusal()
        if self.table.is_read and self.is_in_a_circle(transaction):
            self.reorder(transaction)

    def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
        """The cycle of holders that it has closed by beginning to wait; empty if none."""
        return find_cycle(transaction, self.waits_for)

    def is_in_a_circle(self, transaction: Transaction) -> bool:
        """Has it closed a circle, of those who hold and those who asked earlier?"""
        return bool(find_cycle(transaction, self.stands_behind))

    def reorder(self, transaction: Transaction) -> None:
        """Dissolve the cycle that it has closed, which only the order of asking has made."""
        event("store.reorder", transaction=transaction.id)
        self._wake(self.table.reorder())

    def waits_for(self, transaction: Transaction) -> Iterable[Transaction]:
        """The holders of what it waits for."""
        return () if transaction.request is None else self.table.held_against(transaction.request)

    def stands_behind(self, transaction: Transaction) -> Iterable[Transaction]:
        """These, and those who have asked earlier: enough of them to find every circle."""
        return () if transaction.request is None else self.table.waits_for(transaction.request)

    def before(self, transaction: Transaction, most: int) -> list[Transaction]:
        """Everybody whom it waits for, the first ``most``: who holds the lock, who asked earlier.

        No more: everybody's whole list, of a queue of n, would be n squared.
        """
        if transaction.request is None:
            return []
        return list(dict.fromkeys(islice(self.table.before(transaction.request), most)))

    def time_out_wait(self, transaction: Transaction) -> None:
        """It has waited for ``lock_wait_timeout_s``: abort it, unless the lock has just come."""
        request = transaction.request
        if request is not None:
            holder = next(self.table.before(request), None)
            assert holder is not None, "a transaction waits, and nobody is in its way"
            error = lock_timeout(transaction.id, request.key, holder.id, self._limit_s)
            self._abort(transaction, error)

    def withdraw(self, transaction: Transaction) -> None:
        """Leave the queue without the lock, if it stands in one."""
        request, transaction.request = transaction.request, None
        if request is not None:
            self._wake(self.table.withdraw(request))

    # Giving up

    def release(self, transaction: Transaction) -> None:
        """Give up all locks, to whoever asked first."""
        if transaction.locks or transaction.lock_bytes:
            self.bytes -= transaction.lock_bytes
            granted = self.table.release(transaction, transaction.locks)
            transaction.locks.clear()
            transaction.lock_bytes = 0
            if granted:
                self._wake(granted)

    def _wake(self, granted: list[Request[Transaction]]) -> None:
        for request in granted:
            request.owner.request = None
            match request.kind:
                case Kind.EXCLUSIVE:
                    self.bytes += request.owner.add_lock(request.key)
                case Kind.SHARED:
                    self.bytes += request.owner.add_shared(request.key)
                case Kind.RANGE:
                    self._count_range(request.owner, request.key, request.end)
            self.woken.append((request.owner, None))
