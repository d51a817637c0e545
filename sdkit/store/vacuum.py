"""Vacuum: remove versions that nobody can see, bit by bit and never in a pause.

A version is dead when no snapshot can read it: nobody reads at a position from
its own up to that of the version that replaced it.

    chain of a key          130 ---- 95 ---- 60 ---- 20
    somebody reads at            100           25
    each is read at         130..    95..129 60..94  20..59
                            keep     keep    dead    keep

PostgreSQL removes only what is older than its *oldest* snapshot, so one report
that runs all night makes every update of the night pile up. Here the version
at 60 goes at once, whatever the reader at 25 does; a chain is never longer
than there are readers. What a long reader still costs is one version for each
key that changed, and `Vacuum.held` counts them.

Never a pause
    * Keys with something to clean up stand in a queue. A visit cleans one key;
      `step` makes a bounded number of visits.
    * A visit is worth it only after a snapshot has ended. The end of the
      oldest one frees much: one whole lap of the queue is due. The end of any
      other one frees little: `VISITS_PER_END` visits are due, so that a long
      reader in the company of many short ones does not cause endless laps.
    * A chain may outgrow its bound between two visits, if one key is written
      again and again among overlapping readers: `collect` then cleans that key
      on the spot, when the chain has twice the length that it may need, so the
      work is paid for by the writes that caused it.
    * Whether a key is in the queue is not looked up in a table of all that are:
      it is if its chain is longer than one or ends in a tombstone. Such a table
      would have to grow, and a dictionary of half a million keys takes a tenth
      of a second to do that. The exceptions are few, and are noted: keys that a
      write has left with nothing to clean up (`Versions.cleaned`).
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Final

from sdkit.store.snapshots import Snapshots
from sdkit.store.versions import Versions

VISITS_PER_END: Final = 4
CHAIN_SLACK: Final = 8


class Vacuum:
    """What there is to clean up, and the cleaning."""

    def __init__(self, versions: Versions, snapshots: Snapshots) -> None:
        self.due = 0  # visits that are worth making
        self.removed = 0  # versions and tombstones removed since the start
        self._versions = versions
        self._snapshots = snapshots
        self._queue: deque[bytes] = deque()
        self._lengths: dict[bytes, int] = {}  # of chains that grow while they are queued

    @property
    def held(self) -> int:
        """How many superseded versions and tombstones are kept."""
        return self._versions.superseded + self._versions.tombstones

    @property
    def queued(self) -> int:
        """How many visits a whole lap of the queue takes."""
        return len(self._queue)

    def collect(self) -> None:
        """Take over what was superseded; to be called after every publication."""
        for key in self._versions.to_clean:
            _, _, older = self._versions.newest[key]
            if older is None or (older[2] is None and older[1] is not None):
                # Until now it had nothing to clean up.
                if key in self._versions.cleaned:
                    self._versions.cleaned.remove(key)  # and stands in the queue all the same
                else:
                    self._queue.append(key)
            else:
                self._grow(key)
        self._versions.to_clean.clear()

    def ended(self, *, oldest: bool) -> None:
        """A snapshot has ended; was it the oldest one?"""
        if oldest:
            self.due = len(self._queue)
        else:
            self.due = min(len(self._queue), self.due + VISITS_PER_END)

    def step(self, visits: int) -> None:
        """Clean up to ``visits`` keys. O(visits x versions that each may need)."""
        for _ in range(min(visits, self.due)):
            key = self._queue.popleft()
            self._lengths.pop(key, None)
            self._versions.cleaned.discard(key)
            if self.clean(key):
                self._queue.append(key)
            self.due -= 1

    def clean(self, key: bytes) -> int:
        """Remove the dead versions of one key. How many superseded ones and tombstones stay?"""
        before = self.held
        left = self._clean(key)
        self.removed += before - self.held
        return left

    def _clean(self, key: bytes) -> int:
        chain = self._versions.chain(key)
        if not chain:
            return 0  # deleted, and nobody saw it
        kept = [older for newer, older in pairwise(chain) if self.is_needed(older[0], newer[0])]
        if kept and kept[-1][1] is None:
            kept.pop()  # below it there is nothing: finding nothing says the same
        at, value, _ = chain[0]
        if not kept and value is None and not self.is_needed(0, at):
            self._versions.remove(key)
            return 0
        if len(kept) + 1 < len(chain):
            self._versions.replace_chain(chain, kept, key)
        return len(kept) + (value is None)

    def is_needed(self, at: int, replaced_at: int) -> bool:
        """Does anybody read a version of position ``at`` that was replaced at ``replaced_at``?"""
        return self._snapshots.anyone_from(at, replaced_at)

    def _grow(self, key: bytes) -> None:
        length = self._lengths.get(key, 1) + 1
        if length > 2 * len(self._snapshots.positions) + CHAIN_SLACK:
            length = self.clean(key)
        self._lengths[key] = length
