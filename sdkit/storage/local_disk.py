"""Local disk: the contract of `sdkit.storage.disk` kept on a directory of the real file system.

Decisions
    * Whatever may wait for the device runs in one worker thread per disk, so a
      slow disk never stops the event loop (`sdkit.storage.worker`).
    * `LocalFile.append` does not go through the worker: copying some kilobytes into
      the page cache takes microseconds, a hand-over takes fifty.
    * A directory is used through a handle of its own, open for as long as a
      file in it is (`_Names`). A process that has run out of handles, as a
      server with too many connections does, can still sync what it has; and one
      whose directory was renamed never touches what is there now under the old name.
    * A file that was unlinked from outside is still there for who has it open,
      and for nobody else: its sync fails, since nobody would find it again.
    * A forked child has no open files: what it wrote to its parent's would be
      lost, or worse. It may open its own.
    * On macOS ``fsync`` leaves the data in the drive's cache; `LocalFile.sync`
      asks for ``F_FULLFSYNC``.
    * A file may be kept longer than what is in it (`LocalFile.preallocate`), as etcd and
      PostgreSQL keep their logs: where the length stays, a sync need not make it durable.
      Closing takes the zeros away.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from sdkit.arguments import check_between, shown
from sdkit.errors import DiskFailed, InvalidArgument, InvalidState
from sdkit.forks import renew_in_child
from sdkit.ownership import (
    DirectoryLock,
    check_platform,
    checked_path,
    directory_unusable,
    is_encodable,
    make_directory,
)
from sdkit.storage.worker import Worker

PREALLOCATED_BYTES_MAX: Final = 2**30
OFFSET_MAX: Final = 2**62


class LocalDisk:
    """A directory of the real file system.

    Its worker thread lives while a file is open or a call is under way, and
    ends by itself. Not for several event loops at once.

    Args:
        path: the directory; it is made when the first file in it is.

    Raises:
        InvalidArgument: it cannot be a path.
        DirectoryUnusable: this platform (Windows) is none for real disks.
    """

    def __init__(self, path: str | os.PathLike[str], *, worker: Worker | None = None) -> None:
        self.path: Final = checked_path("path", path)
        check_platform(self.path)
        self._worker: Final = worker or Worker()
        self._names: Final = _Names(self.path)

    def directory(self, name: str) -> LocalDisk:
        return LocalDisk(self.path / _checked(name), worker=self._worker)

    async def open(self, name: str, *, create: bool = False) -> LocalFile:
        flags = os.O_RDWR | os.O_CLOEXEC
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        opened: list[tuple[int, int]] = []
        _checked(name)
        self._worker.files_open += 1  # before it is, or the thread would end in between
        try:
            await self._worker.run(lambda: opened.append(self._names.open(name, flags)))
        except BaseException:
            # Cancelled: the thread may open it all the same, and then closes it.
            self._worker.close_dropped(lambda: self._names.close_all(opened))
            raise
        descriptor, size = opened[0]
        close = partial(self._names.close, descriptor)
        return LocalFile(name, descriptor, size, self._worker, close)

    async def replace(self, source: str, target: str) -> None:
        await self._worker.run(self._names.replace, _checked(source), _checked(target))

    async def remove(self, name: str) -> None:
        await self._worker.run(self._names.remove, _checked(name))

    async def list(self) -> list[str]:
        return await self._worker.run(self._names.list)

    async def sync_directory(self) -> None:
        await self._worker.run(self._names.sync)

    async def claim(self, name: str) -> DirectoryLock:
        lock_name = f"{_checked(name)}.lock"
        try:
            await self._worker.run(make_directory, self.path)
        except OSError as error:
            raise directory_unusable(self.path, error) from error
        return DirectoryLock(self.path, lock_name)

    def __repr__(self) -> str:
        return f"LocalDisk({str(self.path)!r})"


class _Names:
    """The names in one directory, and the handle to sync them, kept while a file here is open.

    Used by the worker thread alone, so its calls never overlap.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1
        self._users = 0
        self._poison = ""  # why; not the error, which would keep all this alive by its traceback

    def open(self, name: str, flags: int) -> tuple[int, int]:
        """A file's descriptor, and its size."""
        if flags & os.O_CREAT and not self._users:
            make_directory(self._path)
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

    def close_all(self, opened: list[tuple[int, int]]) -> None:
        for descriptor, _ in opened:
            self.close(descriptor)

    def remove(self, name: str) -> None:
        self._hold()
        try:
            os.unlink(name, dir_fd=self._descriptor)
        finally:
            self._release()

    def list(self) -> list[str]:
        try:
            self._hold()
        except FileNotFoundError:
            return []
        try:
            with os.scandir(self._descriptor) as entries:
                return sorted(entry.name for entry in entries if entry.is_file())
        finally:
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
            self._poison = str(error)
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
        if self._poison:
            raise DiskFailed(
                f"a sync of the directory {self._path} failed before ({self._poison}); "
                "names in it may not survive a power cut: open it anew"
            )


