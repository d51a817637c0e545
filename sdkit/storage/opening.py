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

`sdkit.storage.recovery` decides; this file reads for it and carries out what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sdkit.errors import CorruptData, SdkitError
from sdkit.storage.config import Recovered
from sdkit.storage.damage import ForeignFile
from sdkit.storage.disk import Disk, File
from sdkit.storage.recovery import Decision, Recovery
from sdkit.storage.reserve import Reserve
from sdkit.storage.segments import TEMPORARY, Segment, Segments, disk_unavailable
from sdkit.storage.snapshot import (
    SNAPSHOT_NAME,
    SNAPSHOT_TEMPORARY_NAME,
    SnapshotHeader,
    SnapshotReader,
)
from sdkit.storage.wal import (
    SEGMENT_HEADER_BYTES_MAX,
    Batch,
    SegmentHeader,
    end_of_content,
    read_records,
    segment_number,
)
from sdkit.trace import event

READ_BYTES: Final = 2**20
RECORDS_PER_TURN: Final = 2_048
UNKNOWN_ROOM: Final = "unknown"  # where no file names one
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Directory:
    """What a journal's directory holds, before anything is believed."""

    names: list[str]
    headers: dict[int, SegmentHeader | CorruptData]
    sizes: dict[int, int]
    snapshot: SnapshotHeader | None
    snapshot_bytes: int
    ends: dict[int, int] = field(default_factory=dict)  # of the segments that were read

    @property
    def number_max(self) -> int:
        """The highest segment number ever seen, unfinished ones included."""
        return max((segment_number(name) or 0 for name in self.names), default=0)

    @property
    def journal_id(self) -> bytes | None:
        """Of the snapshot, or else of the newest readable segment; None if there is neither."""
        if self.snapshot is not None:
            return self.snapshot.journal_id
        for _, header in sorted(self.headers.items(), reverse=True):
            if isinstance(header, SegmentHeader):
                return header.journal_id
        return None

    @property
    def room(self) -> str | None:
        """Of the same file as `journal_id`."""
        if self.snapshot is not None:
            return self.snapshot.room
        for _, header in sorted(self.headers.items(), reverse=True):
            if isinstance(header, SegmentHeader):
                return header.room
        return None

    @property
    def snapshot_lsn(self) -> int:
        return self.snapshot.lsn if self.snapshot else 0


@dataclass(slots=True)
class Survey:
    """What a directory holds and what opening it would do, found out without changing a byte.

    Args:
        directory: None if not even that could be read.
        chain: the segments that the state needs; empty if that could not be told.
        decision: None if opening would raise ``refusal``.
    """

    directory: Directory | None = None
    chain: list[SegmentHeader] = field(default_factory=list)
    decision: Decision | None = None
    refusal: SdkitError | None = None


@dataclass(slots=True)
class Opened:
    """A recovered log, ready to be replayed and written to."""

    segments: Segments
    file: File
    decision: Decision
    snapshot_lsn: int
    snapshot_bytes: int

    def live_chain(self) -> list[SegmentHeader]:
        """The segments to replay: those that were read, and are not replaced, and the new one."""
        kept = [h for h in self.decision.chain if h.number not in self.decision.replaced]
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


