"""Surveying: read a journal's directory and decide whether it can be opened; change nothing.

A check before a start is worth nothing if the start then decides differently. So one
function, `survey`, reads and decides for both. Opening goes on with its result
(`sdkit.storage.opening`); a check shows it (`sdkit.storage.inspect`).

    names, headers, the whole snapshot  ->  Directory
    every segment that the state needs  ->  recovery  ->  Decision, or a refusal
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sdkit.errors import CorruptData, SdkitError
from sdkit.storage.damage import ForeignFile
from sdkit.storage.disk import Disk, File
from sdkit.storage.holders import HOLDERS_NAME, read_holder
from sdkit.storage.recovery import Decision, Recovery
from sdkit.storage.segments import TEMPORARY, disk_unavailable
from sdkit.storage.snapshot import (
    SNAPSHOT_NAME,
    SNAPSHOT_TEMPORARY_NAME,
    SnapshotHeader,
    SnapshotReader,
)
from sdkit.storage.wal import (
    SEGMENT_HEADER_BYTES_MAX,
    SegmentHeader,
    end_of_content,
    segment_number,
)

READ_BYTES: Final = 2**20
RECORDS_PER_TURN: Final = 2_048
UNKNOWN_ROOM: Final = "unknown"  # where no file names one
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Directory:
    """What a journal's directory holds, before its records are checked."""

    names: list[str]
    headers: dict[int, SegmentHeader | CorruptData]
    sizes: dict[int, int]
    snapshot: SnapshotHeader | None
    snapshot_bytes: int
    ends: dict[int, int] = field(default_factory=dict)  # of the segments that were read
    holders: dict[str, int] = field(default_factory=dict)
    holders_header: SnapshotHeader | None = None

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
    """What a directory holds, and what opening it would do.

    Args:
        directory: None if not even that could be read.
        chain: the segments that the state needs; empty if that could not be told.
        decision: None if opening would raise ``refusal``.
    """

    directory: Directory | None = None
    chain: list[SegmentHeader] = field(default_factory=list)
    decision: Decision | None = None
    refusal: SdkitError | None = None


async def survey(
    disk: Disk,
    *,
    room: str | None = None,
    random: Random,
    recovery_type: type[Recovery] = Recovery,
    cut_unexplained: bool = False,
    progress: Progress | None = None,
) -> Survey:
    """Read everything and decide, for opening and for a check alike.

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
    """Read the names and headers, and check the whole snapshot.

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
    directory = Directory(names, headers, sizes, snapshot, snapshot_bytes)
    if HOLDERS_NAME in names:
        await _read_holders(disk, directory)
    return directory


async def _read_holders(disk: Disk, directory: Directory) -> None:
    reader = SnapshotReader(HOLDERS_NAME)
    async with contextlib.aclosing(read_chunks(disk, reader, HOLDERS_NAME)) as chunks:
        async for chunk in chunks:
            name, lsn = read_holder(chunk)
            directory.holders[name] = lsn
    directory.holders_header = reader.header


async def check_snapshot(disk: Disk) -> tuple[SnapshotHeader, int]:
    """Check every byte of the snapshot. Returns its header and size."""
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
    """Feed a recovery with every segment that the state needs."""
    snapshot = directory.snapshot
    if snapshot is not None and snapshot.room != room:
        raise ForeignFile(
            f"the snapshot belongs to room {snapshot.room}, not to {room}: this is another "
            "room's directory",
            file=SNAPSHOT_NAME,
        )
    journal_id, holders = directory.journal_id or random.randbytes(8), directory.holders_header
    if holders is not None and (holders.room, holders.journal_id) != (room, journal_id):
        raise ForeignFile(
            f"{HOLDERS_NAME} belongs to journal {holders.journal_id.hex()} of room "
            f"{holders.room}, and the log that is here does not: move it away",
            file=HOLDERS_NAME,
        )
    recovery = recovery_type(
        directory.headers,
        snapshot_lsn=directory.snapshot_lsn,
        room=room,
        journal_id=journal_id,
        number_max=directory.number_max,
        superseded=0 if snapshot is None else snapshot.supersedes,
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


def is_unfinished(name: str) -> bool:
    """Whether ``name`` is of a file that a crash left before it got its final name."""
    return name in (SNAPSHOT_TEMPORARY_NAME, HOLDERS_NAME + TEMPORARY) or (
        name.endswith(TEMPORARY) and segment_number(name) is not None
    )


async def read_segment(disk: Disk, header: SegmentHeader) -> bytes:
    """Read all bytes of a segment."""
    async with _reading(disk, header.name) as file:
        return await file.read_at(0, file.size)


async def read_pieces(disk: Disk, name: str) -> AsyncGenerator[bytes, None]:
    """Read a file from its beginning, in pieces."""
    async with _reading(disk, name) as file:
        offset = 0
        while piece := await file.read_at(offset, READ_BYTES):
            yield piece
            offset += len(piece)


async def read_snapshot(disk: Disk) -> AsyncGenerator[bytes, None]:
    """Read the chunks of the snapshot, and check each."""
    async with contextlib.aclosing(read_chunks(disk, SnapshotReader(), SNAPSHOT_NAME)) as chunks:
        async for chunk in chunks:
            yield chunk


async def read_chunks(disk: Disk, reader: SnapshotReader, name: str) -> AsyncGenerator[bytes, None]:
    """Read the file to its end, and give what ``reader`` finds."""
    async with contextlib.aclosing(read_pieces(disk, name)) as pieces:
        async for piece in pieces:
            for chunk in reader.feed(piece):
                yield chunk
    reader.finish()


@contextlib.asynccontextmanager
async def _reading(disk: Disk, name: str) -> AsyncIterator[File]:
    """Open a file to read; an error of the disk names the file."""
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