class LocalFile:
    """A file of `LocalDisk`. Closed with `close`; dropped unclosed, it warns and is closed.

    It is refused in a forked child (InvalidState), which opens its own.
    """

    def __init__(
        self, name: str, descriptor: int, size: int, worker: Worker, close: Callable[[], None]
    ) -> None:
        self.name: Final = name
        self.size = size
        self._descriptor: int | None = descriptor
        self._worker = worker
        self._close = close
        self._poison = ""
        self._chunk = 0
        self._allocated = size  # with the zeros behind
        self._is_a_childs = False
        renew_in_child(self, LocalFile._forget)

    def append(self, data: bytes) -> None:
        descriptor = self._writable()
        if not isinstance(data, bytes):
            raise InvalidArgument(f"data is of type {type(data).__name__}; it must be bytes")
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
        check_between("chunk", chunk, 1, PREALLOCATED_BYTES_MAX)
        self._writable()
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
        check_between("offset", offset, 0, OFFSET_MAX)
        check_between("length", length, 0, OFFSET_MAX)
        if self._allocated > self.size:
            length = min(length, self.size - offset)
        return await self._worker.run(_read_at, self._open(), offset, length)

    async def truncate(self, size: int) -> None:
        check_between("size", size, 0, self.size)
        await self._worker.run(os.ftruncate, self._writable(), size)
        self.size = self._allocated = size

    async def sync(self) -> None:
        try:
            await self._worker.run(_sync, self._writable())
        except OSError as error:
            self._poison = str(error)
            raise

    async def close(self) -> None:
        if self._descriptor is not None:
            end = self.size if self._allocated > self.size and not self._poison else None
            descriptor, self._descriptor = self._descriptor, None
            self._worker.files_open -= 1
            await self._worker.run(_close, descriptor, end, self._close)

    def __repr__(self) -> str:
        state = "closed" if self._descriptor is None else f"{self.size} bytes"
        return f"<LocalFile {self.name!r}, {state}>"

    def __del__(self) -> None:
        if getattr(self, "_descriptor", None) is not None:
            message = f"{self!r} was dropped and not closed"
            self._descriptor = None
            self._worker.close_dropped(self._close)
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def _forget(self) -> None:
        """In a forked child: the file stays the parent's."""
        descriptor, self._descriptor, self._is_a_childs = self._descriptor, None, True
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _open(self) -> int:
        if self._is_a_childs:
            raise InvalidState(
                f"{self.name} was opened by the process that this one was forked from; "
                "open it here, from a directory that is this process's own"
            )
        if self._descriptor is None:
            raise ValueError(f"{self.name} is closed")  # as Python's own files do
        return self._descriptor

    def _writable(self) -> int:
        if self._poison:
            raise DiskFailed(
                f"a sync of {self.name} failed before ({self._poison}); "
                "a later one proves nothing, so the file takes no more writes"
            )
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
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fdatasync(descriptor)  # the size is synced too, the time of change is not
    if os.fstat(descriptor).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, "the file was removed while it was open")


def _checked(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidArgument(
            f"{shown(name)}, of type {type(name).__name__}, is no file name; it must be text"
        )
    if not name or name in (".", "..") or "/" in name or not is_encodable(name):
        raise InvalidArgument(f"{shown(name)} is no file name: one part, without a slash or a NUL")
    return name
