"""The smallest store fails its specification exactly where its lesson says so."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import TracebackType
from typing import Any, Self

from sdkit.errors import Aborted
from sdkit.spec.store import Promises, one_session, serializable, sessions
from sdkit.store import Isolation, smallest
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG_ALONE = {
    "test_a_savepoint_undoes_its_block_and_nothing_else",  # 5
    "test_what_it_refuses_changes_nothing",  # 6
}
WRONG_TOGETHER = {
    "test_read_committed_reads_the_newest_committed_state",  # 2
    "test_read_uncommitted_reads_what_is_there",  # 2
    "test_nobody_is_aborted_without_a_reason",  # 3
}
WRONG_SERIALIZABLE = {  # 4
    "test_there_is_an_order_for_keys",
    "test_there_is_an_order_for_ranges",
    "test_there_is_an_order_for_many",
    "test_a_report_does_not_see_what_no_order_passes_through",
}


class Transaction:
    """The smallest transaction behind the interface of ours."""

    def __init__(self, store: Store, isolation: Isolation) -> None:
        self.id, self.isolation = next(store.ids), isolation
        self._inner = store.inner.begin()

    @contextmanager
    def _conflicts(self) -> Iterator[smallest.SmallestTransaction]:
        try:
            yield self._inner
        except smallest.SmallestConflict as conflict:
            raise Aborted(str(conflict)) from conflict

    async def get(self, key: bytes) -> bytes | None:
        return self._inner.get(key)

    async def get_for_update(self, key: bytes) -> bytes | None:
        with self._conflicts() as inner:
            inner.claim(key)
            return inner.get(key)

    async def put(self, key: bytes, value: bytes) -> None:
        with self._conflicts() as inner:
            inner.put(key, value)

    async def delete(self, key: bytes) -> None:
        with self._conflicts() as inner:
            inner.put(key, None)

    async def scan(
        self,
        start: bytes = b"",
        end: bytes | None = None,
        *,
        prefix: bytes | None = None,
        reverse: bool = False,
        limit: int | None = None,
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        rows = [
            (key, value)
            for key, value in self._inner.scan()
            if key >= start and (end is None or key < end) and key.startswith(prefix or b"")
        ]
        for row in (rows[::-1] if reverse else rows)[:limit]:
            yield row

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        yield

    async def commit(self) -> int:
        return self._inner.commit()

    async def rollback(self) -> None:
        self._inner.rollback()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self._inner.commit()
        else:
            self._inner.rollback()


class Store:
    """The smallest store behind the interface of ours."""

    def __init__(self) -> None:
        self.inner = smallest.SmallestStore()
        self.ids = itertools.count(1)

    def begin(
        self, *, isolation: Isolation = Isolation.REPEATABLE_READ, read_only: bool = False
    ) -> Transaction:
        return Transaction(self, isolation)

    async def transactions(self) -> list[Any]:
        return []  # nobody ever waits


@asynccontextmanager
async def make() -> AsyncIterator[Any]:
    yield Store()


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(one_session(make)) == WRONG_ALONE
    assert failed(sessions(make, each_alone=True)) == WRONG_TOGETHER
    assert (
        failed(serializable(make, reads_wait=False, each_alone=True), examples=300)
        == WRONG_SERIALIZABLE
    )


def test_where_a_second_writer_may_be_turned_away_it_keeps_all_promises_of_a_snapshot() -> None:
    one_level = Promises(writers_wait=False, isolations=(Isolation.REPEATABLE_READ,))
    assert failed(sessions(make, promises=one_level)) == set()


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
