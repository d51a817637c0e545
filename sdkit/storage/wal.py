"""WAL: how the records of a write-ahead log lie in their files.

A log is only as good as its reader's answer to one question: *are these bytes
a record that was written here, whole?* After a crash the file may end inside a
record, hold the end of a record without its beginning, or hold an old record
in a place that was used again. After a fault of the disk any bit may differ.

The file, called a segment
    segment     header, then records, each beginning at a multiple of 8
    header      72 bytes: magic, format, length, room, journal id, number,
                base (LSN of the first record), born (see below), CRC
    record      2 magic  1 kind  1 -  4 length  8 lsn  8 synced  4 CRC  4 CRC
                content, zeros, one byte 0xE5 so that it ends at a multiple of 8

    kind is data, mark (says only ``synced``) or end (the last thing written
    before a clean stop). LSNs, log sequence numbers, count the data records
    from 1, without gaps; mark and end carry that of the last data record.

Things to notice
    1. A record is valid *in one place only*. Its first CRC starts from journal
       id, segment number and offset (`SegmentHeader.crc_start`), so a copy of
       it inside some user's value, or left over from an older use of the disk,
       is not a record. The CRC of the content starts from the first CRC.
    2. The first CRC covers the head alone. It makes the *length* trustworthy:
       when the content is damaged its limits are still known, and the reader
       can go on behind it (`scan`).
    3. Every record says, in ``synced``, up to which LSN the log was known to be
       on the disk when it was written; a header says the same in ``born``.
       `sdkit.storage.recovery` rests on these claims.
    4. The last byte of a record is never zero. Sectors that were never written
       read as zeros, so a record that ends in zeros is one that lacks its end.

Decisions
    * No chain of CRCs from record to record. A chain ends at the first damage
      and leaves nothing that could be checked behind it, and `recovery` has to
      look exactly there.
    * CRC-32 as in gzip, because ``zlib`` has it in C. It finds every burst of
      damage up to 32 bits; it is no protection against malice.
    * All formats keep the place of magic, format, length and CRC in the header:
      so a newer file is told from a damaged one.

This file does no I/O: bytes in, values out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from zlib import crc32

from sdkit.arguments import shown
from sdkit.errors import CorruptData, InvalidArgument, UnsupportedFormat

FORMAT: Final = 1
SECTOR: Final = 512  # bytes that a disk writes all or none of
ALIGNMENT: Final = 8
LSN_MAX: Final = 2**63 - 1
NUMBER_MAX: Final = 10**18 - 1  # of a segment
_NAME: Final = re.compile(r"([0-9]{12}|[1-9][0-9]{12,17})\.wal(?:\.tmp)?")  # one for each number

DATA: Final = 1
MARK: Final = 2
END: Final = 3

_SEGMENT: Final = struct.Struct("<8sHH4x16s8sQQQ4xI")
_PREFIX: Final = struct.Struct("<8sHH")
_HEAD: Final = struct.Struct("<HBxIQQ")
_CRCS: Final = struct.Struct("<II")
_WHOLE_HEAD: Final = struct.Struct("<HBxIQQII")
_KEY: Final = struct.Struct("<8sQ")

_SEGMENT_MAGIC: Final = b"sdkitwal"
_MAGIC: Final = 0xD15C
_MAGIC_BYTES: Final = _MAGIC.to_bytes(2, "little")
_TAILS: Final = [bytes(ALIGNMENT - 1 - used) + b"\xe5" for used in range(ALIGNMENT)]

SEGMENT_HEADER_BYTES: Final = _SEGMENT.size
SEGMENT_HEADER_BYTES_MAX: Final = 4096
RECORD_HEAD_BYTES: Final = _WHOLE_HEAD.size
RECORD_BYTES_LIMIT: Final = 2**31  # the format's; a configuration allows less
ROOM_BYTES_MAX: Final = 16


def segment_name(number: int) -> str:
    """The file name of a segment."""
    return f"{number:012d}.wal"


def segment_number(name: str) -> int | None:
    """The number in a segment's name, or in that of an unfinished one; None for other files."""
    return int(found[1]) if (found := _NAME.fullmatch(name)) else None


def record_size(length: int) -> int:
    """Bytes that a record with ``length`` bytes of content takes in the file."""
    return RECORD_HEAD_BYTES + length + ALIGNMENT - length % ALIGNMENT


def check_room(room: str) -> None:
    """Refuse a name that does not fit into a file's header."""
    if not isinstance(room, str) or not re.fullmatch(f"[ -~]{{1,{ROOM_BYTES_MAX}}}", room):
        raise InvalidArgument(
            f"room is {shown(room)}; it must be 1 to {ROOM_BYTES_MAX} printable ASCII characters"
        )


