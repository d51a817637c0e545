"""Local disk: the contract of `sdkit.storage.disk` kept on a directory of the real file system.

Decisions
    * Whatever may wait for the device runs in one worker thread per disk, so a
      slow disk never stops the event loop (`sdkit.storage.worker`).
    * `LocalFile.append` does not go through the worker: copying some kilobytes into
      the page cache takes microseconds, a hand-over takes fifty.
    * A directory is synced through a handle of its own, open for as long as a
      file in it is (`_Names`). A process that has run out of handles, as a
      server with too many connections does, can still sync what it has.
    * A file that was unlinked from outside is still there for who has it open,
      and for nobody else: its sync fails, since nobody would find it again.
    * On macOS ``fsync`` leaves the data in the drive's cache; `LocalFile.sync`
      asks for ``F_FULLFSYNC``.
    * A file may be kept longer than what is in it (`LocalFile.preallocate`), as etcd and
      PostgreSQL keep their logs: where the length stays, a sync need not make it durable.
      Closing takes the zeros away.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from sdkit.errors import DiskFailed, InvalidArgument
from sdkit.host import DirectoryLock, directory_unusable
from sdkit.storage.worker import Worker


class LocalDisk:
    """A directory of the real file system.

    Its worker thread lives while a file is open or a call is under way, and
    ends by itself. Not for several event loops at once.

    Args:
        path: the directory; it is made when the first file in it is.
    """

    def __init__(self, path: str | os.PathLike[str], *, worker: Worker | None = None) -> None:
        self.path: Final = Path(path)
        self._worker: Final = worker or Worker()
        self._names: Final = _Names(self.path)

    def directory(self, name: str) -> LocalDisk:
        return LocalDisk(self.path / _checked(name), worker=self._worker)

    async def open(self, name: str, *, create: bool = False) -> LocalFile:
        flags = os.O_RDWR | os.O_CLOEXEC
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        self._worker.files_open += 1  # before it is, or the thread would end in between
        try:
            descriptor, size = await self._worker.run(self._names.open, _checked(name), flags)
        except BaseException:
            self._worker.files_open -= 1
            raise
        close = partial(self._names.close, descriptor)
        return LocalFile(name, descriptor, size, self._worker, close)

    async def replace(self, source: str, target: str) -> None:
        await self._worker.run(self._names.replace, _checked(source), _checked(target))

    async def remove(self, name: str) -> None:
        await self._worker.run(os.unlink, self.path / _checked(name))

    async def list(self) -> list[str]:
        return await self._worker.run(_list, self.path)

    async def sync_directory(self) -> None:
        await self._worker.run(self._names.sync)

    async def claim(self, name: str) -> DirectoryLock:
        try:
            await self._worker.run(_make_directory, self.path)
        except OSError as error:
            raise directory_unusable(self.path, error) from error
        return DirectoryLock(self.path, f"{_checked(name)}.lock")


class _Names:
    """The names in one directory, and the handle to sync them, kept while a file here is open.

    Used by the worker thread alone, so its calls never overlap.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._users = 0
        self._poison: OSError | None = None

    def open(self, name: str, flags: int) -> tuple[int, int]:
        """A file's descriptor, and its size."""
        if flags & os.O_CREAT and not self._users:
            _make_directory(self._path)
        self._hold()
        try:
            descriptor = os.open(name, flags, 0o644, dir_fd=self._descriptor)
        except OSError:
            self._release()
            raise
        return descriptor, os.fstat(descriptor).st_size

    def close(self, descriptor: int) -> None:
        os.close(descriptor)
        self._release()

    def replace(self, source: str, target: str) -> None:
        self._check_not_poisoned()
        self._hold()
        try:
            here = self._descriptor
            os.replace(source, target, src_dir_fd=here, dst_dir_fd=here)
            self._sync()
        finally:
            self._release()

    def sync(self) -> None:
        self._check_not_poisoned()
        try:
            self._hold()
        except FileNotFoundError:
            return  # nothing was ever written here
        try:
            self._sync()
        finally:
            self._release()

    def _sync(self) -> None:
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._poison = error
            raise

    def _hold(self) -> None:
        if not self._users:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self._users += 1

    def _release(self) -> None:
        self._users -= 1
        if not self._users:
            os.close(self._descriptor)

    def _check_not_poisoned(self) -> None:
        if self._poison is not None:
            raise DiskFailed(
                f"a sync of the directory {self._path} failed before ({self._poison}); "
                "names in it may not survive a power cut: open it anew"
            ) from self._poison