async def survey(
    disk: Disk,
    *,
    room: str | None = None,
    random: Random,
    recovery_type: type[Recovery] = Recovery,
    cut_unexplained: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """Read everything and decide: the way of whoever opens, and of whoever only looks.

    Args:
        room: None for the one that the directory itself names.
    """
    found = Survey()
    try:
        found.directory = directory = await read_directory(disk)
        its_room = room or directory.room or UNKNOWN_ROOM
        recovery = await read_log(disk, directory, its_room, random, recovery_type, progress)
        found.chain = recovery.chain
        found.decision = recovery.decide(cut_unexplained=cut_unexplained)
    except SdkitError as refusal:
        found.refusal = refusal
    return found


async def read_directory(disk: Disk) -> Directory:
    """Names, headers, and the whole snapshot, checked.

    Raises:
        CorruptData, UnsupportedFormat: the snapshot is damaged, or a file is of a newer format.
        DiskUnavailable: something cannot be read.
    """
    try:
        names = await disk.list()
    except OSError as error:
        raise disk_unavailable("listing the journal's directory", error) from error
    headers: dict[int, SegmentHeader | CorruptData] = {}
    sizes: dict[int, int] = {}
    for name in names:
        number = segment_number(name)
        if number is not None and not name.endswith(TEMPORARY):
            headers[number], sizes[number] = await _read_header(disk, name)
    snapshot, snapshot_bytes = None, 0
    if SNAPSHOT_NAME in names:
        snapshot, snapshot_bytes = await check_snapshot(disk)
    return Directory(names, headers, sizes, snapshot, snapshot_bytes)


async def check_snapshot(disk: Disk) -> tuple[SnapshotHeader, int]:
    """Read every byte of the snapshot; its header and size."""
    reader, size = SnapshotReader(), 0
    async with contextlib.aclosing(read_pieces(disk, SNAPSHOT_NAME)) as pieces:
        async for piece in pieces:
            reader.feed(piece)
            size += len(piece)
    return reader.finish(), size


async def _read_header(disk: Disk, name: str) -> tuple[SegmentHeader | CorruptData, int]:
    async with _reading(disk, name) as file:
        data = await file.read_at(0, SEGMENT_HEADER_BYTES_MAX)
        try:
            return SegmentHeader.from_bytes(data, name), file.size
        except CorruptData as error:
            return error, file.size


async def read_log(
    disk: Disk,
    directory: Directory,
    room: str,
    random: Random,
    recovery_type: type[Recovery],
    progress: Progress | None,
) -> Recovery:
    """Feed a recovery with every segment that it asks for."""
    snapshot = directory.snapshot
    if snapshot is not None and snapshot.room != room:
        raise ForeignFile(
            f"the snapshot belongs to room {snapshot.room}, not to {room}: this is another "
            "room's directory",
            file=SNAPSHOT_NAME,
        )
    recovery = recovery_type(
        directory.headers,
        snapshot_lsn=directory.snapshot_lsn,
        room=room,
        journal_id=directory.journal_id or random.randbytes(8),
        number_max=directory.number_max,
    )
    total = sum(directory.sizes[header.number] for header in recovery.chain)
    done = 0
    for header in recovery.chain:
        data = await read_segment(disk, header)
        directory.ends[header.number] = max(header.size, end_of_content(data))
        while not recovery.feed(header, data, count=RECORDS_PER_TURN):
            if progress is not None:
                progress(min(total, done + recovery.offset), total)
            await asyncio.sleep(0)
        done += len(data)
    return recovery


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
        replaced = [directory.headers[number] for number in decision.replaced]
        await _remove(disk, [h.name for h in replaced if isinstance(h, SegmentHeader)])
        for segment in segments.kept[:-1]:
            end = directory.ends.get(segment.header.number, segment.size)
            if end < segment.size:
                await _cut_zeros(disk, segment, end)
        await reserve.fill()
    except BaseException:  # it was cancelled: what is durable may stay
        await file.close()
        raise
    return Opened(segments, file, decision, directory.snapshot_lsn, directory.snapshot_bytes)


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


def is_unfinished(name: str) -> bool:
    """A file that a crash left before it got its name."""
    return name == SNAPSHOT_TEMPORARY_NAME or (
        name.endswith(TEMPORARY) and segment_number(name) is not None
    )


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


async def read_segment(disk: Disk, header: SegmentHeader) -> bytes:
    """All bytes of a segment."""
    async with _reading(disk, header.name) as file:
        return await file.read_at(0, file.size)


async def read_pieces(disk: Disk, name: str) -> AsyncGenerator[bytes, None]:
    """A file from its beginning, in pieces."""
    async with _reading(disk, name) as file:
        offset = 0
        while piece := await file.read_at(offset, READ_BYTES):
            yield piece
            offset += len(piece)


async def read_snapshot(disk: Disk) -> AsyncGenerator[bytes, None]:
    """The chunks of the snapshot, each checked."""
    reader = SnapshotReader()
    async with contextlib.aclosing(read_pieces(disk, SNAPSHOT_NAME)) as pieces:
        async for piece in pieces:
            for chunk in reader.feed(piece):
                yield chunk
    reader.finish()


@contextlib.asynccontextmanager
async def _reading(disk: Disk, name: str) -> AsyncIterator[File]:
    """The file, open; an error of the disk says which file could not be read."""
    try:
        file = await disk.open(name)
        try:
            yield file
        finally:
            await file.close()
    except OSError as error:
        if isinstance(error, SdkitError):
            raise
        raise disk_unavailable(f"reading {name}", error) from error