@dataclass(slots=True)
class SegmentHeader:
    """What a segment file says about itself.

    Args:
        room: whose log this is, at most 16 ASCII characters.
        journal_id: 8 random bytes, the same in all files of one journal.
        number: given out once, never reused; every open and every rotation
            makes a new one.
        base: LSN of its first record. It replaces every record from there on
            in segments with lower numbers, whatever they hold.
        born: every record up to here was on the disk when this file was made.
    """

    room: str
    journal_id: bytes
    number: int
    base: int
    born: int
    size: int = field(init=False, default=SEGMENT_HEADER_BYTES)
    _key: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._key = crc32(_KEY.pack(self.journal_id, self.number))

    @property
    def name(self) -> str:
        """The name of its file."""
        return segment_name(self.number)

    def crc_start(self, offset: int) -> int:
        """Where the CRC of the record at ``offset`` starts: no two places of a file alike."""
        return self._key ^ (offset >> 3)

    def to_bytes(self) -> bytes:
        head = _SEGMENT.pack(
            _SEGMENT_MAGIC,
            FORMAT,
            _SEGMENT.size,
            self.room.encode("ascii"),
            self.journal_id,
            self.number,
            self.base,
            self.born,
            0,
        )[:-4]
        return head + crc32(head).to_bytes(4, "little")

    @classmethod
    def from_bytes(cls, data: bytes, name: str) -> SegmentHeader:
        """Decode the beginning of the file ``name``.

        Raises:
            CorruptData, UnsupportedFormat: damaged; whole, and of a newer format.
        """
        checked = check_header(data, name, _SEGMENT_MAGIC, "segment", _SEGMENT.size)
        _, _, size, room, journal_id, number, base, born, _ = _SEGMENT.unpack_from(checked)
        header = cls(room.rstrip(b"\0").decode("ascii", "replace"), journal_id, number, base, born)
        header.size = size
        if header.name != name:
            raise CorruptData(f"{name} says that it is {header.name}", file=name, offset=0)
        return header


def check_header(data: bytes, name: str, magic: bytes, what: str, size_min: int) -> bytes:
    """The header at the beginning of ``data``, once it is known to be whole and readable.

    The layout behind magic, format and length may change with the format; the
    CRC is always the last four bytes of the length.

    Raises:
        CorruptData, UnsupportedFormat: naming the file and, of a format, its number.
    """
    size = _PREFIX.unpack_from(data)[2] if len(data) >= _PREFIX.size else 0
    whole = (
        data[: len(magic)] == magic
        and _PREFIX.size + 4 <= size <= min(len(data), SEGMENT_HEADER_BYTES_MAX)
        and crc32(data[: size - 4]) == int.from_bytes(data[size - 4 : size], "little")
    )
    if not whole:
        raise CorruptData(
            f"{name} does not begin with a whole {what} header, and had one before it got its name",
            file=name,
            offset=0,
        )
    format_number = _PREFIX.unpack_from(data)[1]
    if format_number > FORMAT:
        raise UnsupportedFormat(
            f"{name} has format {format_number}; this version reads formats up to {FORMAT}: "
            "use the version that wrote it",
            file=name,
            format=format_number,
        )
    if size < size_min:
        raise CorruptData(f"the {what} header of {name} is too short", file=name, offset=0)
    return data[:size]


def encode_records(
    header: SegmentHeader, offset: int, first_lsn: int, synced: int, records: Sequence[bytes]
) -> bytes:
    """Data records for ``offset`` of the segment, in one piece for one write.

    Args:
        first_lsn: of the first; the others follow without a gap.
        synced: the LSN up to which the log is on the disk.
    """
    pieces: list[bytes] = []
    pack, pack_crcs, crc_start = _HEAD.pack, _CRCS.pack, header.crc_start
    for lsn, record in enumerate(records, first_lsn):
        head = pack(_MAGIC, DATA, len(record), lsn, synced)
        head_crc = crc32(head, crc_start(offset))
        tail = _TAILS[len(record) % ALIGNMENT]
        pieces += head, pack_crcs(head_crc, crc32(tail, crc32(record, head_crc))), record, tail
        offset += RECORD_HEAD_BYTES + len(record) + len(tail)
    return b"".join(pieces)


def encode_claim(header: SegmentHeader, offset: int, kind: int, lsn: int, synced: int) -> bytes:
    """A mark or an end record: no content, only its claim."""
    head = _HEAD.pack(_MAGIC, kind, 0, lsn, synced)
    head_crc = crc32(head, header.crc_start(offset))
    return head + _CRCS.pack(head_crc, crc32(_TAILS[0], head_crc)) + _TAILS[0]


class Stop(Enum):
    """Why reading ended."""

    COUNT = "as many records as asked for"
    REPLACED = "the next record is in a later segment"
    CLEAN = "nothing but zeros, or the end of the file"
    DAMAGE = "no valid record"


@dataclass(slots=True)
class Batch:
    """A stretch of good records, and why it ends where it ends.

    Args:
        contents: of the data records, whose LSNs count from ``first_lsn``.
        offset, lsn: of the record that would come next.
        synced, synced_at: the highest claim among them, and the offset of who makes it.
        last_kind: of the last record, marks included; 0 if there was none.
    """

    contents: list[bytes]
    first_lsn: int
    offset: int
    lsn: int
    stop: Stop
    why: str = ""
    synced: int = 0
    synced_at: int = 0
    last_kind: int = 0


