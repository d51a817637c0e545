"""Host: one machine, as the code that runs on it sees it.

Code that asks the operating system directly can only ever run on one machine,
in real time. Everything in sdkit asks a `Host` instead: what time is it, give
me randomness, give me a disk. The same server then runs on a real machine
(`Host.local`) and on one of five simulated machines in a single process, whose
clocks drift and whose power fails.

Four things to notice
    1. There are two clocks, and mixing them is a bug. `Host.now_ns` is the wall
       clock: stamps, and times to live where a product defines them so. It
       jumps when an operator or NTP sets it. `Host.monotonic_ns` only moves
       forward and says nothing about the date: durations, deadlines, leases.
       A core's docstring says which of the two it takes.
    2. A data directory has one owner. `Host.local` locks it with ``flock``,
       which the kernel drops when the process dies, however it dies: there is
       no stale lock to clean up after ``kill -9``.
    3. Randomness has two sources, and mixing them is a hole. `Host.random` is for
       jitter and choices: it may be seeded, and whoever sees enough of its
       output can compute the rest. `Host.secret` is for what an attacker must
       not foretell: nonces, tokens, ids that grant something.
    4. `current` is a ``ContextVar``: a task inherits the host of whoever
       started it, so a primitive imported alone (a breaker, a cache) finds its
       clock without being handed one.

Sleeping, timers and connections are not here: they are the running event
loop's, real or simulated.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import resource
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from sdkit.arguments import check_between
from sdkit.errors import DirectoryInUse, DirectoryUnusable, InvalidArgument, InvalidState

if TYPE_CHECKING:
    from sdkit.storage.disk import Disk

LOCK_NAME: Final = "lock"
SECRET_BYTES_MAX: Final = 1 << 20


class Host:
    """A machine with a name, two clocks, randomness and perhaps a disk.

    A simulated machine is a subclass that overrides the two clocks, `secret` and `descriptors`.

    Args:
        name: how traces and errors call it.
        disk: its data directory; None for a process that stores nothing.
        random: its source of jitter and choices; seeded by the operating system
            unless given. Secrets never come from it.
    """

    def __init__(
        self, name: str, disk: Disk | None = None, *, random: random.Random | None = None
    ) -> None:
        self.name: Final = name
        self.random: Final = random or _new_random()
        # Drawn once, here: a serial that is drawn only while somebody listens
        # would make listening change the run.
        self.span_serial: Final[Iterator[int]] = itertools.count(self.random.getrandbits(48) << 16)
        self._disk = disk
        self._lock: DirectoryLock | None = None

    @classmethod
    def local(cls, name: str, data_dir: str | os.PathLike[str]) -> Self:
        """The real machine, owning ``data_dir`` (made if it is missing) until `close`.

        Raises:
            DirectoryInUse: a live process owns it; the message says which.
            DirectoryUnusable: it cannot be made or written.
        """
        # The one import upwards, kept out of load time.
        from sdkit.storage.local_disk import LocalDisk

        lock = DirectoryLock(Path(data_dir))
        host = cls(name, LocalDisk(Path(data_dir)))
        host._lock = lock
        return host

    @property
    def disk(self) -> Disk:
        """The disk.

        Raises:
            InvalidState: this host has none.
        """
        if self._disk is None:
            raise InvalidState(
                f"host {self.name} has no disk; make it with Host.local(name, directory)"
            )
        return self._disk

    def now_ns(self) -> int:
        """Wall clock: nanoseconds since 1970. It may jump, in either direction."""
        return time.time_ns()

    def monotonic_ns(self) -> int:
        """Nanoseconds from an origin of this process. It never goes back."""
        return time.monotonic_ns()

    def secret(self, count: int) -> bytes:
        """``count`` bytes, 1 to 1 MiB, that an attacker cannot foretell: the operating system's.

        Raises:
            InvalidArgument: the count is out of range.
        """
        check_between("count", count, 1, SECRET_BYTES_MAX)
        return secrets.token_bytes(count)

    def descriptors(self, needed: int) -> int:
        """How many files and connections this process may have open, ``needed`` if it can be.

        The limit that holds (the *soft* one) is raised as far as that takes, up
        to the hard one.
        """
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft == resource.RLIM_INFINITY:
            return needed
        more = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if more > soft:
            try:
                resource.setrlimit(resource.RLIMIT_NOFILE, (more, hard))
                soft = more
            except (OSError, ValueError):  # a container, or a system with a lower limit of its own
                pass
        return soft

    def close(self) -> None:
        """Give the data directory up. Safe to call twice."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class DirectoryLock:
    """Exclusive ownership of a directory, until `release` or the end of the process.

    It excludes other processes, and a second owner in the same one.

    Args:
        directory: made if it is missing.
        name: of the lock file in it; owners of different things use different ones.

    Raises:
        DirectoryInUse, DirectoryUnusable: see `Host.local`.
    """

    def __init__(self, directory: Path, name: str = LOCK_NAME) -> None:
        path = directory / name
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise directory_unusable(directory, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._descriptor, 64, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise DirectoryInUse(
                f"{directory} is in use by {holder or 'another process'}; "
                "stop it, or choose another directory",
                directory=str(directory),
                holder=holder,
            ) from error
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, b"process %d\n" % os.getpid(), 0)

    def release(self) -> None:
        # The file stays: unlinking it would let two later processes lock two
        # different files of the same name.
        os.close(self._descriptor)


def check_host(host: object) -> None:
    """Refuse what is given in place of a host.

    Raises:
        InvalidArgument: it is none; the message says how to make one.
    """
    if not isinstance(host, Host):
        raise InvalidArgument(
            f"host is {host!r}, of type {type(host).__name__}; it must be a Host, as made by "
            "`with Host.local('db', 'directory') as host:`"
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


def current() -> Host:
    """The host that the calling code runs on; outside any, a default one without a disk."""
    return _current.get()


@contextmanager
def running_on(host: Host) -> Iterator[Host]:
    """Make ``host`` the current one for the block, and for tasks started in it."""
    token = _current.set(host)
    try:
        yield host
    finally:
        _current.reset(token)


def _new_random() -> random.Random:
    """Seeded by the operating system, and anew in a forked child: it would repeat its parent."""
    made = random.Random()
    os.register_at_fork(after_in_child=made.seed)
    return made


_DEFAULT: Final = Host("local")
_current: Final[ContextVar[Host]] = ContextVar("sdkit_host", default=_DEFAULT)
