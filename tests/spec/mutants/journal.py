"""Journals that leave out one rule each; the specification must catch every one by its sentence.

The rules and the smallest schedules that need them are on ``docs/journal.md``.
One rule of that list has no mutant here: "a sync that began before another one
failed is not believed". `LogWriter` has one sync under way at most, so there is
no earlier one to believe.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Mapping,
    Sequence,
)
from dataclasses import replace
from random import Random
from typing import Any

from sdkit.errors import CorruptData
from sdkit.sim.loop import run
from sdkit.storage.disk import Disk, File
from sdkit.storage.follower import Follower
from sdkit.storage.group_commit import LogWriter
from sdkit.storage.holders import Holders
from sdkit.storage.inspect import Finding, inspect
from sdkit.storage.journal import Journal
from sdkit.storage.recovery import Decision, Recovery
from sdkit.storage.segments import Segment, Segments
from sdkit.storage.snapshot import SnapshotHeader, SnapshotReader
from sdkit.storage.snapshotting import SnapshotStore
from sdkit.storage.waiting import Backlog
from sdkit.storage.wal import SegmentHeader
from sdkit.without import storage as without


class ShowsWhatIsOnlyInThePageCache(Journal):
    """No copies on open: a kill leaves a record, open shows it, the power goes."""

    recovery_type = without.ShowsWhatIsOnlyInThePageCache


class _ClaimsWithoutCopies(Recovery):
    def _bounds_of_new(self) -> tuple[int, int]:
        return self.lsn, self.lsn - 1


class ClaimsWithoutCopies(Journal):
    """The new segment claims that the old one is synced, and nobody has synced it."""

    recovery_type = _ClaimsWithoutCopies


class _DropsWhatIsNotProven(Recovery):
    def decide(self, *, cut_unexplained: bool = False) -> Decision:
        decision = super().decide(cut_unexplained=cut_unexplained)
        header = replace(decision.header, base=decision.proven + 1, born=decision.proven)
        return replace(decision, header=header, copies=[], last=decision.proven)


class DropsWhatIsNotProven(Journal):
    """The last group was synced, and no record behind it says so: it is dropped."""

    recovery_type = _DropsWhatIsNotProven


class HidesARecordEverySecondTime(Journal):
    """What a recovery shows must depend on the bytes alone."""

    async def replay(
        self,
        *,
        on_snapshot: Callable[[bytes], None] | None = None,
        on_record: Callable[[int, bytes], None],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        hidden = self.end if self.segment % 2 == 0 else 0
        await super().replay(
            on_snapshot=on_snapshot,
            on_record=lambda lsn, record: None if lsn == hidden else on_record(lsn, record),
            progress=progress,
        )


class _CutsInPlace(Segments):
    """Goes on in the last file, cut where the damage was."""

    async def begin(self, decision: Decision) -> File:
        if not decision.chain:
            return await super().begin(decision)
        last = decision.chain[-1]
        if decision.cut is not None:
            last = next(h for h in decision.chain if h.name == decision.cut.file)
        self.kept = [it for it in self.kept if it.header.number < last.number]
        file = await self._disk.open(last.name)
        if decision.cut is not None:
            await file.truncate(max(last.size, decision.cut.offset))
        self.kept.append(Segment(last, file.size))
        await self._settle_cut(file)
        return file

    async def _settle_cut(self, file: File) -> None:
        pass


class _CutsInPlaceAndSyncs(_CutsInPlace):
    async def _settle_cut(self, file: File) -> None:
        await file.sync()


class CutsInPlace(Journal):
    """What was cut comes back, healed by equal bytes written over it."""

    segments_type = _CutsInPlace


class TrustsASyncOfTheOldFile(Journal):
    """After a failed sync the pages look clean: the next one says yes and brings nothing."""

    segments_type = _CutsInPlaceAndSyncs


class _LeavesNames(Segments):
    async def settle_names(self) -> None:
        return


class TrustsTheNamesItSees(Journal):
    """No directory sync before recovery: two crashes later a segment is missing."""

    segments_type = _LeavesNames


class TakesThePositionAfterTheSync(Journal):
    """What was appended during the sync is called durable with it."""

    writer_type = without.CountsLateComers


class ClaimsAnUnsyncedSegment(Journal):
    """A new header proves the old segment, which was never synced."""

    writer_type = without.RotatesUnsynced


class NamesAnUnsyncedHeader(Journal):
    """A segment gets its final name before its header is on the disk."""

    segments_type = without.NamesUnsyncedHeaders


class NamesAnUnsyncedSnapshot(Journal):
    snapshots_type = without.SnapshotsUnsynced


class _RefusesGaps(Recovery):
    def _check_numbers(self) -> None:
        numbers = sorted(self._headers)
        if numbers and numbers[-1] - numbers[0] >= len(numbers):
            raise CorruptData("a segment number is missing", file="", offset=0)


class RefusesGapsInNumbers(Journal):
    """An interrupted rotation leaves a gap, and nothing is wrong."""

    recovery_type = _RefusesGaps


class LeavesAShortWrite(Journal):
    """Goes on behind the torn half of a write that failed."""

    writer_type = without.LeavesShortWrites


class _CutsBackUnsynced(LogWriter):
    async def _cut_back(self, good: int) -> None:
        await self._file.truncate(good)


class SaysNoTooEarly(Journal):
    """ "It did not happen", before the cut is on the disk."""

    writer_type = _CutsBackUnsynced


class RetriesAFailedSync(Journal):
    writer_type = without.RetriesSyncs


class EndsTheLogAtTheFirstBadRecord(Journal):
    """No scan for proof behind the damage."""

    recovery_type = without.LooksNoFurther


class ShowsFollowersWhatIsNotSynced(Journal):
    follower_type = without.ReadsAhead


class _EndsUnsynced(LogWriter):
    async def _end(self) -> None:
        self.ended = True


class StopsWithoutAnEndRecord(Journal):
    writer_type = _EndsUnsynced


class _Reverses(Backlog):
    def next_group(self) -> list[bytes]:
        return super().next_group()[::-1]


class _WritesBackwards(LogWriter):
    backlog_type = _Reverses


class WritesAGroupBackwards(Journal):
    writer_type = _WritesBackwards


class TidiesBeforeItDecides(Journal):
    """Removes a file before it knows whether it may start."""

    @classmethod
    async def open(cls, disk: Disk, **arguments: Any) -> Journal:
        names: Sequence[str] = await disk.list()
        for name in names:
            if name.endswith(".tmp"):
                await disk.remove(name)
        return await super().open(disk, **arguments)


class AnywhereHeader(SegmentHeader):
    """CRCs that start from nothing: a record is valid wherever it is copied to."""

    def crc_start(self, offset: int) -> int:
        return 0


class StartsItsNumbersAtZero(Journal):
    def append(self, record: bytes) -> int:
        return super().append(record) - 1


class ReplaysTheSnapshotsLastRecordAgain(Journal):
    async def replay(
        self,
        *,
        on_snapshot: Callable[[bytes], None] | None = None,
        on_record: Callable[[int, bytes], None],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if self._opened is not None and self._opened.snapshot_lsn:
            self._opened.snapshot_lsn -= 1
            await super().replay(on_snapshot=on_snapshot, on_record=on_record, progress=progress)
        else:
            await super().replay(on_record=on_record)


class IgnoresHolders(Journal):
    async def _truncate(self) -> None:
        await self._segments.truncate(self._snapshot_lsn + 1)


class _RemembersHolders(Holders):
    async def set(self, name: str, lsn: int | None) -> None:
        self.lsns = {each: at for each, at in self.lsns.items() if each != name}
        if lsn is not None:
            self.lsns[name] = lsn


class KeepsHoldersInMemory(Journal):
    holders_type = _RemembersHolders


class _LetsGoEarly(Holders):
    def meanwhile(self, before: Mapping[str, int], wanted: Mapping[str, int]) -> dict[str, int]:
        return dict(wanted)


class LetsGoBeforeItIsWritten(Journal):
    """The log is cut up to a holder's new position, and a crash leaves the old one."""

    holders_type = _LetsGoEarly