def read_records(
    header: SegmentHeader,
    data: bytes,
    offset: int,
    lsn: int,
    *,
    data_offset: int = 0,
    stop_lsn: int = LSN_MAX,
    count: int = 2**31,
) -> Batch:
    """Read good records, in order, from ``offset`` on.

    Args:
        data: what the segment holds from ``data_offset`` on.
        lsn: what the first data record must have.
        stop_lsn: the first LSN that a later segment replaces.
        count: stop after so many records.
    """
    # Recovery is this loop. An object for each record would double its time,
    # so it collects contents, and facts about them only where they change.
    contents: list[bytes] = []
    unpack, crc_start, crc, first_lsn = _WHOLE_HEAD.unpack_from, header.crc_start, crc32, lsn
    at, last = offset - data_offset, len(data) - RECORD_HEAD_BYTES
    synced = synced_at = kind = 0
    stop, why = Stop.COUNT, ""
    for _ in range(count):
        if lsn >= stop_lsn:
            stop = Stop.REPLACED
            break
        if at > last:
            stop, why = _at_the_end(data, at)
            break
        magic, its_kind, length, its_lsn, claim, head_crc, content_crc = unpack(data, at)
        content_at = at + RECORD_HEAD_BYTES
        if magic != _MAGIC or crc(data[at : at + 24], crc_start(at + data_offset)) != head_crc:
            stop, why = _at_the_end(data, at)
            break
        end = content_at + length + ALIGNMENT - length % ALIGNMENT
        if end > len(data):
            stop, why = Stop.DAMAGE, "the file ends inside it"
            break
        if crc(data[content_at:end], head_crc) != content_crc:
            stop, why = Stop.DAMAGE, "its content fails the checksum"
            break
        if its_lsn != (lsn if its_kind == DATA else lsn - 1):
            stop, why = Stop.DAMAGE, f"it has LSN {its_lsn}"
            break
        kind = its_kind
        if kind == DATA:
            contents.append(data[content_at : content_at + length])
            lsn += 1
        if claim > synced:
            synced, synced_at = claim, at + data_offset
        at = end
    return Batch(contents, first_lsn, at + data_offset, lsn, stop, why, synced, synced_at, kind)


def end_of_content(data: bytes) -> int:
    """Where only zeros follow; no record ends in one."""
    return len(data.rstrip(b"\0"))


def _at_the_end(data: bytes, at: int) -> tuple[Stop, str]:
    if not data[at:].strip(b"\0"):
        return Stop.CLEAN, ""
    if at + RECORD_HEAD_BYTES > len(data):
        return Stop.DAMAGE, "the file ends inside its head"
    return Stop.DAMAGE, "its head fails the checksum"


class Found(NamedTuple):
    """What the head of a record behind damage says; ``whole``: so is its content."""

    offset: int
    kind: int
    lsn: int
    synced: int
    length: int
    end: int
    whole: bool


def head_at(header: SegmentHeader, data: bytes, offset: int) -> Found | None:
    """The record at ``offset``, if its head is valid there. Its content need not be."""
    if offset + RECORD_HEAD_BYTES > len(data):
        return None
    magic, kind, length, lsn, synced, head_crc, content_crc = _WHOLE_HEAD.unpack_from(data, offset)
    head = data[offset : offset + _HEAD.size]
    if magic != _MAGIC or crc32(head, header.crc_start(offset)) != head_crc:
        return None
    end = offset + record_size(length)
    content = data[offset + RECORD_HEAD_BYTES : end]
    whole = end <= len(data) and crc32(content, head_crc) == content_crc
    return Found(offset, kind, lsn, synced, length, end, whole)


def scan(header: SegmentHeader, data: bytes, offset: int) -> list[Found]:
    """Every record with a valid head from ``offset`` on, whatever lies between them.

    ``offset`` must be a multiple of 8; ``data`` is the whole segment.
    """
    found: list[Found] = []
    at = data.find(_MAGIC_BYTES, offset)
    while at >= 0:
        record = head_at(header, data, at) if at % ALIGNMENT == 0 else None
        if record is not None:
            found.append(record)
            # Behind a damaged content the next head is looked for inside it as
            # well: its length is right, but what was written there may not be.
            at = record.end if record.whole else at + ALIGNMENT
        else:
            at += 1
        at = data.find(_MAGIC_BYTES, at)
    return found


def has_hole(data: bytes, start: int, end: int) -> bool:
    """Does the record from ``start`` to ``end`` lack a sector, as a torn write does?

    A sector that was never written reads as zeros from wherever the last
    version of it ended. So: the file ends before the record, or in some sector
    the last bytes of the record's part, and everything behind them up to the
    sector's end, are zeros. A flipped bit leaves no such hole.
    """
    if end > len(data):
        return True
    for sector in range(start // SECTOR, (end - 1) // SECTOR + 1):
        sector_end = (sector + 1) * SECTOR
        part_start, part_end = max(start, sector * SECTOR), min(end, sector_end)
        # Eight bytes, since a sector full of content ends in one zero by chance often enough.
        suspect = data[max(part_start, part_end - ALIGNMENT) : sector_end]
        if not suspect.strip(b"\0"):
            return True
    return False
