"""Superseding: what is refused meanwhile, and what a disk that refuses leaves."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest

from sdkit.errors import DiskUnavailable, InvalidState
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal


def test_an_append_meanwhile_is_refused_and_another_later_is_not() -> None:
    async def main() -> None:
        journal = await Journal.open(SimulatedDisk(), room="room", random=Random(0))
        for _ in range(5):
            journal.append(b"old")
        superseding = asyncio.ensure_future(journal.supersede(3))
        await asyncio.sleep(0)
        with pytest.raises(InvalidState, match="being superseded"):
            journal.append(b"meanwhile")
        superseding.cancel()  # it goes on all the same
        with pytest.raises(asyncio.CancelledError):
            await superseding
        assert journal.append(b"new") == 3
        await journal.close()

    run(main())


def test_a_disk_without_room_for_it_leaves_the_log_as_it_was() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await Journal.open(disk, room="room", random=Random(0))
        for _ in range(5):
            await journal.wait(journal.append(b"old"))
        disk.fail("append", name="000000000002.wal.tmp", times=3, error=errno.EIO)
        with pytest.raises(DiskUnavailable, match=r"making 000000000002\.wal"):
            await journal.supersede(3)
        assert journal.append(b"it goes on") == 6
        await journal.close()

    run(main())
