"""Versions: every key's committed values, newest first, so that readers never wait.

If a write overwrote its value in place, a reader would have to keep writers
out while it reads. Multi-version concurrency control keeps the old value
beside the new one instead. Each version says *since which commit* it holds,
and a reader takes the newest one that is not younger than its snapshot:

    newest[b"alice"]  ->  (130, b"40", older)  ->  (95, b"100", None)

    read at 140: 40        read at 120: 100        read at 90: nothing

A delete writes a version as well, without a value (a tombstone): a reader at
an older position must still find what was there, and a writer at an older
position must find that somebody was faster.

Things to notice
    * Only committed data is here. What a transaction has written so far stays
      in its own write set (`sdkit.store.transaction`) until it is durable; its
      lock keeps everyone else from writing the same key.
    * The order of the keys is kept apart, in a `SortedList`. An update of an
      existing key never touches it.
    * A version is a tuple and not an object with fields. The garbage collector
      stops tracking tuples of bytes and ints; a million objects would make
      each of its full rounds a pause of a fifth of a second.
    * `install` drops the version that it replaces if nobody can see it any
      more. With no reader about, a chain is never longer than one, and the
      vacuum has nothing to do.

PostgreSQL keeps versions in the table itself, InnoDB keeps the newest there
and older ones in an undo log, as chains from new to old: that is this one.
Bernstein and Goodman, "Multiversion Concurrency Control" (TODS 1983).
"""

from __future__ import annotations

from typing import Final, TypeAlias

from sortedcontainers import SortedList

from sdkit.store.snapshots import Snapshots

# (position of the commit, value or None for a tombstone, the version before it)
Version: TypeAlias = "tuple[int, bytes | None, Version | None]"

KEY_OVERHEAD_BYTES: Final = 120  # what a key costs besides its bytes: object, table, order
VERSION_OVERHEAD_BYTES: Final = 140  # what a version costs besides its value: tuple, int, object


class Versions:
    """The committed versions of all keys.

    Args:
        snapshots: the positions that somebody reads at.
    """

    def __init__(self, snapshots: Snapshots) -> None:
        self.newest: dict[bytes, Version] = {}
        self.keys: SortedList[bytes] = SortedList()
        self.bytes = 0  # memory taken, roughly
        self.superseded = 0  # versions that are not the newest of their key
        self.tombstones = 0  # newest versions that say "deleted"
        self.to_clean: Final[list[bytes]] = []
        """Keys that `install` has left with something to clean up; the vacuum takes them."""
        self.cleaned: Final[set[bytes]] = set()
        """Keys that it has left with nothing to clean up while they stood in the vacuum's queue."""
        self._snapshots = snapshots

    def read(self, key: bytes, at: int) -> bytes | None:
        """The value of ``key`` in the state after commit ``at``. O(length of the chain)."""
        version = self.newest.get(key)
        while version is not None and version[0] > at:
            version = version[2]
        return None if version is None else version[1]

    def find(self, key: bytes, at: int) -> Version | None:
        """The version that `read` reads, with the position of its commit."""
        version = self.newest.get(key)
        while version is not None and version[0] > at:
            version = version[2]
        return version

    def install(self, key: bytes, at: int, value: bytes | None) -> None:
        """Make ``value`` the newest version of ``key``; None deletes. O(log n) for a new key.

        Deleting what is not there changes nothing, so it leaves no version.
        """
        previous = self.newest.get(key)
        positions = self._snapshots.positions
        if previous is None:
            if value is not None:
                self._insert(key, (at, value, None))
            return
        if value is None and previous[1] is None:
            return
        if positions and positions[-1] >= previous[0]:  # somebody may see the previous one
            self.newest[key] = (at, value, previous)
            self.bytes += VERSION_OVERHEAD_BYTES + _size(value)
            self.superseded += 1
            self.to_clean.append(key)
        elif not positions and value is None:
            self.remove(key)
            if previous[2] is not None:
                self.cleaned.add(key)
            return
        else:
            self.newest[key] = (at, value, previous[2])
            self.bytes += _size(value) - _size(previous[1])
            if previous[2] is None and value is None:
                self.to_clean.append(key)
            elif previous[2] is None and previous[1] is None:
                self.cleaned.add(key)
        self.tombstones += (value is None) - (previous[1] is None)

    def replace_chain(self, chain: list[Version], kept: list[Version], key: bytes) -> None:
        """Keep of a key's ``chain`` only the newest version and ``kept``, newest first."""
        version: Version | None = None
        for at, value, _ in reversed([chain[0], *kept]):
            version = (at, value, version)
        assert version is not None
        self.newest[key] = version
        self.superseded -= len(chain) - 1 - len(kept)
        self.bytes -= sum(map(version_bytes, chain[1:])) - sum(map(version_bytes, kept))

    def remove(self, key: bytes) -> None:
        """Forget a key altogether, with all its versions."""
        chain = self.chain(key)
        del self.newest[key]
        self.keys.remove(key)
        self.bytes -= KEY_OVERHEAD_BYTES + len(key) + sum(map(version_bytes, chain))
        self.superseded -= len(chain) - 1
        self.tombstones -= chain[0][1] is None

    def load(self, recovered: dict[bytes, Version]) -> None:
        """Take over a recovered state, one version a key: the keys are sorted once."""
        assert not self.newest
        self.newest = recovered
        self.keys = SortedList(recovered)
        self.bytes = sum(
            KEY_OVERHEAD_BYTES + len(key) + version_bytes(version)
            for key, version in recovered.items()
        )

    def chain(self, key: bytes) -> list[Version]:
        """Every version of ``key``, newest first."""
        versions, version = [], self.newest.get(key)
        while version is not None:
            versions.append(version)
            version = version[2]
        return versions

    def _insert(self, key: bytes, version: Version) -> None:
        self.newest[key] = version
        self.keys.add(key)
        self.bytes += KEY_OVERHEAD_BYTES + VERSION_OVERHEAD_BYTES + len(key) + _size(version[1])


def version_bytes(version: Version) -> int:
    """The memory that one version takes, without those before it."""
    return VERSION_OVERHEAD_BYTES + _size(version[1])


def _size(value: bytes | None) -> int:
    return 0 if value is None else len(value)
