"""Specification: what every journal promises across crashes, faults and flipped bits.

    TestMine = journal_crashes(MyJournal)

A *story* is one seed: a journal lives on a simulated disk, is written to, read,
followed, snapshotted; writes and syncs fail; it is killed or loses power at any
step of the disk, in the middle of recovery as well; it is opened again; bits
are flipped in copies of what is left. Beside it stands a plain list of what was
appended, and what anybody was told about it. Eleven sentences must hold:

     1  what was acknowledged is there
     2  what is there is a prefix of what was appended
     3  what was shown once (by open, to a follower) survives the next power cut
     4  what was said not to have happened, or was left behind once, never returns
     5  without a fault nothing is refused
     6  a flipped bit is refused, or costs only what nothing proves; it is never other content
     7  a refusal changes nothing
     8  opening twice is opening once
     9  after a clean stop no flipped bit loses data silently
    10  durable never passes a sync that began before the append
    11  what is held is still held after any crash, and there to be read

Each is a test of its own name, so that a wrong journal is caught by the
sentence that it breaks. A story ends with the first broken one.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import struct
import unittest
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from random import Random
from typing import Final

from sdkit.errors import DiskUnavailable, SdkitError
from sdkit.sim.disk import ShortWrite, SimulatedDisk, Step
from sdkit.spec.journal_promises import (
    BEGUN,
    CLEAN,
    FLIPPED,
    HOLDER,
    PREFIX,
    REFUSED,
    SENTENCES,
    TWICE,
    UNCHANGED,
    Broken,
    Told,
    bury,
    contents_of,
    expect_only_the_dead,
    foreign_records,
)
from sdkit.spec.running import finished, run
from sdkit.storage.config import Durability
from sdkit.storage.journal import Journal, JournalConfig


class Story:
    """One seed's worth of lives."""

    def __init__(
        self, seed: int, journal_type: type[Journal], disk_type: Callable[[], SimulatedDisk]
    ) -> None:
        self.random: Final = Random(seed)
        self.holding: Final = Random(f"{seed} holding")
        self.superseding: Final = Random(f"{seed} superseding")
        self.journal_type: Final = journal_type
        self.disk: Final = disk_type()
        self.told: Final = Told()
        self.config = JournalConfig(
            durability=self.random.choice([Durability.SYNC, Durability.SYNC, *Durability]),
            interval_s=0.001,
            segment_bytes=4096,
        )
        self.foreign = b""
        self.stopped_cleanly = False

    async def play(self) -> None:
        asyncio.get_running_loop().set_exception_handler(expect_only_the_dead)
        self.foreign = await foreign_records(self.journal_type)
        for _ in range(self.random.randint(2, 5)):
            await self.live_once()
            await self.flip_some(CLEAN if self.stopped_cleanly else FLIPPED)

    async def live_once(self) -> None:
        """Open, use and end the journal; everything of the dead process is gone afterwards."""
        life = Life(self)
        task = asyncio.ensure_future(life.run())
        await asyncio.wait({task, life.death}, return_when=asyncio.FIRST_COMPLETED)
        life.dead = True
        self.disk.on_step = None
        self.stopped_cleanly = life.closed
        if not life.death.done():
            self.disk.kill(reboot=False)
        await bury()
        self.disk.boot()
        if life.broken is not None:
            raise life.broken
        if task.done() and not task.cancelled() and not life.death.done():
            task.result()

    async def open(
        self,
        disk: SimulatedDisk,
        on_durable: Callable[[int], None] | None = None,
        on_lost: Callable[[int, SdkitError], None] | None = None,
    ) -> Journal:
        return await self.journal_type.open(
            disk,
            room="spec",
            config=self.config,
            random=Random(7),
            on_durable=on_durable,
            on_lost=on_lost,
        )

    async def look(self, disk: SimulatedDisk) -> tuple[list[bytes], int]:
        """What an open shows, and up to where it was proven; that process dies at once."""
        journal = await self.open(disk)
        contents = await contents_of(journal)
        disk.kill(reboot=False)
        await bury()
        disk.boot()
        return contents, journal.recovered.proven_lsn

    async def flip_some(self, sentence: str) -> None:
        """Flip single bits in copies of the disk; nothing that was proven may go unnoticed."""
        if not self.disk.image():
            return
        once = self.disk.copy()
        try:
            whole, proven = await self.look(once)
            again, _ = await self.look(once)
        except SdkitError as error:
            raise Broken(REFUSED, error.message) from error
        if again != whole:
            raise Broken(TWICE, f"{len(whole)} records, then {len(again)}")
        if sentence is CLEAN:
            proven = len(whole)
        for _ in range(4):
            await self.flip_one(sentence, whole, proven)

    async def flip_one(self, sentence: str, whole: list[bytes], proven: int) -> None:
        copy = self.disk.copy()
        name = self.random.choice(sorted(copy.image()))
        if not copy.contents(name):
            return
        bit = self.random.randrange(8 * len(copy.contents(name)))
        copy.flip(name, bit)
        before = copy.image()
        try:
            contents, _ = await self.look(copy)
        except SdkitError:
            if copy.image() != before:
                raise Broken(UNCHANGED, f"bit {bit} of {name}") from None
            await bury()
            return
        if contents != whole[: len(contents)] or len(contents) < proven:
            raise Broken(
                sentence,
                f"bit {bit} of {name}: {len(contents)} of {len(whole)} records, {proven} proven",
            )


