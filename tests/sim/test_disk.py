"""The simulated disk keeps what it must, and loses, somewhere, everything it may."""

from __future__ import annotations

import asyncio
import errno
import itertools
from collections.abc import Callable
from random import Random

import pytest

from sdkit.errors import DiskFailed
from sdkit.sim.disk import ShortWrite, SimulatedDisk, StaleHandle, Step
from sdkit.sim.loop import run
from sdkit.storage.disk import Disk

A, B, C = (bytes([letter]) * 512 for letter in b"ABC")


def after_power_cut(disk: SimulatedDisk, tries: int = 300) -> set[tuple[tuple[str, bytes], ...]]:
    """Every image that some seed leaves behind."""
    images = set()
    for seed in range(tries):
        future = disk.copy()
        future.power_cut(Random(seed))
        images.add(tuple(future.image().items()))
    return images


def contents_after_power_cut(disk: SimulatedDisk, name: str) -> set[bytes]:
    return {dict(image)[name] for image in after_power_cut(disk)}


def with_file(*, synced: bytes = b"", poison: bool = False) -> SimulatedDisk:
    disk = SimulatedDisk(poison=poison)
    disk.write("log", synced)
    return disk


def test_it_is_a_disk() -> None:
    disk: Disk = SimulatedDisk()
    assert disk.directory("store") is not None


def test_what_is_appended_can_be_read_at_any_offset() -> None:
    async def main() -> None:
        file = await SimulatedDisk().open("log", create=True)
        file.append(b"hello ")
        file.append(b"world")
        assert (file.name, file.size) == ("log", 11)
        assert await file.read_at(0, 100) == b"hello world"
        assert await file.read_at(6, 3) == b"wor"
        assert await file.read_at(11, 1) == b""
        await file.close()

    run(main())


def test_a_power_cut_keeps_any_subset_of_the_sectors_and_sizes_not_synced() -> None:
    async def main() -> set[bytes]:
        disk = with_file(synced=A)
        file = await disk.open("log")
        file.append(B + C)
        return contents_after_power_cut(disk, "log")

    zero = bytes(512)
    assert run(main()) == {
        A,
        *(A + second + third for second in (B, zero) for third in (C, zero)),
    }


def test_a_sector_written_twice_may_survive_in_its_middle_version() -> None:
    async def main() -> set[bytes]:
        disk = with_file(synced=b"a")
        file = await disk.open("log")
        file.append(b"b")
        file.append(b"c")
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {b"a", b"ab", b"a\0", b"abc", b"ab\0", b"a\0\0"}


def test_what_was_synced_survives_every_power_cut() -> None:
    async def main() -> set[bytes]:
        disk = with_file()
        file = await disk.open("log")
        file.append(A + B)
        await file.sync()
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {A + B}


def test_what_is_appended_while_a_sync_runs_is_not_covered_by_it() -> None:
    async def main() -> set[bytes]:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        syncing = asyncio.create_task(file.sync())
        await asyncio.sleep(0)
        file.append(B)
        await syncing
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {A, A + B, A + bytes(512)}


def test_after_a_failed_sync_the_next_one_says_yes_and_brings_nothing() -> None:
    async def main() -> set[bytes]:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        disk.fail("sync")
        with pytest.raises(OSError) as failure:
            await file.sync()
        assert failure.value.errno == errno.EIO
        await file.sync()
        assert await file.read_at(0, 512) == A
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {b"", A, bytes(512)}


def test_a_failed_sync_poisons_its_handle_but_not_reading() -> None:
    async def main() -> None:
        disk = with_file(synced=A, poison=True)
        file = await disk.open("log")
        disk.fail("sync")
        with pytest.raises(OSError):
            await file.sync()
        for write in (file.sync(), file.truncate(0)):
            with pytest.raises(DiskFailed, match="a sync of log failed before"):
                await write
        with pytest.raises(DiskFailed):
            file.append(B)
        assert await file.read_at(0, 512) == A
        disk.kill()
        (await disk.open("log")).append(B)

    run(main())


