"""Specification: what every transactional store promises.

    TestMine = one_session(make)            # against a dictionary
    TestMineTogether = sessions(make)       # against the promises of the levels
    TestMineInOrder = serializable(make)    # against every order of running them one by one
    TestMineCommits = instant_of_commit(make_slow, make_hasty, commit_s=5.0)

``make()`` returns an async context manager that opens an *empty* store. It is
asked for nothing but `sdkit.store.interface.Store`, so the same text examines
the engine, the engine behind a socket, and SQLite or PostgreSQL behind thin
adapters (``tests/store/adapters``).

Four oracles, none of them a second transaction engine
    one_session        a dictionary, copied where a savepoint begins
    sessions           the list of committed states, and the sentences of the
                       levels about it (`sdkit.spec.store_sessions`)
    serializable       all orders of what has committed: one of them must explain it
                       (`sdkit.spec.store_serializable`)
    instant_of_commit  while the disk is slow, nobody may notice a commit, and
                       nothing may stop it (`sdkit.spec.store_commit`)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import unittest
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.running import finished
from sdkit.spec.running import run as run_simulated
from sdkit.spec.store_commit import instant_of_commit
from sdkit.spec.store_oracle import Promises
from sdkit.spec.store_serializable import serializable
from sdkit.spec.store_sessions import sessions
from sdkit.store.interface import Isolation, Store, Transaction

__all__ = ["Promises", "instant_of_commit", "one_session", "serializable", "sessions"]

T = TypeVar("T")
Make: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
Loop: TypeAlias = Literal["simulated", "real"]
Rows: TypeAlias = list[tuple[bytes, bytes]]

STEPS_MAX = 40

# One key more often than the others, so that steps meet.
keys = st.sampled_from([b"b"] * 5 + [b"a", b"b\x00", b"ba", b"\xff", b"\xff\xff"])
bounds = st.sampled_from([b"", b"a", b"b", b"b\x00", b"bb", b"c", b"\xff", b"\xff\xff\xff"])
values = st.binary(max_size=3)
levels = st.sampled_from(list(Isolation))


@dataclass
class Range:
    """The arguments of a scan, and what a sorted dictionary would give for them."""

    start: bytes
    end: bytes | None
    prefix: bytes | None
    reverse: bool
    limit: int | None

    def of(self, state: dict[bytes, bytes]) -> Rows:
        rows = [
            (key, value)
            for key, value in sorted(state.items(), reverse=self.reverse)
            if self.start <= key
            and (self.end is None or key < self.end)
            and (self.prefix is None or key.startswith(self.prefix))
        ]
        return rows if self.limit is None else rows[: self.limit]

    def scan(self, transaction: Transaction) -> AsyncIterator[tuple[bytes, bytes]]:
        return transaction.scan(
            self.start, self.end, prefix=self.prefix, reverse=self.reverse, limit=self.limit
        )


ranges = st.builds(
    Range,
    start=bounds,
    end=st.none() | bounds,
    prefix=st.none() | st.sampled_from([b"", b"b", b"\xff", b"\xff\xff", b"zz"]),
    reverse=st.booleans(),
    limit=st.none() | st.integers(0, 4),
)
gets = st.tuples(st.just("get"), keys)
puts = st.tuples(st.just("put"), keys, values)
deletes = st.tuples(st.just("delete"), keys)
writes = puts | deletes
reads = st.tuples(st.sampled_from(["get", "get_for_update"]), keys) | st.tuples(
    st.just("scan"), ranges
)
ends = st.sampled_from([("commit",), ("commit",), ("rollback",), ("fail",)])
savepoints = st.sampled_from([("savepoint",), ("savepoint",), ("undo",), ("keep",)])
Step: TypeAlias = tuple[Any, ...]


def program(steps: st.SearchStrategy[Step]) -> st.SearchStrategy[list[Step]]:
    """So many steps. The length is drawn first: lists alone would be short."""
    return st.integers(1, STEPS_MAX).flatmap(lambda n: st.lists(steps, min_size=n, max_size=n))


# What is deleted must have been put, and looked for; what is undone must have been done.
plain = program(puts | deletes | gets | gets | reads | ends)
nested = program(savepoints | savepoints | puts | puts | deletes | reads)


def one_session(
    make: Make, *, loop: Loop = "simulated", without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for transactions that run one after another.

    Args:
        make: opens an empty store.
        loop: where it runs: in virtual time, or on a real event loop.
    """

    async def follow(program: list[Step], isolation: Isolation) -> None:
        async with make() as store:
            session = _Session(store, isolation)
            for step in program:
                await session.do(step)
            await session.end()

    def check(program: list[Step], isolation: Isolation) -> None:
        _run(follow(program, isolation), loop)

    class OneSession(unittest.TestCase):
        @given(plain, levels)
        def test_it_answers_like_a_dictionary(self, program: list[Step], level: Isolation) -> None:
            check(program, level)

        @given(nested, levels)
        def test_a_savepoint_undoes_its_block_and_nothing_else(
            self, program: list[Step], level: Isolation
        ) -> None:
            check(program, level)

        @given(
            st.dictionaries(keys, values),
            st.lists(writes, max_size=6),
            ranges,
            st.lists(writes, max_size=3),
        )
        def test_a_scan_keeps_to_its_beginning_whatever_its_transaction_writes_meanwhile(
            self, before: dict[bytes, bytes], own: list[Step], area: Range, meanwhile: list[Step]
        ) -> None:
            async def main() -> None:
                async with make() as store:
                    session = _Session(store, Isolation.REPEATABLE_READ)
                    for key, value in before.items():
                        await session.do(("put", key, value))
                    await session.do(("commit",))
                    for step in own:
                        await session.do(step)
                    expected = area.of(session.state)
                    rows: Rows = []
                    async for row in area.scan(await session.transaction()):
                        rows.append(row)
                        if meanwhile:
                            await session.do(meanwhile.pop())
                    assert rows == expected
                    await session.end()

            _run(main(), loop)

        def test_what_it_refuses_changes_nothing(self) -> None:
            async def main(level: Isolation) -> None:
                async with make() as store:
                    async with store.begin(isolation=level) as transaction:
                        await transaction.put(b"a", b"1")
                        with pytest.raises(ValueError, match="empty"):
                            await transaction.get(b"")
                        with pytest.raises(ValueError, match="empty"):
                            await transaction.put(b"", b"")
                        with pytest.raises(ValueError, match="empty"):
                            await transaction.delete(b"")
                        assert await transaction.get(b"a") == b"1"
                    async with store.begin(isolation=level, read_only=True) as transaction:
                        with pytest.raises(Exception, match="read-only"):
                            await transaction.put(b"a", b"2")
                        with pytest.raises(Exception, match="read-only"):
                            await transaction.delete(b"a")
                        assert await transaction.get(b"a") == b"1"

            for level in Isolation:
                _run(main(level), loop)

        def test_a_transaction_is_of_no_use_after_its_end(self) -> None:
            async def main(level: Isolation, how: str) -> None:
                async with make() as store:
                    transaction = store.begin(isolation=level)
                    await transaction.put(b"a", b"1")
                    await getattr(transaction, how)()
                    with pytest.raises(RuntimeError):
                        await transaction.get(b"a")
                    with pytest.raises(RuntimeError):
                        await transaction.put(b"a", b"2")
                    with pytest.raises(RuntimeError):
                        await transaction.commit()
                    async with store.begin() as after:
                        assert await after.get(b"a") == (b"1" if how == "commit" else None)

            for level, how in itertools.product(Isolation, ("commit", "rollback")):
                _run(main(level, how), loop)

        def test_an_exception_rolls_back_and_goes_on_up(self) -> None:
            async def main(level: Isolation) -> None:
                async with make() as store:
                    with contextlib.suppress(ZeroDivisionError):
                        async with store.begin(isolation=level) as transaction:
                            await transaction.put(b"a", b"1")
                            raise ZeroDivisionError
                        raise AssertionError("the exception did not go on up")
                    async with store.begin(isolation=level) as transaction:
                        assert await transaction.get(b"a") is None

            for level in Isolation:
                _run(main(level), loop)

    return finished(OneSession, without, make=make)


