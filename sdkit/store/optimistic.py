"""Optimistic: serializable without waiting, by looking for dangerous structures.

At repeatable read every transaction reads one snapshot, and the first updater
wins. What still goes wrong goes wrong through *reads*: T1 reads a key from
before T2's write of it, and so has to come before T2 in any order in which
they could have run one by one. That is a read-write conflict between concurrent
transactions (an antidependency), from the reader to the writer:

    T1 --rw--> T2       T1 has read what T2 has overwritten

If no order fits, the conflicts and the commits form a circle, and Fekete et
al. proved that each such circle contains two conflicts in a row,

    T1 --rw--> T2 --rw--> T3      (T1 and T3 may be the same)

in which T3 *is the first of the three to commit*. It is a *dangerous
structure*, and T2 its *pivot*. So it is enough to abort somebody whenever one
appears. Not every one is part of a circle: now and then somebody is aborted
for nothing. In return nobody waits, and no graph is searched.

How a structure is found
    Both conflicts have to be known, and the writer of each may come before or
    after the reader. A write counts when it commits: before that it may still go
    away. That leaves two moments, and at both the one that acts is aborted:

    `read`           T1 reads what T2 has overwritten by now. Is T2 a pivot?
    `check_commit`   T2 is about to commit, and is a pivot. Has anybody read,
                     and not committed before T3, what T2 writes?

    For both, all that has to be known of T2's conflicts to others is when the
    first of those others committed (`Tracked.earliest_out`).

Four things to notice
    * *The first overwriter is enough.* If T2 and then T3 overwrite what T1 has read, T3
      has seen T2's write and comes behind T2 in any order, so T1 before T2 says all.
    * *Readers count, too.* T1 may be a transaction that writes nothing: the
      read-only anomaly (Fekete, O'Neil and O'Neil, 2004), a report that shows a
      state which no order of the others passes through. For a T1 that reads
      only, the structure is dangerous only if T3 committed before T1's snapshot.
    * *The committed count.* A transaction must be remembered until all that were
      open together with it have ended. What they leave behind is bounded: at
      `MARKS_MAX` entries the older half is made one, whose keys are a few
      ranges; and so is what an open one has read, beyond `READS_MAX`. That finds
      structures where there are none, and misses none.
    * Who is aborted may repeat at once: T3 has committed, so it is in the next
      snapshot and the same structure cannot appear again.

Cahill, Roehm and Fekete, "Serializable Isolation for Snapshot Databases" (SIGMOD
2008); Ports and Grittner, "Serializable Snapshot Isolation in PostgreSQL" (VLDB
2012), for the rule about who commits first and for read-only transactions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import ClassVar, Final

from sdkit.store.accesses import Accesses
from sdkit.store.isolation import SerializationFailure
from sdkit.store.ranges import coarse

NEVER: Final = 1 << 62  # behind every position
MARKS_MAX: Final = 10_000  # entries, of all committed ones together
READS_MAX: Final = 1_000  # entries, of one that is open
COARSE_RANGES: Final = 64


class Tracked:
    """What has to be known of a transaction, while it is open and for a while after.

    Args:
        number: names the transaction.
        snapshot: the position that it reads at.
        read_only: was it begun so, or has it ended without a write?
    """

    __slots__ = (
        "earliest_out",
        "first_position",
        "marks",
        "number",
        "position",
        "read_only",
        "snapshot",
    )

    def __init__(self, number: int, snapshot: int, read_only: bool) -> None:
        self.number: Final = number
        self.snapshot = snapshot
        self.read_only = read_only
        self.position = NEVER  # of its commit
        self.first_position = NEVER  # the same; of several that were made one, the first one's
        self.marks = 0  # what it has left behind when it committed
        self.earliest_out = NEVER  # of those that have overwritten what it read, the first commit


class Conflicts:
    """The read-write conflicts among all transactions that ask to be serializable."""

    marks_max: ClassVar[int] = MARKS_MAX
    reads_max: ClassVar[int] = READS_MAX
    coarse_ranges: ClassVar[int] = COARSE_RANGES

    def __init__(self) -> None:
        self.reads: Final[Accesses[Tracked]] = Accesses()
        self._writes: Final[Accesses[Tracked]] = Accesses()  # of committed ones
        self._active: Final[dict[Tracked, None]] = {}  # in the order of their snapshots
        self._committed: Final[deque[Tracked]] = deque()  # in the order of the log
        self.marks = 0  # entries of committed ones
        self._end = 0  # the newest position

    def begin(self, number: int, snapshot: int, read_only: bool) -> Tracked:
        """Track a transaction from its first statement on."""
        tracked = Tracked(number, snapshot, read_only)
        self._active[tracked] = None
        return tracked

    # Reading

    def read(self, reader: Tracked, key: bytes) -> SerializationFailure | None:
        """It reads ``key``. Returns why it must not, if so.

        O(writers of the key that are remembered).
        """
        if self.reads.add_key(reader, key) > self.reads_max:
            self.reads.coarsen(reader, self.coarse_ranges)
        if self._committed:
            return self._check_read(reader, (key,), self._writes.owners_by_range(key), key)
        return None

    def read_range(
        self, reader: Tracked, start: bytes, end: bytes | None
    ) -> SerializationFailure | None:
        """It reads all keys from ``start`` up to ``end``. Returns why it must not, if so."""
        self.reads.add_range(reader, start, end)
        if len(self.reads.ranges[reader]) > self.reads_max:
            self.reads.coarsen(reader, self.coarse_ranges)
        named = self._writes.named_within(start, end)
        return self._check_read(reader, named, self._writes.owners_overlapping(start, end), start)

    def _check_read(
        self, reader: Tracked, keys: Iterable[bytes], coarse: Iterable[Tracked], first: bytes
    ) -> SerializationFailure | None:
        """It reads these keys, of which the ``coarse`` ones have perhaps written some."""
        for key in keys:
            writer = self.first_overwriter(reader, key)
            if writer is not None and (error := self.overwritten(reader, writer, key)):
                return error
        for writer in coarse:
            if error := self.overwritten(reader, writer, first):
                return error
        return None

    def first_overwriter(self, reader: Tracked, key: bytes) -> Tracked | None:
        """Who else was the first to commit a write of ``key`` after the snapshot, if that is known.

        The reader misses what came after it as well; but those come behind the first in
        any order, so the one conflict says it all, and more would be unfair.
        """
        for writer in self._writes.owners_by_name(key):  # in the order of their commits
            # Its own does not count: to delete what is not there overwrites nothing.
            if writer.position > reader.snapshot and writer is not reader:
                return writer
        return None

    def overwritten(
        self, reader: Tracked, writer: Tracked, key: bytes
    ) -> SerializationFailure | None:
        """The reader misses what the writer has committed: reader --rw--> writer."""
        if writer.position <= reader.snapshot:
            return None  # it does not miss it
        reader.earliest_out = min(reader.earliest_out, writer.first_position)
        if not self.is_dangerous(reader, writer):
            return None
        return SerializationFailure(
            f"transaction {reader.number} has read {key!r} from before commit {writer.position} of "
            f"transaction {writer.number}, which has read from before commit "
            f"{writer.earliest_out}; these may fit into no order; repeat it from its start",
            transaction=reader.number,
            key=key,
            pivot=writer.number,
            position=writer.earliest_out,
        )

    def is_dangerous(self, reader: Tracked, pivot: Tracked) -> bool:
        """Given reader --rw--> pivot: has anybody that the pivot conflicts with committed first?"""
        if reader.position < pivot.earliest_out:
            return False  # the reader was first; or nobody was
        return pivot.earliest_out != NEVER and not (
            reader.read_only and reader.snapshot < pivot.earliest_out
        )

    # Ending

    def check_commit(self, writer: Tracked, keys: Collection[bytes]) -> SerializationFailure | None:
        """It is about to commit writes of ``keys``. Returns why it must not, if so."""
        if writer.earliest_out == NEVER:
            return None  # it is no pivot
        dangerous = (
            reader
            for _, reader in self.reads.owners_of(keys)
            if reader is not writer
            and reader.position > writer.snapshot
            and self.is_dangerous(reader, writer)
        )
        for reader in dict.fromkeys(dangerous):
            key = self.overwrites(keys, reader)
            if key is not None:
                return SerializationFailure(
                    f"transaction {writer.number} cannot commit: transaction {reader.number} has "
                    f"read {key!r} from before it, and it has read from before commit "
                    f"{writer.earliest_out}; these may fit into no order; "
                    "repeat it from its start",
                    transaction=writer.number,
                    key=key,
                    reader=reader.number,
                    position=writer.earliest_out,
                )
        return None

    def overwrites(self, keys: Collection[bytes], reader: Tracked) -> bytes | None:
        """The first of the ``keys`` that ``reader`` has read and nobody has overwritten since."""
        return next(
            (
                key
                for key in keys
                if self.reads.has(reader, key) and self.first_overwriter(reader, key) is None
            ),
            None,
        )

    def committed(self, tracked: Tracked, keys: Collection[bytes], position: int) -> None:
        """Its commit, which wrote ``keys``, is in the log at ``position`` (0: it wrote nothing)."""
        del self._active[tracked]
        self._end = max(self._end, position)
        tracked.position = tracked.first_position = self._end
        tracked.read_only = not keys
        for _, reader in self.reads.owners_of(keys):
            if reader.position == NEVER:
                self.missed(reader, tracked)
        if len(keys) <= self.marks_max:
            for key in keys:
                self._writes.add_key(tracked, key)
        else:
            for start, end in coarse(keys, self.coarse_ranges):
                self._writes.add_range(tracked, start, end)
        self._committed.append(tracked)
        self._count(tracked)
        if self.marks > self.marks_max:
            self._coarsen()

    def missed(self, reader: Tracked, writer: Tracked) -> None:
        """Somebody has just committed what an open transaction has read: reader --rw--> writer."""
        reader.earliest_out = min(reader.earliest_out, writer.position)

    def ended(self, tracked: Tracked) -> None:
        """It has ended and left nothing behind; also if its commit was lost on the way."""
        if tracked in self._active:
            del self._active[tracked]
            self.reads.forget(tracked)
        elif tracked in self._committed:
            self._committed.remove(tracked)
            self._drop(tracked)

    def lost(self, first_position: int) -> None:
        """The log has lost every record from ``first_position`` on, and gives the numbers again."""
        self._end = min(self._end, first_position - 1)
        for tracked in self._committed:
            tracked.position = min(tracked.position, self._end)
            tracked.first_position = min(tracked.first_position, self._end)
        for tracked in self._active:
            if tracked.earliest_out >= first_position:
                tracked.earliest_out = NEVER  # all that it missed has not happened

    def forget(self, visible: int) -> None:
        """Forget those that have committed before all open, and all future, snapshots.

        Args:
            visible: the position that the next snapshot will have.
        """
        committed = self._committed
        if not committed:
            return
        oldest = next(iter(self._active), None)
        horizon = visible if oldest is None else min(visible, oldest.snapshot)
        while committed and committed[0].position <= horizon:
            self._drop(committed.popleft())

    # Bounds

    def _coarsen(self) -> None:
        """Make one of the older half of the committed ones. It may be safe only by being unfair."""
        older = [self._committed.popleft() for _ in range(-(-len(self._committed) // 2))]
        heir = Tracked(older[-1].number, max(each.snapshot for each in older), read_only=False)
        heir.position = older[-1].position
        heir.first_position = older[0].first_position
        heir.earliest_out = min(each.earliest_out for each in older)
        self.marks -= sum(each.marks for each in older)
        for accesses in (self.reads, self._writes):
            accesses.inherit(heir, older)
            accesses.coarsen(heir, self.coarse_ranges)
        self._committed.appendleft(heir)
        self._count(heir)

    def _drop(self, tracked: Tracked) -> None:
        self.marks -= tracked.marks
        self.reads.forget(tracked)
        self._writes.forget(tracked)

    def _count(self, tracked: Tracked) -> None:
        tracked.marks = self.reads.count(tracked) + self._writes.count(tracked)
        self.marks += tracked.marks