class ForgetsWhoReadsASnapshot(Journal):
    async def _truncate(self) -> None:
        await self._segments.truncate(min([self._snapshot_lsn + 1, *self.holders.values()]))


class _ReadsByName(SnapshotStore):
    async def _next_chunks(self, file: File, reader: SnapshotReader, offset: int) -> list[bytes]:
        now = await self._disk.open(self._name)
        try:
            return await super()._next_chunks(now, reader, offset)
        finally:
            await now.close()


class ReadsWhateverSnapshotIsThere(Journal):
    snapshots_type = _ReadsByName


class _SupersedesNothing(SnapshotStore):
    async def write(self, header: SnapshotHeader, chunks: AsyncIterable[bytes]) -> int:
        return await super().write(replace(header, supersedes=0), chunks)


class InstallsBesideTheLog(Journal):
    snapshots_type = _SupersedesNothing


class _CountsSuperseded(Recovery):
    def _is_superseded(self, number: int) -> bool:
        return False


class BelievesSupersededSegments(Journal):
    recovery_type = _CountsSuperseded


class ClearsTheWayFirst(Journal):
    """Makes room for a snapshot from elsewhere before that has its name."""

    async def install(self, lsn: int, chunks: AsyncIterable[bytes]) -> None:
        for segment in self._segments.kept[:-1]:
            await self._disk.remove(segment.header.name)
        await super().install(lsn, chunks)


