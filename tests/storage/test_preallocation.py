"""What is kept behind the end of a file is seen by nobody, and a crash leaves only zeros of it."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path
from random import Random

import pytest

from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, JournalConfig, LocalDisk

CHUNK = 4096
FIRST = "000000000001.wal"


def test_the_zeros_are_in_the_file_and_not_in_what_is_read(tmp_path: Path) -> None:
    async def main() -> None:
        file = await LocalDisk(tmp_path).open("f", create=True)
        file.append(b"before")
        assert (tmp_path / "f").read_bytes() == b"before"
        file.preallocate(CHUNK)
        file.append(b"1")
        assert (tmp_path / "f").read_bytes() == b"before1".ljust(CHUNK, b"\0")
        assert file.size == 7
        assert await file.read_at(5, 100) == b"e1"
        assert await file.read_at(8, 100) == b""
        file.append(b"x" * CHUNK)
        assert file.size == CHUNK + 7
        assert len((tmp_path / "f").read_bytes()) == 2 * CHUNK
        await file.truncate(6)
        assert (tmp_path / "f").read_bytes() == b"before"
        file.append(b"2")
        await file.close()
        assert (tmp_path / "f").read_bytes() == b"before2"

    asyncio.run(main())


def test_on_a_full_disk_it_goes_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if bytes(data).strip(b"\0"):
            return real(descriptor, data, offset)
        if len(data) < CHUNK // 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data[: CHUNK // 2], offset)

    async def main() -> None:
        file = await LocalDisk(tmp_path).open("f", create=True)
        file.preallocate(CHUNK)
        monkeypatch.setattr(os, "pwrite", full)
        for number in range(3):
            file.append(b"%d" % number)
            await file.sync()
            assert (tmp_path / "f").read_bytes() == b"012"[: number + 1]
        await file.close()

    asyncio.run(main())


@pytest.mark.parametrize("durability", ["sync", "os"])
def test_a_copy_of_a_running_journal_opens_and_nothing_was_cut(
    tmp_path: Path, durability: str
) -> None:
    config = JournalConfig(durability=durability)

    async def main() -> None:
        journal = await Journal.open(
            LocalDisk(tmp_path / "live"), room="room", config=config, random=Random(0)
        )
        for number in range(10):
            await journal.wait(journal.append(b"%d" % number))
        shutil.copytree(tmp_path / "live", tmp_path / "copy")
        tail = (tmp_path / "copy" / FIRST).read_bytes()[-CHUNK:]
        assert (tail == bytes(CHUNK)) is (durability == "sync")
        await journal.close()
        assert (tmp_path / "live" / FIRST).read_bytes()[-CHUNK:] != bytes(CHUNK)
        seen: list[bytes] = []
        again = await Journal.open(LocalDisk(tmp_path / "copy"), room="room", random=Random(0))
        await again.replay(on_record=lambda lsn, record: seen.append(record))
        await again.close()
        assert seen == [b"%d" % number for number in range(10)]
        assert again.recovered.cut is None

    asyncio.run(main())


def test_the_next_life_gives_back_what_the_last_one_had_preallocated() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        for life in range(1, 6):
            journal = await Journal.open(disk, room="room", random=Random(0))
            assert all(content.rstrip(b"\0") == content for content in disk.image().values())
            await journal.wait(journal.append(b"%d" % life))
            disk.kill()
            assert any(content.rstrip(b"\0") != content for content in disk.image().values())
        journal = await Journal.open(disk, room="room", random=Random(0))
        assert journal.recovered.last_lsn == 5
        await journal.close()

    run(main())
