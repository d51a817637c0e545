"""Who holds the log: names, and what a disk that refuses leaves of a change."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import pytest

from sdkit.errors import CorruptData, DiskUnavailable, InvalidArgument, LimitExceeded
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import ForeignFile, Journal, JournalConfig, holders


async def opened(disk: SimulatedDisk) -> Journal:
    config = JournalConfig(segment_bytes=4096, reserve_bytes=0)
    return await Journal.open(disk, room="room", config=config, random=Random(0))


async def state() -> AsyncIterator[bytes]:
    yield b"state"


def test_a_disk_that_refuses_leaves_a_holder_where_it_was() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk)
        for _ in range(9):
            await journal.wait(journal.append(bytes(900)))
        await journal.hold("a", 2)
        for name, lsn in (("a", 7), ("b", 1)):
            disk.fail("append", name="holders.tmp", error=errno.ENOSPC)
            with pytest.raises(DiskUnavailable, match="writing a holders file"):
                await journal.hold(name, lsn)
            assert journal.holders == {"a": 2}
        disk.fail("append", name="holders.tmp", error=errno.ENOSPC)
        with pytest.raises(DiskUnavailable):
            await journal.release("a")
        await journal.snapshot(9, state())
        assert journal.first == 1
        assert "holders.tmp" not in disk.names()
        await journal.close()
        again = await opened(disk)
        assert again.holders == {"a": 2}
        await again.release("a")
        await again.release("never heard of")
        assert again.holders == {}
        await again.close()

    run(main())


@pytest.mark.parametrize("name", ["", 5, None, b"a", "x" * 201, "\ud800"])
def test_what_is_no_name_holds_nothing(name: Any) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        with pytest.raises(InvalidArgument, match="name is"):
            await journal.hold(name, 1)
        assert journal.holders == {}
        await journal.close()

    run(main())


def test_so_many_names_hold_it_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "HOLDERS_MAX", 2)

    async def main() -> None:
        journal = await opened(SimulatedDisk())
        for name in ("ä", "b", "b"):
            await journal.hold(name, 1)
        with pytest.raises(LimitExceeded, match="the limit is 2"):
            await journal.hold("c", 1)
        assert journal.holders == {"ä": 1, "b": 1}
        await journal.close()

    run(main())


def test_a_damaged_or_foreign_file_of_holders_is_refused_by_name() -> None:
    async def main() -> None:
        disk, other = SimulatedDisk(), SimulatedDisk()
        for each, seed in ((disk, 1), (other, 2)):
            journal = await Journal.open(each, room="room", random=Random(seed))
            await journal.hold("a", 1)
            await journal.close()
        damaged = disk.copy()
        damaged.flip("holders", 8 * 60)
        with pytest.raises(CorruptData, match="holders is damaged at offset"):
            await opened(damaged)
        for name in [name for name in other.names() if name.endswith(".wal")]:
            await other.remove(name)
        with pytest.raises(ForeignFile, match="holders belongs to journal"):
            await opened(other)

    run(main())
