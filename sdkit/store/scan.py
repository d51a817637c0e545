"""Scan: a range of keys in order, as of one instant, however long it takes to read.

A client may take minutes to read a large range. Copying it first would cost
the memory of the whole range; holding the event loop would stop everyone else.
So a scan goes *piece by piece*, and commits happen in between. It does not see
them, because a `Cursor` fixes two things when it is opened:

    at          the position in the log whose state it reads; as long as the
                cursor is open, the vacuum keeps the versions of that state
    own         a copy of the transaction's own writes in the range

and each piece goes on behind the last key of the one before. Keys may come
and go in between: those that appear have no version at ``at``, and those that
disappear had none that anybody could see.

A level that locks or tracks what it reads has to do so before it reads, and not for
more than it reads: ten rows of a million should not lock the million. So it asks for
the next part first (`Cursor.next_part`), and the piece that follows keeps to it.

The decision that could have gone the other way: what the transaction itself
writes *while it scans* does not show up in the rows that are still to come.
Otherwise a loop that inserts behind the row it has just read would never end
(the "Halloween problem", System R, 1976). PostgreSQL's cursors do the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final

from sdkit.store.ranges import Range, behind
from sdkit.store.versions import Versions

PIECE_KEYS: Final = 256  # visited in one go: about a tenth of a millisecond


class Cursor:
    """A scan under way.

    Args:
        start, end: the range, end exclusive, None for no bound.
        reverse: from its end to its start.
        limit: rows to give at most; None for all.
        at: the position in the log whose state it reads.
        writes: the transaction's write set; what lies in the range is copied.
    """

    __slots__ = ("_end", "_left", "_own", "_part", "_reverse", "_start", "at", "done")

    def __init__(
        self,
        start: bytes,
        end: bytes | None,
        *,
        reverse: bool,
        limit: int | None,
        at: int,
        writes: dict[bytes, bytes | None],
    ) -> None:
        self.at = at
        self.done = limit == 0 or (end is not None and start >= end)
        self._start = start
        self._end = end
        self._reverse = reverse
        self._left = limit
        self._part: Range | None = None
        self._own = sorted(
            (
                item
                for item in writes.items()
                if start <= item[0] and (end is None or item[0] < end)
            ),
            key=_key,
            reverse=not reverse,  # the next one is the last in the list
        )

    def next_part(self, versions: Versions) -> Range:
        """The range that the next piece will read, and no key outside it."""
        most = PIECE_KEYS if self._left is None else min(PIECE_KEYS, self._left)
        keys = list(islice(self._keys(versions, self._start, self._end), most))
        self._part = self._up_to_last(keys, most, self._start, self._end)
        return self._part

    def piece(self, versions: Versions) -> list[tuple[bytes, bytes]]:
        """The next rows, perhaps none; `done` says whether there are more."""
        start, end = self._part or (self._start, self._end)
        self._part = None
        keys = list(islice(self._keys(versions, start, end), PIECE_KEYS))
        rows = self._committed(versions, keys)
        start, end = self._up_to_last(keys, PIECE_KEYS, start, end)
        if self._reverse:
            self.done = start == self._start
            self._end = start
        else:
            self.done = end == self._end
            self._start = self._start if end is None else end
        if self._own:
            rows = self._with_own(rows)
        if self._left is not None:
            rows = rows[: self._left]
            self._left -= len(rows)
            self.done = self.done or self._left == 0
        return rows

    def _keys(self, versions: Versions, start: bytes, end: bytes | None) -> Iterator[bytes]:
        return versions.keys.irange(start, end, inclusive=(True, False), reverse=self._reverse)

    def _up_to_last(self, keys: list[bytes], most: int, start: bytes, end: bytes | None) -> Range:
        """What of a range has been read with ``keys``: all, if there were fewer than ``most``."""
        if len(keys) < most:
            return start, end
        return (keys[-1], end) if self._reverse else (start, behind(keys[-1]))

    def _committed(self, versions: Versions, keys: list[bytes]) -> list[tuple[bytes, bytes]]:
        newest, at, rows = versions.newest, self.at, []
        for key in keys:
            version = newest[key]
            # The usual case inline: a call for each row would double the cost.
            value = version[1] if version[0] <= at else versions.read(key, at)
            if value is not None:
                rows.append((key, value))
        return rows

    def _with_own(self, rows: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """``rows`` as the transaction sees them, as far as this scan has come."""
        own: dict[bytes, bytes | None] = {}
        while self._own and (self.done or self._has_passed(self._own[-1][0])):
            key, value = self._own.pop()
            own[key] = value
        if not own:
            return rows
        merged: dict[bytes, bytes | None] = {**dict(rows), **own}
        return [
            (key, value)
            for key, value in sorted(merged.items(), key=_key, reverse=self._reverse)
            if value is not None
        ]

    def _has_passed(self, key: bytes) -> bool:
        if self._reverse:
            return self._end is not None and key >= self._end
        return key < self._start


def _key(row: tuple[bytes, bytes | None]) -> bytes:
    return row[0]


def within_prefix(start: bytes, end: bytes | None, prefix: bytes) -> tuple[bytes, bytes | None]:
    """The part of a range in which all keys begin with ``prefix``."""
    last = end_of_prefix(prefix)
    if end is not None and last is not None:
        last = min(end, last)
    return max(start, prefix), end if last is None else last


def end_of_prefix(prefix: bytes) -> bytes | None:
    """The first key behind all that begin with ``prefix``; None if there is no such key."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes([stem[-1] + 1]) if stem else None
