"""Journal: the log of a machine that dies at any step of its disk, and again while it recovers.

One program appends, waits, takes snapshots, follows its own log and stops
cleanly now and then. The machine is killed, or loses power, before a step of the
disk that the schedule names; the next crash is often only a few steps later, in
the middle of the recovery from the first. Writes and syncs fail, the disk fills up.

Beside it stands the plainest account there is (`Account`): a list of what was
appended, and how much of it anybody was told. After every open it must hold:

    what was acknowledged, or shown once, is there
    what is there is a beginning of what was appended
    what was said not to have happened, or was cut off once, never returns
    nothing is refused without a reason

and when the machine has stopped cleanly, a bit or a sector that rots anywhere is
noticed.

Some records hold the bytes of another journal's records, as a user's value may:
a recovery that took them for its own would find proof of things that never were.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from random import Random
from typing import Final

from sdkit import host as hosts
from sdkit.errors import CorruptData, DiskFailed, DiskUnavailable, Rejected, SdkitError
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.faults import Menu
from sdkit.sim.life import living_only
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.storage.disk import Disk
from sdkit.storage.journal import Journal, JournalConfig
from sdkit.storage.wal import record_size
from sdkit.without import SAFEGUARDS, Parts, assemble

SECONDS: Final = 0.1
STEPS: Final = 1200  # of the disk: about as many as a run without faults has
ROTS: Final = 6
# These two show better in the bank: this program has no clients that believe what they are told.
ELSEWHERE: Final = ("journal.failed_sync_is_final", "journal.position_before_sync")
DURABILITIES: Final = ("sync", "sync", "interval")
ROOM: Final = "account"


class Account:
    """What was appended, and what anybody has been told."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.log: Final[list[bytes]] = []  # log[lsn - 1]
        self.told = 0  # acknowledged or shown up to here
        self.gone: Final[set[bytes]] = set()
        self.broken: Final[list[Broken]] = []
        self.opened = self.acknowledged = self.cut = self.refused = 0
        self.serial = 0
        self.stopped_cleanly = False

    def append(self, lsn: int, content: bytes) -> None:
        """``content`` is to be record ``lsn``; nothing is promised yet."""
        if lsn != len(self.log) + 1:
            self.blame("a beginning", f"record {len(self.log) + 1} was given LSN {lsn}")
        self.log.append(content)

    def acknowledge(self, lsn: int) -> None:
        """Somebody was told that record ``lsn`` is durable."""
        self.acknowledged += lsn > self.told
        self.told = max(self.told, lsn)

    def refuse(self, first: int, error: SdkitError) -> None:
        """Records from ``first`` on are said not to have happened, or nobody knows."""
        if isinstance(error, DiskFailed):
            return
        if first <= self.told:
            self.blame("acknowledged stays", f"record {first} was promised, then refused")
        self._forget(first - 1)
        self.refused += 1

    def open(self, contents: list[bytes]) -> None:
        """A journal was opened, and shows ``contents``."""
        self.opened += 1
        if back := self.gone.intersection(contents):
            self.blame("gone stays gone", f"{min(back)[:12]!r} is back")
        if contents != self.log[: len(contents)]:
            self.blame("a beginning", f"{len(contents)} records, not those that were appended")
        if len(contents) < self.told:
            self.blame("acknowledged stays", f"{self.told} promised, {len(contents)} there")
        self.cut += max(0, len(self.log) - len(contents))
        self._forget(len(contents))
        self.log[:] = contents
        self.told = len(contents)

    def blame(self, promise: str, detail: str) -> None:
        """Note a broken promise, and when it was seen to be."""
        self.broken.append(Broken(promise, detail, self._now()))

    def _forget(self, length: int) -> None:
        self.gone.update(self.log[length:])
        del self.log[length:]