def test_a_sync_under_way_when_another_fails_says_yes_and_brings_nothing() -> None:
    async def main() -> set[bytes]:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        disk.fail("sync", nth=1)
        failing = asyncio.create_task(file.sync())
        await asyncio.sleep(0)
        succeeding = asyncio.create_task(file.sync())
        failed, succeeded = await asyncio.gather(failing, succeeding, return_exceptions=True)
        assert isinstance(failed, OSError)
        assert succeeded is None
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {b"", A, bytes(512)}


def test_a_sector_rewritten_after_a_failed_sync_is_brought_by_the_next() -> None:
    async def main() -> set[bytes]:
        disk = with_file()
        file = await disk.open("log")
        file.append(b"a")
        disk.fail("sync")
        with pytest.raises(OSError):
            await file.sync()
        file.append(b"b")
        await file.sync()
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {b"ab"}


def test_what_was_truncated_and_synced_never_comes_back_even_if_the_file_grows_again() -> None:
    async def main() -> set[bytes]:
        disk = with_file(synced=A + B)
        file = await disk.open("log")
        await file.truncate(100)
        await file.sync()
        assert contents_after_power_cut(disk, "log") == {A[:100]}
        file.append(C)
        return contents_after_power_cut(disk, "log")

    assert not any(b"A" in image[100:] or b"B" in image for image in run(main()))


def test_what_was_truncated_and_not_synced_may_come_back() -> None:
    async def main() -> set[bytes]:
        disk = with_file(synced=A)
        file = await disk.open("log")
        await file.truncate(10)
        return contents_after_power_cut(disk, "log")

    assert run(main()) == {A, A[:10], A[:10].ljust(512, b"\0")}


def test_bytes_beyond_the_size_that_survived_are_not_seen_when_the_file_grows() -> None:
    async def main(seed: int) -> None:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        disk.power_cut(Random(seed))
        file = await disk.open("log")
        if file.size == 0:
            file.append(b"x" * 100)
            assert all(b"A" not in it for it in contents_after_power_cut(disk, "log"))

    for seed in range(20):
        run(main(seed))


def test_a_new_name_is_not_durable_before_its_directory_is_synced() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        file = await disk.open("log", create=True)
        file.append(A)
        await file.sync()
        assert after_power_cut(disk) == {(), (("log", A),)}
        await disk.sync_directory()
        assert after_power_cut(disk) == {(("log", A),)}

    run(main())


def test_a_rename_is_kept_or_not_but_its_target_is_always_there() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        disk.write("config", b"old")
        disk.write("config.tmp", b"new")

        def before_the_directory_is_synced(step: Step) -> None:
            if step.operation == "sync_directory":
                images.update(after_power_cut(disk))

        images: set[tuple[tuple[str, bytes], ...]] = set()
        disk.on_step = before_the_directory_is_synced
        await disk.replace("config.tmp", "config")
        old, new = (("config", b"old"), ("config.tmp", b"new")), (("config", b"new"),)
        assert images == {old, new}
        assert after_power_cut(disk) == {new}

    run(main())


def test_unlinks_survive_in_any_subset() -> None:
    async def main() -> set[str]:
        disk = SimulatedDisk()
        for name in "123":
            disk.write(name, b"")
        for name in "123":
            await disk.remove(name)
        assert await disk.list() == []
        return {"".join(dict(image)) for image in after_power_cut(disk)}

    assert run(main()) == {"", "1", "2", "3", "12", "13", "23", "123"}


def test_a_failed_directory_sync_leaves_names_that_look_durable_and_are_not() -> None:
    async def main() -> None:
        disk = SimulatedDisk(poison=True)
        await (await disk.open("log", create=True)).close()
        disk.fail("sync_directory")
        with pytest.raises(OSError):
            await disk.sync_directory()
        with pytest.raises(DiskFailed):
            await disk.sync_directory()
        disk.kill()
        await disk.sync_directory()
        assert () in after_power_cut(disk)

    run(main())


