"""Each trouble has an error of its own, and leaves the bytes alone."""

from __future__ import annotations

import asyncio
import errno
import gc
from collections.abc import AsyncIterator
from random import Random
from zlib import crc32

import pytest

from sdkit.errors import (
    CorruptData,
    DiskFailed,
    DiskUnavailable,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    Overloaded,
    UnsupportedFormat,
)
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import FollowerAhead, ForeignFile, Journal, JournalConfig, UnexplainedDamage
from sdkit.storage.wal import SEGMENT_HEADER_BYTES

FIRST = "000000000001.wal"


async def opened(disk: SimulatedDisk, room: str = "room", **settings: object) -> Journal:
    config = JournalConfig(**settings)  # type: ignore[arg-type]
    return await Journal.open(disk, room=room, config=config, random=Random(0))


async def written(count: int = 3, *, close: bool = False, length: int = 8) -> SimulatedDisk:
    """A disk with so many records, each synced before the next; stopped, or killed."""
    disk = SimulatedDisk()
    journal = await opened(disk, segment_bytes=4096)
    for number in range(1, count + 1):
        await journal.wait(journal.append((b"%08d" % number * length)[:length]))
    if close:
        await journal.close()
    disk.kill()
    return disk


async def chunks(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


def refused(disk: SimulatedDisk, kind: type[Exception], match: str) -> None:
    """Opening ``disk`` raises, and changes nothing."""
    before = disk.image()

    async def main() -> None:
        with pytest.raises(kind, match=match):
            await opened(disk)

    run(main())
    assert disk.image() == before


def test_one_flipped_bit_in_a_synced_place_is_refused_wherever_it_is() -> None:
    disk = run(written(close=True))
    size = len(disk.contents(FIRST))
    for bit in range(0, size * 8, 7):
        copy = disk.copy()
        copy.flip(FIRST, bit)
        refused(copy, CorruptData, FIRST)


def test_a_damaged_header_is_named_and_not_called_a_missing_segment() -> None:
    disk = run(written(20, length=600))
    assert len(disk.names()) > 2
    for bit in range(0, SEGMENT_HEADER_BYTES * 8, 37):
        copy = disk.copy()
        copy.flip(FIRST, bit)
        refused(copy, CorruptData, f"{FIRST} does not begin with a whole segment header")


@pytest.mark.parametrize("byte", [0, 4, 8, 16, 24, 28, 34])
def test_a_flipped_bit_in_the_last_group_that_nothing_proves_is_not_called_torn(byte: int) -> None:
    disk = run(written())
    assert not any(disk.contents(FIRST)[-512:]), "no zeros were preallocated"
    disk.flip(FIRST, 8 * (SEGMENT_HEADER_BYTES + 2 * 48 + byte))
    refused(disk, UnexplainedDamage, "--cut")

    async def main() -> int:
        journal = await Journal.open(disk, room="room", random=Random(0), cut_unexplained=True)
        await journal.close()
        return journal.recovered.last_lsn

    assert run(main()) == 2


def test_a_missing_segment_is_corruption_and_names_what_is_missing() -> None:
    disk = run(written(20, length=600))
    names = disk.names()
    assert len(names) > 2
    run(disk.remove(names[0]))
    refused(disk, CorruptData, "records 1 to")
    disk = run(written(20, length=600))
    run(disk.remove(names[1]))
    refused(disk, CorruptData, "goes on at a later LSN")


def test_a_snapshot_without_its_log_is_corruption() -> None:
    async def main() -> SimulatedDisk:
        disk = await written(2)
        journal = await opened(disk)
        await journal.snapshot(2, chunks(b"state"))
        disk.kill()
        for name in disk.names():
            if name != "snapshot":
                await disk.remove(name)
        return disk

    refused(run(main()), CorruptData, "no log")


@pytest.mark.parametrize("at", [0, 9, 50, 60, 66, 75])
def test_a_damaged_snapshot_is_refused(at: int) -> None:
    async def main() -> SimulatedDisk:
        disk = await written(2)
        journal = await opened(disk)
        await journal.snapshot(2, chunks(b"state"))
        disk.kill()
        disk.flip("snapshot", 8 * at)
        return disk

    refused(run(main()), CorruptData, "snapshot")


def test_a_newer_format_is_named_and_not_called_damaged() -> None:
    disk = run(written())
    header = bytearray(disk.contents(FIRST)[:SEGMENT_HEADER_BYTES])
    header[8] = 9
    header[-4:] = crc32(header[:-4]).to_bytes(4, "little")
    disk.write(FIRST, bytes(header))
    refused(disk, UnsupportedFormat, "format 9")


def test_the_file_of_another_journal_and_another_room_are_foreign() -> None:
    disk = run(written())

    async def another(room: str) -> bytes:
        other = SimulatedDisk()
        await Journal.open(other, room=room, random=Random(99))
        return other.contents(FIRST)

    for room in ("room", "other"):
        copy = disk.copy()
        data = bytearray(run(another(room)))
        data[32 + 8 : 32 + 16] = (7).to_bytes(8, "little")  # its number: 7
        data[SEGMENT_HEADER_BYTES - 4 :] = crc32(data[: SEGMENT_HEADER_BYTES - 4]).to_bytes(
            4, "little"
        )
        copy.write("000000000007.wal", bytes(data))
        refused(copy, ForeignFile, "belongs to")


def test_a_read_error_is_no_torn_tail() -> None:
    disk = run(written())
    disk.fail("read", error=errno.EIO, times=100)
    refused(disk, DiskUnavailable, "reading 0.*look after the device")


def test_a_file_that_may_not_be_read_is_no_full_disk() -> None:
    disk = run(written())
    disk.fail("open", error=errno.EACCES)
    refused(disk, DiskUnavailable, "EACCES.*give this user the right to it")


def test_a_full_disk_refuses_one_group_and_the_log_goes_on_when_there_is_room() -> None:
    async def main() -> None:
        lost: list[int] = []
        disk = SimulatedDisk()
        journal = await Journal.open(
            disk, room="room", random=Random(0), on_lost=lambda lsn, error: lost.append(lsn)
        )
        await journal.wait(journal.append(b"kept"))
        disk.capacity_bytes = 300
        waiting = [journal.wait(journal.append(bytes(200))) for _ in range(3)]
        for future in waiting:
            with pytest.raises(DiskUnavailable, match="make room"):
                await future
        assert lost == [2]
        assert (journal.end, journal.durable) == (1, 1)
        disk.capacity_bytes = None
        assert journal.append(b"two") == 2
        await journal.close()
        journal = await opened(disk)
        records: list[bytes] = []
        await journal.replay(on_record=lambda lsn, record: records.append(record))
        assert records == [b"kept", b"two"]
        assert journal.recovered.cut is None
        await journal.close()

    run(main())


@pytest.mark.parametrize("durability", ["sync", "interval", "os", "none"])
def test_after_a_failed_sync_writes_are_refused_and_reads_go_on(durability: str) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk, durability=durability)
        journal.append(b"durable")
        await journal.sync()
        disk.fail("sync")
        journal.append(b"perhaps")
        with pytest.raises(DiskFailed):
            await journal.sync()
        with pytest.raises(DiskUnavailable, match="no writes"):
            journal.append(b"more")
        follower = journal.follow(1)
        assert await anext(follower) == (1, b"durable")
        await follower.aclose()
        with pytest.raises(DiskFailed):
            await journal.close()
        journal = await opened(disk)
        assert journal.recovered.last_lsn == 2
        await journal.close()

    run(main())


