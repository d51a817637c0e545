"""Follower: read the log from any kept position on, and go on as it grows.

A replica, a change feed and a raft peer want the same: every record from some
LSN on, in order, once. Reading the files does it, if three things are kept.

    1. The bound is what is *synced*, in every durability mode (`bound`). A
       follower that saw what was only appended could hold records that its
       leader loses in a power cut: the copy would be ahead of the original.
       Followers therefore never see a record taken back, or an LSN given twice.
    2. A position may be gone. A snapshot lets old segments be unlinked; then
       the answer is `Truncated`, and the follower needs the snapshot. Whoever
       cannot afford that registers a named holder (`Journal.hold`).
    3. A position may lie *ahead* of the log. That proves that this log lost
       synced data (`FollowerAhead`); neither side may cut to make it fit.

    4. What was shown may be *superseded* later (`Journal.supersede`). The follower is
       told from which record on (`Superseded`), and never goes on in the new ones
       behind the old.

Old segments do not change (`sdkit.storage.segments`), so a follower reads them
without asking anybody, however far behind it is.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from sdkit.errors import CorruptData, Rejected
from sdkit.storage.disk import Disk, File
from sdkit.storage.group_commit import LogWriter
from sdkit.storage.segments import Segment, Segments, disk_unavailable
from sdkit.storage.wal import LSN_MAX, Batch, Stop, read_records

READ_BYTES: Final = 2**18


class Truncated(Rejected, LookupError):
    """The log no longer reaches back to this position; start from the snapshot."""

    code = "truncated"


class FollowerAhead(Rejected):
    """A follower has records that this log does not: synced data was lost here."""

    code = "follower_ahead"


class Superseded(Rejected, LookupError):
    """Records that this follower was shown were dropped from the log, and others take their place.

    Drop them there as well, from ``first`` on, and follow from there.
    """

    code = "superseded"


class Follower:
    """One reader of a running log.

    Args:
        lsn: the first record that is wanted.
    """

    def __init__(self, disk: Disk, segments: Segments, writer: LogWriter, lsn: int) -> None:
        self.lsn = lsn
        self._disk, self._segments, self._writer = disk, segments, writer
        self._file: File | None = None
        self._offset = 0
        self._at_lsn = 0  # of the record at `_offset`
        self._shown_from = LSN_MAX  # number of the segment that the last record came from

    def bound(self) -> int:
        """The last LSN that may be shown."""
        return self._writer.synced

    async def records(self) -> AsyncGenerator[tuple[int, bytes], None]:
        """Every record from ``lsn`` on, for ever; ends only with an error.

        Raises:
            InvalidState: this is not the event loop in which the log was opened.
            Truncated: the position is gone, now or on the way.
            Superseded: what was shown is no longer in the log.
            CorruptData: a record is damaged; the snapshot has what it held.
            DiskUnavailable: it cannot be read, or everything durable was read and the log failed.
            Closed: everything was read and the journal was closed.
        """
        self._writer.check_loop()
        try:
            while True:
                self._check_not_superseded()
                while self.lsn > self.bound():
                    await self._wait()
                    self._check_not_superseded()
                newest = self._segments.kept[-1]
                for lsn, content in await self._read():
                    if self._segments.kept[-1] is not newest:  # it may replace this record
                        await self._close_file()
                        break
                    self.lsn = lsn + 1
                    yield lsn, content
        except FileNotFoundError as error:
            raise self._truncated() from error
        except OSError as error:
            if isinstance(error, Rejected) or not isinstance(error.errno, int):
                raise
            raise disk_unavailable("reading the log", error) from error
        finally:
            await self._close_file()

    async def _close_file(self) -> None:
        """Let it be opened anew, and read from its beginning."""
        file, self._file = self._file, None
        if file is not None:
            await file.close()

    def _check_not_superseded(self) -> None:
        """A later segment that begins before what was shown last has replaced it."""
        for segment in self._segments.kept:
            first = segment.header.base
            if segment.header.number > self._shown_from and first < self.lsn:
                raise Superseded(
                    f"records from {first} on were superseded, and {self.lsn - 1} was shown: "
                    f"drop them, and follow from {first}",
                    first=first,
                )

    async def _wait(self) -> None:
        if self._writer.is_over:
            raise self._writer.refusal()
        await self._writer.next_turn()

    async def _read(self) -> list[tuple[int, bytes]]:
        """The next records from the segment that holds them; perhaps none yet."""
        segment, stop_lsn = self._segment()
        file = await self._opened(segment)
        limit = self._readable_bytes(segment, file)
        bound, size = min(stop_lsn, self.bound() + 1), READ_BYTES
        while True:
            data = await file.read_at(self._offset, min(size, limit - self._offset))
            batch = read_records(
                segment.header,
                data,
                self._offset,
                self._at_lsn,
                data_offset=self._offset,
                stop_lsn=bound,
            )
            if batch.offset > self._offset or batch.stop is Stop.REPLACED:
                break
            if self._offset + len(data) >= limit or len(data) < size:
                raise self._ended(segment, batch)
            size *= 4  # a record larger than what was read
        self._offset, self._at_lsn = batch.offset, batch.lsn
        self._shown_from = segment.header.number
        return [it for it in enumerate(batch.contents, batch.first_lsn) if it[0] >= self.lsn]

    def _segment(self) -> tuple[Segment, int]:
        """The newest segment that begins at or before `lsn`, and where the next one takes over."""
        stop_lsn = LSN_MAX
        for segment in reversed(self._segments.kept):
            if segment.header.base <= self.lsn:
                return segment, stop_lsn
            stop_lsn = segment.header.base
        raise self._truncated()

    async def _opened(self, segment: Segment) -> File:
        if self._file is None or self._file.name != segment.header.name:
            await self._close_file()
            self._file = await self._disk.open(segment.header.name)
            self._offset, self._at_lsn = segment.header.size, segment.header.base
        return self._file

    def _readable_bytes(self, segment: Segment, file: File) -> int:
        current = segment is self._segments.kept[-1]
        return self._writer.synced_bytes if current else segment.size

    def _ended(self, segment: Segment, batch: Batch) -> Rejected:
        if batch.stop is Stop.CLEAN:
            return self._truncated()  # a hole below the snapshot: a truncation in progress
        return CorruptData(
            f"{segment.header.name} is damaged at offset {batch.offset}, where record "
            f"{batch.lsn} belongs: {batch.why}. Start from the snapshot",
            file=segment.header.name,
            offset=batch.offset,
            lsn=batch.lsn,
        )

    def _truncated(self) -> Truncated:
        kept = self._segments.kept[0].header.base
        return Truncated(
            f"record {self.lsn} is no longer in the log, which now begins at about {kept}; "
            "start from the snapshot, and hold the position next time",
            lsn=self.lsn,
            first=kept,
        )
