"""Oracle: what overlapping transactions may be answered, from the promises of their levels.

It is no second transaction engine: it never decides what happens, only whether
what has happened may. All it needs is the list of committed states, which is
exact because `sdkit.spec.store_sessions` takes its steps one at a time, and for
each open transaction which state it reads, what it has written and which keys
it holds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TypeAlias

from sdkit.store.interface import Isolation, Transaction

Rows: TypeAlias = list[tuple[bytes, bytes]]
State: TypeAlias = dict[bytes, bytes]
Answer: TypeAlias = "bytes | Rows | int | None"


@dataclass(frozen=True)
class Promises:
    """What a subject promises beyond the levels themselves.

    Args:
        in_order: waiters get a lock in the order in which they asked.
        absent_keys: keys that do not exist are locked, and conflict, like
            others. (PostgreSQL locks rows, and there is none.)
        positions: `Transaction.commit` returns rising positions.
        writers_wait: a second writer of a key waits. (SQLite has one writer at
            a time and turns the second one away; such steps are left out.)
        conflicts_by_key: only a change of the same key aborts a writer. (In
            SQLite any commit since its snapshot does.)
        reads_after_wait: a ``get_for_update`` that is the first statement reads the state
            when it has the lock. (PostgreSQL's reads the one before it has waited.)
        dirty_reads: read uncommitted shows what is not committed. (PostgreSQL takes
            it for read committed, as the standard allows.)
        isolations: the levels below serializable that it has; that one has a
            specification of its own (`sdkit.spec.store_serializable`).
    """

    in_order: bool = True
    absent_keys: bool = True
    positions: bool = True
    writers_wait: bool = True
    conflicts_by_key: bool = True
    reads_after_wait: bool = True
    dirty_reads: bool = True
    isolations: tuple[Isolation, ...] = (
        Isolation.READ_UNCOMMITTED,
        Isolation.READ_COMMITTED,
        Isolation.REPEATABLE_READ,
    )


@dataclass(frozen=True)
class Step:
    """One call of one session; the first of a transaction begins it at ``isolation``."""

    session: int
    verb: str
    key: bytes
    isolation: Isolation

    def __str__(self) -> str:
        key = "" if self.verb in ("commit", "rollback", "scan") else f" {self.key!r}"
        return f"session {self.session}: {self.verb}{key}"


class Breach(AssertionError):
    """A promise was not kept."""

    def __init__(self, promise: str, message: str) -> None:
        super().__init__(f"{promise}: {message}")
        self.promise = promise


@dataclass
class Session:
    """One open transaction, as the oracle knows it."""

    number: int
    transaction: Transaction
    isolation: Isolation
    snapshot: int | None = None  # index of the committed state that it reads
    writes: dict[bytes, bytes | None] = field(default_factory=dict)
    locks: set[bytes] = field(default_factory=set)
    step: Step | None = None  # under way
    value: bytes = b""
    asked: int = 0  # when it began to wait
    task: asyncio.Task[Answer] | None = None

    def __str__(self) -> str:
        return f"{self.step} ({self.isolation.value})"


class Oracle:
    """The committed states, and what each open transaction has done."""

    def __init__(self, promises: Promises) -> None:
        self.promises = promises
        self.states: list[State] = [{}]
        self.written: list[set[bytes]] = [set()]  # by the commit that made the state
        self.open: dict[int, Session] = {}
        self.last_position = 0

    def view(self, session: Session) -> State:
        """What a read of this session must be answered from, right now."""
        at = session.snapshot if session.isolation is Isolation.REPEATABLE_READ else None
        state = dict(self.states[-1 if at is None else at])
        if session.isolation is Isolation.READ_UNCOMMITTED and self.promises.dirty_reads:
            for other in self.open.values():
                apply(other.writes, state)
        apply(session.writes, state)
        return state

    def begin_statement(self, session: Session) -> None:
        """It reads the newest state from now on, if its level keeps to one and it has none yet."""
        if session.snapshot is None and session.isolation is Isolation.REPEATABLE_READ:
            session.snapshot = len(self.states) - 1

    def has_changed(self, session: Session, key: bytes) -> bool:
        """Was ``key`` written by a commit after the session's snapshot?"""
        return session.snapshot is not None and any(
            key in keys for keys in self.written[session.snapshot + 1 :]
        )

    def holder(self, key: bytes) -> Session | None:
        return next((s for s in self.open.values() if key in s.locks), None)

    def waiting(self) -> list[Session]:
        """Those under way, in the order in which they asked."""
        return sorted((s for s in self.open.values() if s.step), key=lambda s: s.asked)

    def waits_for(self, session: Session) -> list[Session]:
        assert session.step is not None
        key = session.step.key
        holder = self.holder(key)
        earlier = [
            other
            for other in self.waiting()
            if other.asked < session.asked and other.step and other.step.key == key
        ]
        return [s for s in [holder, *earlier] if s is not None and s is not session]

    def in_a_circle(self, session: Session) -> bool:
        seen, frontier = set[int](), [session]
        while frontier:
            current = frontier.pop()
            for other in self.waits_for(current) if current.step else []:
                if other is session:
                    return True
                if other.number not in seen:
                    seen.add(other.number)
                    frontier.append(other)
        return False

    def end(self, session: Session, *, commit: bool) -> None:
        del self.open[session.number]
        if commit and session.writes:
            state = dict(self.states[-1])
            apply(session.writes, state)
            # Deleting what is not there changes nothing, and nobody can lose to it.
            changed = {
                k for k, v in session.writes.items() if v is not None or k in self.states[-1]
            }
            self.states.append(state)
            self.written.append(changed)

    def is_about_an_absent_key(self, session: Session | None, step: Step) -> bool:
        """Would PostgreSQL find no row to lock, in one way or another?"""
        states = [self.states[-1], *([self.view(session)] if session else [])]
        return any(step.key not in state for state in states) or any(
            step.key in other.writes for other in self.open.values()
        )


def apply(writes: dict[bytes, bytes | None], state: State) -> None:
    """Change ``state`` by what has been written; None deletes."""
    for key, value in writes.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
