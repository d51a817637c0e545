"""Sessions: several transactions at once, held against the promises of their levels.

A program is a list of steps such as "session 2 puts b". They are given to the
store one by one; a step that has to wait is left waiting, *because the store
says so* (`Store.transactions`), and the next one is given to another session.

The oracle is not a second engine. It keeps the list of committed states, which
is exact because the steps are taken one at a time, and holds every answer
against one sentence (`PROMISES`):

    snapshot         repeatable read: every read is from the state at the
                     transaction's first statement
    newest           read committed: every read is from the newest committed
                     state when the statement began; so nothing uncommitted or
                     rolled back is ever seen, and commits are seen whole
    uncommitted      read uncommitted: ... with what all open transactions have
                     written so far over it
    own writes       ... with the transaction's own writes over it
    one writer       two open transactions never hold the same key; who asks
                     second waits
    no idle wait     whoever waits, waits for somebody; readers never wait
    in order         who asked first gets the lock first
    first updater    repeatable read: a key that changed since the snapshot
                     cannot be written or locked
    justified        an aborted transaction was in a deadlock, or lost to a
                     first updater
    deadlock         a circle of waiting transactions is broken
    durable order    commit positions rise

A test of one promise ignores a breach of another, so that each wrong store is
caught by the name of what it breaks.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import Aborted
from sdkit.spec.running import finished
from sdkit.spec.running import run as run_simulated
from sdkit.spec.store_oracle import Answer, Breach, Oracle, Promises, Rows, Session, Step
from sdkit.store.interface import Isolation, Store

SESSIONS = 4
STEPS_MAX = 50
KEYS = (b"a", b"b", b"c")
PATIENCE = 4_000  # looks at the store before a step counts as stuck


class Driver:
    """Gives the steps of a program to a store, and its answers to the oracle."""

    def __init__(self, store: Store, promises: Promises) -> None:
        self.store = store
        self.oracle = Oracle(promises)
        self.serial = 0

    async def take(self, step: Step) -> None:
        session = self.oracle.open.get(step.session)
        if session is not None and session.step is not None:
            return  # it waits; a transaction belongs to one task at a time
        if self.must_leave_out(session, step):
            return
        if session is None:
            transaction = self.store.begin(isolation=step.isolation)
            session = Session(step.session, transaction, step.isolation)
            self.oracle.open[step.session] = session
        self.serial += 1
        session.step, session.asked, session.value = step, self.serial, b"%d" % self.serial
        reads_later = step.verb == "get_for_update" and self.oracle.promises.reads_after_wait
        if step.verb not in ("commit", "rollback") and not reads_later:
            self.oracle.begin_statement(session)
        session.task = asyncio.ensure_future(call(session, step))
        await self.settle()
        while self.judge():
            await self.settle()

    def must_leave_out(self, session: Session | None, step: Step) -> bool:
        promises = self.oracle.promises
        if session is None and step.verb in ("commit", "rollback"):
            return True
        if step.verb in ("get", "scan", "commit", "rollback"):
            return False
        if not promises.writers_wait:
            others = [s for s in self.oracle.open.values() if s.number != step.session]
            if any(s.locks for s in others):
                return True
        if step.verb in ("delete", "get_for_update") and not promises.absent_keys:
            return self.oracle.is_about_an_absent_key(session, step)
        return False

    async def settle(self) -> None:
        """Wait until every step under way is done, or waits because the store says so."""
        for _ in range(PATIENCE):
            under_way = [s for s in self.oracle.open.values() if s.task and not s.task.done()]
            if not under_way:
                return
            infos = await self.store.transactions()
            waiting = {info.id for info in infos if info.state == "waiting"}
            # Whoever came to an end during that question was waiting at its instant,
            # and somebody whom it concerns may not have been told yet: look again.
            if any(s.task and s.task.done() for s in under_way):
                continue
            if all(s.transaction.id in waiting for s in under_way) and not self.circle(under_way):
                return
            await asyncio.sleep(0.001)
        raise Breach("deadlock", f"{'; '.join(map(str, under_way))}: neither end nor wait")

    def circle(self, sessions: list[Session]) -> bool:
        """Is there a deadlock that nobody has been told of yet?"""
        if any(s.step and s.task and s.task.done() for s in self.oracle.open.values()):
            return False  # somebody has been told something; judge first
        return any(self.oracle.in_a_circle(session) for session in sessions)

    def judge(self) -> bool:
        """Hold what has come back against the promises: ends first, then failures.

        Returns whether those who still wait have to be looked at again: a deadlock
        of three may need two victims, and the second is found after the first.
        """
        done = [s for s in self.oracle.waiting() if s.task is not None and s.task.done()]
        done.sort(key=lambda s: (not _is_end(s), not _failed(s), s.asked))
        in_circles = {s.number for s in self.oracle.waiting() if self.oracle.in_a_circle(s)}
        for session in done:
            assert session.task is not None
            assert session.step is not None
            task, step = session.task, session.step
            error = task.exception()
            if error is None:
                self.succeeded(session, step, task.result())
            elif isinstance(error, Aborted):
                self.aborted(session, step, error, session.number in in_circles)
            else:
                raise error
            session.task = session.step = None
        if done:
            return bool(self.oracle.waiting())
        for session in self.oracle.waiting():
            self.still_waiting(session)
        return False

    def succeeded(self, session: Session, step: Step, answer: Answer) -> None:
        oracle = self.oracle
        if step.verb == "get_for_update":
            oracle.begin_statement(session)
        locking = step.verb in ("put", "delete", "get_for_update")
        if locking and not self.found_no_row(session, step):
            self.locked(session, step.key)
        match step.verb:
            case "get" | "get_for_update":
                expected: Answer = oracle.view(session).get(step.key)
                self.must_equal(session, step, answer, expected)
            case "scan":
                self.must_equal(session, step, answer, sorted(oracle.view(session).items()))
            case "put":
                session.writes[step.key] = session.value
            case "delete":
                session.writes[step.key] = None
            case "commit":
                assert isinstance(answer, int)
                if oracle.promises.positions and session.writes:
                    if answer <= oracle.last_position:
                        raise Breach("durable order", f"{answer} after {oracle.last_position}")
                    oracle.last_position = answer
                oracle.end(session, commit=True)
            case "rollback":
                oracle.end(session, commit=False)

    def found_no_row(self, session: Session, step: Step) -> bool:
        """Is it a subject that locks rows, and was the row deleted while this step waited?"""
        oracle = self.oracle
        return (
            not oracle.promises.absent_keys
            and step.verb != "put"
            and step.key not in oracle.view(session)
        )

    def must_equal(self, session: Session, step: Step, answer: Answer, expected: Answer) -> None:
        if answer == expected:
            return
        if step.verb == "scan":
            is_about_own = self.without(session, answer) == self.without(session, expected)
        else:
            is_about_own = step.key in session.writes
        if is_about_own:
            promise = "own writes"
        elif session.isolation is Isolation.REPEATABLE_READ:
            promise = "snapshot"
        elif session.isolation is Isolation.READ_UNCOMMITTED:
            promise = "uncommitted"
        else:
            promise = "newest"
        raise Breach(promise, f"{step} was answered {answer!r}, not {expected!r}")

    def without(self, session: Session, rows: Answer) -> Rows:
        assert isinstance(rows, list)
        return [row for row in rows if row[0] not in session.writes]

    def locked(self, session: Session, key: bytes) -> None:
        oracle = self.oracle
        holder = oracle.holder(key)
        if holder is session:
            return
        if holder is not None:
            raise Breach("one writer", f"{session} beside session {holder.number}")
        if oracle.has_changed(session, key) and (
            oracle.promises.absent_keys or key in oracle.states[-1]
        ):
            raise Breach("first updater", f"{session} went on")
        for other in oracle.waiting():
            earlier = other.step and other.step.key == key and other.asked < session.asked
            if earlier and oracle.promises.in_order:
                raise Breach("in order", f"{session} before {other}")
        session.locks.add(key)

    def aborted(self, session: Session, step: Step, error: Aborted, in_circle: bool) -> None:
        lost = step.verb in ("put", "delete", "get_for_update") and (
            self.oracle.has_changed(session, step.key)
            if self.oracle.promises.conflicts_by_key
            else session.snapshot != len(self.oracle.states) - 1
        )
        if not lost and not in_circle:
            raise Breach("justified", f"{step} was aborted: {error}")
        self.oracle.end(session, commit=False)

    def still_waiting(self, session: Session) -> None:
        step = session.step
        assert step is not None
        if step.verb not in ("put", "delete", "get_for_update"):
            raise Breach("no idle wait", f"{step} waits")
        if not self.oracle.waits_for(session):
            raise Breach("no idle wait", f"{step} waits for nobody")
        if self.oracle.in_a_circle(session):
            raise Breach("deadlock", f"{step} waits for itself")

    async def finish(self) -> None:
        """End everything, and read the whole store once more."""
        for _ in range(SESSIONS * SESSIONS):
            idle = [s for s in self.oracle.open.values() if s.step is None]
            for session in idle:
                await self.take(Step(session.number, "rollback", b"", session.isolation))
        level = self.oracle.promises.isolations[0]
        await self.take(Step(0, "scan", b"", level))
        await self.take(Step(0, "rollback", b"", level))

    async def abandon(self) -> None:
        """Leave no task behind, whatever happened."""
        for session in self.oracle.open.values():
            if session.task is not None:
                session.task.cancel()
                await asyncio.gather(session.task, return_exceptions=True)
        for session in self.oracle.open.values():
            await asyncio.gather(session.transaction.rollback(), return_exceptions=True)


async def call(session: Session, step: Step) -> Answer:
    transaction = session.transaction
    match step.verb:
        case "get":
            return await transaction.get(step.key)
        case "get_for_update":
            return await transaction.get_for_update(step.key)
        case "scan":
            return [row async for row in transaction.scan()]
        case "put":
            await transaction.put(step.key, session.value)
        case "delete":
            await transaction.delete(step.key)
        case "commit":
            return await transaction.commit()
        case "rollback":
            await transaction.rollback()
    return None


def _is_end(session: Session) -> bool:
    return session.step is not None and session.step.verb in ("commit", "rollback")


def _failed(session: Session) -> bool:
    return session.task is not None and session.task.exception() is not None


def steps(verbs: str, isolations: tuple[Isolation, ...]) -> st.SearchStrategy[list[Step]]:
    """Programs of these verbs; one that is named twice comes twice as often."""
    step = st.builds(
        Step,
        session=st.integers(0, SESSIONS - 1),
        verb=st.sampled_from(verbs.split()),
        key=st.sampled_from(KEYS),
        isolation=st.sampled_from(isolations),
    )
    # The length is drawn first: lists alone would be short, and a least length could
    # not be shrunk away.
    return st.integers(1, STEPS_MAX).flatmap(lambda n: st.lists(step, min_size=n, max_size=n))


def sessions(
    make: Callable[[], AbstractAsyncContextManager[Store]],
    *,
    promises: Promises | None = None,
    loop: Literal["simulated", "real"] = "simulated",
    each_alone: bool = False,
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for transactions that overlap.

    Args:
        make: opens an empty store.
        promises: what it promises beyond the levels.
        loop: where it runs: in virtual time, or on a real event loop.
        each_alone: let each test fail for its own promise only, and give up without a
            word at a breach of another. For stores that break one rule on purpose; of
            a store that breaks several, a pass would then mean nothing.
    """
    asked = promises or Promises()
    locking = steps("put put get_for_update delete commit rollback", asked.isolations)
    reading = steps("get get get scan put put commit commit delete", asked.isolations)
    mixed = steps("get scan put put delete get_for_update commit commit rollback", asked.isolations)

    async def follow(program: list[Step], promise: str) -> None:
        async with make() as store:
            driver = Driver(store, asked)
            try:
                for step in program:
                    await driver.take(step)
                await driver.finish()
            except Breach as breach:
                if breach.promise == promise or not each_alone:
                    raise
            finally:
                await driver.abandon()

    def check(program: list[Step], promise: str) -> None:
        main = follow(program, promise)
        asyncio.run(main) if loop == "real" else run_simulated(main)

    class Sessions(unittest.TestCase):
        @given(reading)
        def test_repeatable_read_reads_the_state_at_its_first_statement(
            self, program: list[Step]
        ) -> None:
            check(program, "snapshot")

        @given(reading)
        def test_read_committed_reads_the_newest_committed_state(self, program: list[Step]) -> None:
            check(program, "newest")

        @given(reading)
        def test_read_uncommitted_reads_what_is_there(self, program: list[Step]) -> None:
            check(program, "uncommitted")

        @given(mixed)
        def test_a_transaction_reads_its_own_writes(self, program: list[Step]) -> None:
            check(program, "own writes")

        @given(locking)
        def test_a_key_has_one_writer_at_a_time(self, program: list[Step]) -> None:
            check(program, "one writer")

        @given(mixed)
        def test_nobody_waits_for_nobody(self, program: list[Step]) -> None:
            check(program, "no idle wait")

        @given(locking)
        def test_locks_are_given_in_the_order_of_asking(self, program: list[Step]) -> None:
            check(program, "in order")

        @given(mixed)
        def test_the_first_updater_wins_at_repeatable_read(self, program: list[Step]) -> None:
            check(program, "first updater")

        @given(mixed)
        def test_nobody_is_aborted_without_a_reason(self, program: list[Step]) -> None:
            check(program, "justified")

        @given(locking)
        def test_a_deadlock_is_broken(self, program: list[Step]) -> None:
            check(program, "deadlock")

        @given(mixed)
        def test_commit_positions_rise(self, program: list[Step]) -> None:
            check(program, "durable order")

    return finished(Sessions, without, make=make)
