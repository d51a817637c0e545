"""A process without file handles left loses nothing, and goes on by itself when there are some."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest

from sdkit.errors import DiskFailed, DiskUnavailable
from sdkit.sim.disk import Operation, SimulatedDisk, Step
from sdkit.sim.loop import run
from sdkit.storage import Disk, Journal, JournalConfig, LocalDisk


@contextlib.contextmanager
def no_handles_left() -> Iterator[None]:
    """As a server meets it when too many connections are open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    taken: list[int] = []
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def opened(disk: Disk) -> Journal:
    config = JournalConfig(segment_bytes=4096)
    return await Journal.open(disk, room="room", config=config, random=Random(0))


async def state() -> AsyncIterator[bytes]:
    yield b"state"


def segments(path: Path) -> list[str]:
    return sorted(it.name for it in path.iterdir() if it.suffix == ".wal")


def test_without_handles_the_segment_grows_on_and_rotates_later(tmp_path: Path) -> None:
    async def main() -> None:
        journal = await opened(LocalDisk(tmp_path))
        await journal.wait(journal.append(bytes(600)))
        with no_handles_left():
            for _ in range(20):
                await journal.wait(journal.append(bytes(600)))
            with pytest.raises(DiskUnavailable, match="snapshot"):
                await journal.snapshot(journal.end, state())
        assert segments(tmp_path) == ["000000000001.wal"]
        for _ in range(2):  # the first may still belong to a round that began without handles
            await journal.wait(journal.append(bytes(600)))
        assert len(segments(tmp_path)) == 2
        await journal.snapshot(journal.end, state())
        await journal.close()
        journal = await opened(LocalDisk(tmp_path))
        assert journal.recovered.last_lsn == 23
        await journal.close()

    asyncio.run(main())


def test_what_is_open_can_be_named_and_synced_without_handles(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LocalDisk(tmp_path)
        file = await disk.open("f.tmp", create=True)
        with no_handles_left():
            file.append(b"content")
            await file.sync()
            await disk.replace("f.tmp", "f")
            await disk.sync_directory()
            with pytest.raises(OSError, match="Too many open files") as caught:
                await disk.open("g", create=True)
            assert caught.value.errno == errno.EMFILE
        file.append(b" and more")
        await file.close()
        assert (tmp_path / "f").read_bytes() == b"content and more"

    asyncio.run(main())


def test_a_directory_that_could_not_be_opened_is_not_poisoned(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LocalDisk(tmp_path)
        (tmp_path / "f.tmp").write_bytes(b"")
        with no_handles_left():
            for attempt in (disk.sync_directory(), disk.replace("f.tmp", "f"), opened(disk)):
                with pytest.raises(OSError, match="Too many open files"):
                    await attempt
            assert (tmp_path / "f.tmp").exists()
        await disk.replace("f.tmp", "f")

    asyncio.run(main())


def test_handles_and_thread_are_given_back_when_the_last_file_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        before = len(os.listdir("/proc/self/fd"))
        journal = await opened(LocalDisk(tmp_path))
        for _ in range(20):
            await journal.wait(journal.append(bytes(600)))
        await journal.snapshot(journal.end, state())
        await journal.close()
        assert len(os.listdir("/proc/self/fd")) == before

    if not Path("/proc/self/fd").exists():
        pytest.skip("this system does not list the handles of a process")
    asyncio.run(main())


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("operation", ["open", "rename", "list"])
def test_a_lack_of_handles_is_no_failed_sync(operation: Operation, code: int) -> None:
    async def main() -> None:
        disk = SimulatedDisk(poison=True)
        journal = await opened(disk)
        lacking = True

        def refuse(step: Step) -> None:
            if lacking and step.operation == operation:
                raise OSError(code, os.strerror(code), step.path)

        disk.on_step = refuse
        for _ in range(20):
            await journal.wait(journal.append(bytes(600)))
        with pytest.raises(DiskUnavailable, match="snapshot"):
            await journal.snapshot(journal.end, state())
        lacking = False
        for _ in range(40):
            await journal.wait(journal.append(bytes(600)))
        assert not any(name.endswith(".tmp") for name in disk.names())
        disk.power_cut(Random(1))
        assert (await opened(disk)).recovered.last_lsn == 60

    run(main())


def test_a_recovery_without_handles_can_be_tried_again() -> None:
    async def main() -> None:
        disk = SimulatedDisk(poison=True)
        journal = await opened(disk)
        await journal.wait(journal.append(b"record"))
        disk.kill()
        operations: tuple[Operation, ...] = ("list", "open", "read", "sync_directory", "rename")
        for operation in operations:
            disk.fail(operation, error=errno.EMFILE)
            with pytest.raises(DiskUnavailable):
                await opened(disk)
        assert (await opened(disk)).recovered.last_lsn == 1

    run(main())


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made again"])
def test_a_directory_that_was_removed_is_a_failure_and_no_wait(tmp_path: Path, again: bool) -> None:
    async def main() -> None:
        path = tmp_path / "data"
        journal = await opened(LocalDisk(path))
        await journal.wait(journal.append(b"there"))
        shutil.rmtree(path)
        if again:
            path.mkdir()
        lsn = journal.append(b"not there")
        async with asyncio.timeout(10):
            with pytest.raises(DiskFailed, match="removed while it was open"):
                await journal.wait(lsn)
            with pytest.raises(OSError):
                await journal.snapshot(1, state())
            with pytest.raises(DiskFailed):
                await journal.close()
        assert not path.exists() or not list(path.iterdir())

    asyncio.run(main())


def test_a_rotation_in_a_removed_directory_fails(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "data"
        config = JournalConfig(segment_bytes=4096, durability="os")
        journal = await Journal.open(LocalDisk(path), room="r", config=config, random=Random(0))
        shutil.rmtree(path)
        for _ in range(12):
            journal.append(bytes(600))
        async with asyncio.timeout(10):
            with pytest.raises(DiskFailed):
                await journal.sync()
            with pytest.raises(DiskFailed):
                await journal.close()

    asyncio.run(main())
