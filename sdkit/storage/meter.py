"""Meter: how many bytes of log lie behind a position?

A snapshot is due when reading the log again would take longer than writing the
state. That needs the bytes written since the last snapshot's LSN, which is a
little behind the end when the snapshot is finished. Keeping a number per record
would cost as much as the log, so every 64 KiB one pair of LSN and byte count is
kept, and the answer is right to within that.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import Final

MILESTONE_BYTES: Final = 2**16


class Meter:
    """Counts the bytes written behind ``lsn``, the last one there is at the beginning."""

    def __init__(self, lsn: int) -> None:
        self._total = 0
        self._milestones: list[tuple[int, int]] = [(lsn, 0)]  # LSN, bytes written up to it

    def add(self, lsn: int, size: int) -> None:
        """``size`` more bytes were written, up to ``lsn``."""
        self._total += size
        if self._total - self._milestones[-1][1] >= MILESTONE_BYTES:
            self._milestones.append((lsn, self._total))

    def bytes_since(self, lsn: int) -> int:
        """Bytes written behind ``lsn``, a group and `MILESTONE_BYTES` too many at most."""
        at = self._milestone_before(lsn)
        return self._total - (self._milestones[at][1] if at >= 0 else 0)

    def forget_before(self, lsn: int) -> None:
        """Nobody will ask about anything before ``lsn`` again."""
        del self._milestones[: max(0, self._milestone_before(lsn))]

    def _milestone_before(self, lsn: int) -> int:
        return bisect_right(self._milestones, lsn, key=itemgetter(0)) - 1
