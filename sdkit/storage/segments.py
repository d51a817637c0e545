"""Segments: the files of one journal, made so that a name always means a whole file.

A crash may come between any two steps, so the steps are ordered: whatever is
found afterwards must be either unmistakably unfinished or true.

    new segment     write N.wal.tmp with its header (and, after a recovery, the
                    copied records), sync it, rename it to N.wal, sync the
                    directory; only then write records, through the same handle
    truncation      the snapshot that makes files needless is synced and has its
                    name durably; only then unlink, in any order

Things to notice
    1. A file under its final name has a synced header. An invalid header is
       therefore corruption, never an unfinished write.
    2. Old segments are never changed again, only unlinked: a follower can read
       them while the log goes on.
    3. Unlinks may survive a power cut in any subset. A hole wholly below the
       snapshot means nothing, and the next truncation removes the rest.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sdkit.errors import DiskFailed, DiskUnavailable
from sdkit.storage.disk import Disk, File
from sdkit.storage.recovery import Decision
from sdkit.storage.reserve import Reserve, is_full
from sdkit.storage.wal import SegmentHeader, encode_records
from sdkit.trace import event

TEMPORARY: Final = ".tmp"
NO_HANDLE: Final = (errno.EMFILE, errno.ENFILE)
_REMEDIES: Final = {
    **dict.fromkeys(NO_HANDLE, "close some"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "give this user the right to it"),
    errno.EIO: "look after the device",
}


@dataclass(slots=True)
class Segment:
    """A file of the log: its header, and how many of its bytes are good."""

    header: SegmentHeader
    size: int


class Segments:
    """The files that hold the log, oldest first; the last one is being written.

    Args:
        kept: the files that are there, by ascending number.
        reserve: room for a segment that cannot wait.
    """

    def __init__(self, disk: Disk, kept: Sequence[Segment], reserve: Reserve) -> None:
        self._disk = disk
        self.reserve = reserve
        self.kept: list[Segment] = list(kept)
        self.number_max = max((segment.header.number for segment in kept), default=0)

    async def settle_names(self) -> None:
        """Make durable the names that are seen; after a kill they need not be.

        Raises:
            DiskUnavailable: there was no file handle for it. DiskFailed: it failed.
        """
        try:
            await self._disk.sync_directory()
        except OSError as error:
            raise disk_refused("syncing the journal's directory", error) from error

    async def begin(self, decision: Decision) -> File:
        """The segment that a recovered log goes on in; raises what `add` does."""
        header, copies = decision.header, decision.copies
        return await self.add(header, copies, synced=decision.proven, urgent=True)

    async def add(
        self,
        header: SegmentHeader,
        copies: Sequence[bytes] = (),
        *,
        synced: int = 0,
        urgent: bool = False,
    ) -> File:
        """Make a new segment, durably, and open it for writing.

        Args:
            urgent: on a full disk give the reserve up for it.

        Raises:
            DiskUnavailable: nothing of it is there; the log can go on without it.
            DiskFailed: it may or may not be there.
        """
        self.number_max = max(self.number_max, header.number)
        content = encode_records(header, header.size, header.base, synced, copies)
        file = await self._write(header, header.to_bytes() + content, urgent)
        try:
            await self._publish(header)
        except OSError as error:
            refusal = disk_refused(f"making {header.name} durable", error)
            if isinstance(refusal, DiskUnavailable):
                await self.discard(header.name + TEMPORARY, file)
            else:
                await file.close()
            raise refusal from error
        except BaseException:
            await file.close()
            raise
        self.kept.append(Segment(header, file.size))
        return file

    async def _write(self, header: SegmentHeader, content: bytes, urgent: bool) -> File:
        try:
            return await self._write_once(header, content)
        except DiskUnavailable as refusal:
            if not (urgent and is_full(refusal.__cause__) and await self.reserve.give_up()):
                raise
        try:
            return await self._write_once(header, content)
        finally:
            await self.reserve.fill()

    async def _write_once(self, header: SegmentHeader, content: bytes) -> File:
        name = header.name + TEMPORARY
        file: File | None = None
        try:
            file = await self._disk.open(name, create=True)
            file.append(content)
        except FileNotFoundError as error:
            raise disk_failed(f"making {header.name}, whose directory is gone", error) from error
        except OSError as error:
            await self.discard(name, file)
            raise disk_unavailable(
                f"making {header.name} of {len(content)} bytes", error
            ) from error
        try:
            await self._sync_new(file)
        except BaseException as error:
            await file.close()
            if isinstance(error, OSError):
                raise disk_failed(f"syncing {name}", error) from error
            raise
        return file

    async def _sync_new(self, file: File) -> None:
        await file.sync()

    async def _publish(self, header: SegmentHeader) -> None:
        await self._disk.replace(header.name + TEMPORARY, header.name)

    async def discard(self, name: str, file: File | None) -> None:
        """Remove an unfinished file, if that is possible; the next open removes it otherwise."""
        if file is not None:
            await file.close()
        with contextlib.suppress(OSError):
            await self._disk.remove(name)

    async def supersede(self, lsn: int) -> None:
        """Unlink what the newest segment, which begins at ``lsn``, has replaced as a whole."""
        gone = [segment for segment in self.kept[:-1] if segment.header.base >= lsn]
        self.kept = [segment for segment in self.kept if segment not in gone]
        for segment in gone:
            with contextlib.suppress(OSError):
                await self._disk.remove(segment.header.name)

    def needless(self, lsn: int) -> list[Segment]:
        """Segments of which nothing from ``lsn`` on is left when their successors are read."""
        pairs = zip(self.kept, self.kept[1:], strict=False)
        return [older for older, newer in pairs if newer.header.base <= lsn]

    async def truncate(self, lsn: int) -> None:
        """Unlink what holds nothing from ``lsn`` on. A file that cannot be unlinked stays."""
        gone = self.needless(lsn)
        # All of them before the first wait: who asks meanwhile what there is must not find one.
        self.kept = [segment for segment in self.kept if segment not in gone]
        for segment in gone:
            with contextlib.suppress(OSError):
                await self._disk.remove(segment.header.name)
                event("journal.truncate", file=segment.header.name, before=lsn)


def disk_unavailable(doing: str, error: OSError) -> DiskUnavailable:
    """The disk refused, and nothing happened."""
    remedy = _REMEDIES.get(error.errno or 0, "make room")
    return DiskUnavailable(
        f"{doing}: {_reason(error)}. Nothing of it was kept; {remedy} and try again"
    )


def disk_refused(doing: str, error: OSError) -> DiskUnavailable | DiskFailed:
    """A sync of names that did not begin, or failed; see `sdkit.storage.disk` about handles."""
    if error.errno in NO_HANDLE:
        return disk_unavailable(doing, error)
    return disk_failed(doing, error)


def disk_failed(doing: str, error: OSError) -> DiskFailed:
    """The disk failed, and nobody knows what is on it."""
    return DiskFailed(
        f"{doing}: {_reason(error)}. What was not acknowledged may or may not survive; "
        "writes are refused until this is opened anew"
    )


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
