"""Checkpoint: the whole state as of one commit, written out while commits go on, and read back.

Without it the log grows for ever and a restart repeats all of history. A
snapshot of the state after commit S makes everything in the log up to S
superfluous, so recovery follows the size of the data and not its past:

    state  =  snapshot at S  +  the commit records after S, in order

Writing it must not stop anyone. It is read like a scan
(`sdkit.store.scan`): S is a position that the vacuum respects, and each piece
goes on behind the last key of the one before, with commits in between. No
"copy on write", no fork of the process: old versions are kept anyway.

Reading it back, keys are sorted once, at the end, which is many times faster
than keeping them in order while they come in.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from sdkit.store.records import decode_chunk, decode_commit, encode_chunk
from sdkit.store.versions import Version, Versions

CHUNK_KEYS: Final = 256


class Checkpoint:
    """A snapshot being written: `next_chunk` until it returns None.

    Args:
        versions: where from.
        at: the position whose state it is; whoever makes it keeps the vacuum off.
    """

    def __init__(self, versions: Versions, at: int) -> None:
        self.at: Final = at
        self._versions = versions
        self._start: bytes | None = b""

    def next_chunk(self) -> bytes | None:
        """The next few hundred keys, encoded."""
        if self._start is None:
            return None
        keys = list(islice(self._versions.keys.irange(self._start), CHUNK_KEYS))
        self._start = keys[-1] + b"\0" if len(keys) == CHUNK_KEYS else None
        rows = []
        for key in keys:
            version = self._versions.find(key, self.at)
            if version is not None and version[1] is not None:
                rows.append((key, version[0], version[1]))
        return encode_chunk(rows)


class Recovery:
    """A state being read back: the snapshot's chunks, then the records after it."""

    def __init__(self) -> None:
        self._state: dict[bytes, Version] = {}
        self.records = 0

    def take_chunk(self, chunk: bytes) -> None:
        """A part of the snapshot. Raises what `decode_chunk` does."""
        for key, position, value in decode_chunk(chunk):
            self._state[key] = (position, value, None)

    def take_record(self, position: int, record: bytes) -> None:
        """A commit, done again. Raises what `decode_commit` does."""
        self.records += 1
        for key, value in decode_commit(record).items():
            if value is None:
                self._state.pop(key, None)
            else:
                self._state[key] = (position, value, None)

    def finish(self, versions: Versions) -> None:
        """Hand the state over. O(n log n)."""
        versions.load(self._state)
        self._state = {}