def test_a_kill_keeps_the_page_cache_and_makes_old_handles_dead() -> None:
    async def main() -> None:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        disk.kill()
        with pytest.raises(StaleHandle):
            file.append(B)
        with pytest.raises(StaleHandle):
            await file.sync()
        with pytest.raises(StaleHandle):
            await file.read_at(0, 1)
        await file.close()
        assert await (await disk.open("log")).read_at(0, 1000) == A

    run(main())


def test_a_call_under_way_when_the_crash_comes_has_no_effect_and_never_returns() -> None:
    async def main() -> None:
        disk = with_file()
        file = await disk.open("log")
        file.append(A)
        syncing = asyncio.create_task(file.sync())
        removing = asyncio.create_task(disk.remove("log"))
        await asyncio.sleep(0)
        disk.kill()
        outcomes = await asyncio.gather(syncing, removing, return_exceptions=True)
        assert [type(it) for it in outcomes] == [StaleHandle, StaleHandle]
        assert disk.names() == ["log"]
        assert b"" in contents_after_power_cut(disk, "log")

    run(main())


def test_a_machine_left_off_refuses_everything_until_it_boots() -> None:
    async def main() -> None:
        disk = with_file(synced=A)
        disk.power_cut(Random(0), reboot=False)
        with pytest.raises(StaleHandle):
            await disk.open("log")
        with pytest.raises(StaleHandle):
            await disk.directory("store").list()
        disk.boot()
        assert await disk.list() == ["log"]

    run(main())


def test_a_full_disk_takes_what_fits_and_says_so() -> None:
    async def main() -> None:
        disk = SimulatedDisk(capacity_bytes=1000)
        disk.directory("other").write("ballast", bytes(300))
        file = await disk.open("log", create=True)
        file.append(bytes(600))
        with pytest.raises(OSError) as failure:
            file.append(bytes(200))
        assert failure.value.errno == errno.ENOSPC
        assert file.size == 700
        await file.truncate(600)
        file.append(bytes(100))
        disk.capacity_bytes = None
        file.append(bytes(5000))

    run(main())


def test_the_nth_append_fails_short_and_those_around_it_do_not() -> None:
    async def main() -> bytes:
        disk = with_file()
        disk.write("other", b"")
        file, other = await disk.open("log"), await disk.open("other")
        disk.fail("append", nth=2, name="log", kept=3)
        file.append(b"first")
        other.append(b"x")
        with pytest.raises(ShortWrite) as failure:
            file.append(b"second")
        assert failure.value.errno == errno.EIO
        file.append(b"third")
        return disk.contents("log")

    assert run(main()) == b"firstsecthird"


def test_reads_fail_for_as_long_as_they_were_planned_to() -> None:
    async def main() -> None:
        file_count, disk = 3, with_file(synced=A)
        disk.fail("read", times=file_count)
        file = await disk.open("log")
        for _ in range(file_count):
            with pytest.raises(OSError) as failure:
                await file.read_at(0, 1)
            assert failure.value.errno == errno.EIO
        assert await file.read_at(0, 1) == b"A"

    run(main())


def test_a_flipped_bit_is_one_bit_and_outlives_every_crash() -> None:
    async def main() -> None:
        disk = with_file(synced=A + B)
        disk.flip("log", 8 * 600 + 2)
        rotten = A + B[:88] + bytes([ord("B") ^ 4]) + B[89:]
        assert disk.contents("log") == rotten
        assert contents_after_power_cut(disk, "log") == {rotten}
        with pytest.raises(ValueError, match="bit is 8192; the file has 8192"):
            disk.flip("log", 8192)

    run(main())


