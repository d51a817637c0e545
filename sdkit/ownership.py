"""Ownership: a lock that lets one process at a time use a directory.

If two servers use one directory, each replaces the files of the other, and acknowledged
changes are lost without an error. So a server locks the directory before it reads
anything in it. A second server is refused; the error names the process of the first.

    data/            flock: excludes other processes
    data/lock        flock again, and the owner's number, for the message

Things to notice
    1. The *directory* is locked, and not only a file in it. Somebody may
       delete a lock file under a running server. The next server makes a new one, and
       then each holds a lock. If somebody deletes or renames the directory, a
       new one of that name is another directory, with other files: no harm is done.
    2. The kernel drops the lock when the process dies, however it dies: there
       is no stale lock to clean up after ``kill -9``.
    3. The lock belongs to the open descriptor, which a forked child inherits. The
       child closes its copy at once (`sdkit.forks`): otherwise the directory would
       stay locked for as long as it lives, whatever its parent does.
    4. One process may own several things in one directory, under different
       names (a host and a journal). They share the one descriptor (`_Registry`).

Decisions
    * The lock file is locked as well. On NFS a lock on a directory excludes only
      processes of the same machine, one on a file those of all machines. So there,
      and only there, it does harm to delete the lock file.
    * PostgreSQL reads ``postmaster.pid`` again every minute, and stops if it is another's;
      etcd locks its data files. Neither is needed where the directory itself is locked.
    * The number in the lock file is for people. It may be that of a process in
      another container, so the code decides nothing by it.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from sdkit.arguments import shown
from sdkit.errors import DirectoryInUse, DirectoryUnusable, InvalidArgument
from sdkit.forks import renew_in_child

LOCK_NAME: Final = "lock"
ATTEMPTS: Final = 8  # to lock a directory that is renamed or replaced meanwhile


class DirectoryLock:
    """Exclusive ownership of a directory, until `release` or the end of the process.

    It excludes other processes, and a second owner of the same name in this one.
    A forked child does not own what its parent does. Dropped unreleased, it warns
    and is released.

    Args:
        directory: made if it is missing, durably.
        name: of the lock file in it; owners of different things use different ones.

    Raises:
        InvalidArgument: ``directory`` cannot be a path.
        DirectoryInUse: a live process owns it; the message says which.
        DirectoryUnusable: it cannot be made or written, or this platform has no locks.
    """

    def __init__(self, directory: str | os.PathLike[str], name: str = LOCK_NAME) -> None:
        self._locked: _Locked | None = None
        self.directory: Final = checked_path("directory", directory)
        self.name: Final = name
        check_platform(self.directory)
        try:
            make_directory(self.directory)
            self._locked = _registry.acquire(self.directory, name)
        except (DirectoryInUse, DirectoryUnusable):
            raise
        except OSError as error:
            raise directory_unusable(self.directory, error) from error

    @property
    def is_held(self) -> bool:
        """Whether it is owned: not released, and not a child's copy of its parent's."""
        return self._locked is not None and self.name in self._locked.files

    def release(self) -> None:
        """Give the directory up. Safe to call twice."""
        # The file stays: unlinking it would let two later processes lock two
        # different files of the same name.
        locked, self._locked = self._locked, None
        if locked is not None:
            _registry.release(locked, self.name)

    def abandon(self) -> None:
        """Release it, and warn that its owner was dropped without being closed."""
        self.release()  # first, since a warning may be an error
        warnings.warn(
            f"{self.directory} was still owned when its owner was dropped; close that first",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )

    def __repr__(self) -> str:
        state = "held" if self.is_held else "released"
        return f"<DirectoryLock {self.name} of {str(self.directory)!r}, {state}>"

    def __del__(self) -> None:
        if self.is_held:
            self.abandon()


@dataclass(slots=True, eq=False)
class _Locked:
    """A directory that this process has locked: its descriptor, and the lock files by name."""

    key: tuple[int, int]
    descriptor: int
    files: dict[str, int] = field(default_factory=dict)


class _Registry:
    """The directories that this process has locked, by device and inode."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may release a lock while this thread makes another.
        self._guard = threading.RLock()
        self._locked: dict[tuple[int, int], _Locked] = {}

    def acquire(self, directory: Path, name: str) -> _Locked:
        with self._guard:
            for _ in range(ATTEMPTS):
                locked = self._lock_directory(directory, name)
                try:
                    file = self._lock_file(directory, locked, name)
                    if file is not None:
                        locked.files[name] = file
                        return locked
                except BaseException:
                    self.release(locked, name)
                    raise
                self.release(locked, name)
        raise DirectoryUnusable(
            f"{directory} was replaced again and again while it was to be locked",
            directory=str(directory),
        )

    def _lock_directory(self, directory: Path, name: str) -> _Locked:
        """The locked directory, in which ``name`` is taken already."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            key = _key(os.fstat(descriptor))
            locked = self._locked.get(key)
            if locked is not None and name in locked.files:
                raise _in_use(directory, f"process {os.getpid()}")
            if locked is None:
                if not _flock(descriptor):
                    raise _in_use(directory, _holder(descriptor))
                locked = self._locked[key] = _Locked(key, os.dup(descriptor))
            locked.files[name] = -1
            return locked
        finally:
            os.close(descriptor)

    def _lock_file(self, directory: Path, locked: _Locked, name: str) -> int | None:
        """The lock file, locked and signed; None if it or the directory is not there any more."""
        here = locked.descriptor
        # Not through a link: the owner's number would be written over what it leads to.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(name, flags, 0o644, dir_fd=here)
        try:
            if not _flock(file):
                raise _in_use(directory, _holder(here))
            with contextlib.suppress(FileNotFoundError):
                named = _key(os.stat(name, dir_fd=here)), _key(os.stat(directory))
                if named == (_key(os.fstat(file)), locked.key):
                    with contextlib.suppress(OSError):  # full disk: locked all the same
                        os.ftruncate(file, 0)
                        os.pwrite(file, b"process %d\n" % os.getpid(), 0)
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)
        return None

    def release(self, locked: _Locked, name: str) -> None:
        with self._guard:
            file = locked.files.pop(name, None)
            if file is None:
                return  # a child's copy of what its parent owns
            if file >= 0:
                os.close(file)
            if not locked.files:
                self._locked.pop(locked.key, None)
                os.close(locked.descriptor)

    def forget(self) -> None:
        """In a forked child: close what the parent owns, which stays the parent's."""
        self._guard = threading.RLock()
        for locked in self._locked.values():
            for descriptor in (locked.descriptor, *locked.files.values()):
                with contextlib.suppress(OSError):
                    os.close(descriptor)
            locked.files.clear()
        self._locked.clear()


