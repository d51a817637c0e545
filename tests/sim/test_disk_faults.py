"""Disks that are slow, full or dishonest for a while, and what lives have to do with them."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest

from sdkit.sim.disk import SimulatedDisk, Step
from sdkit.sim.loop import run


def now() -> float:
    return asyncio.get_running_loop().time()


class Chosen(Random):
    """Lets a power cut keep the synced state, and nothing else."""

    def randrange(self, *_: object) -> int:
        return 0


def test_a_slow_disk_takes_its_time_and_can_be_made_fast_again() -> None:
    async def main() -> list[float]:
        disk = SimulatedDisk(delay_s=0.001, sync_s=0.01)
        below = disk.directory("store")
        times = []
        for slowness in (1.0, 20.0, 1.0):
            below.slowness = slowness
            assert disk.slowness == slowness
            began = now()
            await disk.list()
            times.append(round(now() - began, 6))
        return times

    assert run(main()) == [0.001, 0.02, 0.001]


def test_a_slow_disk_changes_no_step_that_is_under_way() -> None:
    async def main() -> float:
        disk = SimulatedDisk(delay_s=1.0)
        step = asyncio.create_task(disk.list())
        await asyncio.sleep(0.5)
        disk.slowness = 100.0
        await step
        return now()

    assert run(main()) == 1.0


def test_each_step_of_a_seeded_disk_takes_its_own_time() -> None:
    async def main() -> list[float]:
        disk = SimulatedDisk(delay_s=1.0, random=Random(3))
        times = []
        for _ in range(50):
            began = now()
            await disk.list()
            times.append(now() - began)
        return times

    times = run(main())
    assert times == run(main())
    assert len(set(times)) == 50
    assert 0.5 <= min(times) < 0.7
    assert 1.3 < max(times) <= 1.5


def test_a_lying_disk_says_synced_and_loses_it() -> None:
    async def main() -> dict[str, bytes]:
        disk = SimulatedDisk()
        assert not disk.lies
        file = await disk.open("log", create=True)
        await disk.sync_directory()
        file.append(b"honest")
        await file.sync()
        disk.lies = True
        file.append(b", lied")
        await file.sync()
        await (await disk.open("other", create=True)).sync()
        await disk.sync_directory()
        disk.power_cut(Chosen(0))
        return disk.image()

    assert run(main()) == {"log": b"honest"}


def test_the_next_honest_sync_covers_what_a_lie_left_out() -> None:
    async def main() -> dict[str, bytes]:
        disk = SimulatedDisk()
        file = await disk.open("log", create=True)
        disk.lies = True
        file.append(b"one")
        await file.sync()
        disk.lies = False
        file.append(b"two")
        await file.sync()
        await disk.sync_directory()
        disk.power_cut(Chosen(0))
        return disk.image()

    assert run(main()) == {"log": b"onetwo"}


def test_a_disk_that_is_full_for_a_while_takes_nothing_more_until_then() -> None:
    async def main() -> bytes:
        disk = SimulatedDisk()
        file = await disk.directory("store").open("log", create=True)
        file.append(b"before")
        assert disk.used_bytes == 6
        disk.capacity_bytes = disk.used_bytes
        with pytest.raises(OSError) as full:
            file.append(b"never")
        assert full.value.errno == errno.ENOSPC
        disk.capacity_bytes = None
        file.append(b", after")
        return await file.read_at(0, 100)

    assert run(main()) == b"before, after"


def test_an_observer_sees_every_step_also_those_that_fail() -> None:
    seen: list[tuple[int, str, str]] = []

    def look(step: Step) -> None:
        seen.append((step.number, step.operation, step.path))

    async def main() -> None:
        disk = SimulatedDisk()
        disk.observer = look
        file = await disk.directory("store").open("log", create=True)
        disk.fail("append")
        with pytest.raises(OSError):
            file.append(b"x")
        await file.sync()

    run(main())
    assert seen == [(1, "open", "store/log"), (2, "append", "store/log"), (3, "sync", "store/log")]
