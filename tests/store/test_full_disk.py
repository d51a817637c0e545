"""On a tiny and full disk the store is never locked out of its own data for good.

Random lives on a disk that holds a few kilobytes: each opens the store, reads
everything, writes until long after nothing fits, and ends at a random step, by
a kill or a power cut. After every life the same directory must open with more
room, and in mode sync with the same room too; what is there must be what was
acknowledged, and what the full disk refused must stay away.
"""

from __future__ import annotations

import asyncio
from random import Random
from typing import Final

import pytest

from sdkit.errors import DiskUnavailable
from sdkit.sim.disk import SimulatedDisk, Step
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.spec.journal_promises import bury, expect_only_the_dead
from sdkit.storage.reserve import RESERVE_NAME
from sdkit.store import StoreConfig, StoreEngine
from tests.store.stores import everything

SEGMENT_BYTES: Final = 4096  # and so large is the reserve
ROOMY: Final = 3 * SEGMENT_BYTES  # there is a whole reserve from the first start on
CAPACITIES: Final = (0, 300, 2_000, 5_000, 7_000, 9_000, ROOMY, 20_000, 40_000)


class Books:
    """What each key may hold: what was acknowledged last, or what nobody heard about since."""

    def __init__(self) -> None:
        self.sure: dict[bytes, bytes | None] = {}
        self.perhaps: dict[bytes, set[bytes | None]] = {}

    def check(self, found: dict[bytes, bytes]) -> None:
        for key in {*found, *self.sure, *self.perhaps}:
            assert found.get(key) in {self.sure.get(key), *self.perhaps.get(key, ())}, key

    def shown(self, found: dict[bytes, bytes]) -> None:
        """What an open has shown is there to stay."""
        self.check(found)
        self.sure, self.perhaps = dict(found), {}


class Story:
    def __init__(self, seed: int) -> None:
        self.draw = Random(seed)
        self.disk = SimulatedDisk(capacity_bytes=self.draw.choice(CAPACITIES))
        self.config = StoreConfig(
            durability=self.draw.choice(["sync", "sync", "interval", "os"]),
            segment_bytes=SEGMENT_BYTES,
            snapshot_log_bytes=SEGMENT_BYTES,
        )
        self.books = Books()
        self.dead: asyncio.Future[None]
        self.refused_writes = self.writes = 0

    async def play(self) -> None:
        asyncio.get_running_loop().set_exception_handler(expect_only_the_dead)
        for _ in range(self.draw.randint(3, 8)):
            await self.live_once()
            await self.look_with_more_room()

    async def live_once(self) -> None:
        self.dead = asyncio.get_running_loop().create_future()
        late = self.draw.choice([30, 400, 10**9])
        dies_at = self.disk.steps + self.draw.randrange(1, late)
        by_power = self.config.durability == "sync" and self.draw.random() < 0.5

        def on_step(step: Step) -> None:
            if step.number >= dies_at:
                self.disk.on_step = None
                if by_power:
                    self.disk.power_cut(self.draw, reboot=False)
                else:
                    self.disk.kill(reboot=False)
                self.dead.set_result(None)

        self.disk.on_step = on_step
        life = asyncio.ensure_future(self.live())
        await asyncio.wait({life, self.dead}, return_when=asyncio.FIRST_COMPLETED)
        self.disk.on_step = None
        if not self.dead.done():
            self.disk.kill(reboot=False)
            life.result()
        await bury()
        self.disk.boot()

    async def live(self) -> None:
        try:
            store = await StoreEngine(self.host(self.disk), self.config).__aenter__()
        except DiskUnavailable:
            capacity = self.disk.capacity_bytes or 0
            may_be_refused = self.config.durability != "sync" or capacity < ROOMY
            assert self.dead.done() or may_be_refused, "locked out of a disk that had a reserve"
            return
        found = await everything(store)
        if not self.dead.done():
            self.books.shown(found)
        for number in range(self.draw.randrange(60)):
            await self.write(store, number)
        if self.draw.random() < 0.5 and not self.dead.done():
            await store.close()

    async def write(self, store: StoreEngine, number: int) -> None:
        key = b"k%d" % self.draw.randrange(8)
        value = b"%d %d" % (self.disk.steps, number) + bytes(self.draw.choice([1, 50, 400, 900]))
        written = None if self.draw.random() < 0.3 else value
        self.books.perhaps.setdefault(key, set()).add(written)
        transaction = store.begin()
        try:
            await (transaction.delete(key) if written is None else transaction.put(key, written))
            await transaction.commit()
        except DiskUnavailable:
            if not self.dead.done():
                self.refused_writes += 1
                self.books.perhaps[key].discard(written)  # it did not happen
            return
        if not self.dead.done():
            self.writes += 1
            self.books.sure[key] = written
            self.books.perhaps[key].clear()

    async def look_with_more_room(self) -> None:
        copy = self.disk.copy()
        copy.capacity_bytes = None
        async with StoreEngine(self.host(copy), self.config) as store:
            self.books.check(await everything(store))
            async with store.begin() as transaction:
                await transaction.put(b"there is room", b"again")
        assert len(copy.directory("store").contents(RESERVE_NAME)) == SEGMENT_BYTES

    def host(self, disk: SimulatedDisk) -> SimulatedHost:
        return SimulatedHost("db", disk)


@pytest.mark.parametrize("seeds", [range(at, at + 40) for at in range(0, 200, 40)], ids=str)
def test_a_full_disk_never_keeps_the_store_from_its_own_data_for_good(seeds: range) -> None:
    refused = written = 0
    for seed in seeds:
        story = Story(seed)
        run(story.play())
        refused, written = refused + story.refused_writes, written + story.writes
    assert refused > 500
    assert written > 500
