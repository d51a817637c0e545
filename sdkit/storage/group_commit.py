"""Group commit: one sync serves all who wait.

A sync costs a tenth of a millisecond on a good SSD and ten on a disk, whether
it carries one record or a thousand. Syncing per transaction makes the disk the
limit; syncing per *group* makes it a delay that many share.

    appended   a  b      c d e f                 g
    written    [a b]             [c d e f]          [g]
    synced     ^----- sync -----^^----- sync -----^ ^-- …
    durable                a b              c d e f

The idea
    While one group is being synced, what arrives waits; it is the next group.
    Nobody sets a size or a delay: the slower the disk, the larger the groups.

Things to notice
    1. The position that a sync makes durable is taken *before* it begins
       (`LogWriter._sync`). What is appended meanwhile is not covered.
    2. Everybody woken by one sync gets a turn before the next group closes
       (the ``sleep(0)`` in `LogWriter._run`), so they travel together again.
    3. A mark, 40 bytes that say "synced up to here", follows a sync when
       nothing waits. It costs no sync, and lets recovery tell a torn write
       from corruption in the last group as well.
    4. In mode ``sync`` the segment is preallocated with zeros, since a sync that
       need not make a new length durable takes a quarter less time.

When the disk says no
    * A failed *write* is taken back: cut the file to its last good group **and
      sync**, and only then tell anybody that it did not happen; unsynced, the
      bytes could come back. The log goes on, its LSNs are given out again.
    * A failed *sync* cannot be taken back or repeated (`sdkit.storage.disk`).
      What it was to cover is indeterminate, and nothing more is written.

Group commit: Gray & Reuter, "Transaction Processing", §9.4; PostgreSQL and
MySQL do the same under the names ``commit_delay`` and binlog group commit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

from sdkit.errors import (
    Closed,
    DiskFailed,
    DiskUnavailable,
    Indeterminate,
    InternalError,
    InvalidState,
    SdkitError,
)
from sdkit.storage.callbacks import call_back, event
from sdkit.storage.config import Durability, JournalConfig
from sdkit.storage.disk import Claim, File
from sdkit.storage.segments import Segments, disk_failed, disk_unavailable
from sdkit.storage.waiting import Backlog, Waiters, own_copy
from sdkit.storage.wal import END, MARK, SegmentHeader, encode_claim, encode_records

UNSYNCED_BYTES_MAX: Final = 4 * 2**20  # in the modes that sync in the background
PREALLOCATED_BYTES: Final = 2**18
BACKGROUND_SYNC_S: Final = 1.0  # in those that promise none: for followers, and a short recovery


class LogWriter:
    """Collects records, writes and syncs them in groups, and tells those who wait.

    Its one task runs until `stop`.

    Args:
        file: the current segment, open; ``segments`` makes the next ones.
        synced: LSN up to which everything is on the disk, and the last there is.
        on_durable, on_lost: see `sdkit.storage.journal.Journal.open`.
    """

    backlog_type: type[Backlog] = Backlog

    def __init__(
        self,
        segments: Segments,
        file: File,
        config: JournalConfig,
        *,
        synced: int,
        on_durable: Callable[[int], None],
        on_lost: Callable[[int, SdkitError], None],
    ) -> None:
        self._segments = segments
        self._durability = durability = Durability(config.durability)
        self._promises_nothing = durability is Durability.NONE
        promised = durability is Durability.INTERVAL
        self._interval_s = config.interval_s if promised else BACKGROUND_SYNC_S
        self._segment_bytes = config.segment_bytes
        self._on_durable, self._on_lost = on_durable, on_lost
        self.end = synced  # the last LSN given out
        self.announced = synced  # the last LSN that `on_durable` has heard of
        self.written = synced
        self.synced = synced
        self.bytes_written = 0  # since this log was opened
        self.failure: SdkitError | None = None
        self.ended = False  # with an end record that is on the disk
        self._go_on_in(file, segments.kept[-1].header)
        self._backlog = self.backlog_type(config.backlog_bytes_max)
        self._marked = synced
        self._sync_wanted = synced
        self._sync_timer: asyncio.TimerHandle | None = None  # in every mode but sync
        self._waiting = Waiters()
        self._waiting_for_sync = Waiters()
        self._turns: list[asyncio.Future[None]] = []  # followers waiting for `synced` to move
        self._asleep: asyncio.Future[None] | None = None
        self._stopping = self._rotation_wanted = False
        self._superseding: tuple[int, asyncio.Future[None]] | None = None
        self.loop: Final = asyncio.get_running_loop()
        self._task = self.loop.create_task(self._run(), name="journal writer")

    @property
    def durable(self) -> int:
        """The last LSN that is as durable as the mode promises."""
        return self.end if self._promises_nothing and self.failure is None else self.announced

    @property
    def is_over(self) -> bool:
        """Nothing more will be written."""
        return self._stopping or self.failure is not None

    def append(self, record: bytes) -> int:
        # `is_over`, inlined: a call of a property is a tenth of an append.
        if self._stopping or self.failure is not None or self._superseding is not None:
            raise self.refusal()
        self._backlog.add(record)
        self.end += 1
        self._wake()
        return self.end

    def wait(self, lsn: int) -> asyncio.Future[None]:
        """Done when ``lsn`` is as durable as the mode promises."""
        if lsn <= self.announced:
            return self._waiting.done()
        return self._waiting.add(lsn) if self.failure is None else self._waiting.done(self.failure)

    def wait_for_sync(self, lsn: int) -> asyncio.Future[None]:
        """Done when ``lsn`` survives a power cut, whatever the mode; makes a sync happen."""
        if lsn <= self.synced:
            return self._waiting.done()
        self._want_sync(lsn)
        return (
            self._waiting_for_sync.add(lsn)
            if self.failure is None
            else self._waiting.done(self.failure)
        )

    def _want_sync(self, lsn: int) -> None:
        self._sync_wanted = max(self._sync_wanted, lsn)
        self._wake()

    def next_turn(self) -> asyncio.Future[None]:
        """Done when `synced` has moved, or never will again."""
        future = self.loop.create_future()
        if self.is_over:
            future.set_result(None)
        else:
            self._turns.append(future)
        return future

    def check_loop(self) -> None:
        """Refuse a follower that is read in another event loop: its turns come in this one."""
        if asyncio.get_running_loop() is not self.loop:
            raise InvalidState(
                "a follower belongs to the event loop in which its journal was opened; read it "
                "there"
            )

    def rotate_soon(self) -> None:
        """Begin a new segment before the next record, if this one holds any."""
        self._rotation_wanted = True
        self._wake()

    def supersede(self, lsn: int) -> asyncio.Future[None]:
        """Done when nothing from ``lsn`` on is in the log any more. One at a time."""
        if self.is_over:
            raise self.refusal()
        done = self.loop.create_future()
        self._superseding = lsn, done
        self._wake()
        return done

    async def stop(self) -> None:
        """Write and sync everything, mark the clean end, close the file.

        Raises:
            Indeterminate: a sync failed, or the task was cancelled, now or before; the file is
                closed all the same.
        """
        self._stopping = True
        self._wake()
        try:
            # Waited for and not awaited: whose cancellation it was would be unknown.
            await asyncio.wait([self._task])
        finally:
            self._task.cancel()  # if it is not done, this call was cancelled
            try:
                await _wait_through(self._task)
            finally:
                await self._file.close()
                self._let_followers_look()
        if not self._task.cancelled() and (bug := self._task.exception()) is not None:
            raise bug
        if isinstance(self.failure, Indeterminate):
            raise own_copy(self.failure)

    async def _run(self) -> None:
        try:
            while self.failure is None:
                if self._is_due():
                    await self._round()
                    await asyncio.sleep(0)
                elif self._stopping:
                    await self._end()
                    return
                elif self._marked < self.synced == self.written:
                    self._marked = self.synced
                    await self._append_claim(MARK)
                else:
                    await self._sleep()
        except BaseException as error:  # `stop` and all who wait hear of it
            self._fail(_why_it_ended(error))
            if not isinstance(error, OSError):
                raise

    def _is_due(self) -> bool:
        wanted = self._rotation_wanted or self._superseding is not None
        return len(self._backlog) > 0 or wanted or self._sync_is_due()

    def _sync_is_due(self) -> bool:
        return self.written > self.synced and (
            self._durability is Durability.SYNC
            or self._stopping
            or self._sync_wanted > self.synced
            or self._file.size - self.synced_bytes >= UNSYNCED_BYTES_MAX
        )

    async def _round(self) -> None:
        """One group: rotate if it is time, write what waits, sync if it is time."""
        if self._superseding is not None and not self._backlog:
            await self._supersede(*self._superseding)
        elif self._rotation_is_due():
            await self._rotate(urgent=self._rotation_wanted)
        if self._backlog and self.failure is None:
            await self._write(self._backlog.next_group())
        if self._sync_is_due() and self.failure is None:
            await self._sync()

    async def _sleep(self) -> None:
        self._asleep = self.loop.create_future()
        await self._asleep

    def _wake(self) -> None:
        if self._asleep is not None and not self._asleep.done():
            self._asleep.set_result(None)

    async def _write(self, group: list[bytes]) -> None:
        last = self.written + len(group)
        if self._promises_nothing:
            self._announce(self.end)
        good = self._file.size
        data = encode_records(self._header, good, self.written + 1, self.synced, group)
        try:
            self._file.append(data)
        except OSError as error:
            await self._take_back(good, error, lost=True)
            return
        self.written = last
        self.bytes_written += len(data)
        if self._durability is not Durability.SYNC and self._sync_timer is None:
            self._sync_timer = self.loop.call_later(self._interval_s, self._interval_is_over)
        if self._durability in (Durability.INTERVAL, Durability.OS):
            self._announce(last)

    async def _sync(self) -> None:
        position, size = self.written, self._file.size
        self._stop_timer()
        try:
            await self._sync_file()
        except OSError as error:
            self._fail(disk_failed(f"syncing {self._header.name}", error))
            return
        event("journal.sync", lsn=position, records=position - self.synced)
        self._is_synced(position, size)

    def _is_synced(self, position: int, size: int) -> None:
        """Everything up to ``position``, ``size`` bytes of this segment, survives a power cut."""
        self.synced, self.synced_bytes = position, size
        if self._durability is Durability.SYNC:
            self._announce(position)
        self._waiting_for_sync.settle(position)
        self._let_followers_look()

    def _interval_is_over(self) -> None:
        self._sync_timer = None
        self._want_sync(self.written)

    def _stop_timer(self) -> None:
        if self._sync_timer is not None:
            self._sync_timer.cancel()
            self._sync_timer = None

    async def _sync_file(self) -> None:
        await self._file.sync()

    async def _append_claim(self, kind: int) -> bool:
        good = self._file.size
        try:
            self._file.append(encode_claim(self._header, good, kind, self.written, self._claim()))
        except OSError as error:
            await self._take_back(good, error, lost=False)
            return False
        self.bytes_written += self._file.size - good
        return True

    def _claim(self) -> int:
        return self.synced

    async def _end(self) -> None:
        """The end record: from here on, every damage to this log is provable."""
        if not await self._append_claim(END) or self.failure is not None:
            return
        try:
            await self._sync_file()
            self.ended = True
        except OSError as error:
            self._fail(disk_failed(f"syncing {self._header.name}", error))

    def _rotation_is_due(self) -> bool:
        if self.written < self._header.base:  # it holds no record
            self._rotation_wanted = False
            return False
        return self._rotation_wanted or self._file.size >= self._segment_bytes

    async def _rotate(self, *, urgent: bool) -> None:
        """Begin a new segment; ``urgent``: a truncation waits for it, to make room."""
        self._rotation_wanted = False
        await self._settle_old_segment()
        if self.failure is not None:
            return
        refusal = await self._begin_segment(self.written + 1, urgent=urgent)
        if refusal is not None:  # the segment grows on
            event("journal.rotate_refused", reason=refusal.message)

    async def _begin_segment(self, base: int, *, urgent: bool) -> DiskUnavailable | None:
        """Go on in a new segment from ``base`` on; everything before is synced. Why it cannot."""
        old, number = self._header, self._segments.number_max + 1
        header = SegmentHeader(old.room, old.journal_id, number, base, base - 1)
        self._segments.kept[-1].size = self._file.size
        try:
            file = await self._segments.add(header, urgent=urgent)
        except DiskUnavailable as error:
            return error
        except DiskFailed as error:
            self._fail(own_copy(error))
            return None
        # From here to the next wait nothing may stop it: followers look at all of this.
        finished = self._file
        self._go_on_in(file, header)
        if base <= self.written:
            self.end = self.written = self.synced = self.announced = self._marked = base - 1
            self._sync_wanted = base - 1
        await finished.close()
        event("journal.rotate", file=header.name, base=header.base)
        await self._segments.reserve.fill()
        return None

    async def _supersede(self, lsn: int, done: asyncio.Future[None]) -> None:
        """Begin a segment that replaces what was written from ``lsn`` on."""
        await self._settle_old_segment()
        refusal = None
        if lsn <= self.written and self.failure is None:
            refusal = await self._begin_segment(lsn, urgent=True)
        if self.failure is not None:
            return  # `_fail` has said so
        self._superseding = None
        if refusal is not None:
            done.set_exception(own_copy(refusal))
            return
        event("journal.superseded", first=lsn)
        self._let_followers_look()
        done.set_result(None)
        await self._segments.supersede(lsn)

    def _go_on_in(self, file: File, header: SegmentHeader) -> None:
        self._file, self._header, self.synced_bytes = file, header, file.size
        if self._durability is Durability.SYNC:
            file.preallocate(min(PREALLOCATED_BYTES, self._segment_bytes))

    async def _settle_old_segment(self) -> None:
        """The new header will say that everything before it is on the disk."""
        if self._file.size > self.synced_bytes:
            await self._sync()

    async def _take_back(self, good: int, error: OSError, *, lost: bool) -> None:
        """Undo a write that failed, durably; then say that it did not happen.

        Args:
            lost: it held records, not just a claim.
        """
        try:
            await self._cut_back(good)
        except OSError as worse:
            self._fail(disk_failed(f"taking a failed write to {self._header.name} back", worse))
            return
        self._stop_timer()
        self._is_synced(self.written, good)
        if lost and self._promises_nothing:
            # They were called durable: the state in memory is ahead of the log.
            self._fail(disk_failed(f"writing to {self._header.name}", error))
        elif lost:
            self._disown(disk_unavailable(f"writing to {self._header.name}", error))

    def _disown(self, refusal: SdkitError) -> None:
        """Nothing behind `written` happened, and the log goes on from there."""
        first = self.written + 1
        self._backlog.clear()
        self.end = self.written
        self._sync_wanted = min(self._sync_wanted, self.end)
        self._refuse(first, refusal)  # first: who is told may append, and gets these LSNs
        event("journal.refused", first=first, reason=refusal.message)
        call_back(self._on_lost, first, refusal)

    async def _cut_back(self, good: int) -> None:
        await self._file.truncate(good)
        await self._file.sync()

    def _fail(self, failure: SdkitError) -> None:
        """Whatever is not on the disk may or may not be there. No more writes."""
        if self.failure is not None:
            return
        self.failure = failure
        first = self.synced + 1
        self._backlog.clear()
        self._stop_timer()
        try:
            event("journal.failed", first=first, reason=failure.message)
            call_back(self._on_lost, first, failure)
        finally:
            self._refuse(first, failure)
            self._let_followers_look()
            if self._superseding is not None:
                self._superseding[1].set_exception(own_copy(failure))

    def refusal(self) -> SdkitError:
        """Why nothing can be appended, now or ever."""
        if self.failure is not None:
            return DiskUnavailable(
                f"the log takes no writes since a failure: {self.failure.message}"
            )
        if self._superseding is not None and not self._stopping:
            return InvalidState("records are being superseded; wait for it before the next append")
        return Closed("the journal is closed")

    def _announce(self, lsn: int) -> None:
        if lsn > self.announced:
            self.announced = lsn
            try:
                call_back(self._on_durable, lsn)
            finally:
                self._waiting.settle(lsn)

    def _refuse(self, first: int, error: SdkitError) -> None:
        self._waiting.refuse(first, error)
        self._waiting_for_sync.refuse(first, error)

    def _let_followers_look(self) -> None:
        turns, self._turns = self._turns, []
        for future in turns:
            if not future.done():
                future.set_result(None)


async def _wait_through(task: asyncio.Task[None]) -> None:
    """Wait until ``task``, which is cancelled, has ended, however often this is cancelled."""
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


def _why_it_ended(error: BaseException) -> SdkitError:
    """What those who wait are told when the writing task ends by ``error``."""
    if isinstance(error, OSError):
        return disk_failed("writing the log", error)
    rest = "What was not acknowledged may or may not survive; open the journal anew"
    if isinstance(error, asyncio.CancelledError):
        return Indeterminate(
            f"the log's task was cancelled before the journal was closed, as the end of an event "
            f"loop does. {rest}"
        )
    return InternalError(f"writing the log: {type(error).__name__}: {error}. {rest}")


_ending: Final[set[asyncio.Task[None]]] = set()  # of dropped journals: a task needs an owner


def end_dropped(writer: LogWriter, claim: Claim) -> None:
    """Close what a dropped journal was made of, in its loop."""

    async def end() -> None:
        try:
            with contextlib.suppress(SdkitError):  # `on_lost` was told
                await writer.stop()
        finally:
            claim.abandon()

    task = asyncio.ensure_future(end())
    _ending.add(task)
    task.add_done_callback(_ending.discard)
