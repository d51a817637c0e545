"""Inspect: what lies in a journal's directory, for a person, without changing a byte.

The recovery of a server answers one question, may I start? A person in front of
a server that does not start has others: which files are there, which of them
matter, where is the damage, and what would starting do? `inspect` reads what a
recovery would read, and everything it would not (segments kept only for
followers, replaced ones), and puts each into words. What a start would do is asked
of the start's own code (`sdkit.storage.surveying.survey`), so that no directory can
look whole here and be refused there.

    live       the state needs it
    older      only followers may want it; damage here stops nobody else
    replaced   later segments hold everything it held; the next open removes it
    unjudged   so much is damaged that nobody can tell

Notice that bytes behind the end of a segment's part are *left behind*, not
damaged: a torn tail stays where it is for ever, since a later segment begins
at its first record (`sdkit.storage.recovery`).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sdkit.arguments import check_between
from sdkit.errors import CorruptData, SdkitError, UnsupportedFormat
from sdkit.storage.damage import ForeignFile, UnexplainedDamage
from sdkit.storage.disk import Disk
from sdkit.storage.recovery import Decision
from sdkit.storage.surveying import Directory, Survey, is_unfinished, read_segment, survey
from sdkit.storage.wal import (
    DATA,
    END,
    LSN_MAX,
    MARK,
    RECORD_HEAD_BYTES,
    Found,
    SegmentHeader,
    Stop,
    head_at,
    read_records,
)

SHOWN_MAX: Final = 1_000_000
KINDS: Final = {DATA: "data", MARK: "mark", END: "end"}


@dataclass(slots=True)
class SegmentView:
    """One segment file."""

    file: str
    bytes: int
    state: str  # "live", "older", "replaced", "unreadable", "unjudged"
    base: int | None = None
    born: int | None = None
    records: int = 0
    last_lsn: int | None = None
    note: str = ""


@dataclass(slots=True)
class RecordView:
    """One record; ``content`` holds at most its first bytes."""

    file: str
    offset: int
    kind: str
    lsn: int
    synced: int
    length: int
    content: bytes


@dataclass(slots=True)
class Finding:
    """Something that is wrong.

    Args:
        kind: "torn tail" and "damage without proof" (`UnexplainedDamage`) lie behind what is
            proven; "corruption", "unknown format", "foreign file" and "unreadable" refuse a
            start; "older damage" and "unfinished file" hinder nobody.
    """

    kind: str
    message: str
    file: str | None = None
    offset: int | None = None
    lsn: int | None = None
    proven: int | None = None


@dataclass(slots=True)
class JournalView:
    """A journal's directory."""

    room: str | None = None
    journal_id: str | None = None
    snapshot_lsn: int | None = None
    snapshot_bytes: int = 0
    last_lsn: int | None = None
    proven_lsn: int | None = None
    clean: bool = False
    segments: list[SegmentView] = field(default_factory=list)
    records: list[RecordView] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def damaged(self) -> bool:
        """Some byte is not what was written, be it needed or not."""
        return any(finding.kind != "unfinished file" for finding in self.findings)


async def inspect(
    disk: Disk, *, records_max: int = 20, from_lsn: int | None = None, content_bytes: int = 64
) -> JournalView:
    """Look at every byte of the journal in ``disk``. Nothing is changed, no lock is taken.

    Args:
        records_max: how many records to list: the first ones from ``from_lsn``
            on, or without it the last ones; 0 to a million.
        content_bytes: how much of each record's content to show, 0 to a million.

    Raises:
        InvalidArgument: a number is none, or out of range.
    """
    check_between("records_max", records_max, 0, SHOWN_MAX)
    check_between("content_bytes", content_bytes, 0, SHOWN_MAX)
    if from_lsn is not None:
        check_between("from_lsn", from_lsn, 1, LSN_MAX)
    view = JournalView()
    found = await survey(disk, random=Random(0))
    _look_at_decision(found, view)
    directory = found.directory
    if directory is not None:
        _look_at_directory(directory, view)
        records = _Records(records_max, from_lsn, content_bytes)
        await _look_at_segments(disk, directory, found, view, records)
    return view


def _look_at_decision(found: Survey, view: JournalView) -> None:
    """What opening would do, in words."""
    if found.refusal is not None:
        view.findings.append(finding_of(found.refusal))
    decision = found.decision
    if decision is not None:
        view.last_lsn, view.proven_lsn, view.clean = decision.last, decision.proven, decision.clean
        if decision.cut is not None:
            view.findings.append(torn_tail(decision))


def _look_at_directory(directory: Directory, view: JournalView) -> None:
    for name in filter(is_unfinished, directory.names):
        view.findings.append(Finding("unfinished file", f"{name}: the next open removes it", name))
    if directory.snapshot is not None:
        view.snapshot_lsn, view.snapshot_bytes = directory.snapshot.lsn, directory.snapshot_bytes
    view.room, journal_id = directory.room, directory.journal_id
    view.journal_id = None if journal_id is None else journal_id.hex()


