"""Specification: the smallest schedules that break a journal which leaves out one rule.

    TestMine = journal_schedules(MyJournal)

`sdkit.spec.journal_crashes` wanders at random; some rules are needed only at
the crossing of two or three rare events, which chance seldom meets. Here each
of those crossings is a test of its own, short enough to follow by hand, tried
with many outcomes of the power cut. The oracle is the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import struct
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from random import Random

from sdkit.errors import SdkitError
from sdkit.sim.disk import ShortWrite, SimulatedDisk, Step
from sdkit.spec.journal_promises import (
    HOLDER,
    REFUSED,
    Broken,
    Told,
    bury,
    contents_of,
    expect_only_the_dead,
    foreign_records,
)
from sdkit.spec.running import finished, run
from sdkit.storage.journal import Journal, JournalConfig
from sdkit.storage.wal import SEGMENT_HEADER_BYTES, record_size

ONE_SECTOR = 400  # content of a first record that fills the rest of the header's sector
assert SEGMENT_HEADER_BYTES + record_size(ONE_SECTOR) == 512


class Case:
    """One try of a schedule: a disk, a journal, and what was said about it."""

    def __init__(
        self, journal_type: type[Journal], disk: SimulatedDisk, seed: int, durability: str
    ) -> None:
        self.journal_type, self.disk, self.random = journal_type, disk, Random(seed)
        self.told = Told()
        self.config = JournalConfig(durability=durability, segment_bytes=4096)
        self.foreign = b""

    async def open(self) -> Journal:
        """Open and compare with what was promised; refusing is breaking a promise, too."""
        try:
            journal = await self.start()
            contents = await contents_of(journal)
        except SdkitError as error:
            raise Broken(REFUSED, error.message) from error
        self.told.recovered(contents)
        self.told.holds(journal.holders.get(HOLDER), journal.first)
        return journal

    async def start(self) -> Journal:
        return await self.journal_type.open(
            self.disk,
            room="spec",
            config=self.config,
            random=Random(7),
            on_durable=self.on_durable,
            on_lost=self.told.lost,
        )

    def on_durable(self, lsn: int) -> None:
        if self.config.durability == "sync":
            self.told.acknowledged = max(self.told.acknowledged, lsn)

    def append(self, journal: Journal, length: int = 8, filling: bytes = b"z") -> int:
        self.told.serial += 1
        content = (b"%08d" % self.told.serial + filling * length)[: max(8, length)]
        lsn = journal.append(content)
        self.told.log.append(content)
        return lsn

    async def kill(self) -> None:
        self.disk.on_step = None
        self.disk.kill(reboot=False)
        await self._bury()

    async def power_cut(self) -> None:
        self.disk.on_step = None
        self.disk.power_cut(self.random, reboot=False)
        await self._bury()

    async def _bury(self) -> None:
        await bury()
        self.disk.boot()

    async def dies(
        self, work: Awaitable[object], when: Callable[[Step], bool], power: bool
    ) -> None:
        """Do ``work``; at the first step that ``when`` says, the machine or the process is gone."""
        death = asyncio.get_running_loop().create_future()

        def on_step(step: Step) -> None:
            if when(step):
                self.disk.on_step = None
                if power:
                    self.disk.power_cut(self.random, reboot=False)
                else:
                    self.disk.kill(reboot=False)
                death.set_result(None)

        self.disk.on_step = on_step
        task = asyncio.ensure_future(work)
        await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        await (self.power_cut() if power else self.kill())
        await asyncio.gather(task, return_exceptions=True)

    def fails_once(self, operation: str, kept: int | None = None) -> None:
        """The next ``operation`` fails; an append leaves ``kept`` bytes behind."""

        def on_step(step: Step) -> None:
            if step.operation == operation:
                self.disk.on_step = None
                if kept is not None:
                    raise ShortWrite(errno.ENOSPC, step.path, kept)
                raise OSError(errno.EIO, "input/output error", step.path)

        self.disk.on_step = on_step

    async def chunks(self, lsn: int) -> AsyncIterator[bytes]:
        for content in self.told.log[:lsn]:
            yield struct.pack("<I", len(content)) + content


def at_sync(step: Step) -> bool:
    return step.operation == "sync"


def after_rename() -> Callable[[Step], bool]:
    renamed = False

    def when(step: Step) -> bool:
        nonlocal renamed
        now, renamed = renamed, renamed or step.operation == "rename"
        return now

    return when


async def kill_then_power_cut(case: Case) -> None:
    """What a kill left in the page cache was shown; then the power goes."""
    journal = await case.open()
    await journal.wait(case.append(journal))
    await case.kill()
    await case.open()
    await case.power_cut()
    await case.open()


async def torn_group_then_another(case: Case) -> None:
    """A record left behind must not be healed by the next one's bytes in front of it."""
    journal = await case.open()
    case.append(journal, ONE_SECTOR)
    case.append(journal, ONE_SECTOR)
    await case.dies(journal.sync(), at_sync, power=True)
    journal = await case.open()
    case.append(journal, ONE_SECTOR)
    await case.dies(journal.sync(), at_sync, power=True)
    await case.open()


