"""Engine: the store inside your own process.

    async with StoreEngine(host, StoreConfig()) as store:
        async with store.begin() as transaction:
            await transaction.put(b"alice", b"100")

Everything that has to be decided is decided in `sdkit.store.database`. The
engine is the shell around it: it appends commit records to the journal and
passes on how far the journal is durable; it lets a task wait while the
database says so; it owns the timers; and it does in small portions what would
otherwise be a pause.

    a commit     begin_commit -> journal.append -> appended ... on_durable -> publish
    a lock wait  acquire says no -> a future in `_waiters` ... `Database.woken` -> its result

Things to notice
    * Nothing in a commit happens between two awaits that could be cut in half:
      from `begin_commit` to `appended` there is no await, and publication is
      the journal's callback, not the committing task's work. Cancel that task
      and the commit completes all the same, although nobody waits.
    * After a failed sync the journal promises nothing more, so neither does
      the engine: writes are refused until it is opened again, reads of what
      was durable go on.
    * The idle time-out costs a statement one assignment and no clock: a timer
      counts quarters of the limit, and a statement sets its count to zero.
    * All durable state lives in the directory ``store`` of the host's disk.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import _get_running_loop
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, ParamSpec, Self, TypeVar
from weakref import WeakMethod

from sdkit.errors import Closed, DiskUnavailable, Indeterminate, InvalidState, SdkitError
from sdkit.host import Host, check_host
from sdkit.storage.journal import Journal, JournalConfig
from sdkit.store import interface
from sdkit.store.checkpoint import Checkpoint, Recovery
from sdkit.store.config import StoreConfig, check_config
from sdkit.store.database import IDLE_TICKS, Database
from sdkit.store.handle import EngineTransaction
from sdkit.store.home import Home
from sdkit.store.interface import Isolation, Level, TransactionInfo, VersionInfo
from sdkit.store.isolation import level_of
from sdkit.store.limits import check_flag, check_open
from sdkit.store.locks import Kind
from sdkit.store.ranges import Range
from sdkit.store.records import encode_commit
from sdkit.store.report import describe_transaction, describe_versions, gauges
from sdkit.store.retry import run_transaction
from sdkit.store.statements import OpenTransaction
from sdkit.store.transaction import State, Transaction
from sdkit.trace import event, span

P = ParamSpec("P")
T = TypeVar("T")

ROOM: Final = "store"
BYTES_TO_FREEZE: Final = 4 << 20  # of snapshot and log; below that it is not worth it
VACUUM_VISITS: Final = 128  # in one turn of the event loop: about a tenth of a millisecond


class StoreEngine:
    """A transactional store in this process: an async context manager.

    Entering recovers what the disk holds; leaving aborts what is still open,
    makes everything durable and closes. Afterwards nothing remains.

    Args:
        host: whose disk, clocks and randomness it uses.
        config: its settings.
        database: the core; a test passes one that leaves a rule out.

    Raises (on entering):
        CorruptData, UnsupportedFormat: the data on disk is damaged, or from a
            later version; nothing was changed.
    """

    journal_type: type[Journal] = Journal  # a variant names its own

    def __init__(
        self,
        host: Host,
        config: StoreConfig | None = None,
        *,
        database: Callable[[StoreConfig], Database] = Database,
    ) -> None:
        check_host(host)
        check_config(config)
        self.host: Final = host
        self.config: Final = config or StoreConfig()
        self.database: Final = database(self.config)
        self.database.on_change = _weakly(self._on_change)  # it is ours, and not we its
        self.failed: SdkitError | None = None  # why writes are refused from now on
        self.work_this_turn = 0  # by calls that did not have to wait
        self.home: Final = Home("a StoreEngine")
        self._waiters: dict[int, asyncio.Future[None]] = {}
        self._open = False
        self._frozen = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._vacuum_turn: asyncio.Handle | None = None
        self._snapshot: asyncio.Task[None] | None = None
        self._snapshot_due_bytes = self.config.snapshot_log_bytes
        self._loop: asyncio.AbstractEventLoop
        self._journal: Journal

    def __repr__(self) -> str:
        database = self.database
        life = "open" if self._open else "closed" if self.home.is_settled else "not open yet"
        return (
            f"<StoreEngine on {self.host.name!r}, {life}, at position {database.visible}, "
            f"{len(database.transactions)} transactions>"
        )

    # Life

    async def __aenter__(self) -> Self:
        if self.home.is_settled:
            raise InvalidState("a StoreEngine is entered once; make another one")
        self.home.settle()
        self._loop = self.home.loop
        with span("store.recover"):
            await self._recover()
        self._open = True
        return self

    async def _recover(self) -> None:
        self._journal = await self.journal_type.open(
            self.host.disk.directory(ROOM),
            room=ROOM,
            config=JournalConfig(
                durability=self.config.durability,
                interval_s=self.config.interval_s,
                segment_bytes=self.config.segment_bytes,
                record_bytes_max=self.config.transaction_bytes_max,
            ),
            random=self.host.random,
            on_durable=_weakly(self._on_durable),  # the journal is ours, and not we its
            on_lost=_weakly(self._on_lost),
            progress=_progress("bytes read"),
        )
        recovery = Recovery()
        much = self._journal.snapshot_bytes + self._journal.log_bytes >= BYTES_TO_FREEZE
        if much:
            gc.collect()
        was_enabled = gc.isenabled()
        # A million new objects are nothing that a collector could free, and
        # looking through them again and again is half the time of a recovery.
        gc.disable()
        try:
            await self._journal.replay(
                on_snapshot=recovery.take_chunk,
                on_record=recovery.take_record,
                progress=_progress("records replayed"),
            )
            recovery.finish(self.database.versions)
            if much:
                self._freeze()
        except BaseException:
            await self._journal.close()
            raise
        finally:
            if was_enabled:
                gc.enable()
        self.database.visible = self._journal.end
        self._snapshot_due_bytes = self._next_snapshot_bytes()
        event("store.recovered", records=recovery.records, keys=len(self.database.versions.newest))

    def _freeze(self) -> None:
        """Take the recovered data out of the collector's sight.

        Otherwise each full collection would look through all of it: 90 ms for a
        million keys. What else the process holds at this moment goes with it
        (hence the collection before), until `close` gives everything back.
        """
        gc.collect(0)  # lets go of the tuples for good: they hold nothing but bytes and ints
        gc.freeze()  # and of what holds them
        self._frozen = True

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Abort what is open, finish what is committing, and let go of the disk. Safe to repeat."""
        if not self._open:
            return
        self.home.check()
        self._open = False
        closed = Closed("the store is shutting down; nothing of the transaction happened")
        for transaction in list(self.database.transactions.values()):
            if transaction.state in (State.ACTIVE, State.WAITING):
                self.database.abort(transaction, closed)
        if self._snapshot is not None:
            self._snapshot.cancel()
            await asyncio.gather(self._snapshot, return_exceptions=True)
        known = self.failed
        try:
            await self._journal.close()
        except SdkitError:
            if known is None:  # a failure that somebody was told of is not told again
                raise
        finally:
            for timer in (self._idle_timer, self._vacuum_turn):
                if timer is not None:
                    timer.cancel()
            if self._frozen:
                gc.unfreeze()

    # Transactions

    def begin(
        self, *, isolation: Level = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> EngineTransaction:
        """See `sdkit.store.interface.Store.begin`."""
        return EngineTransaction(self.open_transaction(isolation, read_only))

    def open_transaction(self, isolation: Level, read_only: bool) -> OpenTransaction:
        """The same, for who looks after its end: a server."""
        check_open(self._open)
        if _get_running_loop() is not self._loop:  # and not `check`: a tenth of a begin
            self.home.check()
        level = level_of(isolation)
        check_flag("read_only", read_only)
        transaction = OpenTransaction(self, level, read_only)
        self.database.enter(transaction)
        transaction.began_s = self._loop.time()
        if self._idle_timer is None:
            self._start_idle_timer()
        return transaction

    async def run(
        self,
        function: Callable[[interface.Transaction], Awaitable[T]],
        *,
        isolation: Level = Isolation.REPEATABLE_READ,
        read_only: bool = False,
        attempts: int = 10,
    ) -> T:
        """See `sdkit.store.interface.Store.run`."""
        return await run_transaction(
            self,
            function,
            isolation=isolation,
            read_only=read_only,
            attempts=attempts,
            random=self.host.random,
        )

    async def versions(self, key: bytes) -> list[VersionInfo]:
        """See `sdkit.store.interface.Store.versions`."""
        return describe_versions(self.database, key)

    async def transactions(self) -> list[TransactionInfo]:
        """See `sdkit.store.interface.Store.transactions`."""
        check_open(self._open)
        self.home.check()
        now_s = self._loop.time()
        return [
            describe_transaction(self.database, transaction, now_s)
            for transaction in self.database.transactions.values()
        ]

    def gauges(self) -> dict[str, float]:
        """Present values for the metrics; ``docs/store.md`` says what each means."""
        return {
            **gauges(self.database, self._loop.time()),
            "store.log_bytes": self._journal.log_bytes,
            "store.failed": float(self.failed is not None),
        }

    async def sync(self) -> None:
        """Return when every commit so far survives a power cut, in every mode."""
        check_open(self._open)
        self.home.check()
        await self._journal.sync()

    @property
    def journal(self) -> Journal:
        """The log, for those who follow it."""
        return self._journal

    # Called by the transactions

    def dropped(self, transaction: OpenTransaction) -> None:
        """Its user has dropped it. This may come at any moment, from any thread."""
        error = InvalidState(f"transaction {transaction.id} was dropped while it was open")
        self.home.call_soon(self.abandon, transaction, error)

    def abandon(self, transaction: Transaction, error: SdkitError) -> None:
        """Abort it, if it has not ended meanwhile, and wake who waited for it."""
        if transaction.state in (State.ACTIVE, State.WAITING):
            self.database.abort(transaction, error)

    async def wait_for_lock(
        self, transaction: Transaction, kind: Kind, part: Range, *, to_read: bool
    ) -> None:
        """Stand in the queue for a lock, and return when it has been given.

        Cancelled, it leaves the queue and the transaction is as before.
        """
        waiter = self._loop.create_future()
        self._waiters[transaction.id] = waiter
        timer = self._loop.call_later(
            self.config.lock_wait_timeout_s, self._time_out_wait, transaction
        )
        try:
            self.database.begin_to_wait(transaction, kind, part, to_read=to_read)
            await waiter
            self.database.resume(transaction, kind, part)
        except asyncio.CancelledError:
            self.database.give_up(transaction)
            raise
        finally:
            timer.cancel()
            if waiter.done() and not waiter.cancelled():
                waiter.exception()  # of a victim that was told before it began to wait
            del self._waiters[transaction.id]
            del waiter  # its error has a traceback, which holds this frame, which holds it

    def append(self, transaction: Transaction) -> int:
        """Put the commit record of a COMMITTING transaction into the log: the instant of commit."""
        try:
            self.check_writable()
            position = self._journal.append(encode_commit(transaction.writes))
        except SdkitError as error:
            transaction.state = State.ACTIVE  # it never came to the log
            self.database.abort(transaction, error)
            raise
        self.database.appended(transaction, position)
        if self._journal.durable >= position:  # a mode that waits for nothing
            self._on_durable(position)
        return position

    def check_writable(self) -> None:
        """Refuse writes after the disk has failed."""
        if self.failed is not None:
            raise DiskUnavailable(
                f"the store takes no writes since its disk failed ({self.failed}); "
                "open it again to go on from what is durable"
            )

    def durable(self, position: int) -> Awaitable[None]:
        """To be awaited: the record at ``position`` is as durable as the mode promises."""
        return self._journal.wait(position)

    # Called by the database

    def _on_change(self) -> None:
        """Wake those who waited, and clean up soon."""
        self._deliver()
        if self.database.vacuum.due and self._vacuum_turn is None:
            self._vacuum_turn = self._loop.call_soon(self._vacuum)

    # Called by the journal

    def _on_durable(self, position: int) -> None:
        self.database.publish(position)
        if self._journal.log_bytes >= self._snapshot_due_bytes and self._snapshot is None:
            self._snapshot = self._loop.create_task(self._write_snapshot(), name="store snapshot")

    def _on_lost(self, first_position: int, error: SdkitError) -> None:
        if isinstance(error, Indeterminate) or first_position <= self.database.visible:
            # Or: what has been shown already is not in the log. Only a mode
            # that promises nothing can get here; the log decides.
            self.failed = error
            event("store.failed", code=error.code, position=first_position)
        self.database.lose(first_position, error)

    # In the background

    def _deliver(self) -> None:
        woken = self.database.locks.woken
        for transaction, error in woken:
            waiter = self._waiters.get(transaction.id)
            if waiter is not None and not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
        woken.clear()

    def _time_out_wait(self, transaction: Transaction) -> None:
        self.database.locks.time_out_wait(transaction)

    def _start_idle_timer(self) -> None:
        tick_s = self.config.idle_transaction_timeout_s / IDLE_TICKS
        self._idle_timer = self._loop.call_later(tick_s, self._tick_idle)

    def _tick_idle(self) -> None:
        self._idle_timer = None
        self.database.tick_idle()
        if self.database.transactions:
            self._start_idle_timer()

    def _vacuum(self) -> None:
        self._vacuum_turn = None
        self.database.vacuum.step(VACUUM_VISITS)
        self._on_change()  # perhaps there is more

    async def _write_snapshot(self) -> None:
        """Write the visible state, and let the journal drop the log before it."""
        database = self.database
        at = database.snapshots.take(database.visible)
        try:
            with span("store.snapshot", position=at):
                await self._journal.snapshot(at, self._chunks(Checkpoint(database.versions, at)))
            self._snapshot_due_bytes = self._next_snapshot_bytes()
        except SdkitError as error:
            event("store.snapshot_failed", position=at, code=error.code)
            self._snapshot_due_bytes = self._journal.log_bytes + self.config.snapshot_log_bytes
        finally:
            database.drop_snapshot(at)
            self._snapshot = None

    async def _chunks(self, checkpoint: Checkpoint) -> AsyncIterator[bytes]:
        while (chunk := checkpoint.next_chunk()) is not None:
            yield chunk
            await asyncio.sleep(0)  # everybody else first

    def _next_snapshot_bytes(self) -> int:
        """Due when the log has grown by as much as the snapshot is large, and by the minimum."""
        return max(self.config.snapshot_log_bytes, self._journal.snapshot_bytes)


def _weakly(method: Callable[P, None]) -> Callable[P, None]:
    """A call of ``method`` that does not keep its object: else the two would keep each other."""
    reference = WeakMethod(method)

    def call(*given: P.args, **by: P.kwargs) -> None:
        if (there := reference()) is not None:
            there(*given, **by)

    return call


def _progress(of: str) -> Callable[[int, int], None]:
    """Tell whoever listens how far a recovery is."""
    return lambda done, total: event("store.recovering", of=of, done=done, total=total)