def test_missing_and_existing_files_are_refused_as_an_operating_system_does() -> None:
    async def main() -> None:
        disk = with_file()
        with pytest.raises(FileExistsError):
            await disk.open("log", create=True)
        for call in (disk.open("none"), disk.remove("none"), disk.replace("none", "log")):
            with pytest.raises(FileNotFoundError):
                await call
        for name in ("", ".", "..", "a/b"):
            with pytest.raises(ValueError, match="must be one plain name"):
                await disk.open(name)

    run(main())


def test_an_unlinked_file_can_be_used_through_its_handle() -> None:
    async def main() -> bytes:
        disk = with_file(synced=A)
        file = await disk.open("log")
        await disk.remove("log")
        file.append(B)
        await file.sync()
        return await file.read_at(0, 2000)

    assert run(main()) == A + B


def test_operations_take_virtual_time() -> None:
    async def main() -> float:
        disk = SimulatedDisk(delay_s=1.0, sync_s=10.0)
        file = await disk.open("log", create=True)
        file.append(A)
        await file.sync()
        await disk.sync_directory()
        return asyncio.get_running_loop().time()

    assert run(main()) == 21.0


def test_a_copy_of_a_disk_has_the_same_futures_and_goes_its_own_way() -> None:
    async def main() -> None:
        disk = with_file(synced=A)
        (await disk.open("log")).append(B)
        await disk.replace("log", "new")  # one file, and for a moment two names
        futures = after_power_cut(disk)
        twin = disk.copy()
        assert after_power_cut(twin) == futures
        (await twin.open("new")).append(C)
        await twin.remove("new")
        assert disk.image() == {"new": A + B}
        assert after_power_cut(disk) == futures

    run(main())


async def append_and_sync_twice(disk: SimulatedDisk, told: list[int]) -> None:
    """A tiny durable log: says a number only when it cannot be lost any more."""
    file = await disk.open("log.tmp", create=True)
    await disk.replace("log.tmp", "log")
    for number in (1, 2):
        file.append(bytes([number]) * 512)
        await file.sync()
        told.append(number)


async def append_and_never_sync(disk: SimulatedDisk, told: list[int]) -> None:
    file = await disk.open("log.tmp", create=True)
    await disk.replace("log.tmp", "log")
    for number in (1, 2):
        file.append(bytes([number]) * 512)
        told.append(number)


Scenario = Callable[[SimulatedDisk, list[int]], object]


def lost_somewhere(scenario: Scenario) -> bool:
    """Crash before every step in turn, with several fates each: was anything told ever lost?"""

    async def main(crash_at: int, seed: int) -> bool | None:
        disk, told = SimulatedDisk(), list[int]()

        def crash(step: Step) -> None:
            if step.number == crash_at:
                disk.power_cut(Random(seed), reboot=False)

        disk.on_step = crash
        try:
            await scenario(disk, told)  # type: ignore[misc]
        except StaleHandle:
            disk.boot()
        else:
            if disk.steps < crash_at:
                return None  # the scenario has fewer steps
        stored = disk.image().get("log", b"")
        return any(bytes([number]) * 512 not in stored for number in told)

    for crash_at in itertools.count(1):
        outcomes = [run(main(crash_at, seed)) for seed in range(8)]
        if None in outcomes:
            return False
        if any(outcomes):
            return True
    raise AssertionError


def test_crashing_before_each_step_finds_a_missing_sync_and_passes_a_right_log() -> None:
    assert not lost_somewhere(append_and_sync_twice)
    assert lost_somewhere(append_and_never_sync)


def test_a_power_cut_depends_on_its_seed_alone() -> None:
    def image(seed: int) -> dict[str, bytes]:
        async def main() -> dict[str, bytes]:
            disk = SimulatedDisk()
            for name in ("b", "a", "c"):
                file = await disk.open(name, create=True)
                file.append(A + B + C)
            disk.power_cut(Random(seed))
            return disk.image()

        return run(main())

    assert [image(seed) for seed in range(30)] == [image(seed) for seed in range(30)]
    assert len({tuple(image(seed)) for seed in range(30)}) > 1
