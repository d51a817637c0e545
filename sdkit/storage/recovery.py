"""Recovery: is this damage a torn write, or corruption?

A process died; the log ends in something unreadable. Two stories fit. *The
power failed in the middle of a write*: those records were never acknowledged,
and dropping them is right. *The disk lost something that it had promised to
keep*: dropping it drops acknowledged data, and starting at all spreads the
loss. Most programs end the log at the first bad record and say nothing, which
turns the second story into the first. And "a good record stands behind it, so
it is corruption" is wrong the other way: unsynced sectors reach the disk in
any order, so a torn write leaves good records behind bad ones all the time.

The idea
    Every record and every header says how far the log was known to be *synced*
    when it was written. The highest such claim, wherever it stands, also behind
    the damage, is P. The log can be read without damage up to X; L is X + 1.

        P >= L    the disk had this record and has lost it: corruption. Refuse.
        P <  L    nobody has proof that it was ever synced. If it looks torn,
                  leave it behind; if it looks like anything else, refuse too.

         1  2  3  4  5  6 ##  8            "8" says synced = 5:  5 < 7, torn tail
                        X L                "8" says synced = 7:  7 >= 7, corruption

Things to notice
    1. A torn record *lacks* bytes; `sdkit.storage.wal.has_hole` looks for the
       missing sector. A record with every sector in place and one wrong bit
       was not torn. A false refusal loses nothing and has a remedy (``sdkit
       journal DIR --cut``); a false cut loses acknowledged data.
    2. A tail is never cut in place. What was cut could come back: its sectors
       are still on their way to the disk, and the next records, equal bytes in
       the same place, would make it whole. A new segment begins instead, with
       a place of its own (`Decision.header`).
    3. What is shown must be durable *first*. Records P+1 … X may only be in the
       page cache, so the new segment starts with copies of them; ``fsync`` of
       the old file could say yes and be wrong (`sdkit.storage.disk`).
    4. Which segments count follows from two numbers in each header: a later
       segment with base b replaces every record from b on in earlier ones.
       Numbers may have gaps, and dead files may remain; neither means anything.
    5. A snapshot from elsewhere names the segments that it supersedes. They may lie
       there or not, whole or damaged: none of them is looked at (`Recovery._is_superseded`).
       And where records were superseded by later ones with the same LSNs, what the old
       segments claim about them counts no more (`Recovery._believed`).
    6. Damage in segments wholly below the snapshot is reported and does not
       stop a start: nothing in them is needed.

What stays undecidable: without an end record, a damaged *last* group with no
claim behind it and bytes missing looks the same torn or rotten. So each cut
says up to where the log was proven to be synced.

`Recovery` is the machine that is fed with the bytes of the segments it asks
for, `Decision` what comes out. No I/O here. The method is that of
"Protocol-Aware Recovery for Consensus-Based Storage" (Alagappan et al., FAST
2018), for one machine; etcd's WAL looks for zero sectors, too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sdkit.errors import CorruptData
from sdkit.storage.damage import Cut, Damage, ForeignFile, Proof, corruption, unexplained
from sdkit.storage.wal import (
    DATA,
    END,
    LSN_MAX,
    NUMBER_MAX,
    Batch,
    Found,
    SegmentHeader,
    Stop,
    end_of_content,
    has_hole,
    read_records,
    record_size,
    scan,
    segment_name,
)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a log that may be started.

    Args:
        header: of the new segment to make: base is P + 1, born is X.
        copies: records P+1 … X, to be its first.
        last: X, the last LSN of the recovered log.
        proven: P, everything up to here is proven to have been synced.
        chain: the segments to replay, in order.
        replaced: segments that hold nothing any more once the new one is there.
        damaged: older files that are unreadable and not needed.
        cut: the torn tail left behind, if there is one.
        clean: the log ends in an end record: it was stopped, not interrupted.
        bytes: of log behind the snapshot.
    """

    header: SegmentHeader
    copies: list[bytes]
    last: int
    proven: int
    chain: list[SegmentHeader]
    replaced: list[int]
    damaged: list[str]
    cut: Cut | None
    clean: bool
    bytes: int


