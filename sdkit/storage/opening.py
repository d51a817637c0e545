"""Opening: read all, decide, make durable, and only then let anybody see.

The order is the whole point, since a crash may come between any two steps, in
the middle of recovery as well:

    1. read     names, headers, snapshot, every segment the state needs. A
                refusal comes out of this step, and has changed nothing.
    2. settle   sync the directory: after a kill, names are seen that a power
                cut would still take away.
    3. begin    a new segment with copies of whatever is not proven to have been
                synced; it is durable before it has its name. Unfinished files
                go before it: on a full disk it may need their room.
    4. clean    unlink what the new segment replaces, in any order: each of them
                is already without meaning; so are zeros at the end of the others.
    5. reserve  keep some room back, which step 3 may need on a full disk.

`sdkit.storage.surveying` reads, `sdkit.storage.recovery` decides; this file carries out
what they say.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from random import Random

from sdkit.errors import CorruptData
from sdkit.storage.config import Recovered
from sdkit.storage.disk import Disk, File
from sdkit.storage.recovery import Decision, Recovery
from sdkit.storage.reserve import Reserve
from sdkit.storage.segments import Segment, Segments
from sdkit.storage.surveying import (
    RECORDS_PER_TURN,
    Directory,
    Progress,
    is_unfinished,
    read_segment,
    read_snapshot,
    survey,
)
from sdkit.storage.wal import Batch, SegmentHeader, read_records, segment_name
from sdkit.trace import event


@dataclass(slots=True)
class Opened:
    """A recovered log, ready to be replayed and written to."""

    segments: Segments
    file: File
    decision: Decision
    snapshot_lsn: int
    snapshot_bytes: int
    holders: dict[str, int]

    def live_chain(self) -> list[SegmentHeader]:
        """The segments to replay: those that were read, and are still needed, and the new one."""
        numbers = {segment.header.number for segment in self.segments.kept}
        kept = [header for header in self.decision.chain if header.number in numbers]
        return [*kept, self.segments.kept[-1].header]

    def report(self) -> Recovered:
        decision = self.decision
        return Recovered(
            snapshot_lsn=self.snapshot_lsn,
            last_lsn=decision.last,
            proven_lsn=decision.proven,
            records=decision.last - self.snapshot_lsn,
            segments=len(decision.chain),
            cut=decision.cut,
            clean=decision.clean,
            damaged=decision.damaged,
        )

    def changed_since(self, header: SegmentHeader, batch: Batch) -> CorruptData:
        return CorruptData(
            f"{header.name} was whole when it was opened and is damaged now, at offset "
            f"{batch.offset}: {batch.why or 'it ends'}",
            file=header.name,
            offset=batch.offset,
        )


async def open_log(
    disk: Disk,
    *,
    room: str,
    random: Random,
    reserve_bytes: int = 0,
    recovery_type: type[Recovery] = Recovery,
    segments_type: type[Segments] = Segments,
    cut_unexplained: bool = False,
    progress: Progress | None = None,
) -> Opened:
    """Recover the log in ``disk``; see `sdkit.storage.journal.Journal.open`."""
    found = await survey(
        disk,
        room=room,
        random=random,
        recovery_type=recovery_type,
        cut_unexplained=cut_unexplained,
        progress=progress,
    )
    if found.refusal is not None:
        raise found.refusal
    directory, decision = found.directory, found.decision
    assert directory is not None
    assert decision is not None
    _report(decision)
    reserve = Reserve(disk, reserve_bytes)
    opened = await carry_out(disk, directory, decision, segments_type, reserve)
    event("journal.opened", file=decision.header.name, last=decision.last, proven=decision.proven)
    return opened


async def carry_out(
    disk: Disk,
    directory: Directory,
    decision: Decision,
    segments_type: type[Segments],
    reserve: Reserve,
) -> Opened:
    """Make durable what is about to be shown, then clean up.

    Raises:
        DiskUnavailable: there is no room, not even in the reserve; nothing was lost.
        DiskFailed: it may or may not be durable; open again.
    """
    kept = [
        Segment(header, directory.sizes[number])
        for number, header in sorted(directory.headers.items())
        if isinstance(header, SegmentHeader) and number not in decision.replaced
    ]
    segments = segments_type(disk, kept, reserve)
    await segments.settle_names()
    await _remove(disk, filter(is_unfinished, directory.names))
    file = await segments.begin(decision)
    try:
        await _remove(disk, map(segment_name, decision.replaced))
        for segment in segments.kept[:-1]:
            end = directory.ends.get(segment.header.number, segment.size)
            if end < segment.size:
                await _cut_zeros(disk, segment, end)
        # An unlink may have been lost while a later one was not. What lies before such a
        # hole may hold records that were superseded, and nobody needs it.
        await segments.truncate(min([directory.snapshot_lsn + 1, *directory.holders.values()]))
        await reserve.fill()
    except BaseException:  # it was cancelled: what is durable may stay
        await file.close()
        raise
    return Opened(
        segments,
        file,
        decision,
        directory.snapshot_lsn,
        directory.snapshot_bytes,
        directory.holders,
    )


async def _cut_zeros(disk: Disk, segment: Segment, end: int) -> None:
    """Give the room back that was preallocated in a segment when its process died.

    Nothing is lost by it, whatever a power cut makes of it: where a file ends, and
    where only zeros follow, is the same to every reader.
    """
    with contextlib.suppress(OSError):
        file = await disk.open(segment.header.name)
        try:
            await file.truncate(end)
            segment.size = end
        finally:
            await file.close()


async def _remove(disk: Disk, names: Iterable[str]) -> None:
    for name in names:
        with contextlib.suppress(OSError):  # it is without meaning, there or not
            await disk.remove(name)


def _report(decision: Decision) -> None:
    cut = decision.cut
    if cut is not None:
        event(
            "journal.cut",
            file=cut.file,
            offset=cut.offset,
            bytes=cut.bytes,
            records=cut.records,
            last=decision.last,
            proven=decision.proven,
        )
    for name in decision.damaged:
        event("journal.damaged_needless", file=name)


async def replay_log(
    disk: Disk,
    opened: Opened,
    on_snapshot: Callable[[bytes], None] | None,
    on_record: Callable[[int, bytes], None],
    progress: Progress | None,
) -> None:
    """Hand out the snapshot's chunks and the records behind it; see `Journal.replay`."""
    if opened.snapshot_lsn:
        async with contextlib.aclosing(read_snapshot(disk)) as chunks:
            async for chunk in chunks:
                if on_snapshot is not None:
                    on_snapshot(chunk)
    first, last = opened.snapshot_lsn + 1, opened.decision.last
    chain = opened.live_chain()
    for header, following in zip(chain, [*chain[1:], None], strict=True):
        stop_lsn = following.base if following else last + 1
        data = await read_segment(disk, header)
        offset, lsn = header.size, header.base
        while lsn < stop_lsn:
            batch = read_records(
                header, data, offset, lsn, stop_lsn=stop_lsn, count=RECORDS_PER_TURN
            )
            if batch.offset == offset:
                raise opened.changed_since(header, batch)
            for its_lsn, content in enumerate(batch.contents, lsn):
                if its_lsn >= first:
                    on_record(its_lsn, content)
            offset, lsn = batch.offset, batch.lsn
            if progress is not None:
                progress(max(0, lsn - first), last + 1 - first)
            await asyncio.sleep(0)
