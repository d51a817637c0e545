"""Journal: the durable log that every room with state shares.

Keep the state in memory, write each change to a log first, and after a crash
read the log again: that is all of durability, and each word of it has a trap.
This file binds the parts that keep the traps apart:

    append ──> group_commit ──> segments ──> disk
    open   ──> recovery (decides)   replay ──> wal (reads)
    snapshot, truncation            follow ──> follower

    journal = await Journal.open(disk, room="store")
    await journal.replay(on_snapshot=load, on_record=apply)
    lsn = journal.append(b"set x 1")        # at once; nothing is written yet
    await journal.wait(lsn)                 # as durable as the mode promises

Things to notice
    1. `Journal.append` is not async. It gives out the position in the caller's
       turn, so the order of the log is the order of the calls.
    2. `Journal.open` reads everything first and changes nothing while it may
       still refuse. Then it makes durable what it is about to show: a kill
       leaves records in the page cache, and a power cut after the next start
       would take them away from a state that was already shown.
    3. A snapshot is the state at one LSN, and that LSN must be *synced* before
       the snapshot gets its name: a snapshot ahead of its log looks, after a
       power cut, exactly like a log that lost records.
    4. Segments are unlinked only once the snapshot that replaces them is
       durable, name included, and no named holder needs them.

The order of steps is ARIES's rule of writing ahead (Mohan et al., 1992) with
redo only, as in Redis and etcd: the state is in memory, nothing is undone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random as randoms
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping
from threading import get_ident
from typing import Final

from sdkit.arguments import check_between, check_function, shown
from sdkit.errors import (
    Closed,
    Indeterminate,
    InvalidArgument,
    InvalidState,
    LimitExceeded,
    SdkitError,
)
from sdkit.forks import renew_in_child
from sdkit.storage.callbacks import check_callbacks, ignore_durable, ignore_loss
from sdkit.storage.config import JournalConfig, Recovered, check_chunks, check_parts
from sdkit.storage.disk import Claim, Disk
from sdkit.storage.follower import Follower, FollowerAhead, Truncated
from sdkit.storage.group_commit import LogWriter, end_dropped
from sdkit.storage.holders import HOLDERS_NAME, Holders, check_name
from sdkit.storage.opening import Opened, open_log, replay_log
from sdkit.storage.recovery import Recovery
from sdkit.storage.segments import Segments
from sdkit.storage.snapshot import SnapshotHeader
from sdkit.storage.snapshotting import SnapshotStore
from sdkit.storage.wal import LSN_MAX, check_room
from sdkit.trace import event, span

__all__ = ["Journal", "JournalConfig", "Recovered"]

NO_THREAD: Final = 0  # `get_ident` is never that


class Journal:
    """An append-only log with snapshots. Made by `open`, ended by `close`.

    It belongs to the event loop in which it was opened: from another loop, thread
    or forked process each of its methods raises InvalidState. Dropped while it is
    open, it warns, and its loop closes it.
    """

    writer_type: type[LogWriter] = LogWriter
    recovery_type: type[Recovery] = Recovery
    segments_type: type[Segments] = Segments
    follower_type: type[Follower] = Follower
    snapshots_type: type[SnapshotStore] = SnapshotStore
    holders_type: type[Holders] = Holders

    def __init__(
        self,
        disk: Disk,
        config: JournalConfig,
        opened: Opened,
        writer: LogWriter,
        claim: Claim,
    ) -> None:
        decision = opened.decision
        self.recovered: Final = opened.report()
        self._disk, self._config, self._writer, self._claim = disk, config, writer, claim
        self._opened: Opened | None = opened
        self._segments: Final = opened.segments
        self._header: Final = decision.header
        self._snapshots: Final = self.snapshots_type(disk, opened.segments)
        self._holders: Final = self.holders_type(
            self.snapshots_type(disk, opened.segments, HOLDERS_NAME),
            SnapshotHeader(self._header.room, self._header.journal_id, 0),
            opened.holders,
        )
        self._holding = asyncio.Lock()
        self._pins: dict[object, int] = {}  # by who reads a snapshot: the log behind it
        self._snapshotting = asyncio.Lock()
        self._snapshot_task: asyncio.Task[object] | None = None
        self._snapshot_lsn = opened.snapshot_lsn
        self._snapshot_bytes = opened.snapshot_bytes
        self._bytes_covered = -decision.bytes  # of `LogWriter.bytes_written`, by the snapshot
        self._loop: Final = writer.loop
        self._thread = get_ident()
        renew_in_child(self, Journal._forget)
        self._closed = False

    @classmethod
    async def open(
        cls,
        disk: Disk,
        *,
        room: str,
        config: JournalConfig | None = None,
        random: randoms.Random,
        on_durable: Callable[[int], None] | None = None,
        on_lost: Callable[[int, SdkitError], None] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cut_unexplained: bool = False,
    ) -> Journal:
        """Recover the journal in ``disk``, or begin one where there is none.

        Args:
            room: at most 16 ASCII characters; another room's journal is refused.
            random: draws the journal's id when it begins.
            on_durable: called in the loop with an LSN each time `durable` has
                moved, before those who wait for it wake. In mode "none"
                `append` itself moves `durable`; the call comes a turn later.
                What it raises, as what ``on_lost`` raises, goes to the event loop's
                exception handler (`sdkit.storage.callbacks`), and the log goes on.
            on_lost: called with the first LSN of which, and of all behind it,
                the append failed: with `DiskUnavailable` it did not happen,
                the log goes on and gives these LSNs out again; with
                any `Indeterminate` (`DiskFailed`; the log's task was cancelled) nobody
                knows, and the log takes no more writes. In the modes other than
                "sync" such a record may have been called durable before.
            progress: called with bytes read and bytes to read.
            cut_unexplained: a person's decision to drop a damaged end that
                does not look like a torn write (`UnexplainedDamage`).

        Raises:
            InvalidArgument: an argument is of the wrong kind; nothing was opened.
            DirectoryInUse: it is open already, in this process or another.
            DirectoryUnusable: it cannot be made or written.
            CorruptData, UnsupportedFormat, ForeignFile: nothing was changed.
            DiskUnavailable: it cannot be read, or there is no room for a new
                segment, not even in the reserve; nothing was lost.
            DiskFailed: making it durable failed; open again.
        """
        check_room(room)
        config = JournalConfig() if config is None else config
        check_parts(disk, config, random, cut_unexplained=cut_unexplained)
        on_durable, on_lost = on_durable or ignore_durable, on_lost or ignore_loss
        check_callbacks(on_durable=on_durable, on_lost=on_lost, progress=progress)
        claim = await disk.claim("journal")
        try:
            with span("journal.open", room=room):
                opened = await open_log(
                    disk,
                    room=room,
                    random=random,
                    reserve_bytes=min(config.reserve_bytes, config.segment_bytes),
                    recovery_type=cls.recovery_type,
                    segments_type=cls.segments_type,
                    cut_unexplained=cut_unexplained,
                    progress=progress,
                )
        except BaseException:
            claim.release()
            raise
        writer = cls.writer_type(
            opened.segments,
            opened.file,
            config,
            synced=opened.decision.last,
            on_durable=on_durable,
            on_lost=on_lost,
        )
        return cls(disk, config, opened, writer, claim)

    # Reading what was there.

    async def replay(
        self,
        *,
        on_snapshot: Callable[[bytes], None] | None = None,
        on_record: Callable[[int, bytes], None],
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """Hand out the snapshot's chunks, then every later record; once.

        Args:
            on_snapshot: without it the snapshot is checked, and only the records are handed out.
            progress: called with records handed out and records to hand out.

        Raises:
            InvalidArgument: a function is none; nothing was read.
            InvalidState: it was replayed before.
            Closed: after `close`.
            DiskUnavailable, CorruptData: a file can no longer be read.
            Exception: what a function raised; the rest is not handed out.
        """
        self._check_open()
        check_function("on_record", on_record, asynchronous=False)
        check_callbacks(on_snapshot=on_snapshot, progress=progress)
        opened, self._opened = self._opened, None
        if opened is None:
            raise InvalidState("this journal was replayed before; open it anew to read it again")
        await replay_log(self._disk, opened, on_snapshot, on_record, progress)

    def follow(self, from_lsn: int) -> AsyncGenerator[tuple[int, bytes], None]:
        """Every record from ``from_lsn`` on, once it is synced; see `sdkit.storage.follower`.

        Close it (``aclose``) when it is left early.

        Raises:
            InvalidArgument: it is no LSN.
            Truncated: the log no longer reaches back to it.
            FollowerAhead: it is more than one behind the end: data was lost here.
        """
        self._check_loop()
        check_between("from_lsn", from_lsn, 1, LSN_MAX)
        if from_lsn > self.end + 1:
            raise FollowerAhead(
                f"a follower asks for record {from_lsn}; this log ends at {self.end}. It has "
                "lost synced data: do not cut the follower, find out what happened",
                asked=from_lsn,
                end=self.end,
            )
        return self.follower_type(self._disk, self._segments, self._writer, from_lsn).records()

    # Writing.

    def append(self, record: bytes) -> int:
        """Give the record the next LSN and have it written soon. O(1).

        Whatever is raised, the record is not in the log.

        Raises:
            InvalidArgument: it is not bytes.
            LimitExceeded: it is larger than ``record_bytes_max``.
            Overloaded: too much waits to be written.
            DiskUnavailable: the journal failed earlier and takes no writes.
            Closed: after `close`.
            InvalidState: called in another event loop, thread or process.
        """
        if type(record) is not bytes:  # what can still change, or has a length of its own, is none
            raise InvalidArgument(
                f"record is {shown(record)}, of type {type(record).__name__}; it must be bytes"
            )
        if get_ident() != self._thread or not self._loop.is_running():  # `_check_loop`, inlined
            raise self._elsewhere()
        if len(record) > self._config.record_bytes_max:
            raise LimitExceeded(
                f"a record has {len(record)} bytes; the limit is {self._config.record_bytes_max}"
            )
        return self._writer.append(record)

    def wait(self, lsn: int) -> asyncio.Future[None]:
        """A future for this caller alone: done when ``lsn`` is as durable as the mode promises.

        Ask for it in the turn of the append. It fails with what ``on_lost`` was told.

        Raises:
            InvalidArgument: it is no LSN that was given out.
        """
        if get_ident() != self._thread or not self._loop.is_running():  # `_check_loop`, inlined
            raise self._elsewhere()
        if type(lsn) is not int or lsn < 0:
            raise InvalidArgument(f"lsn is {shown(lsn)}; it must be a whole number, 0 or more")
        if lsn > self._writer.end and self._writer.failure is None:
            raise InvalidArgument(f"lsn is {lsn}; the last one given out is {self._writer.end}")
        return self._writer.wait(lsn)

    async def sync(self) -> None:
        """Return when everything appended so far survives a power cut, whatever the mode.

        Raises:
            DiskUnavailable: some of it did not happen. DiskFailed: some of it is indeterminate.
        """
        self._check_loop()
        await self._writer.wait_for_sync(self._writer.end)

    @property
    def end(self) -> int:
        """The last LSN given out."""
        return self._writer.end

    @property
    def durable(self) -> int:
        """The last LSN that is as durable as the mode promises."""
        return self._writer.durable

    @property
    def synced(self) -> int:
        """The last LSN that survives a power cut."""
        return self._writer.synced

    @property
    def ended(self) -> bool:
        """`close` has left an end record: from now on all damage to the log is provable."""
        return self._writer.ended

    @property
    def segment(self) -> int:
        """The number of the newest segment: a later open or rotation has a higher one."""
        return self._segments.number_max

    async def supersede(self, lsn: int) -> None:
        """Drop the records from ``lsn`` on, durably; the next one appended has that LSN again.

        For who has found out that another log is the right one: a raft follower, a primary
        that comes back. After a crash all of them are there or none. It waits for what was
        appended before; ``on_durable`` then starts again from below. A follower that was
        shown one of them gets `Superseded`.

        Raises:
            InvalidArgument: the snapshot holds ``lsn`` already, or it is more than one behind
                the end; nothing has changed.
            InvalidState: an `append` meanwhile; that record is not in the log.
            DiskUnavailable: nothing has changed. DiskFailed: it happened, or nothing did.
            Closed: after `close`.
        """
        self._check_open()
        check_between("lsn", lsn, 1, LSN_MAX)
        async with self._snapshotting:
            self._check_open()
            if not self._snapshot_lsn < lsn <= self.end + 1:
                raise InvalidArgument(
                    f"lsn is {lsn}; {self._snapshot_lsn + 1} to {self.end + 1} can be superseded"
                )
            done = self._writer.supersede(lsn)
            try:
                await asyncio.shield(done)
            finally:  # cancelled: it goes on, and no snapshot may begin before it is over
                await asyncio.wait([done])

    # Snapshots and truncation.

    async def snapshot(self, lsn: int, chunks: AsyncIterable[bytes]) -> None:
        """Keep the state as it was after ``lsn``, then drop the log that nobody needs.

        Appends go on meanwhile. If it fails, or is cancelled, the old snapshot
        and the whole log are still there.

        Raises:
            InvalidState: another snapshot is under way.
            InvalidArgument: ``lsn`` is older than the last snapshot, or not given out; ``chunks``
                cannot be iterated over by ``async for``, or gave something that is not bytes.
            Closed: after `close`.
            DiskUnavailable: the disk refused; nothing has changed.
            DiskFailed: it may or may not be in place; the log is whole in either case.
            Exception: what ``chunks`` raised; nothing has changed.
        """
        self._check_open()
        check_chunks(chunks)
        if self._snapshotting.locked():
            raise InvalidState("a snapshot is being written; wait for it before the next")
        check_between("lsn", lsn, 0, LSN_MAX)
        if not self._snapshot_lsn <= lsn <= self.end:
            raise InvalidArgument(
                f"lsn is {lsn}; a snapshot can be taken of {self._snapshot_lsn} to {self.end}"
            )
        async with self._snapshotting:
            self._snapshot_task = asyncio.current_task()
            covered = self._writer.bytes_written
            try:
                with span("journal.snapshot", lsn=lsn):
                    await self._settle_log(lsn)
                    self._writer.rotate_soon()
                    size = await self._write_snapshot(lsn, chunks)
                self._snapshot_lsn, self._snapshot_bytes = lsn, size
                self._bytes_covered = covered
                await self._truncate()
            finally:
                self._snapshot_task = None
                await self._segments.reserve.fill()

    @contextlib.asynccontextmanager
    async def reading_snapshot(self) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """The newest snapshot, pinned: ``async with`` gives its LSN, and its chunks once.

        A newer one may get its name meanwhile: this one, and the log behind its LSN, stay
        until the block ends. So a replica gets the state and then follows from LSN + 1.

        Raises:
            InvalidState: there is none; all there is can be followed from 1 on.
            DiskUnavailable, CorruptData: it cannot be read, now or at some chunk.
            Closed: after `close`.
        """
        self._check_open()
        if not self._snapshot_lsn:
            raise InvalidState("this journal has no snapshot yet; follow it from 1 on")
        pin = object()
        self._pins[pin] = self._snapshot_lsn + 1
        try:
            async with self._snapshots.reading() as found:
                yield found
        finally:
            del self._pins[pin]

    async def install(self, lsn: int, chunks: AsyncIterable[bytes]) -> None:
        """Put a snapshot from elsewhere in the place of all that is here, and close.

        It is the state after ``lsn``, 1 or more. Open the journal anew: it begins with that
        state, and its next record is ``lsn`` + 1. Whatever happens meanwhile, all the old
        is there or all the new. Holders stay; who holds an older record needs the snapshot.

        Raises:
            InvalidArgument: as `snapshot` does; it is still open.
            DiskUnavailable: the old state is there. DiskFailed: one of the two is.
            Exception: what ``chunks`` raised; the old state is there.
        """
        self._check_open()
        check_chunks(chunks)
        check_between("lsn", lsn, 1, LSN_MAX - 1)
        async with self._snapshotting, self._holding:
            self._check_open()
            self._closed = True
            try:
                with contextlib.suppress(Indeterminate):  # what is lost is superseded
                    await self._writer.stop()
                room, id_ = self._header.room, self._header.journal_id
                header = SnapshotHeader(room, id_, lsn, supersedes=self._segments.number_max)
                await self._snapshots.write(header, chunks)
            finally:
                self._claim.release()
            event("journal.installed", lsn=lsn)

    async def _settle_log(self, lsn: int) -> None:
        """A snapshot never stands ahead of its log."""
        if lsn > self._writer.synced:
            await self._writer.wait_for_sync(lsn)

    async def _write_snapshot(self, lsn: int, chunks: AsyncIterable[bytes]) -> int:
        header = SnapshotHeader(self._header.room, self._header.journal_id, lsn)
        return await self._snapshots.write(header, chunks)

    async def _truncate(self) -> None:
        await self._segments.truncate(
            min([self._snapshot_lsn + 1, *self.holders.values(), *self._pins.values()])
        )

    async def hold(self, name: str, lsn: int) -> None:
        """Keep every record from ``lsn`` on, for ``name``, until moved or released.

        While it is written it holds in this process already; when this returns, across
        restarts and power cuts as well (`sdkit.storage.holders`). A sync of a small file.

        Raises:
            InvalidArgument: ``name`` is no text of 1 to 200 bytes, or ``lsn`` no LSN.
            Truncated: ``lsn`` is gone already.
            LimitExceeded: a thousand names hold it.
            DiskUnavailable: nothing has changed.
            DiskFailed: the old position or the new one is on the disk; the lower one holds.
            Closed: after `close`.
        """
        self._check_open()
        check_name(name)
        check_between("lsn", lsn, 1, LSN_MAX)
        async with self._holding:
            self._check_open()  # it may have been closed meanwhile
            if lsn < self.first:
                raise Truncated(
                    f"{name} asks to hold record {lsn}; the log begins at {self.first}",
                    lsn=lsn,
                    first=self.first,
                )
            await self._holders.set(name, lsn)

    async def release(self, name: str) -> None:
        """Let ``name``'s records go at the next snapshot; an unknown name is ignored.

        Raises what `hold` raises; the name may hold on then.
        """
        self._check_open()
        check_name(name)
        async with self._holding:
            self._check_open()
            if name in self._holders.lsns:
                await self._holders.set(name, None)

    @property
    def holders(self) -> Mapping[str, int]:
        """Who keeps the log from being truncated, and from which LSN on."""
        return dict(self._holders.lsns)

    @property
    def first(self) -> int:
        """The first LSN that the log reaches back to."""
        return self._segments.kept[0].header.base

    @property
    def snapshot_lsn(self) -> int:
        """The position of the newest snapshot; 0 without one."""
        return self._snapshot_lsn

    @property
    def snapshot_bytes(self) -> int:
        """Size of the newest snapshot."""
        return self._snapshot_bytes

    @property
    def log_bytes(self) -> int:
        """Bytes of log written since the newest snapshot was begun.

        About what a restart would read: what lay between the snapshot's position and the
        end when it was begun is left out. (Counted by whole segments instead, a snapshot
        that ends in the middle of one would leave the next one due at once.)
        """
        return self._writer.bytes_written - self._bytes_covered

    async def close(self) -> None:
        """Stop cleanly: write and sync what waits, and an end record. Safe to call twice.

        A snapshot or a holder being written is waited for. A disk too full for the end record is no
        failure: everything else is on it; `ended` says so. Cancelled while it waits
        for a snapshot, it has done nothing; later, everything is closed all the same.

        Raises:
            Indeterminate: a sync failed (DiskFailed), or the log's task was cancelled, now or
                earlier; everything is closed all the same.
            InvalidState: called in another event loop, thread or process, or by the chunks of a
                snapshot. If its own loop is closed, the directory is given up.
        """
        if self._closed:
            return
        if self._loop.is_closed() and self._thread != NO_THREAD:
            self._closed = True
            self._claim.release()
            raise self._elsewhere()
        self._check_loop()
        if self._snapshot_task is not None and self._snapshot_task is asyncio.current_task():
            raise InvalidState(
                "the journal cannot be closed by the chunks of a snapshot, for which it would wait"
            )
        async with self._snapshotting, self._holding:
            if not self._closed:
                self._closed = True
                try:
                    await self._writer.stop()
                finally:
                    self._claim.release()
                event("journal.close", end=self._writer.end)

    def _check_open(self) -> None:
        self._check_loop()
        if self._closed:
            raise Closed("the journal is closed")

    def _check_loop(self) -> None:
        # A thread has one running loop. `asyncio.get_running_loop` would ask the kernel for the
        # process's number each time, which takes as long as an append.
        if get_ident() != self._thread or not self._loop.is_running():
            raise self._elsewhere()

    def _forget(self) -> None:
        """In a forked child: no thread of it may use this."""
        self._thread = NO_THREAD

    def _elsewhere(self) -> InvalidState:
        if self._thread == NO_THREAD:
            why = "was opened by the process that this one was forked from; open another one here"
        elif self._loop.is_closed():
            why = "was opened in an event loop that is closed; open it anew in this one"
        else:
            why = (
                "belongs to the event loop in which it was opened; call it there "
                "(asyncio.run_coroutine_threadsafe, loop.call_soon_threadsafe)"
            )
        return InvalidState(f"the journal of room {self._header.room} {why}")

    def __repr__(self) -> str:
        state = "closed" if self._closed else "failed" if self._writer.failure else "open"
        room, first = self._header.room, self.first
        return f"<Journal of room {room}, LSN {first} to {self.end}, {state}>"

    def __del__(self) -> None:
        # A killed machine's journal owns nothing, nor does a forked child's copy.
        if getattr(self, "_closed", True) or not self._claim.is_held:
            return
        if self._loop.is_closed():
            self._claim.abandon()
        else:
            self._loop.call_soon_threadsafe(end_dropped, self._writer, self._claim)
