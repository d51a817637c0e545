"""The engine and its disk: what survives, what did not happen, and what nobody knows."""

from __future__ import annotations

import asyncio
import errno
from random import Random

import pytest

from sdkit.errors import DiskFailed, DiskUnavailable
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Isolation, StoreConfig, StoreEngine
from sdkit.trace import Record, listening
from tests.store.stores import engine_on, everything, put, until, until_state

SMALL = StoreConfig(snapshot_log_bytes=8_192, segment_bytes=4_096)


async def quiet() -> None:
    """Let the journal write its mark, so that the next thing on the disk is the test's own."""
    await asyncio.sleep(10.0)


async def entered(disk: SimulatedDisk, config: StoreConfig | None = None) -> StoreEngine:
    """An engine that will never be left, because its machine dies first."""
    return await StoreEngine(SimulatedHost("db", disk), config).__aenter__()


@pytest.mark.parametrize("seed", range(10))
def test_what_was_acknowledged_survives_a_power_cut_and_nothing_else_is_seen(seed: int) -> None:
    disk = SimulatedDisk()

    async def before() -> int:
        store = await entered(disk)
        acknowledged = 0

        async def write() -> None:
            nonlocal acknowledged
            for number in range(1_000):
                await put(store, **{f"k{number:04}": b"x" * 50})
                acknowledged += 1

        writing = asyncio.ensure_future(write())
        await asyncio.sleep(0.02 + seed / 1000)
        disk.power_cut(Random(seed), reboot=False)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        return acknowledged

    async def after() -> int:
        disk.boot()
        async with engine_on(disk) as store:
            return len(await everything(store))

    acknowledged = run(before())
    assert acknowledged > 10
    assert run(after()) in (acknowledged, acknowledged + 1)


def test_a_restart_shows_the_same_versions_as_before() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        async with engine_on(disk) as store:
            for number in range(5):
                await put(store, a=b"%d" % number)
            async with store.begin() as transaction:
                await transaction.delete(b"a")
            await put(store, a=b"last", b=b"1")
            before = await store.versions(b"a")
        async with engine_on(disk) as store:
            assert await store.versions(b"a") == before
            assert await everything(store) == {b"a": b"last", b"b": b"1"}
            assert await put(store, c=b"1") == (before[0].position or 0) + 1

    run(main())


def test_a_full_disk_undoes_the_commit_and_frees_its_locks() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        async with engine_on(disk) as store:
            await put(store, a=b"0")
            await quiet()
            disk.fail("append", error=errno.ENOSPC, kept=10)
            first, second = store.begin(), store.begin(isolation=Isolation.READ_COMMITTED)
            await first.put(b"a", b"1")
            waiting = asyncio.ensure_future(second.put(b"a", b"2"))
            await until_state(store, second, "waiting")
            with pytest.raises(DiskUnavailable):
                await first.commit()
            await waiting
            assert await everything(store) == {b"a": b"0"}
            await second.commit()
            assert await everything(store) == {b"a": b"2"}
        async with engine_on(disk) as store:
            assert await everything(store) == {b"a": b"2"}

    run(main())


def test_a_lost_commit_frees_its_locks_although_its_caller_has_left() -> None:
    async def main() -> None:
        disk = SimulatedDisk(sync_s=0.1)
        async with engine_on(disk) as store:
            await put(store, a=b"0")
            await quiet()
            disk.fail("append", error=errno.ENOSPC)
            transaction = store.begin()
            await transaction.put(b"a", b"1")
            commit = asyncio.ensure_future(transaction.commit())
            await until_state(store, transaction, "committing")
            commit.cancel()
            await until(lambda: not store.database.transactions)
            assert await everything(store) == {b"a": b"0"}
            await put(store, a=b"2")
            assert await everything(store) == {b"a": b"2"}

    run(main())


def test_after_a_failed_sync_commits_are_indeterminate_and_only_reads_go_on() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        store = await entered(disk)
        await put(store, a=b"0")
        await quiet()
        disk.fail("sync")
        first, second = store.begin(), store.begin(isolation=Isolation.READ_COMMITTED)
        await first.put(b"a", b"1")
        waiting = asyncio.ensure_future(second.get_for_update(b"a"))
        await until_state(store, second, "waiting")
        with pytest.raises(DiskFailed):
            await first.commit()
        with pytest.raises(DiskFailed):
            await first.get(b"a")
        assert await waiting == b"0"
        with pytest.raises(DiskUnavailable, match="open it again"):
            await second.put(b"a", b"2")
        assert await second.get(b"a") == b"0"
        await second.rollback()
        assert await everything(store) == {b"a": b"0"}
        assert store.gauges()["store.failed"] == 1
        await store.close()
        disk.power_cut(Random(1))
        async with engine_on(disk) as again:
            assert (await everything(again))[b"a"] in (b"0", b"1")
            await put(again, a=b"3")

    run(main())


