"""Dangerous structures are found, and what is remembered for that is bounded."""

from __future__ import annotations

import asyncio
import errno

import pytest

from sdkit.errors import DiskUnavailable
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Isolation, SerializationFailure, StoreEngine
from sdkit.store.optimistic import COARSE_RANGES, MARKS_MAX, NEVER, READS_MAX, Conflicts, Tracked
from tests.store.stores import engine_on

SERIALIZABLE = Isolation.SERIALIZABLE


def committed(conflicts: Conflicts, reads: list[bytes], writes: list[bytes], at: int) -> Tracked:
    """A transaction that began after the commit before ``at``, and is committed there."""
    tracked = conflicts.begin(at, at - 1, read_only=False)
    for key in reads:
        assert conflicts.read(tracked, key) is None
    assert conflicts.check_commit(tracked, writes) is None
    conflicts.committed(tracked, writes, at)
    return tracked


def test_write_skew_is_a_pivot_between_one_transaction_and_itself() -> None:
    conflicts = Conflicts()
    one, other = conflicts.begin(1, 0, read_only=False), conflicts.begin(2, 0, read_only=False)
    for tracked in (one, other):
        assert conflicts.read(tracked, b"a") is None
        assert conflicts.read(tracked, b"b") is None
    assert conflicts.check_commit(one, [b"a"]) is None, "nobody has committed yet"
    conflicts.committed(one, [b"a"], 1)
    assert other.earliest_out == 1
    error = conflicts.check_commit(other, [b"b"])
    assert error is not None
    assert "transaction 2 cannot commit: transaction 1 has read b'b'" in error.message
    assert error.fields == {"transaction": 2, "key": b"b", "reader": 1, "position": 1}


def test_two_conflicts_in_a_row_whose_end_commits_last_are_harmless() -> None:
    conflicts = Conflicts()
    first, pivot, last = (conflicts.begin(number, 0, read_only=False) for number in (1, 2, 3))
    assert conflicts.read(first, b"a") is None  # first --rw--> pivot
    assert conflicts.read(pivot, b"b") is None  # pivot --rw--> last
    assert conflicts.check_commit(pivot, [b"a"]) is None
    conflicts.committed(pivot, [b"a"], 1)
    assert conflicts.check_commit(last, [b"b"]) is None
    conflicts.committed(last, [b"b"], 2)
    assert conflicts.check_commit(first, [b"c"]) is None


def test_a_reader_that_sees_the_writer_has_no_conflict_with_it() -> None:
    conflicts = Conflicts()
    old = conflicts.begin(1, 0, read_only=False)  # keeps the commit remembered
    committed(conflicts, [], [b"a"], 1)
    late = conflicts.begin(3, 1, read_only=False)
    assert conflicts.read(late, b"a") is None
    assert late.earliest_out == NEVER
    assert conflicts.read(old, b"a") is None
    assert old.earliest_out == 1


def test_a_range_is_read_with_what_was_not_there() -> None:
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    assert conflicts.read_range(reader, b"a", b"m") is None
    committed(conflicts, [], [b"k"], 1)
    assert reader.earliest_out == 1


def test_nothing_is_remembered_when_all_have_ended() -> None:
    conflicts = Conflicts()
    for position in range(1, 50):
        committed(conflicts, [b"%d" % (position % 7)], [b"%d" % (position % 5)], position)
        conflicts.forget(position)
    gone = conflicts.begin(99, 49, read_only=False)
    assert conflicts.read(gone, b"1") is None
    conflicts.ended(gone)
    conflicts.forget(49)
    assert not conflicts.reads
    assert not list(conflicts._committed)
    assert not conflicts._writes
    assert conflicts.marks == 0


def test_what_the_committed_leave_behind_is_bounded_and_still_finds_the_structure() -> None:
    conflicts = Conflicts()
    old = conflicts.begin(1, 0, read_only=False)
    assert conflicts.read(old, b"key 000777") is None
    for position in range(1, 3 * MARKS_MAX):
        key = b"key %06d" % position
        committed(conflicts, [key], [key], position)
        conflicts.forget(position)
        assert conflicts.marks <= MARKS_MAX + 2
    assert old.earliest_out == 777
    assert len(conflicts._committed) < MARKS_MAX
    # What `old` would write was read by one of those that are one by now.
    error = conflicts.check_commit(old, [b"key 000888"])
    assert error is not None


def test_what_the_log_has_lost_is_no_conflict_and_its_numbers_come_again() -> None:
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    assert conflicts.read(reader, b"a") is None
    lost = [committed(conflicts, [], [b"a"], position) for position in range(1, 21)]
    assert reader.earliest_out == 1
    conflicts.lost(1)
    for tracked in lost:
        conflicts.ended(tracked)
    assert reader.earliest_out == NEVER
    again = committed(conflicts, [], [b"a"], 1)
    assert again.position == 1
    assert reader.earliest_out == 1
    conflicts.ended(reader)
    conflicts.forget(1)
    assert conflicts.marks == 0