@dataclass(slots=True)
class _Behind:
    """What stands behind the damage."""

    bytes: int = 0
    records: int = 0
    claims: list[Found] = field(default_factory=list)


class Recovery:
    """Reads a log segment by segment and decides.

    Feed it each segment of `chain`, in order, then ask `decide`.

    Args:
        headers: of every segment file by number; an exception stands for one
            whose header cannot be read.
        snapshot_lsn: position of the snapshot; 0 if there is none.
        superseded: the number of the last segment that the snapshot supersedes; 0 for none.
        room, journal_id: of this journal, for the new segment.
        number_max: the highest number in any file name, unfinished ones included.

    Raises:
        CorruptData: a file that is needed has no readable header, or is missing.
    """

    def __init__(
        self,
        headers: Mapping[int, SegmentHeader | CorruptData],
        *,
        snapshot_lsn: int,
        room: str,
        journal_id: bytes,
        number_max: int,
        superseded: int = 0,
    ) -> None:
        self._snapshot_lsn: Final = snapshot_lsn
        self._superseded = superseded
        self._dead: Final = [number for number in headers if self._is_superseded(number)]
        beside = bool(self._dead) and len(self._dead) == len(headers)
        headers = {number: headers[number] for number in headers if number not in self._dead}
        self._room, self._journal_id, self._number_max = room, journal_id, number_max
        self._headers: Final = {
            number: header
            for number, header in sorted(headers.items())
            if isinstance(header, SegmentHeader)
        }
        self._ends: Final = self._ends_before_the_next()
        self._proof: Final = Proof(snapshot_lsn, "the snapshot")
        for header in self._headers.values():
            born = self._believed(header, header.born)
            self._proof.raise_to(born, f"the header of {header.name}")
        self._check_identity()
        self._check_numbers()
        self.chain: Final = self._live_segments()
        self.damaged: Final = self._unreadable(headers)
        self.lsn = self.chain[0].base if self.chain else snapshot_lsn + 1
        self.records_seen = 0
        self._fed = 0
        self._end_offset = 0
        self._batch = Batch([], self.lsn, 0, self.lsn, Stop.COUNT)
        self._unproven: Final = deque[tuple[int, bytes]]()
        self._damage: Damage | None = None
        self._behind: Final = _Behind()
        self._clean = False
        self._bytes = 0
        if not beside:
            self._check_the_first(headers)

    @property
    def offset(self) -> int:
        """How far into the present segment it has read."""
        return self._batch.offset

    def feed(self, header: SegmentHeader, data: bytes, *, count: int = 2**31) -> bool:
        """Read up to ``count`` records of the segment ``header``, whose bytes are ``data``.

        Returns:
            True when the segment is done: go on with the next one.
        """
        if self._batch.offset == 0 and not self._begin(header):
            self._look_behind(header, data, header.size)
            return self._done()
        batch = read_records(
            header, data, self._batch.offset, self.lsn, stop_lsn=self._stop_lsn(), count=count
        )
        self._take(header, batch)
        if batch.stop is Stop.COUNT:
            return False
        if batch.stop is Stop.DAMAGE:
            self._note_damage(header, data, batch)
        elif batch.stop is Stop.CLEAN and self.lsn < self._stop_lsn() < LSN_MAX:
            self._damage = self._gap(header, batch.offset)
        return self._done()

    def decide(self, *, cut_unexplained: bool = False) -> Decision:
        """What to do, once every segment of `chain` was fed.

        Args:
            cut_unexplained: treat damage that does not look torn as a torn
                tail; a person's explicit wish.

        Raises:
            CorruptData: something that was synced is lost. Nothing can be started.
            UnexplainedDamage: damage without proof, and not like a torn write.
        """
        assert self._fed == len(self.chain)
        last, damage = self.lsn - 1, self._damage
        if self._is_proven_lost():
            raise corruption(damage or self._early_end(), self._proof)
        if damage is not None and not damage.torn and not cut_unexplained:
            raise unexplained(damage, self._proof)
        if self._number_max >= NUMBER_MAX:
            raise CorruptData(
                f"{segment_name(self._number_max)} has the highest number that there is, and a new "
                "segment needs a higher one; no journal has come so far: move that file away",
                file=segment_name(self._number_max),
            )
        base, born = self._bounds_of_new()
        header = SegmentHeader(self._room, self._journal_id, self._number_max + 1, base, born)
        return Decision(
            header=header,
            copies=self._copies(base),
            last=last,
            proven=self._proof.lsn,
            chain=self.chain,
            replaced=self._replaced_by(header),
            damaged=self.damaged,
            cut=None if damage is None else self._cut(damage),
            clean=self._clean and damage is None,
            bytes=self._bytes,
        )

    def _check_identity(self) -> None:
        for header in self._headers.values():
            if header.room != self._room or header.journal_id != self._journal_id:
                raise ForeignFile(
                    f"{header.name} belongs to journal {header.journal_id.hex()} of room "
                    f"{header.room}, the rest here to {self._journal_id.hex()} of room "
                    f"{self._room}: move it away",
                    file=header.name,
                )

    # One safety rule each: a wrong variant overrides one of these.

    def _check_numbers(self) -> None:
        """Numbers may have gaps: an interrupted rotation leaves one. Nothing to check."""

    def _is_superseded(self, number: int) -> bool:
        return self._superseded > 0 and number <= self._superseded

    def _believed(self, header: SegmentHeader, claim: int) -> int:
        """How much of a claim counts: what a later segment replaces was superseded with it."""
        return min(claim, self._ends[header.number])

    def _ends_before_the_next(self) -> dict[int, int]:
        """For each segment the last LSN that no later one replaces."""
        ends, end = {}, LSN_MAX
        for number in sorted(self._headers, reverse=True):
            ends[number], end = end, min(end, self._headers[number].base - 1)
        return ends

    def _live_segments(self) -> list[SegmentHeader]:
        """The segments to read: from the one that holds S+1, later ones by falling base."""
        start = max(
            (h.number for h in self._headers.values() if h.base <= self._snapshot_lsn + 1),
            default=0,
        )
        live: list[SegmentHeader] = []
        for number in sorted(self._headers, reverse=True):
            if number >= start and (not live or self._headers[number].base < live[-1].base):
                live.append(self._headers[number])
        return live[::-1]

    def _is_proven_lost(self) -> bool:
        return self._proof.lsn >= self.lsn

    def _bounds_of_new(self) -> tuple[int, int]:
        """Base and born of the new segment: it begins where the proof ends."""
        return self._proof.lsn + 1, self.lsn - 1

    def _copies(self, base: int) -> list[bytes]:
        return [content for lsn, content in self._unproven if lsn >= base]

    def _looks_torn(self, header: SegmentHeader, data: bytes, offset: int) -> bool:
        # Found anew instead of handed in: the first record behind the damage
        # bounds it when its own head, and so its length, is unreadable.
        behind = scan(header, data, offset)
        if behind and behind[0].offset == offset:
            return has_hole(data, offset, behind[0].end)
        bound = behind[0].offset if behind else end_of_content(data)
        return has_hole(data, offset, max(bound, offset + record_size(0)))

    def _claims_behind(self, header: SegmentHeader, data: bytes, offset: int) -> list[Found]:
        return scan(header, data, offset)

    # The walk.

    def _begin(self, header: SegmentHeader) -> bool:
        """Start on a segment; False if the log is broken before it."""
        assert header is self.chain[self._fed]
        self._batch.offset = header.size
        if self._damage is None and header.base > self.lsn:
            self._damage = self._gap(header, 0)
        return self._damage is None

    def _done(self) -> bool:
        self._fed += 1
        self._end_offset, self._batch.offset = self._batch.offset, 0
        return True

    def _stop_lsn(self) -> int:
        following = self._fed + 1
        return self.chain[following].base if following < len(self.chain) else LSN_MAX

    def _take(self, header: SegmentHeader, batch: Batch) -> None:
        proof, unproven = self._proof, self._unproven
        if batch.last_kind:
            self._clean = batch.last_kind == END
        if batch.synced > proof.lsn:
            proof.raise_to(batch.synced, f"the record at offset {batch.synced_at} of {header.name}")
        while unproven and unproven[0][0] <= proof.lsn:
            unproven.popleft()
        first = max(batch.first_lsn, proof.lsn + 1)
        unproven.extend(enumerate(batch.contents[first - batch.first_lsn :], first))
        if batch.lsn - 1 > self._snapshot_lsn:
            self._bytes += batch.offset - self._batch.offset
        self.records_seen += batch.lsn - self.lsn
        self.lsn, self._batch = batch.lsn, batch

    def _note_damage(self, header: SegmentHeader, data: bytes, batch: Batch) -> None:
        torn = self._looks_torn(header, data, batch.offset)
        self._damage = Damage(header.name, batch.offset, self.lsn, batch.why, torn)
        self._look_behind(header, data, batch.offset)

    def _look_behind(self, header: SegmentHeader, data: bytes, offset: int) -> None:
        behind = self._behind
        behind.bytes += max(0, end_of_content(data) - offset)
        for found in self._claims_behind(header, data, offset):
            behind.records += found.whole and found.kind == DATA
            self._proof.raise_to(
                self._believed(header, found.synced),
                f"the record at offset {found.offset} of {header.name}",
            )

    def _gap(self, header: SegmentHeader, offset: int) -> Damage:
        return Damage(header.name, offset, self.lsn, "the log goes on at a later LSN", torn=True)

    def _early_end(self) -> Damage:
        file = self.chain[-1].name
        return Damage(file, self._end_offset, self.lsn, "the log ends", torn=False)

    # What comes out.

    def _unreadable(self, headers: Mapping[int, SegmentHeader | CorruptData]) -> list[str]:
        start = self.chain[0].number if self.chain else -1  # then all of them are needed
        damaged = []
        for number, error in sorted(headers.items()):
            if isinstance(error, SegmentHeader):
                continue
            if number > start:
                raise error
            damaged.append(str(error.fields["file"]))
        return damaged

    def _check_the_first(self, headers: Mapping[int, SegmentHeader | CorruptData]) -> None:
        if not self.chain and self._snapshot_lsn:
            raise CorruptData(
                f"there is a snapshot at LSN {self._snapshot_lsn} and no log: its segments are "
                "missing. Restore the directory from a copy",
                lsn=self._snapshot_lsn + 1,
            )
        if self.chain and self.chain[0].base > self._snapshot_lsn + 1:
            first = self.chain[0]
            for error in headers.values():
                if isinstance(error, CorruptData):  # it is there, and where they should be
                    raise error
            raise CorruptData(
                f"records {self._snapshot_lsn + 1} to {first.base - 1} are missing: the first "
                f"segment is {first.name}. Restore the missing files from a copy",
                file=first.name,
                offset=0,
                lsn=self._snapshot_lsn + 1,
            )

    def _replaced_by(self, new: SegmentHeader) -> list[int]:
        replaced, lowest = list(self._dead), new.base
        for number, header in reversed(self._headers.items()):
            if header.base >= lowest:
                replaced.append(number)
            lowest = min(lowest, header.base)
        return replaced

    def _cut(self, damage: Damage) -> Cut:
        behind = self._behind
        return Cut(damage.file, damage.offset, behind.bytes, behind.records, damage.why)