class Life:
    """From one open to the crash or stop after it."""

    def __init__(self, story: Story) -> None:
        self.story, self.random, self.told = story, story.random, story.told
        self.disk = story.disk
        self.death: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.dead = self.closed = False
        self.broken: Broken | None = None
        self.journal: Journal | None = None
        self.covered = 0  # the end of the log when the latest sync of it began
        self.fault: str | None = None
        soon, late = self.random.randrange(1, 20), self.random.randrange(1, 150)
        self.dies_at = self.disk.steps + self.random.choice([soon, late, late, 10**9])
        self.by_power = self.random.random() < 0.6
        self.disk.on_step = self.on_step

    # What the disk does to it.

    def on_step(self, step: Step) -> None:
        if step.number >= self.dies_at:
            self.die()
            return
        if step.operation == "sync" and self.journal is not None:
            self.covered = self.journal.end
        if self.fault == step.operation and self.journal is not None:
            self.fault = None
            if step.operation == "append":
                raise ShortWrite(errno.ENOSPC, step.path, self.random.randrange(60))
            raise OSError(errno.EIO, "input/output error", step.path)

    def die(self) -> None:
        self.dead = True
        self.disk.on_step = None
        if self.by_power:
            self.told.survives_kill = 0
            self.disk.power_cut(self.random, reboot=False)
        else:
            self.disk.kill(reboot=False)
        if not self.death.done():
            self.death.set_result(None)

    # What it is told.

    def on_durable(self, lsn: int) -> None:
        if self.dead:
            return
        if self.story.config.durability == Durability.SYNC:
            self.told.acknowledged = max(self.told.acknowledged, lsn)
            with self.noting():
                if self.journal is not None and lsn > self.covered:
                    raise Broken(BEGUN, f"{lsn} is durable; the sync began at {self.covered}")
        elif self.story.config.durability != Durability.NONE:
            self.told.survives_kill = max(self.told.survives_kill, lsn)

    def on_lost(self, first: int, error: SdkitError) -> None:
        if not self.dead:
            with self.noting():
                self.told.lost(first, error)

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """A sentence broken inside a callback is no business of the journal's."""
        try:
            yield
        except Broken as broken:
            self.broken = self.broken or broken
            self.die()

    # What it does.

    async def run(self) -> None:
        try:
            journal = await self.story.open(
                self.disk, on_durable=self.on_durable, on_lost=self.on_lost
            )
            contents = await contents_of(journal)
        except SdkitError as error:
            if self.dead:
                return
            raise Broken(REFUSED, error.message) from error
        if self.dead:
            return
        self.told.recovered(contents)
        self.told.holds(journal.holders.get(HOLDER), journal.first)
        self.journal, self.covered = journal, journal.end
        for _ in range(self.random.randint(0, 14)):
            with contextlib.suppress(SdkitError):
                await self.act(journal)
                if self.story.holding.random() < 0.2:
                    await self.hold(journal)
                if self.story.superseding.random() < 0.15:
                    await self.supersede(journal)
            if self.death.done():
                return
            if journal.synced <= len(self.told.log):
                self.told.acknowledged = max(self.told.acknowledged, journal.synced)
        if self.random.random() < 0.4:
            with contextlib.suppress(SdkitError):
                await journal.close()
                self.closed = journal.ended and not self.dead

    async def act(self, journal: Journal) -> None:
        match self.random.randrange(12):
            case 0 | 1 | 2 | 3 | 4:
                for _ in range(self.random.randint(1, 4)):
                    content = self.content()
                    journal.append(content)
                    self.told.log.append(content)
                if self.random.random() < 0.5:
                    await journal.wait(journal.end)
            case 5:
                await journal.sync()
            case 6:
                lsn = self.random.choice([journal.end, journal.durable, journal.synced])
                await journal.snapshot(lsn, self.chunks(lsn))
            case 7:
                await self.follow(journal)
            case 8:
                self.fault = self.random.choice([None, None, "append", "append", "sync"])
            case _:
                await asyncio.sleep(self.random.choice([0, 50e-6, 300e-6, 0.005]))

    async def supersede(self, journal: Journal) -> None:
        first, end = journal.snapshot_lsn + 1, journal.end + 1
        lsn = self.story.superseding.randint(max(first, end - 6), end)
        self.told.superseding = lsn
        try:
            await journal.supersede(lsn)
        except DiskUnavailable:
            if not self.dead:
                self.told.superseding = None
            raise
        if not self.dead:
            self.told.superseded(lsn)

    async def hold(self, journal: Journal) -> None:
        choice = self.story.holding
        lsn = choice.choice([None, choice.randint(journal.first, journal.end + 1)])
        before = set(self.told.held)
        self.told.held.add(lsn)
        try:
            await (journal.release(HOLDER) if lsn is None else journal.hold(HOLDER, lsn))
        except DiskUnavailable:
            if not self.dead:
                self.told.held = before
            raise
        if not self.dead:
            self.told.held = {lsn}

    def content(self) -> bytes:
        self.told.serial += 1
        filling = self.random.choice([b"", b"x" * 30, bytes(700), b"y" * 900, self.story.foreign])
        return b"%08d" % self.told.serial + filling

    async def chunks(self, lsn: int) -> AsyncIterator[bytes]:
        for content in self.told.log[:lsn]:
            yield struct.pack("<I", len(content)) + content

    async def follow(self, journal: Journal) -> None:
        follower = journal.follow(self.random.randint(journal.first, journal.end + 1))
        try:
            for _ in range(self.random.randrange(1, 30)):
                lsn, content = await asyncio.wait_for(anext(follower), 0.0005)
                if self.dead:
                    return
                if content != self.told.log[lsn - 1]:
                    raise Broken(PREFIX, f"a follower was shown another record {lsn}")
                self.told.shown = max(self.told.shown, lsn)
                if self.random.random() < 0.1:  # before anything else can save what was shown
                    self.dies_at = self.disk.steps
        except TimeoutError:
            pass
        finally:
            await follower.aclose()


def journal_crashes(
    journal_type: type[Journal] = Journal,
    *,
    seeds: range = range(300),
    disk_type: Callable[[], SimulatedDisk] = SimulatedDisk,
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for one implementation; each test reads the same stories."""
    told: dict[int, Broken | None] = {}

    def outcome(seed: int) -> Broken | None:
        if seed not in told:
            told[seed] = None
            try:
                run(Story(seed, journal_type, disk_type).play())
            except Broken as broken:
                told[seed] = broken
        return told[seed]

    class JournalCrashes(unittest.TestCase):
        pass

    def sentence_test(sentence: str) -> Callable[[unittest.TestCase], None]:
        def test(self: unittest.TestCase) -> None:
            for seed in seeds:
                broken = outcome(seed)
                if broken is not None and broken.sentence == sentence:
                    raise AssertionError(f"seed {seed}: {broken}") from broken

        return test

    for sentence in SENTENCES:
        setattr(JournalCrashes, sentence, sentence_test(sentence))
    return finished(JournalCrashes, without)
