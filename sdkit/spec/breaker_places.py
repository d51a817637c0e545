"""Specification: what a bulkhead and a retry budget promise.

    TestMine = bulkhead(make, refused=MyBulkheadFull)
    TestMine = retry_budget(make)

The bulkhead's oracle is the callee, which counts who is inside, and in the end a crowd that
finds every place free again. The budget's is a ledger: in no stretch of it, however it is
cut, are there more retries than calls have paid for; and none was refused without need.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any, Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.breaker_calls import SOON_S, Caller, turns
from sdkit.spec.running import finished, run


class Budget(Protocol):
    """An account of retries."""

    def earn(self) -> None: ...
    def spend(self) -> bool: ...


def retry_budget(
    make: Callable[[int, int], Budget], *, without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for a retry budget.

    Args:
        make: makes one, full, for a percentage of retries and a number that can be saved.
    """

    class RetryBudgetSpec(unittest.TestCase):
        @given(
            st.sampled_from([0, 7, 10, 20, 150]),
            st.integers(1, 5),
            st.lists(st.booleans(), max_size=120),
        )
        def test_no_stretch_has_more_retries_than_it_has_paid_for_and_none_is_refused_without_need(
            self, percent: int, saved_max: int, steps: list[bool]
        ) -> None:
            """True: a call; False: somebody wants a retry."""
            subject = make(percent, saved_max)
            ledger: list[tuple[int, int]] = []  # calls and retries so far, after each step
            calls = retries = 0
            for is_call in steps:
                if is_call:
                    subject.earn()
                    calls += 1
                else:
                    allowed = all(
                        100 * (retries + 1 - r) <= 100 * saved_max + percent * (calls - c)
                        for c, r in [(0, 0), *ledger]
                    )
                    assert subject.spend() == allowed
                    retries += allowed
                ledger.append((calls, retries))

    return finished(RetryBudgetSpec, without, make=make)


class BulkheadSubject(Protocol):
    """A bulkhead for coroutines."""

    def call(self, function: Callable[[], Coroutine[Any, Any, Any]]) -> Awaitable[Any]: ...


def bulkhead(
    make: Callable[[int, int, float], BulkheadSubject],
    *,
    refused: type[Exception],
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for a bulkhead.

    Args:
        make: makes one, for a number of calls at once, a number of those who wait, and the
            longest wait in seconds.
    """
    steps = st.lists(st.sampled_from(["enter", "leave", "cancel", "wait", "hurry"]), max_size=40)

    class BulkheadSpec(unittest.TestCase):
        @given(steps, st.integers(1, 3), st.integers(0, 3))
        def test_no_more_than_so_many_are_inside_and_no_place_is_lost(
            self, steps: list[str], calls_max: int, waiting_max: int
        ) -> None:
            async def main() -> None:
                it = Caller(make(calls_max, waiting_max, 1.0), refused)
                tasks: list[asyncio.Task[str]] = []
                for step in steps:
                    if step == "enter":
                        tasks += await it.begin()
                    elif step == "leave" and it.callee.inside:
                        it.callee.let_go()
                        await turns()
                    elif step == "cancel" and tasks:
                        tasks[-1].cancel()
                        await turns()
                    elif step == "hurry" and it.callee.inside and tasks:
                        it.callee.let_go()  # a place comes free, and in the same moment
                        tasks[-1].cancel()  # whoever would get it gives up
                        await turns()
                    elif step == "wait":
                        await asyncio.sleep(2.0)  # nobody is in line any more
                    assert it.callee.inside <= calls_max
                    tasks = [task for task in tasks if not task.done()]
                    assert len(tasks) - it.callee.inside <= waiting_max
                await asyncio.gather(*tasks, _let_all_go(it))
                everybody = await it.begin(calls_max + waiting_max + 5)
                assert it.callee.inside == calls_max, "a place was lost"
                assert sum(task.done() for task in everybody) == 5
                await asyncio.gather(*everybody, _let_all_go(it))

            run(main())

        def test_whoever_waits_is_served_in_order_before_anybody_who_comes_later(self) -> None:
            async def main() -> None:
                it = Caller(make(1, 10, 100.0), refused)
                served: list[int] = []

                def visit(number: int) -> asyncio.Task[str]:
                    async def inside() -> None:
                        served.append(number)
                        await asyncio.sleep(1.0)

                    return asyncio.create_task(it.ask(inside))

                tasks = [visit(number) for number in range(4)]
                for number in range(4, 8):
                    await asyncio.sleep(1.0)
                    tasks.append(visit(number))
                await asyncio.gather(*tasks)
                assert served == list(range(8))

            run(main())

        def test_nobody_waits_longer_than_was_said(self) -> None:
            async def main() -> None:
                it = Caller(make(1, 1, 2.0), refused)
                inside = await it.begin()
                loop = asyncio.get_running_loop()
                began = loop.time()
                assert await it.ask(it.callee.well) == "refused"
                assert loop.time() - began == pytest.approx(2.0, abs=SOON_S)
                it.callee.let_go()
                await asyncio.gather(*inside)

            run(main())

    return finished(BulkheadSpec, without, make=make)


async def _let_all_go(it: Caller) -> None:
    """Until nobody is inside and nobody can come in any more."""
    for _ in range(20):
        it.callee.let_go(it.callee.inside)
        await turns()