def test_commits_that_a_full_disk_refuses_leave_no_trace() -> None:
    """Serializable, after twenty commits that did not happen: the read-only anomaly."""

    async def main() -> None:
        disk = SimulatedDisk()
        async with StoreEngine(SimulatedHost("db", disk)) as store:
            async with store.begin(isolation=SERIALIZABLE) as first:
                await first.put(b"x", b"0")
                await first.put(b"y", b"0")

            async def refused(number: int) -> None:
                async with store.begin(isolation=SERIALIZABLE) as transaction:
                    await transaction.put(b"other %d" % number, b"1")

            await asyncio.sleep(1)  # whatever the log writes in the background is written
            disk.fail("append", error=errno.ENOSPC)
            results = await asyncio.gather(*map(refused, range(20)), return_exceptions=True)
            assert any(isinstance(result, DiskUnavailable) for result in results)
            withdraw = store.begin(isolation=SERIALIZABLE)
            assert [await withdraw.get(b"x"), await withdraw.get(b"y")] == [b"0", b"0"]
            async with store.begin(isolation=SERIALIZABLE) as deposit:
                assert await deposit.get(b"y") == b"0"
                await deposit.put(b"y", b"20")
            async with store.begin(isolation=SERIALIZABLE, read_only=True) as report:
                assert [await report.get(b"x"), await report.get(b"y")] == [b"0", b"20"]
            with pytest.raises(SerializationFailure):
                async with withdraw:
                    await withdraw.put(b"x", b"-11")
            async with store.begin(isolation=SERIALIZABLE) as last:
                await last.put(b"x", b"1")
            assert store.gauges()["store.conflict_marks"] == 0

    run(main())


def test_who_reads_very_many_keys_is_remembered_by_ranges() -> None:
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    for number in range(READS_MAX + 1):
        assert conflicts.read(reader, b"key %06d" % number) is None
    assert conflicts.reads.count(reader) <= COARSE_RANGES
    committed(conflicts, [], [b"key 000005"], 1)
    assert reader.earliest_out == 1


def test_a_commit_of_very_many_keys_is_remembered_by_ranges() -> None:
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    committed(conflicts, [], [b"key %06d" % number for number in range(MARKS_MAX + 1)], 1)
    assert conflicts.marks <= COARSE_RANGES
    assert conflicts.read(reader, b"key 000005") is None
    assert reader.earliest_out == 1


def test_of_several_who_overwrite_what_was_read_the_first_counts() -> None:
    """PostgreSQL's ``multiple-row-versions``: it aborts one of the four, the first."""

    async def main() -> None:
        async with engine_on() as store:
            one, two, three, four = (store.begin(isolation=SERIALIZABLE) for _ in range(4))
            assert await one.get(b"x") is None
            await two.put(b"x", b"2")
            await two.commit()
            await three.put(b"x", b"3")
            assert await three.get(b"y") is None
            await four.put(b"y", b"4")
            assert await four.get(b"z") is None
            await four.commit()
            await three.commit()
            with pytest.raises(SerializationFailure):
                async with one:
                    await one.put(b"z", b"1")

    run(main())


@pytest.mark.parametrize("by_range", [False, True])
def test_a_late_read_counts_against_the_first_overwriter_only(by_range: bool) -> None:
    """The second is a pivot whose end has committed first: with it, the read would be refused."""
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    committed(conflicts, [], [b"x"], 1)
    second = conflicts.begin(3, 1, read_only=False)
    assert conflicts.read(second, b"y") is None
    committed(conflicts, [], [b"y"], 2)
    assert conflicts.check_commit(second, [b"x"]) is None
    conflicts.committed(second, [b"x"], 3)
    assert second.earliest_out == 2
    if by_range:
        assert conflicts.read_range(reader, b"x", b"x\0") is None
    else:
        assert conflicts.read(reader, b"x") is None
    assert reader.earliest_out == 1


def test_a_key_that_nobody_else_has_overwritten_counts_beside_one_that_somebody_has() -> None:
    conflicts = Conflicts()
    reader = conflicts.begin(1, 0, read_only=False)
    assert conflicts.read_range(reader, b"a", b"z") is None
    committed(conflicts, [], [b"b"], 1)
    pivot = conflicts.begin(3, 1, read_only=False)
    assert conflicts.read(pivot, b"zz") is None
    committed(conflicts, [], [b"zz"], 2)
    assert conflicts.check_commit(pivot, [b"b"]) is None
    error = conflicts.check_commit(pivot, [b"b", b"c"])
    assert error is not None
    assert error.fields["key"] == b"c"


def test_a_delete_that_finds_nothing_does_not_hide_what_it_has_read() -> None:
    async def main() -> None:
        async with engine_on() as store:
            one, other = (store.begin(isolation=SERIALIZABLE) for _ in range(2))
            await one.put(b"b", b"1")
            await one.delete(b"a")
            assert await other.get(b"b") is None
            await one.commit()
            await other.put(b"a", b"2")
            with pytest.raises(SerializationFailure):
                await other.commit()

    run(main())


def test_who_was_aborted_may_repeat_at_once() -> None:
    async def main() -> None:
        async with engine_on() as store:
            one, other = (store.begin(isolation=SERIALIZABLE) for _ in range(2))
            for transaction in (one, other):
                assert [row async for row in transaction.scan()] == []
            await one.put(b"a", b"1")
            await other.put(b"b", b"1")
            await one.commit()
            with pytest.raises(SerializationFailure, match="may fit into no order"):
                await other.commit()
            async with store.begin(isolation=SERIALIZABLE) as again:
                assert [key async for key, _ in again.scan()] == [b"a"]
                await again.put(b"b", b"1")

    run(main())


def test_an_abort_at_a_read_lets_go_of_the_locks() -> None:
    """T1 reads what a pivot has committed; whoever waited for T1's lock goes on."""

    async def main() -> None:
        async with engine_on() as store:
            reader, pivot, end = (store.begin(isolation=SERIALIZABLE) for _ in range(3))
            await reader.put(b"own", b"1")
            assert await pivot.get(b"x") is None
            await end.put(b"x", b"1")
            await end.commit()
            await pivot.put(b"y", b"1")
            await pivot.commit()
            with pytest.raises(SerializationFailure, match="has read b'y' from before commit 2"):
                await reader.get(b"y")
            async with store.begin() as after:
                await after.put(b"own", b"2")

    run(main())