async def failed_sync_then_kill(case: Case) -> None:
    """After a failed sync the page cache still shows what the disk never got."""
    journal = await case.open()
    case.append(journal)
    case.fails_once("sync")
    with contextlib.suppress(SdkitError):
        await journal.sync()
    await case.kill()
    await case.open()
    await case.power_cut()
    await case.open()


async def failed_sync_then_power_cut(case: Case) -> None:
    """A sync that failed proves nothing when it is repeated."""
    journal = await case.open()
    case.append(journal)
    case.fails_once("sync")
    with contextlib.suppress(SdkitError):
        await journal.sync()
    await case.power_cut()
    await case.open()


async def two_recoveries_die(case: Case) -> None:
    """The name of the first recovery's segment is lost, that of the second's is not."""
    journal = await case.open()
    await journal.wait(case.append(journal))
    await case.kill()
    await case.dies(case.start(), after_rename(), power=False)
    await case.dies(case.start(), after_rename(), power=True)
    await case.open()


async def short_write(case: Case) -> None:
    """Half a group was written and taken back; nothing of it may return."""
    journal = await case.open()
    case.append(journal, ONE_SECTOR)
    case.append(journal, ONE_SECTOR)
    case.fails_once("append", kept=record_size(ONE_SECTOR) + 100)
    with contextlib.suppress(SdkitError):
        await journal.sync()
    await case.power_cut()
    await case.open()


async def foreign_record_in_a_torn_group(case: Case) -> None:
    """A value that holds another journal's records proves nothing."""
    journal = await case.open()
    case.append(journal, ONE_SECTOR)
    case.append(journal, 8 + 3 * len(case.foreign), case.foreign)
    await case.dies(journal.sync(), at_sync, power=True)
    await case.open()


async def snapshot_then_power_cut(case: Case) -> None:
    """Segments go only when the snapshot that replaces them has its name for good."""
    journal = await case.open()
    for _ in range(6):
        await journal.wait(case.append(journal, 900))
    await journal.snapshot(journal.end, case.chunks(journal.end))
    await case.power_cut()
    await case.open()


async def rotation_then_power_cut(case: Case) -> None:
    """A new segment stands for a synced old one, and its name is synced as well."""
    journal = await case.open()
    for _ in range(7):
        await journal.wait(case.append(journal, 900))
    await case.power_cut()
    await case.open()


async def snapshot_from_elsewhere_dies(case: Case) -> None:
    """At whatever step it ends: all the old, or all the new, and it goes on from there."""
    journal = await case.open()
    for _ in range(case.random.randrange(7)):
        await journal.wait(case.append(journal, 900))
    if case.random.random() < 0.5:
        await journal.snapshot(journal.end, case.chunks(journal.end))
    case.told.elsewhere = [b"elsewhere %d" % number for number in range(case.random.randint(1, 9))]
    lsn, left = len(case.told.elsewhere), case.random.randrange(14)

    async def state() -> AsyncIterator[bytes]:
        for content in case.told.elsewhere or []:
            yield struct.pack("<I", len(content)) + content

    def when(_: Step) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    await case.dies(journal.install(lsn, state()), when, power=case.random.random() < 0.5)
    journal = await case.open()
    await journal.wait(case.append(journal))
    await case.power_cut()
    await case.open()


