"""Ranges: a set of keys, written down as ranges, that grows and can be made coarser.

Whoever reads "all accounts from a to m" has read keys that do not exist, too: if
one is inserted there, the answer would have been another (a phantom). What was
read is therefore not a list of keys but a *range*. A `RangeSet` holds many of
them in order, and joins those that meet:

    add [b, d)    [b, d)
    add [g, k)    [b, d)     [g, k)
    add [d, e)    [b,    e)  [g, k)

A range is half open: its start belongs to it and its end does not; an end of
None lies behind every key. A single key k is the range from k to ``k + b"\\0"``,
which is the next key that there can be.

`coarsen` bounds the memory. It closes gaps, so that the set afterwards holds
more keys than before and never fewer: whoever acts on "perhaps read" as if it
were "read" stays safe, and is sometimes too careful.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, TypeAlias

from sortedcontainers import SortedList

Range: TypeAlias = "tuple[bytes, bytes | None]"

CHANGED_MIN: Final = 1_000


def behind(key: bytes) -> bytes:
    """The next key that there can be."""
    return key + b"\0"


def just(key: bytes) -> Range:
    """The range that holds one key."""
    return key, behind(key)


class KeyOrder:
    """The keys of a dictionary in order, for those who ask what lies in a range.

    Most keys come and go without anybody asking, and a sorted container would cost
    each of them two searches. So it is only noted what has changed; whoever asks
    puts it in order. Where nobody ever asks, not even that.

    Args:
        keys: the dictionary.
    """

    __slots__ = ("_changed", "_in_order", "_keys")

    def __init__(self, keys: Mapping[bytes, object]) -> None:
        self._keys: Final = keys
        self._in_order: SortedList[bytes] | None = None
        self._changed: Final[set[bytes]] = set()

    def changed(self, key: bytes) -> None:
        """To be called after ``key`` has come or gone. O(1)."""
        if self._in_order is None:
            return
        self._changed.add(key)
        if len(self._changed) > CHANGED_MIN + len(self._keys):
            self._in_order = None  # by now, sorting all of them is no more work
            self._changed.clear()

    def within(self, start: bytes, end: bytes | None) -> Iterator[bytes]:
        """The keys from ``start`` up to ``end``, one after the other.

        O(log n for each that has changed since the last question).
        """
        in_order = self._in_order
        if in_order is None:
            in_order = self._in_order = SortedList(self._keys)
        for key in self._changed:
            in_order.discard(key)
            if key in self._keys:
                in_order.add(key)
        self._changed.clear()
        return iter(in_order.irange(start, end, inclusive=(True, False)))


class RangeSet:
    """Ranges of keys, apart from each other and in order."""

    __slots__ = ("_ends", "_starts")

    def __init__(self) -> None:
        self._starts: Final[list[bytes]] = []
        self._ends: Final[list[bytes | None]] = []

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Range]:
        return zip(self._starts, self._ends, strict=True)

    def __contains__(self, key: bytes) -> bool:
        """Does a range hold ``key``? O(log n)."""
        index = bisect_right(self._starts, key) - 1
        return index >= 0 and _is_before(key, self._ends[index])

    def overlaps(self, start: bytes, end: bytes | None) -> bool:
        """Have a range and the one from ``start`` to ``end`` a key in common? O(log n)."""
        index = bisect_right(self._starts, start)
        return (index > 0 and _is_before(start, self._ends[index - 1])) or (
            index < len(self) and _is_before(self._starts[index], end)
        )

    def add(self, start: bytes, end: bytes | None) -> None:
        """Add a range; what it touches becomes one with it. O(n) at worst, O(log n) to find."""
        if not _is_before(start, end):
            return
        first = bisect_right(self._starts, start)
        if first and not _is_before(self._ends[first - 1], start):
            first -= 1  # it ends where this one begins, or later
            start = self._starts[first]
        last = first
        while last < len(self._starts) and not _is_before(end, self._starts[last]):
            end = _later(end, self._ends[last])
            last += 1
        self._starts[first:last] = [start]
        self._ends[first:last] = [end]

    def coarsen(self, most: int) -> None:
        """Close gaps until there are no more than ``most`` ranges. O(n)."""
        if len(self) <= most:
            return
        step = -(-len(self) // most)
        self._ends[:] = [
            self._ends[min(i + step, len(self)) - 1] for i in range(0, len(self), step)
        ]
        self._starts[:] = self._starts[::step]


def coarse(keys: Iterable[bytes], most: int) -> list[Range]:
    """No more than ``most`` ranges that hold all the ``keys``, and others. O(n log n)."""
    in_order = sorted(keys)
    step = max(1, -(-len(in_order) // most))
    parts = (in_order[i : i + step] for i in range(0, len(in_order), step))
    return [(part[0], behind(part[-1])) for part in parts]


def _is_before(key: bytes | None, end: bytes | None) -> bool:
    """Is ``key`` below ``end``, where None lies behind everything?"""
    return key is not None and (end is None or key < end)


def _later(one: bytes | None, other: bytes | None) -> bytes | None:
    return None if one is None or other is None else max(one, other)
