"""Serializable: whatever overlaps, there is an order in which it could have run one by one.

The oracle is that sentence. A program is given to the store step by step as in
`sdkit.spec.store_sessions`; of every transaction that commits, what it has read
and written is noted, and in the end all orders of these transactions are tried,
on a dictionary. One of them must give every read its answer, and the store its
last state. That is a search through permutations, so programs are short: five
or six transactions show every anomaly that is known.

    one order          the sentence above
    no idle wait       whoever waits has somebody in its way, after every step; and where
                       nobody is to wait for reading, nobody does
    no needless abort  a circle that only the order of asking has made aborts nobody
    all come to an end a circle of waiting transactions is broken
    alone, no abort    whoever overlaps with nobody is never aborted
    upgrade            whoever has read a key may write it before those who wait
                       for that reader

It says nothing of how: locks or optimistic, both must pass.
"""

from __future__ import annotations

import asyncio
import itertools
import unittest
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from sdkit.errors import Aborted, Rejected
from sdkit.spec.running import finished
from sdkit.spec.running import run as run_simulated
from sdkit.spec.store_oracle import Breach, State, apply
from sdkit.store.interface import Isolation, Store, Transaction

SESSIONS = 4
TRANSACTIONS_MAX = 6
KEYS = (b"a", b"b", b"c")
PATIENCE = 400

Make = Callable[[], AbstractAsyncContextManager[Store]]
Read = tuple[str, bytes, object]


@dataclass(frozen=True)
class Step:
    """One call of one session."""

    session: int
    verb: str
    key: bytes
    read_only: bool = False

    def __str__(self) -> str:
        return f"session {self.session}: {self.verb} {self.key!r}"