async def superseding_dies(case: Case) -> None:
    """All the old suffix or none of it, and the records that take its place are safe."""
    journal = await case.open()
    for _ in range(case.random.randint(3, 9)):
        await journal.wait(case.append(journal, case.random.choice([8, 900])))
    case.told.superseding = lsn = case.random.randint(1, journal.end)
    left = case.random.randrange(10)

    async def work() -> None:
        await journal.supersede(lsn)
        case.told.superseded(lsn)
        for _ in range(3):
            await journal.wait(case.append(journal, 900))

    def when(_: Step) -> bool:
        nonlocal left
        left -= 1
        return left < 0

    await case.dies(work(), when, power=case.random.random() < 0.5)
    for _ in range(2):
        journal = await case.open()
        await journal.wait(case.append(journal))
        await case.power_cut()
    await case.open()


async def holder_moves_while_the_log_is_cut(case: Case) -> None:
    """Until a holder's new position is on the disk the old one has to be there to be read."""
    journal = await case.open()
    for _ in range(9):
        await journal.wait(case.append(journal, 900))
    case.told.held = {1}
    await journal.hold(HOLDER, 1)
    case.told.held = {1, 9}
    moving: list[asyncio.Task[None]] = []

    def when(step: Step) -> bool:
        if step.operation == "sync_directory" and not moving:  # the snapshot has its name
            moving.append(asyncio.ensure_future(journal.hold(HOLDER, 9)))
        return step.operation == "rename" and step.path.endswith("holders")

    async def work() -> None:
        await journal.snapshot(journal.end, case.chunks(journal.end))
        await asyncio.gather(*moving)

    await case.dies(work(), when, power=False)
    await case.open()


SCHEDULES: dict[str, tuple[Callable[[Case], Awaitable[None]], tuple[str, ...]]] = {
    "test_a_kill_then_a_power_cut": (kill_then_power_cut, ("os", "interval")),
    "test_a_torn_group_then_another": (torn_group_then_another, ("sync",)),
    "test_a_failed_sync_then_a_kill": (failed_sync_then_kill, ("sync", "os")),
    "test_a_failed_sync_then_a_power_cut": (failed_sync_then_power_cut, ("sync",)),
    "test_two_recoveries_die": (two_recoveries_die, ("os",)),
    "test_a_short_write": (short_write, ("sync", "os")),
    "test_a_foreign_record_in_a_torn_group": (foreign_record_in_a_torn_group, ("sync",)),
    "test_a_snapshot_then_a_power_cut": (snapshot_then_power_cut, ("sync", "os")),
    "test_a_holder_moves_while_the_log_is_cut": (holder_moves_while_the_log_is_cut, ("sync",)),
    "test_a_snapshot_from_elsewhere_dies": (snapshot_from_elsewhere_dies, ("sync", "os")),
    "test_superseding_dies": (superseding_dies, ("sync", "os")),
    "test_a_rotation_then_a_power_cut": (rotation_then_power_cut, ("sync", "os")),
}


def journal_schedules(
    journal_type: type[Journal] = Journal,
    *,
    seeds: range = range(60),
    disk_type: Callable[[], SimulatedDisk] = SimulatedDisk,
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for one implementation."""

    class JournalSchedules(unittest.TestCase):
        pass

    async def play(schedule: Callable[[Case], Awaitable[None]], seed: int, durability: str) -> None:
        asyncio.get_running_loop().set_exception_handler(expect_only_the_dead)
        case = Case(journal_type, disk_type(), seed, durability)
        case.foreign = await foreign_records(journal_type)
        await schedule(case)

    def schedule_test(
        schedule: Callable[[Case], Awaitable[None]], modes: tuple[str, ...]
    ) -> Callable[[unittest.TestCase], None]:
        def test(self: unittest.TestCase) -> None:
            for seed in seeds:
                run(play(schedule, seed, modes[seed % len(modes)]))

        return test

    for name, (schedule, modes) in SCHEDULES.items():
        setattr(JournalSchedules, name, schedule_test(schedule, modes))
    return finished(JournalSchedules, without)