def test_a_snapshot_is_written_while_commits_go_on_and_the_log_is_cut() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        records: list[Record] = []
        async with engine_on(disk, SMALL) as store:
            with listening(records.append):
                for number in range(2_000):
                    await put(store, **{f"k{number % 400:03}": b"%d" % number})
            expected = await everything(store)
            assert store.gauges()["store.log_bytes"] < 60_000
        names = [record.name for record in records]
        assert names.count("store.snapshot") >= 3
        recovered: list[Record] = []
        with listening(recovered.append):
            async with engine_on(disk, SMALL) as store:
                assert await everything(store) == expected
                assert store.gauges()["store.versions_held"] == 0
        [event] = [record for record in recovered if record.name == "store.recovered"]
        replayed = event.fields["records"]
        assert isinstance(replayed, int)
        assert replayed < 1_000

    run(main())


@pytest.mark.parametrize("seed", range(8))
def test_a_power_cut_in_the_middle_of_a_snapshot_loses_nothing(seed: int) -> None:
    disk = SimulatedDisk()

    async def before() -> dict[bytes, bytes]:
        store = await entered(disk, SMALL)
        acknowledged: dict[bytes, bytes] = {}
        random = Random(seed)
        stop = random.randrange(60, 900)

        async def write() -> None:
            for number in range(stop):
                key = f"k{random.randrange(50):02}"
                await put(store, **{key: b"%d" % number + b"x" * 100})
                acknowledged[key.encode()] = b"%d" % number + b"x" * 100

        await write()
        disk.power_cut(random, reboot=False)
        return acknowledged

    async def after() -> dict[bytes, bytes]:
        disk.boot()
        async with engine_on(disk, SMALL) as store:
            return await everything(store)

    expected = run(before())
    assert run(after()) == expected


def test_a_snapshot_that_fails_is_reported_and_the_store_goes_on() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        records: list[Record] = []
        async with engine_on(disk, SMALL) as store:
            await put(store, a=b"0")
            below = disk.directory("store")
            below.fail("append", name="snapshot.tmp", error=errno.EIO)
            with listening(records.append):
                for number in range(500):
                    await put(store, **{f"k{number:03}": b"1"})
            assert "store.snapshot_failed" in [record.name for record in records]
            assert len(await everything(store)) == 501
        async with engine_on(disk, SMALL) as store:
            assert len(await everything(store)) == 501

    run(main())


@pytest.mark.parametrize("durability", ["sync", "interval", "os", "none"])
def test_every_mode_keeps_what_it_had_when_it_was_closed(durability: str) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        config = StoreConfig(durability=durability)  # type: ignore[arg-type]
        async with engine_on(disk, config) as store:
            for number in range(200):
                assert await put(store, a=b"%d" % number) == number + 1
                assert await everything(store) == {b"a": b"%d" % number}
        disk.power_cut(Random(0))
        async with engine_on(disk, config) as store:
            assert await everything(store) == {b"a": b"199"}

    run(main())


def test_in_mode_none_a_full_disk_stops_writes_because_the_log_has_fallen_behind() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        async with engine_on(disk, StoreConfig(durability="none")) as store:
            await put(store, a=b"0")
            await store.sync()
            await quiet()
            disk.fail("append", error=errno.ENOSPC)
            await put(store, a=b"1")  # acknowledged: the mode promises nothing
            await until(lambda: store.failed is not None)
            with pytest.raises(DiskUnavailable, match="takes no writes"):
                await put(store, a=b"2")
            assert await everything(store) == {b"a": b"1"}
        async with engine_on(disk) as store:
            assert await everything(store) == {b"a": b"0"}

    run(main())


def test_nothing_remains_after_the_engine_is_closed() -> None:
    async def main() -> None:
        async with engine_on() as store:
            await put(store, a=b"1")
            _left_open = store.begin()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())