@dataclass
class Session:
    """A transaction, and what it has seen and done."""

    transaction: Transaction
    read_only: bool
    seen: list[Read | tuple[str, bytes, bytes | None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    verb: str = ""
    has_overlapped: bool = False


class Player:
    """Plays a program on a store, and keeps what was committed."""

    def __init__(self, store: Store, *, reads_wait: bool) -> None:
        self.store = store
        self.reads_wait = reads_wait
        self.open: dict[int, Session] = {}
        self.committed: list[Session] = []
        self.serial = 0

    async def take(self, step: Step) -> None:
        session = self.open.get(step.session)
        if session is None:
            if step.verb in ("commit", "rollback") or self.is_full():
                return
            transaction = self.store.begin(
                isolation=Isolation.SERIALIZABLE, read_only=step.read_only
            )
            session = self.open[step.session] = Session(transaction, step.read_only)
        if session.task is not None:
            return  # it waits
        if session.read_only and step.verb in ("put", "delete", "get_for_update"):
            return
        if len(self.open) > 1:
            for each in self.open.values():
                each.has_overlapped = True
        self.serial += 1
        session.verb = step.verb
        session.task = asyncio.ensure_future(call(session, step, b"%d" % self.serial))
        await self.settle()

    def is_full(self) -> bool:
        return len(self.committed) + len(self.open) >= TRANSACTIONS_MAX

    async def settle(self) -> None:
        """Come back when every step is done, or waits because the store says so."""
        for _ in range(PATIENCE):
            self.collect()
            under_way = [each for each in self.open.values() if each.task is not None]
            if not under_way:
                return
            infos = {info.id: info for info in await self.store.transactions()}
            if any(each.task and each.task.done() for each in under_way):
                continue
            states = [infos.get(each.transaction.id) for each in under_way]
            if all(info is not None and info.state == "waiting" for info in states):
                for each, info in zip(under_way, states, strict=True):
                    if each.verb in ("get", "scan") and not self.reads_wait:
                        raise Breach("no idle wait", f"a {each.verb} waits")
                    if info is not None and not info.waits_for:
                        raise Breach("no idle wait", f"a {each.verb} waits for nobody")
                if len(under_way) < len(self.open):
                    return
                # All wait: some are about to be told that they need not.
            await asyncio.sleep(0.001)
        raise Breach("all come to an end", f"{len(self.open)} transactions wait for one another")

    def collect(self) -> None:
        for number, session in list(self.open.items()):
            task = session.task
            if task is None or not task.done():
                continue
            session.task = None
            error = task.exception()
            if isinstance(error, Aborted):
                if not session.has_overlapped:
                    raise Breach("alone, no abort", str(error))
                del self.open[number]
            elif error is not None:
                raise error
            elif session.verb in ("commit", "rollback"):
                del self.open[number]
                if session.verb == "commit":
                    self.committed.append(session)

    async def finish(self) -> State:
        """Commit what is open, and read everything."""
        for _ in range(SESSIONS * SESSIONS):
            for number, session in list(self.open.items()):
                if session.task is None and number in self.open:
                    await self.take(Step(number, "commit", b""))
            if not self.open:
                break
        else:
            raise Breach("no idle wait", "somebody still waits, and nobody is there to wait for")
        async with self.store.begin(isolation=Isolation.SERIALIZABLE) as last:
            return dict([row async for row in last.scan()])

    async def abandon(self) -> None:
        for session in self.open.values():
            if session.task is not None:
                session.task.cancel()
                await asyncio.gather(session.task, return_exceptions=True)
            await asyncio.gather(session.transaction.rollback(), return_exceptions=True)


async def call(session: Session, step: Step, value: bytes) -> None:
    transaction, key = session.transaction, step.key
    match step.verb:
        case "get" | "get_for_update":
            answer = await getattr(transaction, step.verb)(key)
            session.seen.append(("get", key, answer))
        case "scan":
            rows = [row async for row in transaction.scan()]
            session.seen.append(("scan", b"", rows))
        case "put":
            await transaction.put(key, value)
            session.seen.append(("write", key, value))
        case "delete":
            await transaction.delete(key)
            session.seen.append(("write", key, None))
        case "commit":
            await transaction.commit()
        case "rollback":
            await transaction.rollback()


def explains(order: tuple[Session, ...], last: State) -> bool:
    """Does running them one by one in this order give every read its answer?"""
    state: State = {}
    for session in order:
        for what, key, value in session.seen:
            if what == "get" and state.get(key) != value:
                return False
            if what == "scan" and sorted(state.items()) != value:
                return False
            if what == "write":
                assert value is None or isinstance(value, bytes)
                apply({key: value}, state)
    return state == last


def is_serializable(committed: list[Session], last: State) -> bool:
    """Is there an order that explains everything? The order of commits is tried first."""
    return any(explains(order, last) for order in itertools.permutations(committed))


def told(committed: list[Session], last: State) -> str:
    lines = [f"T{number}: {session.seen}" for number, session in enumerate(committed, 1)]
    return "; ".join([*lines, f"at last {last}"])


def steps(verbs: str) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        Step,
        session=st.integers(0, SESSIONS - 1),
        verb=st.sampled_from(verbs.split()),
        key=st.sampled_from(KEYS),
        read_only=st.sampled_from([False, False, True]),
    )
    return st.integers(1, 30).flatmap(lambda n: st.lists(step, min_size=n, max_size=n))


@st.composite
def interleaved(draw: st.DrawFn, read: str) -> list[Step]:
    """Three short transactions that read first and then write one key, if they write at all.

    That is what most anomalies look like; what is left to chance is how they overlap.
    """
    programs = []
    for session in range(3):
        reads = draw(st.lists(st.sampled_from(KEYS[:2]), min_size=1, max_size=2, unique=True))
        program = [Step(session, read, key) for key in reads]
        if draw(st.integers(0, 3)):
            verb, key = (
                draw(st.sampled_from(["put", "put", "delete"])),
                draw(st.sampled_from(KEYS[:2])),
            )
            program.append(Step(session, verb, key))
        programs.append([*program, Step(session, "commit", b"")])
    lanes = draw(st.permutations([lane for lane, each in enumerate(programs) for _ in each]))
    taken = [iter(each) for each in programs]
    return [next(taken[lane]) for lane in lanes]


SOFT_CIRCLE = (
    Step(2, "get", b"b"),
    Step(0, "get", b"a"),
    Step(1, "put", b"b"),  # waits for session 2, which shares b
    Step(0, "get", b"b"),  # waits for session 1, which has asked earlier
    Step(2, "put", b"a"),  # waits for session 0, which shares a
)
"""A circle that is none if session 0 goes before session 1 (PostgreSQL: a soft deadlock)."""


MULTIPLE_ROW_VERSIONS = (
    "0 get a, 1 put a, 1 commit, 2 put a, 2 get b, 3 put b, 3 get c, 3 commit, 2 commit, "
    "0 put c, 0 commit"
)


def serializable(
    make: Make,
    *,
    reads_wait: bool = True,
    writers_wait: bool = True,
    loop: Literal["simulated", "real"] = "simulated",
    each_alone: bool = False,
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for serializable transactions that overlap.

    Args:
        make: opens an empty store.
        reads_wait: may a read wait for a writer?
        writers_wait: does a second writer wait? (SQLite turns it away.)
        loop: where it runs: in virtual time, or on a real event loop.
        each_alone: let each test fail for its own promise only; as in
            `sdkit.spec.store_sessions.sessions`.
    """

    async def follow(program: list[Step], promise: str) -> None:
        async with make() as store:
            player = Player(store, reads_wait=reads_wait)
            try:
                for step in program:
                    await player.take(step)
                last = await player.finish()
                if not is_serializable(player.committed, last):
                    raise Breach("one order", f"no order explains {told(player.committed, last)}")
            except Breach as breach:
                if breach.promise == promise or not each_alone:
                    raise
            finally:
                await player.abandon()

    def run(main: Any) -> None:
        asyncio.run(main) if loop == "real" else run_simulated(main)

    class Serializable(unittest.TestCase):
        @given(interleaved("get"))
        def test_there_is_an_order_for_keys(self, program: list[Step]) -> None:
            run(follow(program, "one order"))

        @given(interleaved("scan"))
        def test_there_is_an_order_for_ranges(self, program: list[Step]) -> None:
            run(follow(program, "one order"))

        @given(steps("get get scan put put delete get_for_update commit commit rollback"))
        def test_there_is_an_order_for_many(self, program: list[Step]) -> None:
            run(follow(program, "one order"))

        @given(steps("get scan put put delete get_for_update commit rollback"))
        def test_nobody_waits_for_nobody(self, program: list[Step]) -> None:
            run(follow(program, "no idle wait"))

        @given(steps("get get scan put put get_for_update commit"))
        def test_all_come_to_an_end(self, program: list[Step]) -> None:
            run(follow(program, "all come to an end"))

        @given(steps("get scan put delete get_for_update commit commit commit rollback"))
        def test_who_overlaps_with_nobody_is_never_aborted(self, program: list[Step]) -> None:
            run(follow(program, "alone, no abort"))

        def test_who_waits_has_somebody_in_its_way(self) -> None:
            run(follow(list(SOFT_CIRCLE), "no idle wait"))

        def test_a_circle_that_only_the_order_of_asking_has_made_aborts_nobody(self) -> None:
            async def main() -> None:
                async with make() as store:
                    player = Player(store, reads_wait=reads_wait)
                    try:
                        for step in SOFT_CIRCLE:
                            await player.take(step)
                        await player.finish()
                        if len(player.committed) < len({each.session for each in SOFT_CIRCLE}):
                            raise Breach("no needless abort", "one of three was aborted")
                    finally:
                        await player.abandon()

            if writers_wait and reads_wait:
                run(main())

        def test_a_report_does_not_see_what_no_order_passes_through(self) -> None:
            """The read-only anomaly, as Fekete, O'Neil and O'Neil tell it (2004)."""
            names = {"deposit": 0, "withdraw": 1, "report": 2}
            said = (
                "withdraw get a, withdraw get b, deposit get b, deposit put b, deposit commit, "
                "report get a, report get b, report commit, withdraw put a, withdraw commit"
            )
            program = []
            for line in said.split(", "):
                who, verb, *key = line.split()
                program.append(Step(names[who], verb, "".join(key).encode(), who == "report"))
            run(follow(program, "one order"))

        def test_the_first_of_several_overwriters_counts(self) -> None:
            """PostgreSQL's ``multiple-row-versions``: of the four, one is aborted."""

            async def main() -> None:
                async with make() as store:
                    player = Player(store, reads_wait=reads_wait)
                    try:
                        for line in MULTIPLE_ROW_VERSIONS.split(", "):
                            session, verb, *key = line.split()
                            await player.take(Step(int(session), verb, "".join(key).encode()))
                        await player.finish()
                        if len(player.committed) < 3:
                            raise Breach("no needless abort", "more than one of four was aborted")
                    finally:
                        await player.abandon()

            if not reads_wait:  # where they do, the writers wait for session 0, and it for them
                run(main())

        def test_who_has_read_a_key_writes_it_before_those_who_wait_for_that(self) -> None:
            async def main() -> None:
                async with make() as store, begun(store) as writer, begun(store) as reader:
                    # The reader is the younger one: of the two, the victim of a deadlock.
                    assert await writer.get(b"b") is None
                    assert await reader.get(b"a") is None
                    waiting = asyncio.ensure_future(writer.put(b"a", b"2"))
                    await until_settled(store, writer, waiting)
                    try:
                        await reader.put(b"a", b"1")
                        await reader.commit()
                        await waiting
                    except Aborted as error:
                        raise Breach("upgrade", f"one was aborted: {error}") from error
                    finally:
                        await asyncio.gather(waiting, return_exceptions=True)

            if writers_wait and reads_wait:
                run(main())

    return finished(Serializable, without, make=make)


@asynccontextmanager
async def begun(store: Store) -> AsyncIterator[Transaction]:
    transaction = store.begin(isolation=Isolation.SERIALIZABLE)
    try:
        yield transaction
    finally:
        with suppress(Rejected):
            await transaction.rollback()


async def until_settled(store: Store, transaction: Transaction, task: asyncio.Task[None]) -> None:
    """Return when the task has ended, or its transaction waits."""
    for _ in range(PATIENCE):
        states = {info.id: info.state for info in await store.transactions()}
        if task.done() or states.get(transaction.id) == "waiting":
            return
        await asyncio.sleep(0.001)
    raise Breach("all come to an end", "a put neither ends nor waits")
