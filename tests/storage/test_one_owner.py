"""A journal has one owner: two would each write segments that replace the other's records."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from sdkit.errors import DirectoryInUse, DirectoryUnusable
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import ForeignFile, Journal, LocalHost
from sdkit.storage.disk import Disk
from sdkit.storage.local_disk import LocalDisk
from sdkit.store import StoreEngine


async def check_there_is_one_owner(disk: Disk, again: Disk) -> None:
    first = await Journal.open(disk, room="room", random=Random(1))
    first.append(b"kept")
    with pytest.raises(DirectoryInUse):
        await Journal.open(again, room="room", random=Random(2))
    await first.close()
    second = await Journal.open(again, room="room", random=Random(2))
    found: list[bytes] = []
    await second.replay(on_record=lambda _, record: found.append(record))
    await second.close()
    assert found == [b"kept"]


def test_a_second_journal_on_a_real_directory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "new"
    asyncio.run(check_there_is_one_owner(LocalDisk(path), LocalDisk(path)))


def test_a_second_journal_on_a_simulated_directory_is_refused() -> None:
    disk = SimulatedDisk()
    run(check_there_is_one_owner(disk, disk))


def test_a_second_store_on_one_host_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async def main() -> None:
        with LocalHost("db", tmp_path) as host:
            async with StoreEngine(host) as store:
                with pytest.raises(DirectoryInUse):
                    await StoreEngine(host).__aenter__()
                async with store.begin() as transaction:
                    await transaction.put(b"a", b"1")
            async with StoreEngine(host) as store, store.begin() as transaction:
                assert await transaction.get(b"a") == b"1"

    asyncio.run(main())


def test_a_kill_ends_the_ownership_and_a_late_release_takes_it_from_nobody() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        dead = await disk.claim("journal")
        disk.kill()
        await disk.claim("journal")
        dead.release()
        with pytest.raises(DirectoryInUse):
            await disk.claim("journal")

    run(main())


def test_an_open_that_fails_leaves_no_owner(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LocalDisk(tmp_path)
        first = await Journal.open(disk, room="room", random=Random(1))
        await first.close()
        for _ in range(2):
            with pytest.raises(ForeignFile):
                await Journal.open(disk, room="another", random=Random(2))
        again = await Journal.open(disk, room="room", random=Random(1))
        await again.close()

    asyncio.run(main())


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "store").touch()  # a file, where the store's directory belongs
        refused = pytest.raises(DirectoryUnusable, match="/store as a data directory")
        with LocalHost("db", tmp_path) as host, refused:
            await StoreEngine(host).__aenter__()

    asyncio.run(main())