class Keeper:
    """The program on the machine: one life of it."""

    def __init__(
        self,
        account: Account,
        parts: Parts,
        config: JournalConfig,
        foreign: bytes,
        go_on: Callable[[], bool],
    ) -> None:
        self._account = account
        self._config = config
        self._parts = parts
        self._foreign = foreign
        self._go_on = go_on
        self._random: Final = hosts.current().random
        self._disk: Final[Disk] = hosts.current().disk.directory("log")
        # The account outlives this machine: the dead may not write into it.
        self._append = living_only(account.append)
        self._acknowledge = living_only(account.acknowledge)
        self._refuse = living_only(account.refuse)
        self._show = living_only(account.open)
        self._blame = living_only(account.blame)

    async def run(self) -> None:
        """Open, work, close, again and again, until told otherwise or until it dies."""
        while self._go_on():
            journal = await self._open()
            if journal is None:
                await asyncio.sleep(0.01)
                continue
            try:
                await self._work(journal)
            except (DiskFailed, DiskUnavailable):
                pass  # what it means was said to the account
            finally:
                await _close(journal)
        if (journal := await self._open()) is not None:  # what is there in the end
            with suppress(DiskFailed, DiskUnavailable):
                await self._work(journal)  # so that there is something behind it to rot
            await _close(journal)
            self._account.stopped_cleanly = journal.ended

    async def _open(self) -> Journal | None:
        try:
            journal = await self._parts.journal.open(
                self._disk,
                room=ROOM,
                config=self._config,
                random=self._random,
                on_durable=self._on_durable,
                on_lost=self._refuse,
            )
        except (DiskUnavailable, DiskFailed):
            return None
        except CorruptData as error:
            self._blame("it starts", error.message)
            return None
        try:
            self._show(await contents_of(journal))
        except BaseException:
            await _close(journal)
            raise
        return journal

    def _on_durable(self, lsn: int) -> None:
        if self._config.durability == "sync":  # the other modes promise less
            self._acknowledge(lsn)

    async def _work(self, journal: Journal) -> None:
        for _ in range(self._random.randint(1, 12)):
            match self._random.randrange(8):
                case 0 if journal.durable > journal.snapshot_lsn:
                    await self._take_snapshot(journal)
                case 1:
                    await self._follow(journal)
                case 2:
                    await asyncio.sleep(self._random.uniform(0.0, 0.01))
                case _:
                    await self._write(journal)

    async def _write(self, journal: Journal) -> None:
        durable: list[asyncio.Future[None]] = []
        waits = self._random.random() < 0.7
        try:
            for _ in range(self._random.randint(1, 4)):
                content = self._content()
                lsn = journal.append(content)
                self._append(lsn, content)
                # At once: a record that is refused meanwhile leaves its LSN to another.
                durable.append(journal.wait(lsn))
                if self._random.random() < 0.3:
                    await asyncio.sleep(self._random.uniform(0.0, 0.000_3))
        finally:
            outcomes = asyncio.gather(*durable, return_exceptions=True)
        if waits:
            for error in filter(None, await outcomes):
                raise error

    def _content(self) -> bytes:
        self._account.serial += 1
        head = b"%08d" % self._account.serial
        if self._random.random() < 0.2:
            return head + self._foreign[-self._random.randint(1, len(self._foreign)) :]
        return head + bytes([self._random.randrange(3)]) * self._random.choice([0, 30, 600])

    async def _take_snapshot(self, journal: Journal) -> None:
        # Sometimes of what is not durable yet: then the journal has to wait for it.
        at = journal.end if self._random.random() < 0.5 else journal.durable
        state = [*self._account.log[:at]]
        await journal.snapshot(at, _chunks(state))

    async def _follow(self, journal: Journal) -> None:
        """Read what is durable, as a follower: it may rely on what it sees."""
        first = max(journal.first, journal.snapshot_lsn + 1)
        async with aclosing(journal.follow(first)) as records:
            while first <= journal.end:
                try:
                    async with asyncio.timeout(0.002):
                        lsn, content = await anext(records)
                except (TimeoutError, StopAsyncIteration):
                    return
                if self._account.log[lsn - 1] != content:
                    self._blame("a beginning", f"a follower sees another record {lsn}")
                self._acknowledge(lsn)
                first = lsn + 1


async def contents_of(journal: Journal) -> list[bytes]:
    """Every record's content, out of the snapshot and the log behind it."""
    contents: list[bytes] = []
    await journal.replay(
        on_snapshot=contents.append,
        on_record=lambda lsn, content: contents.append(content),
    )
    return contents


async def _chunks(state: list[bytes]) -> AsyncIterator[bytes]:
    for content in state:
        yield content
        await asyncio.sleep(0)


async def _close(journal: Journal) -> None:
    with suppress(SdkitError):  # a failed disk; the account has heard of it
        await journal.close()


