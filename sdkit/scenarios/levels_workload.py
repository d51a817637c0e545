"""Levels, the workload: random transactions that write down what they saw, for a checker.

A checker of isolation (`sdkit.check.isolation`) needs three things of a load, and
gets them here:

    who wrote what I read?     every written value is unique: the transaction's name and a count
    in which order?            a commit answers its position in the log
    did it commit at all?      each transaction that writes leaves a mark, ``mark/<name>``. If
                               the answer to its commit is lost, the mark is looked for when
                               all is over; its version says the position, too

The rows
    row/0/born-1     there from the beginning; read and written
    row/0/brief-1    there from the beginning; deleted once, by whoever finds it
    row/0/new-...    inserted by somebody, under a name that nobody has used before

Things to notice
    1. *A scan is a read of what is not there, too.* It is recorded as a read of every
       key of its range that anybody ever writes. Only so is a phantom seen: a row that
       appeared between two looks, or was missed by somebody who decided by its absence.
    2. *An absent key must have one meaning.* A row that is inserted is never deleted, so
       absent means "not yet"; one that is there from the beginning is never inserted
       again, so absent means "deleted", and there is at most one who did it. (Where
       uncommitted deletes are read that is not so, and nobody deletes.)
    3. What was undone with a savepoint is recorded as written by a transaction that was
       aborted: nobody may see it who may not see that.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sdkit.check import Transaction as Recorded
from sdkit.check.transactions import Status
from sdkit.errors import Aborted, Indeterminate, Unavailable
from sdkit.store import interface
from sdkit.store.interface import Isolation, Store

MARKS: Final = b"mark/"
ROWS: Final = b"row/"
GROUPS: Final = 2
BORN: Final = 3
BRIEF: Final = 3
STATEMENTS_MAX: Final = 5
FIRST: Final = "first"  # the name of the transaction that loads the rows


@dataclass
class Scan:
    """What a scan returned, and of which range that is all there was."""

    start: bytes
    end: bytes
    rows: dict[bytes, bytes]


@dataclass
class Account:
    """What one transaction did and was told."""

    name: str
    process: str
    steps: list[tuple[str, bytes, bytes | None] | Scan] = field(default_factory=list)
    undone: list[tuple[bytes, bytes]] = field(default_factory=list)
    status: Status = "aborted"
    position: int | None = None
    committed_s: float = 0.0

    @property
    def mark(self) -> bytes:
        """The key that shows that it has committed."""
        return MARKS + self.name.encode()

    @property
    def leaves_a_mark(self) -> bool:
        """Does it write anything?"""
        return self.name != FIRST and any(
            isinstance(step, tuple) and step[0] == "write" for step in self.steps
        )


class Rows:
    """All transactions of a run, and what there is to know of their rows.

    Args:
        deletes: may rows be deleted? Not where uncommitted deletes are read.
    """

    def __init__(self, *, deletes: bool) -> None:
        self.deletes: Final = deletes
        self.accounts: Final[list[Account]] = []
        self.first: Final = Account(FIRST, FIRST, status="committed")
        self.first.steps += [("write", key, value) for key, value in self.first_rows()]
        self.accounts.append(self.first)

    def first_rows(self) -> Iterator[tuple[bytes, bytes]]:
        """What is there from the beginning."""
        return ((key, FIRST.encode()) for key in _first_keys())

    def note(self, account: Account) -> None:
        """Remember a transaction, before it begins."""
        self.accounts.append(account)

    def lost(self, marks: Container[bytes]) -> list[Account]:
        """Acknowledged, and not there, when all is over and these marks are there."""
        return [
            each
            for each in self.accounts
            if each.status == "committed" and each.leaves_a_mark and each.mark not in marks
        ]

    def undead(self, marks: Container[bytes]) -> list[Account]:
        """Aborted, and there."""
        return [each for each in self.accounts if each.status == "aborted" and each.mark in marks]

    def settle(self, marks: Mapping[bytes, int | None]) -> None:
        """All is over: these marks are there, written at these positions."""
        for account in self.accounts:
            if account.status == "unknown" and account.leaves_a_mark:
                account.position = marks.get(account.mark)
                account.status = "aborted" if account.position is None else "committed"

    def left(self) -> dict[bytes, bytes]:
        """What the commits have left, if they happened in the order of their positions."""
        there: dict[bytes, bytes | None] = {}
        committed = [each for each in self.accounts if each.status == "committed"]
        for each in sorted(committed, key=lambda account: account.position or 0):
            there.update(_written(each))
        return {key: value for key, value in there.items() if value is not None}

    def history(self) -> list[Recorded]:
        """What happened, for the checker."""
        keys = sorted({key for each in self.accounts for key, _ in _written(each)})
        deleters = self._deleters()
        recorded = []
        for each in self.accounts:
            operations = list(_operations(each, keys, deleters))
            recorded.append(
                Recorded(
                    each.name,
                    process=each.process,
                    operations=operations,
                    position=each.position,
                    status=each.status,
                )
            )
            if each.undone:
                writes = [(key.decode(), value.decode()) for key, value in each.undone]
                name = f"{each.name}, undone"
                recorded.append(
                    Recorded(name, process=each.process, writes=writes, status="aborted")
                )
        return recorded

    def _deleters(self) -> dict[bytes, str]:
        """Whose delete of a key has happened."""
        return {
            step[1]: each.name
            for each in self.accounts
            for step in each.steps
            if each.status == "committed"
            and isinstance(step, tuple)
            and step[0] == "write"
            and step[2] is None
        }


class Client:
    """One client, and the transactions that it draws.

    Args:
        name: of its process.
        rows: where it notes what it did.
        isolation: the level of its transactions.
        draw: chooses statements and rows.
    """

    def __init__(self, name: str, rows: Rows, isolation: Isolation, draw: Random) -> None:
        self._name = name
        self._rows = rows
        self._isolation = isolation
        self._draw = draw
        self._numbers = itertools.count(1)

    async def transact(self, store: Store, now: Callable[[], float]) -> None:
        """One transaction, from its beginning to whatever becomes of it."""
        account = Account(f"{self._name}-{next(self._numbers)}", self._name)
        self._rows.note(account)
        read_only = self._draw.random() < 0.25
        transaction = store.begin(isolation=self._isolation, read_only=read_only)
        work = _Work(transaction, account, self._draw, deletes=self._rows.deletes)
        try:
            await work.statements(self._draw.randint(2, STATEMENTS_MAX), read_only=read_only)
            if account.leaves_a_mark:
                await transaction.put(account.mark, b"")
            if self._draw.random() < 0.05:
                await transaction.rollback()
                return
            account.status = "unknown"
            account.position = await transaction.commit() or None
            account.status = "committed"
            account.committed_s = now()
        except Indeterminate:
            pass  # at commit: the mark will tell; before: a rollback without an answer
        except (Aborted, Unavailable):
            account.status = "aborted"


class _Work:
    """The statements of one transaction."""

    def __init__(
        self,
        transaction: interface.Transaction,
        account: Account,
        draw: Random,
        *,
        deletes: bool,
    ) -> None:
        self._transaction = transaction
        self._account = account
        self._draw = draw
        self._deletes = deletes
        self._values = itertools.count(1)
        self._group = draw.randrange(GROUPS)

    async def statements(self, count: int, *, read_only: bool) -> None:
        """So many statements, drawn one by one."""
        reads = [self._get, self._get, self._scan]
        writes = [self._put, self._put, self._insert, self._lock_and_put, self._undo]
        if self._deletes:
            writes.append(self._delete)
        for _ in range(count):
            writing = not read_only and self._draw.random() < 0.5
            await self._draw.choice(writes if writing else reads)()

    def _born(self) -> bytes:
        group = self._group if self._draw.random() < 0.7 else self._draw.randrange(GROUPS)
        return b"row/%d/born-%d" % (group, self._draw.randrange(BORN))

    def _brief(self) -> bytes:
        return b"row/%d/brief-%d" % (self._group, self._draw.randrange(BRIEF))

    def _value(self) -> bytes:
        return f"{self._account.name}.{next(self._values)}".encode()

    def _note(self, kind: str, key: bytes, value: bytes | None) -> None:
        self._account.steps.append((kind, key, value))

    async def _get(self) -> None:
        key = self._brief() if self._deletes and self._draw.random() < 0.2 else self._born()
        self._note("read", key, await self._transaction.get(key))

    async def _put(self) -> None:
        await self._put_to(self._born())

    async def _put_to(self, key: bytes) -> None:
        value = self._value()
        self._note("write", key, value)  # before it is sent: somebody may see it, answered or not
        await self._transaction.put(key, value)

    async def _insert(self) -> None:
        await self._put_to(b"row/%d/new-%s" % (self._group, self._value()))

    async def _lock_and_put(self) -> None:
        key = self._born()
        self._note("read", key, await self._transaction.get_for_update(key))
        await self._put_to(key)

    async def _delete(self) -> None:
        key = self._brief()
        found = await self._transaction.get_for_update(key)
        self._note("read", key, found)
        if found is not None:
            self._note("write", key, None)
            await self._transaction.delete(key)

    async def _undo(self) -> None:
        key, value = self._born(), self._value()
        self._account.undone.append((key, value))
        try:
            async with self._transaction.savepoint():
                await self._transaction.put(key, value)
                raise _ChangedMyMind
        except _ChangedMyMind:
            pass

    async def _scan(self) -> None:
        """All of a group, or its first or last few rows."""
        start, end = b"row/%d/" % self._group, b"row/%d0" % self._group
        limit = self._draw.choice((None, None, 2, 5))
        reverse = self._draw.random() < 0.5
        rows = {
            key: value
            async for key, value in self._transaction.scan(start, end, reverse=reverse, limit=limit)
        }
        if rows and len(rows) == limit:  # there may be more, of which it says nothing
            start, end = (min(rows), end) if reverse else (start, max(rows) + b"\0")
        self._account.steps.append(Scan(start, end, rows))


class _ChangedMyMind(Exception):
    """Undo what was done since the savepoint."""


def _first_keys() -> Iterator[bytes]:
    for group in range(GROUPS):
        yield from (b"row/%d/born-%d" % (group, number) for number in range(BORN))
        yield from (b"row/%d/brief-%d" % (group, number) for number in range(BRIEF))


def _written(account: Account) -> Iterator[tuple[bytes, bytes | None]]:
    for step in account.steps:
        if isinstance(step, tuple) and step[0] == "write":
            yield step[1], step[2]


def _operations(
    account: Account, keys: list[bytes], deleters: dict[bytes, str]
) -> Iterator[tuple[str, str, str | None]]:
    """The steps, with values instead of absences, and scans as reads of single keys."""
    deleted = set[bytes]()

    def seen(key: bytes, value: bytes | None) -> str | None:
        if value is not None:
            return value.decode()
        if b"/new-" in key:
            return None  # not yet
        by = account.name if key in deleted else deleters.get(key, "nobody")
        return f"deleted by {by}"

    for step in account.steps:
        if isinstance(step, Scan):
            for key in keys:
                if step.start <= key < step.end:
                    yield "predicate read", key.decode(), seen(key, step.rows.get(key))
            continue
        kind, key, value = step
        if kind == "write" and value is None:
            deleted.add(key)
        yield kind, key.decode(), seen(key, value)