_registry: Final = _Registry()
renew_in_child(_registry, _Registry.forget)


def check_platform(directory: Path) -> None:
    """Refuse a real directory where the operating system cannot keep it safe.

    Raises:
        DirectoryUnusable: this platform has no ``fcntl`` (Windows has none).
    """
    try:
        import fcntl  # noqa: F401
    except ImportError as error:
        raise DirectoryUnusable(
            f"cannot use {directory} as a data directory: this platform ({sys.platform}) has no "
            "fcntl, which locks directories; use Linux, macOS or WSL, or a simulated disk "
            "(sdkit.sim)",
            directory=str(directory),
        ) from error


def checked_path(name: str, path: str | os.PathLike[str]) -> Path:
    """Return ``path`` as an absolute Path, or refuse what cannot be one.

    Raises:
        InvalidArgument: it is no text, is empty, or holds what no path can.
    """
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else path
    if not isinstance(text, str):
        raise InvalidArgument(
            f"{name} is {shown(path)}, of type {type(path).__name__}; it must be a path, as text "
            "or as a Path",
            name=name,
        )
    if not text or not is_encodable(text):
        raise InvalidArgument(f"{name} is {shown(text)}, which is no path", name=name)
    return Path(text).absolute()  # so that a later `chdir` changes nothing


def is_encodable(text: str) -> bool:
    """Whether the operating system can take it as a name: no NUL, no half of a character."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False


def make_directory(path: Path) -> None:
    """Make ``path`` and what is missing above it, and make that durable.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    above = path
    while not above.is_dir():
        missing.append(above)
        above = above.parent
    for directory in reversed(missing):
        directory.mkdir(exist_ok=True)
        _sync_names(directory.parent)  # a new directory is a name in its parent
    if not missing:
        # Its maker may have been killed before the sync. If this user may not read the
        # parent, another user made the directory.
        with contextlib.suppress(PermissionError):
            _sync_names(path.parent)


def _sync_names(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    """Lock it; False if another descriptor has it."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _holder(directory: int) -> str:
    """What the lock file that was written last says; nothing if there is none."""
    newest, said = -1, ""
    for name in os.listdir(directory):
        if name == LOCK_NAME or name.endswith(f".{LOCK_NAME}"):
            with contextlib.suppress(OSError):
                file = os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
                try:
                    written_ns = os.fstat(file).st_mtime_ns
                    if written_ns > newest:
                        said = os.pread(file, 64, 0).decode("ascii", "replace").strip()
                        newest = written_ns
                finally:
                    os.close(file)
    if said == f"process {os.getpid()}":  # the registry knows our own
        return f"another process, that is {said} in a container of its own"
    return said


def _in_use(directory: Path, holder: str) -> DirectoryInUse:
    return DirectoryInUse(
        f"{directory} is in use by {holder or 'another process'}; "
        "stop it, or choose another directory",
        directory=str(directory),
        holder=holder,
    )


def directory_unusable(directory: Path, error: OSError) -> DirectoryUnusable:
    """What to raise when making or writing a data directory has failed with ``error``."""
    return DirectoryUnusable(
        f"cannot use {directory} as a data directory: {_why_unusable(error)}",
        directory=str(directory),
    )


def _why_unusable(error: OSError) -> str:
    match error:
        case FileExistsError():
            return "it is a file; name a directory, which is made if it is missing"
        case NotADirectoryError():
            return "a part of its path is a file; name another directory"
        case PermissionError():
            return f"{error.strerror}; name one that this user may write, or change its owner"
    return str(error.strerror)