class _Session:
    """One transaction after another on a store, and on a dictionary."""

    def __init__(self, store: Store, isolation: Isolation) -> None:
        self._store, self._isolation = store, isolation
        self._transaction: Transaction | None = None
        self._blocks: list[tuple[AbstractAsyncContextManager[None], dict[bytes, bytes]]] = []
        self._committed: dict[bytes, bytes] = {}
        self.state: dict[bytes, bytes] = {}

    async def transaction(self) -> Transaction:
        """The present one."""
        if self._transaction is None:
            self._transaction = self._store.begin(isolation=self._isolation)
        return self._transaction

    async def do(self, step: Step) -> None:
        """One step on both; they must agree."""
        transaction = await self.transaction()
        match step:
            case ("put", key, value):
                await transaction.put(key, value)
                self.state[key] = value
            case ("delete", key):
                await transaction.delete(key)
                self.state.pop(key, None)
            case ("get", key):
                assert await transaction.get(key) == self.state.get(key)
            case ("get_for_update", key):
                assert await transaction.get_for_update(key) == self.state.get(key)
            case ("scan", area):
                assert [row async for row in area.scan(transaction)] == area.of(self.state)
            case ("savepoint",):
                block = transaction.savepoint()
                await block.__aenter__()
                self._blocks.append((block, dict(self.state)))
            case ("keep",) | ("undo",):
                await self._leave_block(undo=step[0] == "undo")
            case (end,):
                await self._finish(end)

    async def end(self) -> None:
        """Commit what is open, and compare everything in a fresh transaction."""
        while self._blocks:
            await self._leave_block(undo=False)
        await self._finish("commit")
        everything = Range(b"", None, None, False, None)
        await self.do(("scan", everything))
        await self._finish("rollback")

    async def _leave_block(self, *, undo: bool) -> None:
        if not self._blocks:
            return
        block, before = self._blocks.pop()
        if undo:
            error = ZeroDivisionError()
            stops_it: object = await block.__aexit__(ZeroDivisionError, error, None)
            assert not stops_it
            self.state = before
        else:
            await block.__aexit__(None, None, None)

    async def _finish(self, how: str) -> None:
        transaction, self._transaction = await self.transaction(), None
        if how == "commit":
            await transaction.commit()
            self._committed = dict(self.state)
        elif how == "rollback":
            await transaction.rollback()
            self.state = dict(self._committed)
        else:
            await transaction.__aexit__(ZeroDivisionError, ZeroDivisionError(), None)
            self.state = dict(self._committed)


def _run(main: Coroutine[Any, Any, T], loop: Loop) -> T:
    return asyncio.run(main) if loop == "real" else run_simulated(main)