def test_a_snapshot_that_fails_leaves_the_old_one_and_the_whole_log() -> None:
    async def main() -> None:
        disk = await written(5)
        journal = await opened(disk)
        await journal.snapshot(2, chunks(b"two"))
        disk.fail("append", name="snapshot.tmp", error=errno.EIO, nth=2)
        with pytest.raises(DiskUnavailable, match="snapshot"):
            await journal.snapshot(5, chunks(b"five"))
        assert "snapshot.tmp" not in disk.names()
        assert journal.snapshot_lsn == 2
        await journal.wait(journal.append(b"6"))
        await journal.snapshot(6, chunks(b"six"))
        await journal.close()

    run(main())


def test_a_rotation_without_room_lets_the_segment_grow() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk, segment_bytes=4096)
        disk.fail("open", times=3, error=errno.ENOSPC, nth=1)
        for _ in range(12):
            await journal.wait(journal.append(bytes(600)))
        assert len(disk.names()) > 1
        await journal.close()
        assert (await opened(disk)).recovered.last_lsn == 12

    run(main())


def test_mode_interval_syncs_after_its_interval_and_not_before() -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk(), durability="interval", interval_s=0.5)
        lsn = journal.append(b"record")
        await journal.wait(lsn)
        await asyncio.sleep(0.4)
        assert journal.synced == 0
        await asyncio.sleep(0.2)
        assert journal.synced == lsn
        await journal.close()

    run(main())


