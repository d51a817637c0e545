"""Reserve: a little room kept back, so that a full disk can still be recovered from.

A log that has filled its disk cannot even be opened: a recovery begins with a
new segment, and there is no room for one. Nor can it help itself with a
snapshot, which would let the old log go. So a file without meaning, `reserve`,
lies beside the log while all is well, and is unlinked when one of those two
finds no room.

    disk full:  log log log log reserve   ->   log log log log new snapshot
                                          ->   new snapshot reserve

Things to notice
    1. It is for what makes room or restores it, never for more records: those
       would use it up, and the next start would find nothing. For the same
       reason a snapshot may have only half of it (`Reserve.spare`).
    2. When there is less room than `Reserve.fill` wants, it shares: half of what
       is free and its own, so that a small disk is not full before its first
       record. What it had before a recovery took some pages of it, it takes
       back whole, for the rest has to last for the next.
    3. It is not synced. Lost in a power cut, its blocks are free, and that is
       all that it is for. Half of it or none is as good as the whole to any
       reader; nobody ever reads it. Only a share is synced: lost again and
       again, it would be a smaller share of less each time.
    4. Its bytes look random: a file system that compresses would keep zeros in
       no room at all.

File systems do the same for themselves: ZFS under the name of slop space, ext4
with blocks that only root may use.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
from random import Random
from typing import Final

from sdkit.storage.disk import Disk

RESERVE_NAME: Final = "reserve"
FULL: Final = (errno.ENOSPC, errno.EDQUOT)


def is_full(error: BaseException | None) -> bool:
    """Is this the operating system's way to say that there is no room?"""
    return isinstance(error, OSError) and error.errno in FULL


class Reserve:
    """The reserve of one journal.

    Args:
        bytes_wanted: its size when there is room; with 0 there is none.
    """

    def __init__(self, disk: Disk, bytes_wanted: int) -> None:
        self._disk = disk
        self._bytes_wanted = bytes_wanted
        self._is_whole = False
        self._size = 0
        self._size_max = 0  # that it ever had, in this process
        self._size_before = 0  # it was given up: what it may take back
        self._changing = asyncio.Lock()

    @property
    def spare(self) -> int:
        """How much of it a recovery will hardly miss."""
        return max(0, self._size - self._size_max // 2)

    async def fill(self) -> None:
        """Make it as large as wanted, or as is fair where there is less room. Never fails."""
        async with self._changing:
            if self._bytes_wanted and not self._is_whole:
                with contextlib.suppress(OSError):
                    await self._fill()

    async def _fill(self) -> None:
        present = RESERVE_NAME in await self._disk.list()
        file = await self._disk.open(RESERVE_NAME, create=not present)
        try:
            own = max(file.size, self._size_before)
            try:
                lacking = self._bytes_wanted - file.size
                if lacking > 0:
                    file.append(Random(file.size).randbytes(lacking))
                self._is_whole = True
            except OSError:
                fair = max(own, file.size // 2)  # it holds all the room that there is
                if file.size > fair:
                    await file.truncate(fair)
                await file.sync()
                await self._disk.sync_directory()
        finally:
            self._size, self._size_before = file.size, 0
            self._size_max = max(self._size_max, self._size)
            await file.close()

    async def give_up(self) -> bool:
        """Unlink it. Was there any of it?"""
        async with self._changing:
            try:
                file = await self._disk.open(RESERVE_NAME)
                self._size_before = max(file.size, self._size_before)
                await file.close()
                await self._disk.remove(RESERVE_NAME)
            except OSError:
                return False
            finally:
                self._is_whole, self._size = False, 0
            return True
