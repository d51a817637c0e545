"""Blocking calls are made in one thread, in order, and everybody hears how his own has ended."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from sdkit.storage.worker import Worker


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_calls_are_made_in_the_order_in_which_they_were_given() -> None:
    made: list[int] = []

    async def main() -> None:
        worker = Worker()
        await asyncio.gather(*(worker.run(made.append, number) for number in range(10_000)))

    asyncio.run(main())
    assert made == list(range(10_000))


def test_each_caller_gets_what_his_call_returned_or_raised() -> None:
    async def main() -> None:
        worker = Worker()
        results = await asyncio.gather(
            worker.run(int, "7"), worker.run(int, "x"), worker.run(len, "abc"),
            return_exceptions=True,
        )  # fmt: skip
        assert results[0] == 7
        assert isinstance(results[1], ValueError)
        assert results[2] == 3

    asyncio.run(main())


def test_a_call_is_made_although_its_caller_has_left() -> None:
    made: list[str] = []

    async def main() -> None:
        worker, first = Worker(), threading.Event()
        waits = worker.run(first.wait, 5)
        left = worker.run(made.append, "left")
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        first.set()
        assert await waits
        await worker.run(made.append, "stayed")

    asyncio.run(main())
    assert made == ["left", "stayed"]


def test_a_loop_that_ended_under_a_call_leaves_the_order_to_the_next_one() -> None:
    made: list[str] = []
    worker, first = Worker(), threading.Event()

    async def is_cut_off() -> None:
        worker.run(lambda: made.append(f"first, after {first.wait(5)}"))

    async def goes_on() -> None:
        second = worker.run(made.append, "second")
        first.set()
        await second
        await worker.run(made.append, "third")

    asyncio.run(is_cut_off())
    asyncio.run(goes_on())
    assert made == ["first, after True", "second", "third"]
