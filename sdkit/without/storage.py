"""Storage: what each rule of the journal is for.

``docs/journal.md`` has the rules and the smallest schedule that needs each.
"""

from __future__ import annotations

import copy
from typing import Final

from sdkit.sim.disk import SimulatedDisk
from sdkit.storage.disk import File
from sdkit.storage.follower import Follower
from sdkit.storage.group_commit import LogWriter
from sdkit.storage.journal import Journal
from sdkit.storage.recovery import Recovery
from sdkit.storage.segments import Segment, Segments
from sdkit.storage.snapshotting import SnapshotStore
from sdkit.storage.wal import Found, SegmentHeader
from sdkit.without.parts import Safeguard


class AcknowledgesWhatIsWritten(LogWriter):
    """Says "durable" when the bytes are in the page cache; the sync comes after."""

    async def _write(self, group: list[bytes]) -> None:
        await super()._write(group)
        self._announce(self.written)


class CountsLateComers(LogWriter):
    """Takes the position when the sync ends: what was appended meanwhile is not covered."""

    def _is_synced(self, position: int, size: int) -> None:
        super()._is_synced(self.end, size)


class RetriesSyncs(LogWriter):
    """After a failed sync the pages look clean: the next one says yes and brings nothing."""

    async def _sync_file(self) -> None:
        try:
            await self._file.sync()
        except OSError:  # the handle refuses a second one; a new handle does not know
            self._file = await self._segments._disk.open(self._header.name)
            await self._file.sync()


class LeavesShortWrites(LogWriter):
    """Goes on behind the torn half of a write that failed."""

    async def _cut_back(self, good: int) -> None:
        pass


class RotatesUnsynced(LogWriter):
    """A new header proves the old segment, which was never synced."""

    async def _settle_old_segment(self) -> None:
        pass


class ShowsWhatIsOnlyInThePageCache(Recovery):
    """A kill leaves a record, open shows it, the power goes."""

    def _bounds_of_new(self) -> tuple[int, int]:
        return self.lsn, self._proof.lsn


class LooksNoFurther(Recovery):
    """Ends the log at the first bad record, whatever stands behind it."""

    def _claims_behind(self, header: SegmentHeader, data: bytes, offset: int) -> list[Found]:
        return []


class TakesATornTailForCorruption(Recovery):
    """Every damage is a reason to refuse, the ordinary end of a power cut as well."""

    def _looks_torn(self, header: SegmentHeader, data: bytes, offset: int) -> bool:
        return False


class NamesUnsyncedHeaders(Segments):
    """A segment gets its final name before its header is on the disk."""

    async def _sync_new(self, file: File) -> None:
        pass


class SnapshotsUnsynced(SnapshotStore):
    """The snapshot replaces the log before it is on the disk."""

    async def _sync(self, file: File) -> None:
        pass


class SnapshotsAheadOfItsLog(Journal):
    """The snapshot is on the disk, and the log that it belongs to is not."""

    async def _settle_log(self, lsn: int) -> None:
        pass


class ReadsAhead(Follower):
    """Shows a follower what may yet be lost."""

    def bound(self) -> int:
        return self._writer.written

    def _readable_bytes(self, segment: Segment, file: File) -> int:
        return 10**9


class LosesNames(SimulatedDisk):
    """Renames without syncing the directory, where the new name ends like this."""

    suffix = ""
    _quiet = False

    async def replace(self, source: str, target: str) -> None:
        other = copy.copy(self)
        other._quiet = target.endswith(self.suffix)
        await SimulatedDisk.replace(other, source, target)

    async def sync_directory(self) -> None:
        if not self._quiet:
            await super().sync_directory()


class LosesTheNamesOfSegments(LosesNames):
    """A synced file whose name is not on the disk is no file."""

    suffix = ".wal"


class LosesTheNameOfTheSnapshot(LosesNames):
    """The log is unlinked before the name of the snapshot is on the disk."""

    suffix = "snapshot"


SAFEGUARDS: Final = (
    Safeguard(
        "journal.sync",
        "sync before saying ok",
        "a power cut takes back what was acknowledged",
        "journal.writer_type",
        AcknowledgesWhatIsWritten,
    ),
    Safeguard(
        "journal.position_before_sync",
        "a sync covers what was written before it began",
        "what was appended during a sync is acknowledged and lost",
        "journal.writer_type",
        CountsLateComers,
    ),
    Safeguard(
        "journal.failed_sync_is_final",
        "a failed sync poisons the log until it is opened again",
        "the second sync says yes, and the data is not on the disk",
        "journal.writer_type",
        RetriesSyncs,
    ),
    Safeguard(
        "journal.cut_back",
        "a failed write is taken back before the log goes on",
        "the log goes on behind a torn record, and cannot be read any further",
        "journal.writer_type",
        LeavesShortWrites,
    ),
    Safeguard(
        "journal.sync_at_rotation",
        "the old segment is synced before a new one begins",
        "the new header proves records that were never synced: corruption where there is none",
        "journal.writer_type",
        RotatesUnsynced,
    ),
    Safeguard(
        "journal.sync_on_open",
        "what open shows, it has made durable first",
        "what was shown after a kill is gone after the power cut that follows",
        "journal.recovery_type",
        ShowsWhatIsOnlyInThePageCache,
    ),
    Safeguard(
        "journal.corruption_refused",
        "proof that a record was synced is looked for behind the damage",
        "one flipped bit cuts off acknowledged records, silently",
        "journal.recovery_type",
        LooksNoFurther,
    ),
    Safeguard(
        "journal.torn_tail_cut",
        "an unacknowledged torn write at the end is left behind",
        "an ordinary power cut locks the room out of its data",
        "journal.recovery_type",
        TakesATornTailForCorruption,
    ),
    Safeguard(
        "journal.header_sync",
        "a segment is synced before it gets its name",
        "a segment with a damaged header: the room refuses to start",
        "journal.segments_type",
        NamesUnsyncedHeaders,
    ),
    Safeguard(
        "journal.snapshot_sync",
        "a snapshot is synced before it replaces the log",
        "the log is gone and the snapshot is half there",
        "journal.snapshots_type",
        SnapshotsUnsynced,
    ),
    Safeguard(
        "journal.snapshot_behind_log",
        "a snapshot waits until its log is synced",
        "records are lost below a snapshot that says they were there",
        "journal",
        SnapshotsAheadOfItsLog,
    ),
    Safeguard(
        "journal.snapshot_before_truncation",
        "the snapshot's name is synced before the log is unlinked",
        "neither the snapshot nor the log that it replaced is there",
        "disk",
        LosesTheNameOfTheSnapshot,
    ),
    Safeguard(
        "journal.directory_sync",
        "the directory is synced before a new segment is used",
        "a synced segment whose name is gone",
        "disk",
        LosesTheNamesOfSegments,
    ),
    Safeguard(
        "journal.followers_see_the_durable",
        "a follower sees a record when it is durable, no earlier",
        "a follower is ahead of its leader for ever",
        "journal.follower_type",
        ReadsAhead,
    ),
)
