"""The instant of commit: between the append of its record and its durability.

A commit begins when its record is in the log and is done when the disk says
so. In between, two things must hold, and both are easily got wrong:

    nobody may notice it    what a power cut can take back must not be seen,
                            nor built upon: its versions are hidden, its locks
                            held
    nothing may stop it     the record is in the log, so a time-out, a caller
                            that has left or anything else comes too late

So the disk is made slow, and in the time it takes the store is looked at.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Callable, Collection, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, TypeAlias, TypeVar

from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.running import finished
from sdkit.spec.running import run as run_simulated
from sdkit.store.interface import Isolation, Store, Transaction

T = TypeVar("T")
Make: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
Loop: TypeAlias = Literal["simulated", "real"]


def instant_of_commit(
    make: Make,
    make_hasty: Make,
    *,
    commit_s: float,
    loop: Loop = "simulated",
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for what happens between a commit's record and its durability.

    Args:
        make: opens an empty store whose disk takes ``commit_s`` for each sync.
        make_hasty: the same, but all its time-outs are shorter than that.
        commit_s: in the loop's time.
    """

    async def committing(store: Store, key: bytes, value: bytes) -> asyncio.Task[int]:
        transaction = store.begin()
        await transaction.put(key, value)
        task = asyncio.ensure_future(transaction.commit())
        await _until(store, transaction, "committing")
        return task

    class InstantOfCommit(unittest.TestCase):
        def test_nobody_sees_a_commit_before_it_is_durable(self) -> None:
            async def main(level: Isolation) -> None:
                async with make() as store:
                    commit = await committing(store, b"a", b"1")
                    early = store.begin(isolation=level)
                    assert await early.get(b"a") is None
                    assert [row async for row in early.scan()] == []
                    assert not commit.done()
                    await commit
                    async with store.begin(isolation=level) as late:
                        assert await late.get(b"a") == b"1"
                    await early.rollback()

            for level in list(Isolation)[1:]:  # read uncommitted promises nothing of the kind
                _run(main(level), loop)

        def test_its_locks_are_held_until_it_is_durable(self) -> None:
            async def main() -> None:
                async with make() as store:
                    commit = await committing(store, b"a", b"1")
                    second = store.begin(isolation=Isolation.READ_COMMITTED)
                    reading = asyncio.ensure_future(second.get_for_update(b"a"))
                    await _until(store, second, "waiting")
                    assert not commit.done()
                    await commit
                    assert await reading == b"1"
                    await second.rollback()

            _run(main(), loop)

        def test_it_completes_although_its_caller_has_left(self) -> None:
            async def main() -> None:
                async with make() as store:
                    commit = await committing(store, b"a", b"1")
                    commit.cancel()
                    await asyncio.gather(commit, return_exceptions=True)
                    await asyncio.sleep(3 * commit_s)
                    assert not await store.transactions()
                    async with store.begin() as after:
                        assert await after.get(b"a") == b"1"

            _run(main(), loop)

        def test_no_time_out_reaches_it(self) -> None:
            """The disk takes longer than any of the store's own time-outs."""

            async def main() -> None:
                async with make_hasty() as store:
                    commit = await committing(store, b"a", b"1")
                    waiter = store.begin(isolation=Isolation.READ_COMMITTED)
                    waiting = asyncio.ensure_future(waiter.put(b"a", b"2"))
                    await asyncio.gather(waiting, return_exceptions=True)
                    assert await commit
                    async with store.begin() as after:
                        assert await after.get(b"a") == b"1"

            _run(main(), loop)

        @given(st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=2, max_size=6))
        def test_commits_become_visible_in_the_order_of_the_log(self, program: list[bytes]) -> None:
            """Whatever a reader sees is a beginning of what was committed, in that order."""

            async def main() -> None:
                async with make() as store:
                    commits: list[asyncio.Task[int]] = []
                    for number, key in enumerate(program):
                        value = b"%d" % number
                        commits.append(await committing(store, b"%s%d" % (key, number), value))
                        await _check_a_beginning(store, number + 1)
                        if number % 2:
                            await asyncio.sleep(commit_s / 3)
                    positions = []
                    for number, commit in enumerate(commits):
                        positions.append(await commit)
                        assert await _check_a_beginning(store, len(program)) > number
                    assert positions == sorted(set(positions))

            _run(main(), loop)

    return finished(InstantOfCommit, without)


async def _check_a_beginning(store: Store, begun: int) -> int:
    async with store.begin(read_only=True) as reader:
        seen = sorted(int(value) for _, value in [row async for row in reader.scan()])
    assert seen == list(range(len(seen)))
    assert len(seen) <= begun
    return len(seen)


async def _until(store: Store, transaction: Transaction, state: str) -> None:
    for _ in range(10_000):
        if any(t.id == transaction.id and t.state == state for t in await store.transactions()):
            return
        await asyncio.sleep(0.0001)
    raise AssertionError(f"transaction {transaction.id} is not {state}")


def _run(main: Coroutine[Any, Any, T], loop: Loop) -> T:
    return asyncio.run(main) if loop == "real" else run_simulated(main)