def test_in_mode_none_append_itself_moves_durable() -> None:
    async def main() -> None:
        heard: list[int] = []
        journal = await Journal.open(
            SimulatedDisk(),
            room="room",
            config=JournalConfig(durability="none"),
            random=Random(0),
            on_durable=heard.append,
        )
        assert journal.append(b"record") == journal.durable == 1
        await journal.wait(1)
        assert heard == [1]
        await journal.close()

    run(main())


def test_limits_are_named() -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk(), record_bytes_max=100, backlog_bytes_max=250)
        with pytest.raises(LimitExceeded, match="101 bytes; the limit is 100"):
            journal.append(bytes(101))
        journal.append(bytes(100))
        journal.append(bytes(100))
        with pytest.raises(Overloaded, match="250"):
            journal.append(bytes(100))
        await journal.sync()
        assert journal.append(bytes(100)) == 3
        await journal.close()

    run(main())


@pytest.mark.parametrize(
    ("name", "value"),
    [("durability", "maybe"), ("interval_s", 0.0), ("segment_bytes", 1), ("record_bytes_max", 0)],
)
def test_a_bad_setting_is_named(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument, match=name):
        JournalConfig(**{name: value})  # type: ignore[arg-type]


def test_misuse_is_named() -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        with pytest.raises(InvalidArgument, match="lsn is 1"):
            journal.wait(1)
        with pytest.raises(InvalidArgument, match="snapshot can be taken of 0 to 0"):
            await journal.snapshot(1, chunks())
        with pytest.raises(FollowerAhead, match="ends at 0"):
            journal.follow(2)
        await journal.replay(on_record=lambda lsn, record: None)
        with pytest.raises(InvalidState, match="replayed before"):
            await journal.replay(on_record=lambda lsn, record: None)
        await journal.close()
        with pytest.raises(InvalidArgument, match="room"):
            await opened(SimulatedDisk(), room="a name that is far too long")

    run(main())


def test_a_replay_gives_the_loop_a_turn_now_and_then() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk, durability="os")
        for number in range(10_000):
            journal.append(b"%d" % number)
        await journal.close()
        journal = await opened(disk)
        seen: list[tuple[int, int]] = []
        await journal.replay(
            on_record=lambda lsn, record: None,
            progress=lambda done, total: seen.append((done, total)),
        )
        assert len(seen) >= 4
        assert seen[-1] == (10_000, 10_000)
        await journal.close()

    run(main())


@pytest.mark.parametrize("power", [False, True], ids=["kill", "power cut"])
def test_the_writer_of_a_dead_process_leaves_no_exception_that_nobody_heard(power: bool) -> None:
    heard: list[dict[str, object]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, told: heard.append(told))
        for seed in range(30):
            disk = SimulatedDisk()
            journal = await opened(disk, durability=["sync", "os"][seed % 2])
            for _ in range(3):
                journal.append(bytes(100))
            await asyncio.sleep(seed * 10e-6)
            disk.power_cut(Random(seed), reboot=False) if power else disk.kill(reboot=False)
            with pytest.raises(DiskFailed):
                await journal.wait(journal.append(b"of the dead"))
            del journal
        gc.collect()

    run(main())
    gc.collect()
    assert heard == []