class _BelievesAll(Recovery):
    def _believed(self, header: SegmentHeader, claim: int) -> int:
        return claim


class BelievesSupersededClaims(Journal):
    recovery_type = _BelievesAll


class _ForgetsInMemoryOnly(LogWriter):
    async def _supersede(self, lsn: int, done: asyncio.Future[None]) -> None:
        await self._settle_old_segment()
        self.end = self.written = self.synced = self.announced = lsn - 1
        self._superseding = None
        done.set_result(None)


class SupersedesInMemoryOnly(Journal):
    writer_type = _ForgetsInMemoryOnly


class _CutsTheOldFile(LogWriter):
    async def _supersede(self, lsn: int, done: asyncio.Future[None]) -> None:
        for segment in self._segments.kept[:-1]:
            if segment.header.base >= lsn:  # before the new one stands for them
                await self._segments._disk.remove(segment.header.name)
        await super()._supersede(lsn, done)


class UnlinksBeforeItSupersedes(Journal):
    writer_type = _CutsTheOldFile


class _GoesOn(Follower):
    def _check_not_superseded(self) -> None:
        return


class FollowersGoOnBehindTheOld(Journal):
    follower_type = _GoesOn


class NeverTruncates(Journal):
    async def _truncate(self) -> None:
        return


class _SkipsTheFirst(Follower):
    async def records(self) -> AsyncGenerator[tuple[int, bytes], None]:
        self.lsn += 1
        async for lsn, content in super().records():
            yield lsn, content


class StartsFollowersOneLater(Journal):
    follower_type = _SkipsTheFirst


class SnapshotsWithALaterPosition(Journal):
    """Says that the state is as of the end, though it is as of ``lsn``."""

    async def _write_snapshot(self, lsn: int, chunks: AsyncIterable[bytes]) -> int:
        kept = [chunk async for chunk in chunks]

        async def again() -> AsyncIterator[bytes]:
            for chunk in kept:
                yield chunk

        await self._writer.wait_for_sync(self.end)
        return await super()._write_snapshot(self.end, again())


class SharesOneFuture(Journal):
    """All who wait for an LSN share a future, and whoever cancels it cancels it for all."""

    def wait(self, lsn: int) -> asyncio.Future[None]:
        shared: dict[int, asyncio.Future[None]] = self.__dict__.setdefault("shared", {})
        if lsn not in shared:
            shared[lsn] = super().wait(lsn)
        return shared[lsn]


class DropsItsBacklogOnClose(Journal):
    async def close(self) -> None:
        self._writer._backlog.clear()
        await super().close()


class _CutsWithoutAWord(Recovery):
    def decide(self, *, cut_unexplained: bool = False) -> Decision:
        return replace(super().decide(cut_unexplained=cut_unexplained), cut=None)


class CutsWithoutAWord(Journal):
    """A torn tail is left behind, and the report does not say so."""

    recovery_type = _CutsWithoutAWord


# Ways to look at a journal that are milder, or stricter, than opening it.


def _findings(disk: Disk) -> list[Finding]:
    return run(inspect(disk, records_max=0)).findings


def looks_only_where_a_header_names_the_room(disk: Disk) -> bool:
    view = run(inspect(disk, records_max=0))
    return view.room is None or not view.damaged


def looks_only_at_what_the_state_needs(disk: Disk) -> bool:
    return {it.kind for it in _findings(disk)} <= {"older damage", "unfinished file"}


def overlooks_torn_tails(disk: Disk) -> bool:
    return {it.kind for it in _findings(disk)} <= {"torn tail", "unfinished file"}


def minds_unfinished_files(disk: Disk) -> bool:
    return not _findings(disk)


def opens_what_it_looks_at(disk: Disk) -> bool:
    async def main() -> None:
        await (await Journal.open(disk, room="spec", random=Random(0))).close()

    with contextlib.suppress(Exception):
        run(main())
    return True
