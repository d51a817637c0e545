"""Host: one machine, as the code that runs on it sees it.

Code that asks the operating system directly can only ever run on one machine,
in real time. Everything in sdkit asks a `Host` instead: what time is it, give
me randomness, give me a disk. The same server then runs on a real machine
(`sdkit.storage.local_host.LocalHost`) and on one of five simulated machines in a
single process, whose clocks drift and whose power fails.

Four things to notice
    1. There are two clocks, and mixing them is a bug. `Host.now_ns` is the wall
       clock: stamps, and times to live where a product defines them so. It
       jumps when an operator or NTP sets it. `Host.monotonic_ns` only moves
       forward and says nothing about the date: durations, deadlines, leases.
       A core's docstring says which of the two it takes.
    2. A data directory has one owner: the host that has claimed it (`sdkit.ownership`).
       A forked child does not own what its parent does, and makes a host of its own.
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

import itertools
import random
import secrets
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, Self

from sdkit.arguments import check_between, shown
from sdkit.disk import Claim, Disk
from sdkit.errors import InvalidArgument, InvalidState
from sdkit.forks import renew_in_child

SECRET_BYTES_MAX: Final = 1 << 20
DESCRIPTORS_MAX: Final = 1 << 31


class Host:
    """A machine with a name, two clocks, randomness and perhaps a disk.

    A simulated machine is a subclass that overrides the two clocks, `secret` and `descriptors`;
    a real one with a directory is one that owns it.

    Args:
        name: how traces and errors call it.
        disk: its data directory; None for a process that stores nothing.
        random: its source of jitter and choices; seeded by the operating system
            unless given. Secrets never come from it.
    """

    # Of its directory. A class attribute, since a host that was refused is freed as well.
    _claim: Claim | None = None

    def __init__(
        self, name: str, disk: Disk | None = None, *, random: random.Random | None = None
    ) -> None:
        _check_parts(name, disk, random)
        self.name: Final = name
        self.random: Final = random or _new_random()
        # Drawn once, here: a serial that is drawn only while somebody listens
        # would make listening change the run.
        self.span_serial: Final[Iterator[int]] = itertools.count(self.random.getrandbits(48) << 16)
        self._disk = disk
        self._closed = self._entered = False

    @property
    def disk(self) -> Disk:
        """The disk.

        Raises:
            InvalidState: this host has none, was closed, or is a forked child's copy.
        """
        self._check_owner()
        if self._disk is None:
            raise InvalidState(
                f"host {self.name} has no disk; make it with LocalHost(name, directory)"
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
        check_between("needed", needed, 0, DESCRIPTORS_MAX)
        try:
            import resource
        except ImportError:  # Windows has no such limit
            return needed
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
        if self._claim is not None:
            self._claim.release()
            self._closed = True

    def _check_owner(self) -> None:
        if self._closed:
            raise InvalidState(f"host {self.name} is closed; its directory may be another's by now")
        if self._claim is not None and not self._claim.is_held:
            raise InvalidState(
                f"host {self.name} belongs to the process that this one was forked from; "
                "make one here, with LocalHost and another directory"
            )

    def __enter__(self) -> Self:
        self._check_owner()
        if self._entered:
            raise InvalidState(f"host {self.name} was entered before; one `with` closes it")
        self._entered = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._entered = False
        self.close()

    def __repr__(self) -> str:
        where = "" if self._disk is None else f" on {self._disk!r}"
        return f"<{type(self).__name__} {self.name}{where}{', closed' if self._closed else ''}>"

    def __del__(self) -> None:
        if self._claim is not None and self._claim.is_held:
            message = f"{self!r} was dropped and not closed"
            self.close()  # first, since a warning may be an error
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)


def check_host(host: object) -> None:
    """Refuse what is given in place of a host.

    Raises:
        InvalidArgument: it is none; the message says how to make one.
    """
    if not isinstance(host, Host):
        raise InvalidArgument(
            f"host is {shown(host)}, of type {type(host).__name__}; it must be a Host, as made by "
            "`with LocalHost('db', 'directory') as host:`"
        )


def _check_parts(name: object, disk: object, generator: object) -> None:
    """Refuse what a host cannot be made of; each is asked for much later otherwise."""
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"name is {shown(name)}; a host's name is text, and not empty")
    if disk is not None and not callable(getattr(disk, "claim", None)):
        raise InvalidArgument(
            f"disk is {shown(disk)}, of type {type(disk).__name__}; it must be a Disk. "
            "For a directory: LocalHost(name, directory)"
        )
    if generator is not None and not isinstance(generator, random.Random):
        raise InvalidArgument(
            f"random is {shown(generator)}, of type {type(generator).__name__}; it must be a "
            "random.Random"
        )


def current() -> Host:
    """The host that the calling code runs on; outside any, a default one without a disk."""
    return _current.get()


@contextmanager
def running_on(host: Host) -> Iterator[Host]:
    """Make ``host`` the current one for the block, and for tasks started in it.

    Raises:
        InvalidArgument: it is no host.
    """
    check_host(host)
    token = _current.set(host)
    try:
        yield host
    finally:
        _current.reset(token)


def _new_random() -> random.Random:
    """Seeded by the operating system, and anew in a forked child: it would repeat its parent."""
    made = random.Random()
    renew_in_child(made, random.Random.seed)
    return made


_DEFAULT: Final = Host("local")
_current: Final[ContextVar[Host]] = ContextVar("sdkit_host", default=_DEFAULT)
