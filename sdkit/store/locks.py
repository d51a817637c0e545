"""Locks: who may write or read a key, and a queue of those who want to be next.

Two transactions that write the same key must not overtake each other (a dirty
write): the first takes the key's exclusive lock and keeps it until its commit is
durable, or it is rolled back. The others wait *in the order in which they
asked*; without that, a lucky newcomer could starve them.

    holders   b"alice" -> T3
    queues    b"alice" -> [T5, T9]      T5 waits for T3; T9 for T3 and T5

Levels that read versions take no lock to read, and that is all there is to it.
Serializable by *locking* needs two more kinds:

    asked for \\ held     exclusive on k    shared on k    shared on a range with k
    exclusive on k       waits             waits          waits
    shared on k          waits
    shared on a range    waits

A shared range covers keys that do not exist, so nobody can insert one: no
phantoms. (InnoDB's next-key locks cover the gap before each key that is read;
Gray and Lorie lock a predicate. A range of keys is the middle way.)

Things to notice
    * Whoever asks must not overtake those who asked before for something that
      conflicts, *unless its own locks are what holds them back*
      (`LockTable.enqueue`). A transaction that has read a key and now wants to
      write it (an upgrade), or that goes on writing where a scan waits for it,
      would otherwise wait for somebody who waits for it.
    * A lock that is given up goes to its next waiters in the same step. There is
      no moment at which it is free while somebody waits, so no newcomer can slip
      in between. The first of a queue is not always the next: a writer may stand
      before one whose shared lock it waits for. So each request that waits has
      somebody in its way (`LockTable.before`), after every step.
    * Who waits for whom is asked of this table and stored nowhere else.
    * What shared locks are held is a table of its own (`sdkit.store.accesses`).

Gray and Reuter, "Transaction Processing" (1993), chapters 7 and 8.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain, takewhile
from typing import Final, Generic, TypeVar

from sdkit.errors import Aborted
from sdkit.store.accesses import Accesses
from sdkit.store.ranges import KeyOrder, Range, just
from sdkit.store.reorder import take_places

Owner = TypeVar("Owner")


class LockTimeout(Aborted, TimeoutError):
    """A lock was not given up within ``lock_wait_timeout_s``; the waiting transaction ended."""

    code = "lock_timeout"


class Kind(Enum):
    """What a lock is on, and what it is for."""

    EXCLUSIVE = "exclusive on a key"
    SHARED = "shared on a key"
    RANGE = "shared on a range of keys"


@dataclass(slots=True, eq=False)
class Request(Generic[Owner]):
    """A lock that somebody wants."""

    owner: Owner
    kind: Kind
    key: bytes
    """The key, or where the range begins."""
    end: bytes | None
    """Where a range ends, exclusive; None behind all keys."""
    asked: float = float("inf")
    """Its place among all requests that wait; a new one comes behind them all."""

    @property
    def range(self) -> Range:
        """The keys that it is about."""
        return self.key, self.end

    def covers(self, key: bytes) -> bool:
        """Is it about ``key``?"""
        return self.key <= key and (self.end is None or key < self.end)


class LockTable(Generic[Owner]):
    """Locks on keys and ranges, each with a queue."""

    def __init__(self) -> None:
        self.holders: Final[dict[bytes, Owner]] = {}
        self.shared: Final[Accesses[Owner]] = Accesses()
        self._queues: Final[dict[bytes, deque[Request[Owner]]]] = {}
        self._held: Final = KeyOrder(self.holders)
        self._waited_for: Final = KeyOrder(self._queues)
        self._scans: Final[list[Request[Owner]]] = []  # for ranges, in order of asking
        self._asked = 0

    @property
    def is_read(self) -> bool:
        """Does anybody lock, or wait, to read? If not, all wait for holders, and no one else."""
        return bool(self.shared or self._scans)

    # Asking

    def is_free(self, owner: Owner, key: bytes) -> bool:
        """Is nobody in the way of an exclusive lock of ``key``? O(1) where nobody reads."""
        holder = self.holders.get(key)
        if holder is not None:
            return holder is owner
        if key not in self._queues and not self._scans:
            return not self.shared.has_other(owner, key)
        request = Request(owner, Kind.EXCLUSIVE, *just(key))
        request.asked = self._place(request)
        return next(self.before(request), None) is None

    def take_exclusive(self, owner: Owner, key: bytes) -> None:
        """Take the exclusive lock of ``key``, which is free."""
        self.holders[key] = owner
        self._held.changed(key)

    def take_shared(self, owner: Owner, key: bytes) -> bool:
        """Take the shared lock of ``key`` if nobody is in the way."""
        if key not in self.holders and key not in self._queues:
            self.shared.add_key(owner, key)
            return True
        return self.take(Request(owner, Kind.SHARED, *just(key)))

    def take(self, request: Request[Owner]) -> bool:
        """Take a shared lock, on a key or a range, if nobody is in the way."""
        if next(self.before(request), None) is not None:
            return False
        self._grant(request)
        return True

    def enqueue(self, request: Request[Owner]) -> None:
        """Stand in the queue for a lock that is not to be had now."""
        request.asked = self._place(request)
        if request.kind is Kind.RANGE:
            self._scans.append(request)
            return
        queue = self._queues.get(request.key)
        if queue is None:
            queue = self._queues[request.key] = deque()
            self._waited_for.changed(request.key)
        if not queue or queue[-1].asked < request.asked:
            queue.append(request)
        else:
            queue.insert(sum(other.asked < request.asked for other in queue), request)

    def _place(self, request: Request[Owner]) -> float:
        """Behind all who wait now, but before those whom the owner's own locks hold back."""
        self._asked += 1
        places: list[float] = [self._asked]
        if request.kind is Kind.EXCLUSIVE:
            queue = self._queues.get(request.key)
            if queue and self.goes_first(request):
                places.append(queue[0].asked)
            for scan in self._scans:
                if scan.covers(request.key) and self._is_held_back_by(request.owner, scan):
                    places.append(scan.asked)
                    break  # those behind it asked later
        return min(places)

    def _is_held_back_by(self, owner: Owner, scan: Request[Owner]) -> bool:
        """Has ``owner`` locked anything for itself that the scan wants to read?"""
        return any(self.holders[key] is owner for key in self._held.within(*scan.range))

    def goes_first(self, request: Request[Owner]) -> bool:
        """Does the owner's own shared lock hold back all who wait for the key? (An upgrade.)"""
        return self.shared.has(request.owner, request.key)

    # Who is in the way

    def before(self, request: Request[Owner]) -> Iterator[Owner]:
        """Who has to be done before the request can be granted; some come twice."""
        return chain(self.held_against(request), self.asked_before(request))

    def held_against(self, request: Request[Owner]) -> Iterator[Owner]:
        """Who holds a lock that conflicts with it."""
        owner, key = request.owner, request.key
        if request.kind is Kind.RANGE:
            written: Iterable[bytes] = self._held.within(*request.range)
        else:
            written = (key,) if key in self.holders else ()
        for each in written:
            if self.holders[each] is not owner:
                yield self.holders[each]
        if request.kind is Kind.EXCLUSIVE:
            yield from (other for other in self.shared.owners(key) if other is not owner)

    def asked_before(self, request: Request[Owner]) -> Iterator[Owner]:
        """Who has asked earlier for what conflicts with it, and is not held back by its owner."""
        match request.kind:
            case Kind.EXCLUSIVE:
                yield from self._scans_before(request)
                if not self.goes_first(request):
                    yield from (other.owner for other in self._ahead(request))
            case Kind.SHARED:
                yield from (each.owner for each in self._writers_ahead(request, request.key))
            case Kind.RANGE:
                for key in self._waited_for.within(*request.range):
                    yield from (each.owner for each in self._writers_ahead(request, key))

    def waits_for(self, request: Request[Owner]) -> Iterator[Owner]:
        """Enough of `before` to find every circle of those who wait, and in few steps.

        Whoever wants to write a key waits for all ahead of it in the queue, but
        they wait for nothing that it does not wait for itself, so no circle needs
        them; and of those who want to write a key, the last one ahead of a reader
        waits for all that the others wait for.
        """
        yield from self.held_against(request)
        match request.kind:
            case Kind.EXCLUSIVE:
                yield from self._scans_before(request)
            case Kind.SHARED:
                yield from _last(self._writers_ahead(request, request.key))
            case Kind.RANGE:
                for key in self._waited_for.within(*request.range):
                    yield from _last(self._writers_ahead(request, key))

    def _scans_before(self, request: Request[Owner]) -> Iterator[Owner]:
        for scan in self._scans:
            if scan.asked >= request.asked:
                break
            if scan.covers(request.key) and scan.owner is not request.owner:
                yield scan.owner

    def _ahead(self, request: Request[Owner]) -> Iterator[Request[Owner]]:
        queue = self._queues.get(request.key, ())
        return takewhile(lambda other: other is not request and other.asked < request.asked, queue)

    def _writers_ahead(self, request: Request[Owner], key: bytes) -> Iterator[Request[Owner]]:
        """Of those who wait for ``key`` and asked earlier, who wants to write it."""
        if self.holders.get(key) is request.owner or self.shared.has(request.owner, key):
            return  # its own lock holds them back
        for other in self._queues.get(key, ()):
            if other is request or other.asked >= request.asked:
                break
            if other.kind is Kind.EXCLUSIVE:
                yield other

    # Giving up

    def release(self, owner: Owner, keys: list[bytes]) -> list[Request[Owner]]:
        """Give up the exclusive locks of these ``keys``, and all shared ones of ``owner``.

        Returns the requests that are granted by this, in order of granting.
        O(locks given up) where nobody waits.
        """
        for key in keys:
            del self.holders[key]
            self._held.changed(key)
        if not self._queues and not self._scans:
            self.shared.forget(owner)
            return []
        freed = [*keys, *self._held_back_by(owner)]
        self.shared.forget(owner)
        return self._grant_next(freed)

    def _held_back_by(self, owner: Owner) -> Iterator[bytes]:
        """The keys that somebody may wait for because ``owner`` shares them."""
        yield from self.shared.keys(owner)
        for start, end in self.shared.ranges.get(owner, ()):
            yield from self._waited_for.within(start, end)

    def withdraw(self, request: Request[Owner]) -> list[Request[Owner]]:
        """Leave the queue without the lock. Returns the requests that are granted by this.

        O(length of the queue).
        """
        if request.kind is Kind.RANGE:
            self._scans.remove(request)  # scans do not wait for one another
            return self._grant_keys(list(self._waited_for.within(*request.range)))
        self._leave(request)
        return self._grant_next([request.key])

    def _grant_next(self, keys: Iterable[bytes]) -> list[Request[Owner]]:
        """Grant what can be granted to those who wait for ``keys``, and to waiting scans."""
        granted = self._grant_keys(keys)
        for request in list(self._scans):
            if next(self.before(request), None) is None:
                self._scans.remove(request)
                self._grant(request)
                granted.append(request)
        return granted

    def _grant_keys(self, keys: Iterable[bytes]) -> list[Request[Owner]]:
        granted = []
        for key in keys:
            while (request := self.next_of(key)) is not None:
                self._leave(request)
                self._grant(request)
                granted.append(request)
        return granted

    def next_of(self, key: bytes) -> Request[Owner] | None:
        """The first of those who wait for ``key`` and have nobody in their way.

        O(1) while somebody holds it, else O(length of the queue).
        """
        if key in self.holders:
            return None
        queue = self._queues.get(key, ())
        return next((each for each in queue if next(self.before(each), None) is None), None)

    def reorder(self) -> list[Request[Owner]]:
        """Let those who hold others back stand before these (`sdkit.store.reorder`).

        Returns the requests that are granted by this. O(all who wait).
        """
        waiting = [*chain.from_iterable(self._queues.values()), *self._scans]
        take_places(waiting, self.held_against)
        for queue in self._queues.values():
            in_order = sorted(queue, key=_asked)
            queue.clear()
            queue.extend(in_order)
        self._scans.sort(key=_asked)
        return self._grant_next(list(self._queues))

    def _leave(self, request: Request[Owner]) -> None:
        queue = self._queues[request.key]
        queue.remove(request)
        if not queue:
            del self._queues[request.key]
            self._waited_for.changed(request.key)

    def _grant(self, request: Request[Owner]) -> None:
        match request.kind:
            case Kind.EXCLUSIVE:
                self.take_exclusive(request.owner, request.key)
            case Kind.SHARED:
                if self.holders.get(request.key) is not request.owner:
                    self.shared.add_key(request.owner, request.key)
            case Kind.RANGE:
                self.shared.add_range(request.owner, request.key, request.end)


def _asked(request: Request[Owner]) -> float:
    return request.asked


def _last(requests: Iterator[Request[Owner]]) -> Iterator[Owner]:
    return (request.owner for request in deque(requests, maxlen=1))


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
