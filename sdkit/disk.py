"""Disk: what a host keeps files on, as the code that runs on it sees it.

Only the shape stands here, beside the `Host` that has a disk. What each call
promises when power fails, and why a failed sync is final, is the lesson of
`sdkit.storage.disk`; `sdkit.storage.local_disk` keeps those promises on a real
directory, `sdkit.sim.disk` keeps them and nothing more.
"""

from __future__ import annotations

from typing import Protocol


class File(Protocol):
    """An open file. Appends go to the page cache; `sync` makes them last."""

    @property
    def name(self) -> str:
        """The name it was opened under."""
        ...

    @property
    def size(self) -> int:
        """Bytes in the file, unsynced ones included."""
        ...

    def append(self, data: bytes) -> None:
        """Write at the end, into the page cache. May leave a part behind when it raises.

        Raises:
            InvalidArgument: it is not bytes; nothing is written.
        """
        ...

    async def read_at(self, offset: int, length: int) -> bytes:
        """Up to ``length`` bytes; fewer at the end of the file. Neither number is below 0."""
        ...

    def preallocate(self, chunk: int) -> None:
        """From now on keep up to ``chunk`` bytes, 1 to 1 GiB, of zeros behind what is in the file.

        A sync that need not make a new length durable takes a quarter less time.
        The zeros are nowhere to be seen, until a crash: then they are the file's end.
        """
        ...

    async def truncate(self, size: int) -> None:
        """Cut the file to ``size`` bytes, at most its size. Unsynced, like an append."""
        ...

    async def sync(self) -> None:
        """Return when everything appended before the call survives a power cut."""
        ...

    async def close(self) -> None:
        """Give the handle up. Does not sync. Safe to call twice."""
        ...


class Disk(Protocol):
    """A directory of files. A name is one part: text, without a slash or a NUL, and no dots alone.

    Any other name is refused (InvalidArgument), whatever is asked with it.
    """

    def directory(self, name: str) -> Disk:
        """The disk below: a directory of that name, made when first written to."""
        ...

    async def open(self, name: str, *, create: bool = False) -> File:
        """Open for reading and appending. ``create``: make it empty; it must not exist yet."""
        ...

    async def replace(self, source: str, target: str) -> None:
        """Rename over ``target``, atomically, and sync the directory.

        A handle that is open on ``source`` goes on as one of ``target``.
        """
        ...

    async def remove(self, name: str) -> None:
        """Unlink. Durable after the next `sync_directory`."""
        ...

    async def list(self) -> list[str]:
        """The names of the files here, sorted; none if the directory is missing."""
        ...

    async def sync_directory(self) -> None:
        """Return when every name made, renamed or removed before survives a power cut."""
        ...

    async def claim(self, name: str) -> Claim:
        """Own this directory under ``name``, until released or until the process ends.

        Raises:
            DirectoryInUse: another process has it, or somebody else in this one.
            DirectoryUnusable: it cannot be made or written.
        """
        ...


class Claim(Protocol):
    """The ownership of a directory."""

    @property
    def is_held(self) -> bool:
        """Whether it is owned: not released, and the process that claimed it lives on."""
        ...

    def release(self) -> None:
        """Give it up."""
        ...

    def abandon(self) -> None:
        """Give it up, with a warning: its owner was dropped and not closed."""
        ...
