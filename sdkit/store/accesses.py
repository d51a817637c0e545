"""Accesses: who has read, or written, which keys and ranges.

Two ways to be serializable need to know it, and differ in what they do with it:

    locking      a shared lock: whoever writes what was read has to *wait*
    optimistic   a mark: whoever writes what was read is *remembered* as a conflict

The question is the same, "who has read the key that is about to be written?",
and so is the table that answers it. A key that was named is found in a
dictionary; of ranges, each owner has a set of its own, and all sets are asked.
There are few of them, since whoever scans piece by piece reads one range that
grows.

Gray, Lorie, Putzolu and Traiger, "Granularity of Locks and Degrees of Consistency
in a Shared Data Base" (1976), for the locks; Cahill, Roehm and Fekete, "Serializable
Isolation for Snapshot Databases" (SIGMOD 2008), for the marks, which they call SIREAD locks.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final, Generic, TypeVar

from sdkit.store.ranges import Range, RangeSet, coarse, just

Owner = TypeVar("Owner")


class Accesses(Generic[Owner]):
    """The keys and ranges that each owner has accessed."""

    __slots__ = ("_keys", "_of_key", "ranges")

    def __init__(self) -> None:
        # For each key its owners, as a set that keeps their order; never an empty one.
        self._of_key: Final[dict[bytes, dict[Owner, None]]] = {}
        self._keys: Final[dict[Owner, list[bytes]]] = {}
        self.ranges: Final[dict[Owner, RangeSet]] = {}

    def __bool__(self) -> bool:
        """Is there anything?"""
        return bool(self._keys or self.ranges)

    def add_key(self, owner: Owner, key: bytes) -> int:
        """Note an access to ``key``. O(1).

        Returns how many keys the owner has now; 0 if this one was known.
        """
        owners = self._of_key.get(key)
        if owners is None:
            self._of_key[key] = {owner: None}
        elif owner in owners:
            return 0
        else:
            owners[owner] = None
        keys = self._keys.get(owner)
        if keys is None:
            self._keys[owner] = [key]
            return 1
        keys.append(key)
        return len(keys)

    def add_range(self, owner: Owner, start: bytes, end: bytes | None) -> None:
        """Note an access to every key from ``start`` up to ``end``, absent ones too."""
        ranges = self.ranges.get(owner)
        if ranges is None:
            ranges = self.ranges[owner] = RangeSet()
        ranges.add(start, end)

    def has(self, owner: Owner, key: bytes) -> bool:
        """Has ``owner`` accessed ``key``, by name or in a range?"""
        ranges = self.ranges.get(owner)
        return owner in self._of_key.get(key, ()) or (ranges is not None and key in ranges)

    def has_other(self, owner: Owner, key: bytes) -> bool:
        """Has anybody but ``owner`` accessed ``key``? O(log n for each owner that has ranges)."""
        owners = self._of_key.get(key)
        if owners is not None and (len(owners) > 1 or owner not in owners):
            return True
        if not self.ranges:
            return False
        return any(key in ranges for other, ranges in self.ranges.items() if other is not owner)

    def owners(self, key: bytes) -> Iterable[Owner]:
        """Who has accessed ``key``; one that has done so in two ways comes twice.

        O(its owners + log n for each owner that has ranges).
        """
        named = self.owners_by_name(key)
        return chain(named, self.owners_by_range(key)) if self.ranges else named

    def owners_of(self, keys: Collection[bytes]) -> Iterable[tuple[bytes, Owner]]:
        """Who has accessed any of the ``keys``, and one of them that it has.

        Like `owners` for each, but every range is looked at once:
        O(their owners + ranges x log n).
        """
        named = [(key, owner) for key in keys for owner in self._of_key.get(key, ())]
        return chain(named, self._in_ranges(sorted(keys))) if self.ranges else named

    def _in_ranges(self, in_order: list[bytes]) -> Iterator[tuple[bytes, Owner]]:
        for owner, ranges in self.ranges.items():
            found = _first_within(in_order, ranges)
            if found is not None:
                yield found, owner

    def owners_by_name(self, key: bytes) -> Iterable[Owner]:
        """Who has accessed ``key`` by its name, in order of access. O(1)."""
        return self._of_key.get(key, ())

    def owners_by_range(self, key: bytes) -> Iterator[Owner]:
        """Who has accessed ``key`` in a range. O(log n for each owner that has ranges)."""
        return (owner for owner, ranges in self.ranges.items() if key in ranges)

    def named_within(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys from ``start`` up to ``end`` that have been accessed by name. O(all keys)."""
        # Keys in order would be found sooner and cost each commit two searches: a third more.
        return (key for key in self._of_key if start <= key and (end is None or key < end))

    def owners_overlapping(self, start: bytes, end: bytes | None) -> Iterator[Owner]:
        """Who has accessed a range with a key from ``start`` up to ``end``."""
        return (owner for owner, ranges in self.ranges.items() if ranges.overlaps(start, end))

    def keys(self, owner: Owner) -> list[bytes]:
        """The keys that ``owner`` has named, in order of access."""
        return self._keys.get(owner, [])

    def count(self, owner: Owner) -> int:
        """How many entries ``owner`` has."""
        named = len(self._keys.get(owner, ()))
        return named + len(self.ranges.get(owner, ())) if self.ranges else named

    def listed(self, owner: Owner, most: int) -> list[Range]:
        """What ``owner`` has accessed, as ranges, for people to look at: the first ``most``."""
        ranges = [just(key) for key in self.keys(owner)[:most]]
        return [*ranges, *self.ranges.get(owner, ())][:most]

    def coarsen(self, owner: Owner, most: int) -> None:
        """Make no more than ``most`` ranges of what ``owner`` has: rather too much. O(n log n)."""
        for start, end in coarse(self._forget_keys(owner), most):
            self.add_range(owner, start, end)
        if owner in self.ranges:
            self.ranges[owner].coarsen(most)

    def inherit(self, heir: Owner, owners: Iterable[Owner]) -> None:
        """Count what these ``owners`` have accessed as accessed by ``heir``."""
        for owner in owners:
            for key in self._forget_keys(owner):
                self.add_key(heir, key)
            for start, end in self.ranges.pop(owner, ()):
                self.add_range(heir, start, end)

    def forget(self, owner: Owner) -> None:
        """Forget all that ``owner`` has accessed. O(its entries)."""
        if owner in self._keys:
            self._forget_keys(owner)
        if self.ranges:
            self.ranges.pop(owner, None)

    def _forget_keys(self, owner: Owner) -> list[bytes]:
        keys = self._keys.pop(owner, [])
        for key in keys:
            owners = self._of_key[key]
            if len(owners) == 1:
                del self._of_key[key]
            else:
                del owners[owner]
        return keys


def _first_within(in_order: list[bytes], ranges: RangeSet) -> bytes | None:
    """A key that lies in one of the ranges. The fewer of the two are gone through."""
    if len(in_order) < len(ranges):
        return next((key for key in in_order if key in ranges), None)
    for start, end in ranges:
        first = bisect_left(in_order, start)
        if first < len(in_order) and (end is None or in_order[first] < end):
            return in_order[first]
    return None