class LocalFile:
    """A file of `LocalDisk`. Closed with `close`; dropped unclosed, it leaks a descriptor."""

    def __init__(
        self, name: str, descriptor: int, size: int, worker: Worker, close: Callable[[], None]
    ) -> None:
        self.name: Final = name
        self.size = size
        self._descriptor: int | None = descriptor
        self._worker = worker
        self._close = close
        self._poison: OSError | None = None
        self._chunk = 0
        self._allocated = size  # with the zeros behind

    def append(self, data: bytes) -> None:
        descriptor = self._writable()
        rest = memoryview(data)
        while rest:  # a full disk writes a part first and raises at the second call
            written = os.pwrite(descriptor, rest, self.size)
            self.size += written
            rest = rest[written:]
        if self.size > self._allocated:
            self._allocated = self.size
            if self._chunk:
                self._allocate(descriptor)

    def preallocate(self, chunk: int) -> None:
        self._chunk = chunk

    def _allocate(self, descriptor: int) -> None:
        # Written, and not only claimed with `posix_fallocate`: making a claimed block
        # a written one is a change that a sync would have to make durable, too.
        rest = memoryview(bytes(self._chunk - self.size % self._chunk))
        try:
            while rest:
                written = os.pwrite(descriptor, rest, self._allocated)
                self._allocated += written
                rest = rest[written:]
        except OSError:  # a full disk; it goes without
            os.ftruncate(descriptor, self.size)
            self._allocated, self._chunk = self.size, 0

    async def read_at(self, offset: int, length: int) -> bytes:
        if self._allocated > self.size:
            length = min(length, self.size - offset)
        return await self._worker.run(_read_at, self._open(), offset, length)

    async def truncate(self, size: int) -> None:
        await self._worker.run(os.ftruncate, self._writable(), size)
        self.size = self._allocated = size

    async def sync(self) -> None:
        try:
            await self._worker.run(_sync, self._writable())
        except OSError as error:
            self._poison = error
            raise

    async def close(self) -> None:
        if self._descriptor is not None:
            end = self.size if self._allocated > self.size and self._poison is None else None
            descriptor, self._descriptor = self._descriptor, None
            self._worker.files_open -= 1
            await self._worker.run(_close, descriptor, end, self._close)

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError(f"{self.name} is closed")
        return self._descriptor

    def _writable(self) -> int:
        if self._poison is not None:
            raise DiskFailed(
                f"a sync of {self.name} failed before ({self._poison}); "
                "a later one proves nothing, so the file takes no more writes"
            ) from self._poison
        return self._open()


def _read_at(descriptor: int, offset: int, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := os.pread(descriptor, length, offset)):
        pieces.append(piece)
        offset += len(piece)
        length -= len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _close(descriptor: int, end: int | None, close: Callable[[], None]) -> None:
    if end is not None:
        with contextlib.suppress(OSError):  # zeros behind the end do no harm
            os.ftruncate(descriptor, end)
    close()


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)  # the size is synced too, the time of change is not
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the file was removed while it was open")


def _make_directory(path: Path) -> None:
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for directory in reversed(missing):
        parent = os.open(directory.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            directory.mkdir(exist_ok=True)
            os.fsync(parent)  # a new directory is a name in its parent
        finally:
            os.close(parent)


def _list(path: Path) -> list[str]:
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
    except FileNotFoundError:
        return []


def _checked(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise InvalidArgument(f"{name!r} is no file name: one part, without a slash")
    return name