async def play(stage: Stage) -> Findings:
    """One machine and its log, from the first record to the last flipped bit."""
    parts = assemble(stage.without)
    world, account = stage.world, Account(stage.world.time)
    machine = world.machine("log", disk=parts.disk(delay_s=20e-6, sync_s=200e-6))
    durability = Random(f"{world.seed} durability").choice(DURABILITIES)
    config = JournalConfig(
        durability=durability, interval_s=0.01, segment_bytes=4096, reserve_bytes=4096
    )
    foreign = await _foreign_records()

    def go_on() -> bool:
        return world.time() < stage.seconds

    async def keep() -> None:
        await Keeper(account, parts, config, foreign, go_on).run()

    machine.boot(keep)
    await stage.calm()
    await machine.ended
    if account.stopped_cleanly:
        await _rot(machine.disk, account, parts, config, Random(f"{world.seed} rot"))
    return Findings(
        account.broken[:5],
        {
            "records in the end": len(account.log),
            "times opened": account.opened,
            "acknowledgements": account.acknowledged,
            "records cut or unacknowledged": account.cut,
            "groups refused by a full or failing disk": account.refused,
        },
    )


async def _rot(
    disk: SimulatedDisk, account: Account, parts: Parts, config: JournalConfig, random: Random
) -> None:
    """Let a bit or a sector of a copy rot, several times: it is noticed, or it changes nothing."""
    for _ in range(ROTS):
        copy = disk.copy()
        copy.boot()
        below = copy.directory("log")
        files = [name for name in below.names() if name.endswith((".wal", "snapshot"))]
        name = random.choice(files)
        content = below.contents(name)
        # Those before the end record: with it a file would lose the proof of all others.
        sectors = (len(content) - record_size(0)) // 512
        if not sectors or random.random() < 0.5:
            what = "a flipped bit"
            below.flip(name, random.randrange(8 * len(content)))
        else:
            what = "a lost sector"
            _lose_sector(below, name, content, random.randrange(sectors))
        try:
            journal = await parts.journal.open(below, room=ROOM, config=config, random=random)
        except (Rejected, DiskUnavailable):
            continue
        try:
            if await contents_of(journal) != account.log:
                account.blame("rot is noticed", f"{what} in {name} changed what is there")
        finally:
            await _close(journal)


def _lose_sector(disk: SimulatedDisk, name: str, content: bytes, number: int) -> None:
    """A sector reads as zeros, as one that was never written."""
    for offset in range(512 * number, min(len(content), 512 * (number + 1))):
        for bit in range(8):
            if content[offset] >> bit & 1:
                disk.flip(name, 8 * offset + bit)


async def _foreign_records() -> bytes:
    """The last records of another journal, which here are only content."""
    disk = SimulatedDisk()
    config = JournalConfig(reserve_bytes=0)
    journal = await Journal.open(disk, room=ROOM, config=config, random=Random(8))
    for number in range(60):
        journal.append(b"%d" % number)
    await journal.sync()
    await journal.close()
    (name,) = [name for name in disk.names() if name.endswith(".wal")]
    return disk.contents(name)[-400:]


JOURNAL: Final = Scenario(
    name="journal",
    summary="a log whose machine dies at any step of its disk, and again while it recovers",
    checks={
        "acknowledged stays": "what was acknowledged, or shown once, is there after every open",
        "a beginning": "what is there is a beginning of what was appended",
        "gone stays gone": "what did not happen, or was cut off once, never returns",
        "it starts": "without rot, nothing is refused",
        "rot is noticed": "after a clean stop, rot is refused or changes nothing",
    },
    safeguards={
        name: safeguard.otherwise
        for name, safeguard in SAFEGUARDS.items()
        if name.startswith("journal.") and name not in ELSEWHERE
    },
    menus=(
        Menu("power cut", ["log"], (0, 4), for_s=(0.0, 0.003), at_steps=STEPS),
        Menu("kill", ["log"], (0, 4), for_s=(0.0, 0.003), at_steps=STEPS),
        Menu("failed sync", ["log"], (0, 1)),
        Menu("failed write", ["log"], (0, 1)),
        Menu("short write", ["log"], (0, 1), amount=(0, 600)),
        Menu("full disk", ["log"], (0, 1), for_s=(0.003, 0.03)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.001),
    play=play,
)
