"""Platter: what a power cut may make of a file that was written and not, or half, synced.

Between a program and the metal lies the page cache, which writes back when it
likes and in any order. So after a power cut a file is not "as of some earlier
moment": each sector of it is as of a moment of its own.

        sector      0        1        2       size
        synced      A        -        -       512
        written     A B      C        D       1024, 1536
        may become  A or B   0 or C   0 or D  512, 1024 or 1536

(`-` and 0: never written, reads as zeros.) Of these 24 combinations one is the
last sync and one the newest state; the others are what recovery is for.

Things to notice
    1. `Cell` is the whole model: the value on the platter, and the later ones
       that may be there instead. A sector is one, a file's size is one.
    2. A sync settles what was written before it *began* (`Cell.synced`).
    3. A sync that fails settles nothing, and yet the pages look clean
       afterwards (`Cell.sync_failed`): the next sync passes them over, says
       yes, and brings nothing. Linux does exactly this (Rebello et al., "Can
       Applications Recover from fsync Failures?", ATC 2020).
    4. Names are not bytes: `Directory` keeps operations, and a power cut keeps
       any subset of them, in their order. A rename is one operation.

Decision
    Overwriting zeros stand for truncated bytes (`Content.truncate`), since a
    file that shrinks and grows again may not show what was cut off.

Stricter than any one file system; after Pillai et al., "All File Systems Are
Not Created Equal" (OSDI 2014).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final, Generic, TypeVar

SECTOR_BYTES: Final = 512
ZEROS: Final = bytes(SECTOR_BYTES)

T = TypeVar("T")

# Picks one of n versions, the oldest (the synced one) being 0.
Choose = Callable[[int, Random], int]


def oldest(_count: int, _rng: Random) -> int:
    return 0


def newest(count: int, _rng: Random) -> int:
    return count - 1


def any_of(count: int, rng: Random) -> int:
    return rng.randrange(count)


@dataclass(slots=True)
class Cell(Generic[T]):
    """What one sector, or one size, is on the platter, and what it may be instead."""

    platter: T
    later: list[tuple[int, T]] = field(default_factory=list)  # (serial of the write, value)
    looks_clean: bool = False  # a sync of it failed: the next one will skip it

    def copy(self) -> Cell[T]:
        return Cell(self.platter, list(self.later), self.looks_clean)

    def write(self, value: T, serial: int) -> None:
        self.later.append((serial, value))
        self.looks_clean = False

    def synced(self, began: int) -> None:
        """A sync that began when ``began`` was the last serial has succeeded."""
        if self.looks_clean:
            return
        while self.later and self.later[0][0] <= began:
            self.platter = self.later.pop(0)[1]

    def sync_failed(self, began: int) -> None:
        """A sync that began at ``began`` has failed. Rewriting makes the cell dirty again."""
        if self.later and self.later[-1][0] <= began:
            self.looks_clean = True

    def power_cut(self, rng: Random, choose: Choose) -> T:
        """Decide which version it was, and return it."""
        versions = [self.platter, *(value for _, value in self.later)]
        self.platter = versions[choose(len(versions), rng)]
        self.later.clear()
        self.looks_clean = False
        return self.platter


class Content:
    """The bytes of one file (an inode): the page cache, and the platter as cells."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.path = ""  # by which its open handles call it
        self.preallocated = 0  # it is kept as long as the next multiple of this, by zeros
        self._size = Cell(0)
        self._sectors: dict[int, Cell[bytes]] = {}
        self._unsynced: dict[int, Cell[bytes]] = {}  # those of the sectors with later versions

    def copy(self) -> Content:
        other = Content()
        other.path, other.preallocated = self.path, self.preallocated
        other.cache = bytearray(self.cache)
        other._size = self._size.copy()
        other._sectors = {number: cell.copy() for number, cell in self._sectors.items()}
        other._unsynced = {number: other._sectors[number] for number in self._unsynced}
        return other

    def append(self, data: bytes, serial: int) -> None:
        first = len(self.cache) // SECTOR_BYTES
        self.cache += data
        if data:
            self._size.write(len(self.cache), serial)
            self._write_sectors(first, len(self.cache), serial)

    @property
    def zeros(self) -> int:
        """How many bytes are preallocated behind the end."""
        return -len(self.cache) % self.preallocated if self.preallocated else 0

    def truncate(self, size: int, serial: int) -> None:
        end = len(self.cache)
        del self.cache[size:]
        self._size.write(size, serial)
        # The cut bytes become zeros: if the file grows again, they may not come back.
        self._write_sectors(size // SECTOR_BYTES, end, serial)

    def _write_sectors(self, first: int, end: int, serial: int) -> None:
        for number in range(first, -(-end // SECTOR_BYTES)):
            cell = self._sectors.get(number)
            if cell is None:
                cell = self._sectors[number] = Cell(ZEROS)
            cell.write(self._sector(number), serial)
            self._unsynced[number] = cell

    def _sector(self, number: int) -> bytes:
        data = self.cache[number * SECTOR_BYTES : (number + 1) * SECTOR_BYTES]
        return bytes(data).ljust(SECTOR_BYTES, b"\0")

    def synced(self, began: int) -> None:
        self._size.synced(began)
        for number, cell in list(self._unsynced.items()):
            cell.synced(began)
            if not cell.later:
                del self._unsynced[number]

    def sync_failed(self, began: int) -> None:
        self._size.sync_failed(began)
        for cell in self._unsynced.values():
            cell.sync_failed(began)

    def power_cut(self, rng: Random, choose: Choose) -> None:
        size = self._size.power_cut(rng, choose)
        for number in sorted(self._unsynced):
            self._unsynced[number].power_cut(rng, choose)
        self._unsynced.clear()
        self.cache = bytearray(size)
        for number, cell in self._sectors.items():
            at = number * SECTOR_BYTES
            self.cache[at : at + SECTOR_BYTES] = cell.platter[: max(0, size - at)]
        # What reached the platter beyond the size is gone: no file system shows
        # old blocks when a file grows over them again.
        self._sectors = {
            number: Cell(self._sector(number)) for number in range(-(-size // SECTOR_BYTES))
        }

    def flip(self, bit: int) -> None:
        at, mask = bit // 8, 1 << bit % 8
        if not 0 <= at < len(self.cache):
            raise ValueError(f"bit is {bit}; the file has {len(self.cache) * 8}")
        self.cache[at] ^= mask
        cell = self._sectors[at // SECTOR_BYTES]
        rotten = bytearray(cell.platter)
        rotten[at % SECTOR_BYTES] ^= mask
        cell.platter = bytes(rotten)


@dataclass(slots=True)
class Change:
    """One directory operation: names and what they lead to afterwards (None: nothing)."""

    serial: int
    names: dict[str, Content | None]
    looks_clean: bool = False

    def overtakes(self, other: Change) -> bool:
        return self.serial > other.serial and not self.names.keys().isdisjoint(other.names)

    def apply(self, names: dict[str, Content]) -> None:
        for name, content in self.names.items():
            if content is None:
                names.pop(name, None)
            else:
                names[name] = content


class Directory:
    """Names, as the page cache has them, and the operations not yet on the platter."""

    def __init__(self) -> None:
        self.names: dict[str, Content] = {}
        self._platter: dict[str, Content] = {}
        self._later: list[Change] = []

    def copy(self) -> Directory:
        """An independent one. ``copy.deepcopy`` would do, at ten times the cost."""
        copies: dict[int, Content] = {}

        def copied(content: Content) -> Content:  # once, however many names it has
            if id(content) not in copies:
                copies[id(content)] = content.copy()
            return copies[id(content)]

        other = Directory()
        other.names = {name: copied(it) for name, it in self.names.items()}
        other._platter = {name: copied(it) for name, it in self._platter.items()}
        for change in self._later:
            names = {name: it and copied(it) for name, it in change.names.items()}
            other._later.append(Change(change.serial, names, change.looks_clean))
        return other

    def change(self, names: Mapping[str, Content | None], serial: int) -> None:
        change = Change(serial, dict(names))
        change.apply(self.names)
        self._later.append(change)

    def put(self, name: str, content: Content) -> None:
        """A name that has always been here."""
        self.names[name] = self._platter[name] = content

    def synced(self, began: int) -> None:
        """Settle what a sync covers, and forget failed operations that it overtook."""
        settled = [it for it in self._later if it.serial <= began and not it.looks_clean]
        for change in settled:
            change.apply(self._platter)
        self._later = [
            it
            for it in self._later
            if it not in settled and not any(done.overtakes(it) for done in settled)
        ]

    def sync_failed(self, began: int) -> None:
        for change in self._later:
            change.looks_clean |= change.serial <= began

    def power_cut(self, rng: Random, choose: Choose) -> None:
        contents = {id(it): it for it in [*self._platter.values(), *self.names.values()]}
        for change in self._later:
            contents.update({id(it): it for it in change.names.values() if it is not None})
            if choose(2, rng):
                change.apply(self._platter)
        self._later.clear()
        self.names = dict(self._platter)
        for content in contents.values():
            content.power_cut(rng, choose)
