"""Snapshots: which past states somebody still reads.

A snapshot is nothing but a position in the log: "the state after commit 120".
It copies nothing. What it costs is that the versions it can see must be kept
(`sdkit.store.vacuum`), so the store has to know which positions are in use.

Positions are taken in rising order, because each is the newest one at its
time. A plain sorted list is therefore kept by appending, and answers the only
question that matters with two binary searches: *does anybody read at a
position from here to there?*
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final


class Snapshots:
    """The positions in use; one that several use is there several times."""

    __slots__ = ("positions",)

    def __init__(self) -> None:
        self.positions: Final[list[int]] = []  # ascending

    def take(self, position: int) -> int:
        """Begin to read at ``position``, which is not below any taken before."""
        assert not self.positions or position >= self.positions[-1]
        self.positions.append(position)
        return position

    def drop(self, position: int) -> bool:
        """One reader at ``position`` is done. True if the oldest position in use has changed."""
        index = bisect_left(self.positions, position)
        del self.positions[index]
        return index == 0 and (not self.positions or self.positions[0] != position)

    def anyone_from(self, first: int, end: int) -> bool:
        """Does anybody read at a position with ``first <= position < end``?"""
        index = bisect_left(self.positions, first)
        return index < len(self.positions) and self.positions[index] < end

    @property
    def oldest(self) -> int | None:
        """The oldest position in use."""
        return self.positions[0] if self.positions else None