def torn_tail(decision: Decision) -> Finding:
    """The cut that opening would make, in the words of every report."""
    cut = decision.cut
    assert cut is not None
    return Finding(
        "torn tail",
        f"{cut.file} ends in a torn write at offset {cut.offset}, where record "
        f"{decision.last + 1} belongs: {cut.why}. Opening it will cut {cut.bytes} bytes, "
        f"{cut.records} whole records, after LSN {decision.last}; synced is proven up to "
        f"{decision.proven}; if this machine had acknowledged more, the disk lost it",
        cut.file,
        cut.offset,
        decision.last + 1,
        decision.proven,
    )


def finding_of(error: SdkitError) -> Finding:
    """What an error of `open` says, as a finding."""
    match error:
        case UnexplainedDamage():
            kind = "damage without proof"
        case CorruptData():
            kind = "corruption"
        case UnsupportedFormat():
            kind = "unknown format"
        case ForeignFile():
            kind = "foreign file"
        case _:
            kind = "unreadable"
    file, offset = error.fields.get("file"), error.fields.get("offset")
    lsn, proven = error.fields.get("lsn"), error.fields.get("proven")
    return Finding(
        kind,
        error.message,
        file if isinstance(file, str) else None,
        offset if isinstance(offset, int) else None,
        lsn if isinstance(lsn, int) else None,
        proven if isinstance(proven, int) else None,
    )


class _Records:
    """Keeps the records to list."""

    def __init__(self, count: int, from_lsn: int | None, content_bytes: int) -> None:
        self._from_lsn, self._content_bytes, self._count = from_lsn, content_bytes, count
        self.kept: deque[RecordView] = deque(maxlen=count if from_lsn is None else None)

    def add(self, file: str, found: Found, data: bytes) -> None:
        lsn = found.lsn
        if self._from_lsn is not None and (lsn < self._from_lsn or len(self.kept) >= self._count):
            return
        content_at = found.offset + RECORD_HEAD_BYTES
        shown = data[content_at : content_at + min(found.length, self._content_bytes)]
        kind = KINDS.get(found.kind, str(found.kind))
        self.kept.append(
            RecordView(file, found.offset, kind, lsn, found.synced, found.length, shown)
        )


async def _look_at_segments(
    disk: Disk, directory: Directory, found: Survey, view: JournalView, records: _Records
) -> None:
    ends = _where_segments_end(directory)
    for number, header in sorted(directory.headers.items()):
        size = directory.sizes[number]
        if not isinstance(header, SegmentHeader):
            name = str(header.fields["file"])
            view.segments.append(SegmentView(name, size, "unreadable", note="header is damaged"))
            if found.decision is not None:  # or else the refusal says it
                view.findings.append(_older(header))
            continue
        state = _state_of(header, found)
        segment = SegmentView(header.name, size, state, header.base, header.born)
        view.segments.append(segment)
        data = await read_segment(disk, header)
        error = _read_segment(header, data, ends[number], segment, records)
        if error is not None and state == "older":
            view.findings.append(_older(error))
    view.records = list(records.kept)


def _state_of(header: SegmentHeader, found: Survey) -> str:
    live = {each.number for each in found.chain}
    if not live:
        return "unjudged"
    if header.number in live:
        return "live"
    if found.decision is not None and header.number in found.decision.replaced:
        return "replaced"
    return "older" if header.number < min(live) else "replaced"


def _where_segments_end(directory: Directory) -> dict[int, int]:
    """For each segment the first LSN that a later one replaces."""
    ends, lowest = {}, LSN_MAX
    for number, header in sorted(directory.headers.items(), reverse=True):
        ends[number] = lowest
        if isinstance(header, SegmentHeader):
            lowest = min(lowest, header.base)
    return ends


def _read_segment(
    header: SegmentHeader, data: bytes, stop_lsn: int, view: SegmentView, records: _Records
) -> CorruptData | None:
    batch = read_records(header, data, header.size, header.base, stop_lsn=stop_lsn)
    offset = header.size
    while offset < batch.offset and (found := head_at(header, data, offset)) is not None:
        records.add(header.name, found, data)
        offset = found.end
    view.records = len(batch.contents)
    view.last_lsn = batch.lsn - 1 if view.records else None
    if batch.stop is Stop.REPLACED:
        offset = _behind_claims(header, data, batch.offset)
        if data[offset:].strip(b"\0"):
            view.note = f"{len(data) - offset} bytes left behind"
    elif batch.stop is Stop.DAMAGE:
        view.note = f"damaged at offset {batch.offset}: {batch.why}"
        return CorruptData(
            f"{header.name} is damaged at offset {batch.offset}, where record {batch.lsn} belongs: "
            f"{batch.why}",
            file=header.name,
            offset=batch.offset,
            lsn=batch.lsn,
        )
    elif batch.last_kind == END:
        view.note = "ends cleanly"
    return None


def _behind_claims(header: SegmentHeader, data: bytes, offset: int) -> int:
    """Where marks and an end record that follow the last record end."""
    while (found := head_at(header, data, offset)) is not None and found.kind != DATA:
        offset = found.end
    return offset


def _older(error: CorruptData) -> Finding:
    found = finding_of(error)
    found.kind = "older damage"
    found.message += ". The state does not need it; a follower that far behind needs the snapshot"
    return found
