"""Snapshot: the whole state at one position, in a file, so that the log before it can go.

A log that is never cut makes every restart slower than the last. A snapshot is
the state as it was right after one LSN; recovery loads it and replays only
what came later.

    header      56 bytes: magic, format, length, room, journal id, LSN, CRC; 64 if it came
                from elsewhere, with the number of the last segment that it supersedes
    chunk       4 length  4 CRC  content
    end         4 zeros   4 CRC  8 bytes of content in all chunks

Things to notice
    1. A snapshot has one name, ``snapshot``. It is written beside it, synced,
       and renamed over it, so the name always stands for a whole one. One that
       is damaged is therefore corruption and never a torn write, and recovery
       refuses it: an older state without the log between would be a lie.
    2. Each CRC starts from the one before it, the first from the header's. In
       the log that would be wrong (see `sdkit.storage.wal`); here nobody reads
       on behind damage, and a chunk left out or swapped is found.
    3. What the chunks hold is the room's business.
    4. A snapshot from another journal says nothing about the log that lies beside it.
       It names the segments that it supersedes (`SnapshotHeader.supersedes`), so one
       rename puts it in the place of a state and of its log at once.

This file does no I/O: `encode_header`, `SnapshotWriter` and `SnapshotReader`
turn chunks into bytes and back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from sdkit.arguments import shown
from sdkit.errors import CorruptData, InvalidArgument, LimitExceeded
from sdkit.storage.wal import FORMAT, check_header

SNAPSHOT_NAME: Final = "snapshot"
SNAPSHOT_TEMPORARY_NAME: Final = "snapshot.tmp"
CHUNK_BYTES_MAX: Final = 64 * 2**20

_MAGIC: Final = b"sdkitsnp"
_HEADER: Final = struct.Struct("<8sHH4x16s8sQ4xI")
_LONG_HEADER: Final = struct.Struct("<8sHH4x16s8sQ4xQI")
_CHUNK: Final = struct.Struct("<II")
_TOTAL: Final = struct.Struct("<Q")
END_BYTES: Final = _CHUNK.size + _TOTAL.size


@dataclass(slots=True)
class SnapshotHeader:
    """What a snapshot file says about itself: whose state, and after which LSN.

    Args:
        supersedes: segments up to this number mean nothing beside it; 0 for none.
    """

    room: str
    journal_id: bytes
    lsn: int
    supersedes: int = 0

    def to_bytes(self) -> bytes:
        layout = _LONG_HEADER if self.supersedes else _HEADER
        more = (self.supersedes,) if self.supersedes else ()
        room = self.room.encode("ascii")
        head = layout.pack(_MAGIC, FORMAT, layout.size, room, self.journal_id, self.lsn, *more, 0)[
            :-4
        ]
        return head + crc32(head).to_bytes(4, "little")


class SnapshotWriter:
    """Turns chunks into the bytes of a snapshot file, in order: `header`, `chunk` …, `end`."""

    def __init__(self, header: SnapshotHeader) -> None:
        self.header: Final = header.to_bytes()
        self._crc = int.from_bytes(self.header[-4:], "little")
        self._total = 0

    def chunk(self, content: bytes) -> bytes:
        """The bytes for one chunk; none for an empty one, which would look like the end.

        Raises:
            InvalidArgument: it is not bytes.
            LimitExceeded: it is larger than `CHUNK_BYTES_MAX`.
        """
        if type(content) is not bytes:  # a subclass may lie about its length
            raise InvalidArgument(
                f"a snapshot chunk is {shown(content)}, of type {type(content).__name__}; it must "
                "be bytes"
            )
        if not content:
            return b""
        if len(content) > CHUNK_BYTES_MAX:
            raise LimitExceeded(
                f"a snapshot chunk has {len(content)} bytes; the limit is {CHUNK_BYTES_MAX}: "
                "yield smaller ones"
            )
        self._crc = crc32(content, self._crc)
        self._total += len(content)
        return _CHUNK.pack(len(content), self._crc) + content

    def end(self) -> bytes:
        total = _TOTAL.pack(self._total)
        return _CHUNK.pack(0, crc32(total, self._crc)) + total


class SnapshotReader:
    """Takes a snapshot file apart, piece by piece as it is read.

    Args:
        name: of the file, for errors.
    """

    def __init__(self, name: str = SNAPSHOT_NAME) -> None:
        self.header: SnapshotHeader | None = None
        self.ended = False
        self._name = name
        self._rest = b""
        self._offset = 0  # of `_rest` in the file
        self._crc = 0
        self._total = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The chunks that ``data``, the next bytes of the file, completes.

        Raises:
            CorruptData, UnsupportedFormat: naming file and offset.
        """
        data, chunks, at = self._rest + data, list[bytes](), 0
        if self.header is None:
            if len(data) < _LONG_HEADER.size:  # the shortest file is longer
                self._rest = data
                return []
            at = self._read_header(data)
        while len(data) - at >= _CHUNK.size and not self.ended:
            length, crc = _CHUNK.unpack_from(data, at)
            size = length or _TOTAL.size
            if length > CHUNK_BYTES_MAX:
                raise self._damaged(at, "a chunk has an impossible length")
            if len(data) - at < _CHUNK.size + size:
                break
            content = data[at + _CHUNK.size : at + _CHUNK.size + size]
            self._crc = crc32(content, self._crc)
            if self._crc != crc:
                raise self._damaged(at, "a chunk fails its checksum")
            self._take(content, length, chunks, at)
            at += _CHUNK.size + size
        self._rest = data[at:]
        self._offset += at
        if self.ended and self._rest:
            raise self._damaged(0, "something stands behind its end")
        return chunks

    def finish(self) -> SnapshotHeader:
        """Say that the file has no more bytes.

        Raises:
            CorruptData: it ought to.
        """
        if self.header is None or not self.ended:
            raise self._damaged(0, "it ends too early")
        return self.header

    def _read_header(self, data: bytes) -> int:
        checked = check_header(data, self._name, _MAGIC, "snapshot", _HEADER.size)
        _, _, size, room, journal_id, lsn, _ = _HEADER.unpack_from(checked)
        self.header = SnapshotHeader(room.rstrip(b"\0").decode("ascii", "replace"), journal_id, lsn)
        if size >= _LONG_HEADER.size:
            self.header.supersedes = _LONG_HEADER.unpack_from(checked)[-2]
        self._crc = int.from_bytes(checked[-4:], "little")
        return int(size)

    def _take(self, content: bytes, length: int, chunks: list[bytes], at: int) -> None:
        if length:
            chunks.append(content)
            self._total += length
            return
        if _TOTAL.unpack(content)[0] != self._total:
            raise self._damaged(at, "chunks are missing")
        self.ended = True

    def _damaged(self, at: int, why: str) -> CorruptData:
        offset = self._offset + at
        return CorruptData(
            f"{self._name} is damaged at offset {offset}: {why}. It was whole and synced before "
            "it got its name, so this is no torn write: restore the directory from a copy",
            file=self._name,
            offset=offset,
        )
