"""A journal that has filled its disk to the last byte can be opened, read, and freed again."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from random import Random

import pytest

from sdkit.errors import DiskUnavailable
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, JournalConfig
from sdkit.storage.inspect import inspect
from sdkit.storage.reserve import RESERVE_NAME, Reserve

CAPACITY = 40_000


async def opened(disk: SimulatedDisk, durability: str = "sync", reserve: int = 4096) -> Journal:
    config = JournalConfig(durability=durability, segment_bytes=4096, reserve_bytes=reserve)
    return await Journal.open(disk, room="room", config=config, random=Random(0))


async def records_of(journal: Journal) -> list[bytes]:
    records: list[bytes] = []
    await journal.replay(on_record=lambda lsn, record: records.append(record))
    return records


async def fill_up(journal: Journal) -> list[bytes]:
    """Append until not even a byte fits; what was acknowledged."""
    kept: list[bytes] = []
    for length in (1500, 300, 10, 1):
        while True:
            record = b"%04d" % len(kept) + bytes(length)
            try:
                await journal.wait(journal.append(record))
            except DiskUnavailable:
                break
            kept.append(record)
    return kept


async def chunks(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


def free(disk: SimulatedDisk) -> int:
    assert disk.capacity_bytes is not None
    return disk.capacity_bytes - sum(map(len, disk.image().values()))


@pytest.mark.parametrize("crash", ["kill", "power"])
@pytest.mark.parametrize("durability", ["sync", "interval", "os"])
@pytest.mark.parametrize("seed", range(4))
def test_a_full_disk_opens_reads_and_goes_on_after_a_snapshot(
    durability: str, crash: str, seed: int
) -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=CAPACITY)
        journal = await opened(disk, durability)
        kept: list[bytes] = []
        for _ in range(4):  # each start takes a little of the reserve, and must leave the rest
            kept += await fill_up(journal)
            await journal.sync()
            assert free(disk) < 100
            disk.power_cut(Random(seed)) if crash == "power" else disk.kill()
            journal = await opened(disk, durability)
            assert await records_of(journal) == kept
        # A power cut takes the reserve that was never synced; then it is a share of what was free.
        size = 200 if crash == "power" else 400
        await journal.snapshot(len(kept), chunks(bytes(size), bytes(size)))
        assert free(disk) > CAPACITY // 2
        assert len(disk.contents(RESERVE_NAME)) == 4096
        lsn = journal.append(b"there is room again")
        await journal.wait(lsn)
        await journal.close()
        journal = await opened(disk, durability)
        assert await records_of(journal) == [b"there is room again"]
        assert journal.recovered.last_lsn == lsn == len(kept) + 1

    run(main())


def test_without_a_reserve_a_full_disk_locks_the_room_out() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=CAPACITY)
        kept = await fill_up(await opened(disk, reserve=0))
        disk.kill()
        with pytest.raises(DiskUnavailable, match="make room"):
            await opened(disk, reserve=0)
        disk.capacity_bytes = CAPACITY + 1000
        assert await records_of(await opened(disk)) == kept

    run(main())


def test_a_snapshot_that_does_not_fit_gives_the_reserve_back() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=CAPACITY)
        journal = await opened(disk)
        kept = await fill_up(journal)
        with pytest.raises(DiskUnavailable, match="writing a snapshot"):
            await journal.snapshot(journal.end, chunks(bytes(3000), bytes(3000)))
        assert "snapshot.tmp" not in disk.names()
        assert len(disk.contents(RESERVE_NAME)) > 3500
        disk.kill()
        assert await records_of(await opened(disk)) == kept

    run(main())


def test_a_snapshot_leaves_half_of_the_reserve_to_the_next_recovery() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=CAPACITY)
        journal = await opened(disk)
        kept = await fill_up(journal)
        left: list[int] = []

        async def growing() -> AsyncIterator[bytes]:
            for _ in range(200):
                left.append(len(disk.contents(RESERVE_NAME)))
                yield bytes(200)

        with pytest.raises(DiskUnavailable, match="writing a snapshot"):
            await journal.snapshot(journal.end, growing())
        assert 2048 <= min(left) < 2048 + 300
        disk.kill()
        journal = await opened(disk)
        assert journal.recovered.last_lsn == len(kept)

    run(main())


def test_records_never_get_the_reserve() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=CAPACITY)
        journal = await opened(disk)
        await fill_up(journal)
        assert len(disk.contents(RESERVE_NAME)) == 4096
        await journal.close()
        assert len(disk.contents(RESERVE_NAME)) == 4096

    run(main())


def test_the_reserve_comes_when_there_is_room_and_holds_no_more_than_a_segment() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=1000)
        journal = await opened(disk, reserve=2**20)
        assert len(disk.contents(RESERVE_NAME)) < 1000
        await journal.close()
        disk.capacity_bytes = None
        journal = await opened(disk, reserve=2**20)
        assert len(disk.contents(RESERVE_NAME)) == 4096
        await journal.close()

    run(main())


def test_on_a_disk_too_small_for_it_the_reserve_takes_half_and_leaves_half_to_the_records() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=4000)
        for _ in range(5):  # and takes no more at each start
            await (await opened(disk)).close()
        assert 1800 < len(disk.contents(RESERVE_NAME)) < 2200
        journal = await opened(disk)
        kept = await fill_up(journal)
        assert sum(map(len, kept)) > 1000
        for _ in range(5):
            before = len(disk.contents(RESERVE_NAME))
            disk.kill()
            journal = await opened(disk)
            assert await records_of(journal) == kept
            assert before - 200 < len(disk.contents(RESERVE_NAME)) <= before

    run(main())


def test_half_a_reserve_is_topped_up_and_none_at_all_is_no_trouble() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        disk.write(RESERVE_NAME, bytes(100))
        reserve = Reserve(disk, 1000)
        await reserve.fill()
        assert len(disk.contents(RESERVE_NAME)) == 1000
        assert disk.contents(RESERVE_NAME)[100:].count(0) < 50
        assert await reserve.give_up()
        assert not await reserve.give_up()
        disk.fail("open", error=errno.EMFILE)
        await reserve.fill()
        assert disk.names() == []
        await reserve.fill()
        assert disk.names() == [RESERVE_NAME]

    run(main())


def test_a_person_who_looks_is_not_shown_the_reserve() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        await (await opened(disk)).close()
        assert RESERVE_NAME in disk.names()
        view = await inspect(disk)
        assert view.findings == []
        assert [segment.file for segment in view.segments] == ["000000000001.wal"]

    run(main())
