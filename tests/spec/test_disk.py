"""Both disks keep their promises; each promise is broken by some disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from random import Random

import pytest

from sdkit.sim.disk import SimulatedDisk
from sdkit.spec.disk import disk
from sdkit.storage import local_disk
from sdkit.storage.local_disk import LocalDisk
from tests.spec.bite import assert_caught
from tests.spec.mutants import disk as mutants


def power_cut(subject: SimulatedDisk) -> None:
    subject.power_cut(Random(subject.steps))


def fail_sync(subject: SimulatedDisk) -> None:
    subject.fail("sync")


def careful_disk() -> SimulatedDisk:
    """By default the simulated one leaves out the last promise, as a bare kernel does."""
    return SimulatedDisk(poison=True)


TestSimulatedDisk = disk(careful_disk, power_cut=power_cut, fail_sync=fail_sync)


class DiskInATemporaryDirectory(LocalDisk):
    """A directory that goes away with the test's process, below one that pytest made."""

    def __init__(self) -> None:
        super().__init__(Path(tempfile.mkdtemp(dir=_base)) / "data")


_base: str | None = None


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path) -> None:
    global _base  # noqa: PLW0603
    _base = str(tmp_path)


def fail_real_sync(subject: LocalDisk) -> None:
    """The next ``fsync`` of this process fails as one of a broken device does."""

    def failing(descriptor: int) -> None:
        local_disk._sync = working
        raise OSError(5, "input/output error")

    working, local_disk._sync = local_disk._sync, failing


TestLocalDisk = disk(DiskInATemporaryDirectory, loop="real", fail_sync=fail_real_sync)


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.IgnoresTruncate, "test_a_file_is_what_was_appended_less_what_was_truncated"),
        (mutants.IgnoresTheOffset, "test_a_file_is_what_was_appended_less_what_was_truncated"),
        (mutants.ShowsWhatIsPreallocated, "test_what_is_preallocated_is_not_there"),
        (
            mutants.CreatesOverWhatIsThere,
            "test_a_new_file_must_be_new_and_an_old_one_must_be_there",
        ),
        (mutants.LeavesTheSource, "test_replacing_leaves_the_whole_new_file_and_one_name"),
        (mutants.ListsInNoOrder, "test_names_are_listed_in_order_until_they_are_removed"),
        (mutants.SharesItsDirectories, "test_directories_do_not_share_names"),
        (mutants.TakesAnyName, "test_a_name_is_one_part"),
        (mutants.TakesWhatMayChangeLater, "test_what_is_not_bytes_is_not_written"),
        (mutants.ReadsBeforeTheBeginning, "test_what_is_no_place_in_a_file_is_refused"),
        (mutants.TruncatesToMore, "test_what_is_no_place_in_a_file_is_refused"),
        (mutants.OwnsTwice, "test_one_owner_at_a_time_until_it_gives_up"),
        (mutants.StaysOpen, "test_a_closed_file_refuses_and_closing_twice_is_closing"),
        (mutants.ForgetsToSync, "test_what_was_synced_survives_a_power_cut"),
        (mutants.LosesTheNewName, "test_what_was_synced_survives_a_power_cut"),
        (mutants.ForgivesAFailedSync, "test_after_a_failed_sync_the_file_takes_nothing_more"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_the_specification_catches(mutant: type[SimulatedDisk], caught_by: str) -> None:
    spec = disk(mutant, power_cut=power_cut, fail_sync=fail_sync)
    assert_caught(spec, by=caught_by)


def test_no_thread_is_left_when_the_last_file_is_closed(tmp_path: Path) -> None:
    import asyncio
    import threading

    async def main() -> None:
        file = await LocalDisk(tmp_path).open("f", create=True)
        assert "disk" in [thread.name for thread in threading.enumerate()]
        await file.close()

    asyncio.run(main())
    for thread in threading.enumerate():
        if thread.name == "disk":
            thread.join(5)
    assert "disk" not in [thread.name for thread in threading.enumerate()]
    assert os.listdir(tmp_path) == ["f"]
