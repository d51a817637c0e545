"""Simulated disk: what a power cut may really leave behind, and every way to fail before it.

A program that has only ever run on a disk that works has never run its
recovery. This one keeps the contract of `sdkit.storage.disk` to the letter and
no further: whatever the contract allows to be lost, a seed can make it lose.

The model
    Bytes are in two places. A write goes to the *page cache*; a sync brings it
    to the *platter*, in sectors of 512 bytes.

                         append           sync
        program  ----->  page cache  ----->  platter
                         survives kill       survives power_cut

    `SimulatedDisk.kill` ends the process: the page cache stays, open handles
    are dead. `SimulatedDisk.power_cut` ends the machine: every sector, every
    file's size and every directory operation that was not synced is decided on
    its own (`sdkit.sim.platter`).

How to break it
    `SimulatedDisk.on_step` is called before every step and may raise an
    ``OSError`` (the step fails as a disk would), or stop the machine. Steps are
    numbered, so a test can run a scenario once to count them and then once per
    step, with the crash just there:

        disk.on_step = lambda step: disk.power_cut(rng, reboot=False) if step.number == n else None

    `SimulatedDisk.fail` plans single failures, `capacity_bytes` fills the disk
    up, `slowness` slows it down, `SimulatedDisk.flip` lets a bit rot, and with
    `lies` it says "synced" of what a power cut takes away all the same. No
    program can be right on a disk that lies; it is there to show what happens.

Left out: sectors that tear inside.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Callable
from random import Random
from typing import Generic, Self, TypeVar

from sdkit.arguments import check_between, shown
from sdkit.errors import InvalidArgument
from sdkit.sim.drive import Claim, Drive, Failure, Operation, ShortWrite, StaleHandle, Step
from sdkit.sim.platter import SECTOR_BYTES, Content, Directory, any_of, newest, oldest

__all__ = ["Operation", "ShortWrite", "SimulatedDisk", "SimulatedFile", "StaleHandle", "Step"]

PREALLOCATED_BYTES_MAX = 4 * SECTOR_BYTES  # more would take longer and show no more

T = TypeVar("T")
Names = list[str]  # inside the class `list` is a method


class _OfTheDrive(Generic[T]):
    """An attribute that all directories of one drive share. May be set at any time."""

    def __set_name__(self, _owner: type, name: str) -> None:
        self._name = name

    def __get__(self, disk: SimulatedDisk, _owner: type | None = None) -> T:
        value: T = getattr(disk._drive, self._name)
        return value

    def __set__(self, disk: SimulatedDisk, value: T) -> None:
        setattr(disk._drive, self._name, value)


class SimulatedDisk:
    """A directory of files in memory that keeps, and uses, every licence of a real disk.

    The same object is the disk before and after a crash; handles and calls
    under way at the time of the crash raise `StaleHandle`.

    Args:
        delay_s: how long an awaited operation takes, in the time of the running loop.
        sync_s: how long a sync takes.
        capacity_bytes: how much fits; the append that goes over it is short and
            raises ``ENOSPC``.
        random: draws how much longer or shorter than that each step takes, by up
            to half; always the same without.
        poison: after a failed sync, refuse every later write and sync through
            the same handle, as the contract asks. Off by default: the bare
            kernel says yes and loses data, and a program that is right without
            this safety belt is right with it.
    """

    def __init__(
        self,
        *,
        delay_s: float = 10e-6,
        sync_s: float = 100e-6,
        capacity_bytes: int | None = None,
        poison: bool = False,
        random: Random | None = None,
    ) -> None:
        self._drive = Drive(delay_s, sync_s, capacity_bytes, poison, random=random)
        self._path = ""
        self._poisoned_in = -1  # the generation in which a sync of this directory failed

    def _at(self, path: str) -> SimulatedDisk:
        below = copy.copy(self)
        below._path = path
        below._poisoned_in = -1
        return below

    def _join(self, name: str) -> str:
        if not isinstance(name, str) or not name or name in (".", "..") or {"/", "\0"} & {*name}:
            raise InvalidArgument(f"file name is {shown(name)}; it must be one plain name")
        return f"{self._path}/{name}" if self._path else name

    @property
    def _directory(self) -> Directory:
        return self._drive.directories.setdefault(self._path, Directory())

    # ── the contract: sdkit.storage.disk.Disk ────────────────────────────────

    def directory(self, name: str) -> SimulatedDisk:
        """The disk below, on the same drive: hooks, faults and crashes are shared."""
        return self._at(self._join(name))

    async def open(self, name: str, *, create: bool = False) -> SimulatedFile:
        """Open for reading and appending. ``create``: make it empty; it must not exist yet.

        Raises:
            FileExistsError, FileNotFoundError.
        """
        path = self._join(name)
        await self._drive.step("open", path)
        found = self._directory.names.get(name)
        if create:
            if found is not None:
                raise FileExistsError(errno.EEXIST, errno.errorcode[errno.EEXIST], path)
            found = Content()
            self._directory.change({name: found}, self._drive.serial())
        elif found is None:
            raise FileNotFoundError(errno.ENOENT, errno.errorcode[errno.ENOENT], path)
        found.path = path
        return SimulatedFile(name, found, self._drive)

    async def replace(self, source: str, target: str) -> None:
        """Rename over ``target``, atomically, and sync the directory: two steps.

        Handles open on ``source`` go on, and steps of theirs are now of ``target``.
        """
        await self._drive.step("rename", self._join(target))
        content = self._existing(source)
        content.path = self._join(target)
        change: dict[str, Content | None] = {source: None, target: content}
        self._directory.change(change, self._drive.serial())
        await self.sync_directory()

    async def remove(self, name: str) -> None:
        """Unlink. Open handles go on working. Durable after `sync_directory`."""
        await self._drive.step("remove", self._join(name))
        self._existing(name)
        self._directory.change({name: None}, self._drive.serial())

    async def list(self) -> list[str]:
        """The names of the files here, sorted."""
        await self._drive.step("list", self._path)
        return self.names()

    async def sync_directory(self) -> None:
        """Return when every name changed before the call survives a power cut."""
        self._drive.check_not_poisoned(self._poisoned_in, self._path)
        directory, began = self._directory, self._drive.last_serial
        try:
            await self._drive.step("sync_directory", self._path, self._drive.sync_s)
        except StaleHandle:
            raise
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):  # then it has not begun
                directory.sync_failed(began)
                self._poisoned_in = self._drive.generation
            raise
        if not self._drive.lies:
            directory.synced(began)

    async def claim(self, name: str) -> Claim:
        return self._drive.claim(f"{self._join(name)}.lock")

    def _existing(self, name: str) -> Content:
        path = self._join(name)
        content = self._directory.names.get(name)
        if content is None:
            raise FileNotFoundError(errno.ENOENT, errno.errorcode[errno.ENOENT], path)
        return content

    # ── crashes ──────────────────────────────────────────────────────────────

    def kill(self, *, reboot: bool = True) -> None:
        """End the process. What it wrote stays in the page cache; its handles are dead.

        Args:
            reboot: False leaves the machine off: every use raises `StaleHandle`
                until `boot`, so that tasks of the dead process can be ended
                without reaching the disk in their ``finally``.
        """
        self._drive.generation += 1
        self._drive.on = reboot
        self._drive.end_in_zeros()

    def power_cut(self, rng: Random, *, reboot: bool = True) -> None:
        """End the machine. Everything unsynced is lost, kept or mixed, as ``rng`` decides.

        Only ``rng.randrange`` is called, so that an enumeration of all
        outcomes can take its place.
        """
        self.kill(reboot=reboot)
        # Wholly lost and wholly kept would hardly ever come up by chance, and
        # are what happens most often in life.
        choose = (oldest, newest, any_of, any_of)[rng.randrange(4)]
        for path in sorted(self._drive.directories):
            self._drive.directories[path].power_cut(rng, choose)

    def boot(self) -> None:
        """Switch a machine on that was left off."""
        self._drive.on = True

    # ── faults ───────────────────────────────────────────────────────────────

    on_step = _OfTheDrive[Callable[[Step], None] | None]()
    """Called before each step. What it raises, the step raises, and it has no effect.

    An ``OSError`` is the disk's own failure: a sync that fails so leaves its
    pages looking clean, a `ShortWrite` leaves a part behind.
    """
    observer = _OfTheDrive[Callable[[Step], None] | None]()
    """Told of each step before `on_step` is; it looks on, and raises nothing."""
    random = _OfTheDrive[Random | None]()
    """Draws how long each step takes; see the class."""
    capacity_bytes = _OfTheDrive[int | None]()
    """How much fits; None for no limit."""
    slowness = _OfTheDrive[float]()
    """How many times longer each awaited step takes; 1 to begin with."""
    lies = _OfTheDrive[bool]()
    """Does a sync say yes and do nothing? The next honest one covers what it left out."""

    @property
    def steps(self) -> int:
        """How many steps the drive has begun."""
        return self._drive.steps

    @property
    def used_bytes(self) -> int:
        """How much the files take."""
        return self._drive.used_bytes()

    def fail(
        self,
        operation: Operation,
        *,
        nth: int = 1,
        times: int = 1,
        name: str | None = None,
        error: int = errno.EIO,
        kept: int = 0,
    ) -> None:
        """Let the ``nth`` ``operation`` from now fail, and the ``times - 1`` after it.

        Args:
            name: count only those on this file of this directory.
            error: an errno; ``errno.ENOSPC`` for a full disk. A lack of handles, ``EMFILE``, is
                met by an "open" or a "rename", or by a "sync_directory" that is no part of one.
            kept: how many bytes of a failed append are written all the same.
        """
        path = None if name is None else self._join(name)
        self._drive.plan.append(Failure(operation, path, nth, times, error, kept))

    def flip(self, name: str, bit: int) -> None:
        """Let one bit rot, on the platter and in the page cache. Bit 0 is the lowest of byte 0."""
        self._existing(name).flip(bit)

    # ── looking, for tests ───────────────────────────────────────────────────

    def names(self) -> Names:
        """The names of the files here, sorted, without a step."""
        return sorted(self._directory.names)

    def contents(self, name: str) -> bytes:
        """What a reader would see of the file, without a step."""
        return bytes(self._existing(name).cache)

    def write(self, name: str, data: bytes) -> None:
        """Put a file here that is wholly synced, name and all, without a step."""
        content = Content()
        content.append(data, self._drive.serial())
        content.synced(self._drive.last_serial)
        self._directory.put(name, content)

    def image(self) -> dict[str, bytes]:
        """Every file of the drive by its path, as a reader would see it."""
        return {
            f"{path}/{name}" if path else name: bytes(content.cache)
            for path, directory in sorted(self._drive.directories.items())
            for name, content in sorted(directory.names.items())
        }

    def copy(self) -> Self:
        """An independent drive in the same state, for trying several futures of one past."""
        other = copy.copy(self)
        other._drive = self._drive.copy()
        return other


class SimulatedFile:
    """An open file of a `SimulatedDisk`; see `sdkit.storage.disk.File`."""

    def __init__(self, name: str, content: Content, drive: Drive) -> None:
        self._name = name
        self._content = content
        self._drive = drive
        self._generation: int | None = drive.generation
        self._poisoned_in = -1
        self._preallocates = False

    @property
    def name(self) -> str:
        """The name it was opened under."""
        return self._name

    @property
    def _path(self) -> str:
        return self._content.path

    @property
    def size(self) -> int:
        """Bytes in the file, unsynced ones included."""
        self._check()
        return len(self._content.cache)

    def append(self, data: bytes) -> None:
        """Write at the end, into the page cache. May leave a part behind when it raises."""
        self._check_writable()
        if not isinstance(data, bytes):
            raise InvalidArgument(f"data is of type {type(data).__name__}; it must be bytes")
        room = self._drive.free_bytes()
        try:
            self._drive.begin("append", self._path)
            if room is not None and len(data) > room:
                raise ShortWrite(errno.ENOSPC, self._path, room)
        except ShortWrite as short:
            self._content.append(bytes(data[: short.kept]), self._drive.serial())
            raise
        self._content.append(bytes(data), self._drive.serial())

    async def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer at the end of the file."""
        self._check()
        check_between("offset", offset, 0, 2**62)
        check_between("length", length, 0, 2**62)
        await self._drive.step("read", self._path)
        return bytes(self._content.cache[offset : offset + length])

    def preallocate(self, chunk: int) -> None:
        """Let a crash find zeros behind what is in the file: up to a multiple of a few sectors."""
        check_between("chunk", chunk, 1, 2**30)
        self._content.preallocated = min(chunk, PREALLOCATED_BYTES_MAX)
        self._preallocates = True

    async def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes, at most its size. Unsynced, like an append."""
        self._check_writable()
        check_between("size", size, 0, len(self._content.cache))
        await self._drive.step("truncate", self._path)
        self._content.truncate(size, self._drive.serial())

    async def sync(self) -> None:
        """Return when everything written before the call survives a power cut."""
        self._check_writable()
        began = self._drive.last_serial
        try:
            await self._drive.step("sync", self._path, self._drive.sync_s)
        except StaleHandle:
            raise
        except OSError:
            self._content.sync_failed(began)
            self._poisoned_in = self._drive.generation
            raise
        if not self._drive.lies:
            self._content.synced(began)

    async def close(self) -> None:
        """Give the handle up. Does not sync. Safe to call twice, and on a dead handle."""
        self._generation = None
        if self._preallocates:
            self._content.preallocated = 0

    def _check_writable(self) -> None:
        self._check()
        self._drive.check_not_poisoned(self._poisoned_in, self._path)

    def _check(self) -> None:
        if self._generation is None:
            raise ValueError(f"{self._path} is closed")
        if self._generation != self._drive.generation:
            raise StaleHandle(self._path)
