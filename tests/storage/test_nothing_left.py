"""What is closed goes at once, and what is dropped open is ended by its owner, with a warning."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from sdkit.errors import DiskFailed
from sdkit.storage import Journal, LocalDisk, local_disk
from tests.storage.threads import own_disk_threads


@contextmanager
def without_the_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


async def open_journal(disk: LocalDisk) -> Journal:
    return await Journal.open(disk, room="room", random=Random(0))


def test_a_closed_journal_and_its_disk_go_without_the_collector(tmp_path: Path) -> None:
    async def main() -> None:
        with without_the_collector():
            disk = LocalDisk(tmp_path)
            journal = await open_journal(disk)
            await journal.replay(on_record=lambda *_: None)
            await journal.wait(journal.append(b"one"))
            follower = journal.follow(1)
            assert await anext(follower) == (1, b"one")
            await follower.aclose()
            parts = [journal, journal._writer, journal._segments, journal._claim, disk]
            gone = [weakref.ref(it) for it in (*parts, disk._worker)]
            await journal.close()
            await until(no_thread_is_left)
            del journal, disk, follower, parts
            assert [ref() for ref in gone] == [None] * 6

    asyncio.run(main())


def test_a_journal_whose_disk_failed_goes_without_the_collector_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(5, "input/output error")

    async def main() -> None:
        with without_the_collector():
            journal = await open_journal(LocalDisk(tmp_path))
            monkeypatch.setattr(local_disk, "_sync", failing)
            with pytest.raises(DiskFailed):
                await journal.wait(journal.append(b"one"))
            with pytest.raises(DiskFailed):
                await journal.close()
            await asyncio.sleep(0)
            gone = weakref.ref(journal), weakref.ref(journal._writer)
            del journal
            assert [ref() for ref in gone] == [None, None]

    asyncio.run(main())


def test_a_journal_dropped_open_is_closed_by_its_loop_and_keeps_what_was_appended(
    tmp_path: Path,
) -> None:
    async def main() -> None:
        journal = await open_journal(LocalDisk(tmp_path))
        journal.append(b"not waited for")
        claim = journal._claim
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            del journal
            await until(lambda: not claim.is_held)
        assert ["was still owned" in str(it.message) for it in said] == [True]
        again = await open_journal(LocalDisk(tmp_path))
        assert (again.recovered.last_lsn, again.recovered.clean) == (1, True)
        await again.close()

    asyncio.run(main())


def descriptors() -> int:
    return len(os.listdir("/dev/fd"))


async def until(is_so: Callable[[], bool]) -> None:
    """Give the loop turns until it is so; what a thread does cannot be awaited."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


def no_thread_is_left() -> bool:
    return not own_disk_threads()


def test_a_file_dropped_open_is_closed_and_its_thread_ends(tmp_path: Path) -> None:
    async def main() -> None:
        file = await LocalDisk(tmp_path).open("f", create=True)
        with pytest.warns(ResourceWarning, match=r"LocalFile 'f', 0 bytes> was dropped"):
            del file
        await until(no_thread_is_left)

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


def test_a_file_dropped_after_its_loop_is_closed(tmp_path: Path) -> None:
    before = descriptors()
    file = asyncio.run(LocalDisk(tmp_path).open("f", create=True))
    with pytest.warns(ResourceWarning, match="was dropped"):
        del file
    for thread in own_disk_threads():
        thread.join(60)
    assert descriptors() == before


def test_an_open_that_is_cancelled_leaves_no_descriptor(tmp_path: Path) -> None:
    async def main() -> None:
        disk = LocalDisk(tmp_path)
        for number in range(20):
            opening = asyncio.ensure_future(disk.open(f"f{number}", create=True))
            await asyncio.sleep(0)
            opening.cancel()
            with pytest.raises(asyncio.CancelledError):
                await opening
        assert len(await disk.list()) == 20
        await until(no_thread_is_left)

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


@pytest.mark.parametrize("turns", range(0, 24, 2))
def test_an_open_journal_that_is_cancelled_leaves_nothing_open(tmp_path: Path, turns: int) -> None:
    async def main() -> None:
        await (await open_journal(LocalDisk(tmp_path))).close()
        opening = asyncio.ensure_future(open_journal(LocalDisk(tmp_path)))
        for _ in range(turns):
            await asyncio.sleep(0.0002)
        opening.cancel()
        result = (await asyncio.gather(opening, return_exceptions=True))[0]
        if isinstance(result, Journal):
            await result.close()
        await (await open_journal(LocalDisk(tmp_path))).close()
        await until(no_thread_is_left)

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_close_that_is_cancelled_again_and_again_leaves_nothing_open(
    tmp_path: Path, times: int
) -> None:
    async def main() -> None:
        journal = await open_journal(LocalDisk(tmp_path))
        for _ in range(300):
            journal.append(bytes(1000))
        closing = asyncio.ensure_future(journal.close())
        for _ in range(times):
            await asyncio.sleep(0)
            closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        await (await open_journal(LocalDisk(tmp_path))).close()
        await until(no_thread_is_left)

    before = descriptors()
    asyncio.run(main())
    assert descriptors() == before
