"""Snapshotting: a new snapshot beside the old one, then in its place.

    write snapshot.tmp, sync it        a crash: the old snapshot, the whole log
    rename it to snapshot              the old one or the new one, never half
    sync the directory                 only now may the log before it go

Things to notice
    1. A large sync of its own would stall the log's, which waits for the same
       device: so the file is synced in pieces while it is written.
    2. A snapshot is what makes room on a full disk. When there is none for it,
       it eats half of the reserve up, bite by bite: what it leaves is kept from
       the log, which goes on meanwhile (`sdkit.storage.reserve`).
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from typing import Final

from sdkit.errors import DiskUnavailable, SdkitError
from sdkit.storage.disk import Disk, File
from sdkit.storage.reserve import is_full
from sdkit.storage.segments import TEMPORARY, Segments, disk_refused, disk_unavailable
from sdkit.storage.snapshot import (
    SNAPSHOT_NAME,
    SnapshotHeader,
    SnapshotReader,
    SnapshotWriter,
)

SYNC_BYTES: Final = 2**22
READ_BYTES: Final = 2**18


class SnapshotStore:
    """Writes the snapshots of one journal, or another file in their format.

    Args:
        segments: of the same journal, for their reserve.
        name: of the file.
    """

    def __init__(self, disk: Disk, segments: Segments, name: str = SNAPSHOT_NAME) -> None:
        self._disk, self._segments = disk, segments
        self._name, self._temporary = name, name + TEMPORARY

    async def write(self, header: SnapshotHeader, chunks: AsyncIterable[bytes]) -> int:
        """Put a snapshot in the old one's place, durably; its size.

        Raises:
            DiskUnavailable: the old one is still there. DiskFailed: one of the two is.
        """
        file: File | None = None
        try:
            with self._doing("writing"):
                if self._temporary in await self._disk.list():
                    await self._disk.remove(self._temporary)
                file = await self._disk.open(self._temporary, create=True)
            await self._write_chunks(file, SnapshotWriter(header), chunks)
            size = file.size
            with self._doing("writing"):
                await self._sync(file)
                await file.close()
        except BaseException:
            if file is not None:
                await self._segments.discard(self._temporary, file)
            raise
        await self._publish()
        return size

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The LSN of the snapshot that is there now, and its chunks, each checked.

        The file stays as it is for who has it open, whatever gets its name meanwhile.
        """
        with self._doing("reading"):
            file = await self._disk.open(self._name)
        try:
            reader = SnapshotReader(self._name)
            first = await self._next_chunks(file, reader, 0)
            header = reader.header or reader.finish()
            yield header.lsn, self._chunks(file, reader, first)
        finally:
            await file.close()

    async def _chunks(
        self, file: File, reader: SnapshotReader, found: list[bytes]
    ) -> AsyncIterator[bytes]:
        offset = READ_BYTES
        while True:
            for chunk in found:
                yield chunk
            if offset >= file.size:
                break
            found = await self._next_chunks(file, reader, offset)
            offset += READ_BYTES
        reader.finish()

    async def _next_chunks(self, file: File, reader: SnapshotReader, offset: int) -> list[bytes]:
        with self._doing("reading"):
            data = await file.read_at(offset, READ_BYTES)
        return reader.feed(data)

    async def _write_chunks(
        self, file: File, writer: SnapshotWriter, chunks: AsyncIterable[bytes]
    ) -> None:
        with self._doing("writing"):
            await self._append(file, writer.header)
        unsynced = 0
        async for chunk in chunks:  # what it raises is not the disk's
            data = writer.chunk(chunk)
            unsynced += len(data)
            with self._doing("writing"):
                await self._append(file, data)
                if unsynced >= SYNC_BYTES:
                    unsynced = 0
                    await self._sync(file)
        with self._doing("writing"):
            await self._append(file, writer.end())

    async def _append(self, file: File, data: bytes) -> None:
        good = file.size
        try:
            file.append(data)
        except OSError as error:
            reserve = self._segments.reserve
            enough = len(data) <= reserve.spare
            if not (enough and is_full(error) and await reserve.give_up()):
                raise
            try:
                await file.truncate(good)
                file.append(data)
            finally:
                await reserve.fill()

    async def _sync(self, file: File) -> None:
        await file.sync()

    async def _publish(self) -> None:
        try:
            await self._disk.replace(self._temporary, self._name)
        except OSError as error:
            refusal = disk_refused(f"naming a {self._name} file", error)
            if isinstance(refusal, DiskUnavailable):
                await self._segments.discard(self._temporary, None)
            raise refusal from error

    @contextlib.contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        """An error of the disk says what it was doing."""
        try:
            yield
        except OSError as error:
            if isinstance(error, SdkitError):
                raise
            raise disk_unavailable(f"{what} a {self._name} file", error) from error
