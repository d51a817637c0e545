"""A journal says where it may be used and what it takes; anything else has an error with a name."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from sdkit.errors import Closed, DirectoryInUse, Indeterminate, InvalidArgument, InvalidState
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, JournalConfig, LocalDisk


async def opened(disk: Any, **settings: Any) -> Journal:
    return await Journal.open(disk, room="room", random=Random(0), **settings)


async def state() -> AsyncIterator[bytes]:
    yield b"state"


USES: dict[str, Callable[[Journal], Any]] = {
    "append": lambda it: it.append(b"x"),
    "wait": lambda it: it.wait(0),
    "sync": lambda it: it.sync(),
    "snapshot": lambda it: it.snapshot(0, state()),
    "replay": lambda it: it.replay(on_record=print),
    "follow": lambda it: it.follow(1),
    "hold": lambda it: it.hold("a", 1),
    "release": lambda it: it.release("a"),
    "close": lambda it: it.close(),
}


async def use(journal: Journal, name: str) -> None:
    """Call it and await what it gives; in a coroutine, so that the loop is running."""
    given = USES[name](journal)
    if asyncio.iscoroutine(given) or asyncio.isfuture(given):
        await given


# ── where ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", USES)
def test_from_another_thread_it_is_refused_by_name(name: str) -> None:
    said: list[str] = []

    async def main() -> None:
        journal = await opened(SimulatedDisk())

        def elsewhere() -> None:
            try:
                asyncio.run(use(journal, name))
            except InvalidState as error:
                said.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        await journal.wait(journal.append(b"it goes on"))
        await journal.close()

    asyncio.run(main())
    assert len(said) == 1
    assert "the event loop in which it was opened" in said[0]


@pytest.mark.parametrize("name", USES)
def test_in_a_second_run_it_is_refused_by_name_and_not_with_a_closed_loop(
    tmp_path: Path, name: str
) -> None:
    journal = asyncio.run(opened(LocalDisk(tmp_path)))
    with pytest.raises(InvalidState, match="an event loop that is closed; open it anew"):
        asyncio.run(use(journal, name))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del journal
        gc.collect()  # the error above has the journal in its traceback
    assert all("was dropped" in str(it.message) for it in said)
    asyncio.run(close_again(tmp_path))


async def close_again(directory: Path) -> None:
    await (await opened(LocalDisk(directory))).close()


def test_outside_of_any_loop_it_is_refused_by_name() -> None:
    loop = asyncio.new_event_loop()
    journal = loop.run_until_complete(opened(SimulatedDisk()))
    with pytest.raises(InvalidState, match="the event loop in which it was opened"):
        journal.append(b"x")
    loop.run_until_complete(journal.close())
    loop.close()


def test_closing_it_after_its_loop_gives_the_directory_up(tmp_path: Path) -> None:
    journal = asyncio.run(opened(LocalDisk(tmp_path)))
    with pytest.raises(InvalidState, match="closed"):
        asyncio.run(journal.close())
    asyncio.run(close_again(tmp_path))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del journal
        gc.collect()
    assert ["000000000001.wal" in str(it.message) for it in said] == [True]


# ── after its end ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["append", "snapshot", "replay"])
def test_after_close_it_is_closed(name: str) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk)
        await journal.close()
        await journal.close()
        before = disk.image()
        with pytest.raises(Closed):
            await use(journal, name)
        assert disk.image() == before
        assert repr(journal) == "<Journal of room room, LSN 1 to 0, closed>"

    run(main())


def test_closing_twice_at_once_returns_when_it_is_closed() -> None:
    async def main() -> None:
        disk = SimulatedDisk(sync_s=1.0)
        journal = await opened(disk)
        journal.append(b"one")
        await asyncio.gather(journal.close(), journal.close())
        assert journal.ended
        await (await opened(disk)).close()

    run(main())


def test_a_close_that_is_cancelled_during_a_snapshot_has_closed_nothing() -> None:
    go_on = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"state"

    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk)
        await journal.wait(journal.append(b"one"))
        snapshot = asyncio.ensure_future(journal.snapshot(1, slow()))
        await asyncio.sleep(1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                await journal.close()
        with pytest.raises(DirectoryInUse):
            await opened(disk)
        await journal.wait(journal.append(b"two"))
        go_on.set()
        await snapshot
        await journal.close()
        assert journal.ended

    run(main())


def test_a_log_whose_task_is_cancelled_tells_all_who_wait_and_takes_no_more() -> None:
    lost: list[str] = []

    async def main() -> None:
        disk = SimulatedDisk(sync_s=1.0)
        journal = await opened(disk, on_lost=lambda _, error: lost.append(error.code))
        waiting = journal.wait(journal.append(b"one"))
        await asyncio.sleep(0.5)
        journal._writer._task.cancel()
        with pytest.raises(Indeterminate, match="cancelled before the journal was closed"):
            await waiting
        with pytest.raises(Exception, match="takes no writes"):
            journal.append(b"two")
        with pytest.raises(Indeterminate, match="cancelled"):
            await journal.close()
        await (await opened(disk)).close()

    run(main())
    assert lost == ["indeterminate"]


def test_a_follower_is_read_in_the_loop_of_its_journal(tmp_path: Path) -> None:
    async def main() -> None:
        journal = await opened(LocalDisk(tmp_path))
        await journal.wait(journal.append(b"one"))
        records = journal.follow(1)

        def elsewhere() -> None:
            asyncio.run(anext(records))

        with pytest.raises(InvalidState, match="event loop"):
            await asyncio.to_thread(elsewhere)
        await journal.close()

    asyncio.run(main())


def test_the_chunks_of_a_snapshot_cannot_close_their_journal() -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())

        async def closing() -> AsyncIterator[bytes]:
            yield b"state"
            await journal.close()

        with pytest.raises(InvalidState, match="chunks"):
            await journal.snapshot(0, closing())
        await journal.snapshot(0, state())
        await journal.close()

    run(main())


# ── what it takes ────────────────────────────────────────────────────────────


class Shorter(bytes):
    """Bytes that say that they are fewer."""

    def __len__(self) -> int:
        return 3


@pytest.mark.parametrize(
    "record",
    [
        Shorter(b"abcdef"),
        "text",
        [1],
        bytearray(b"changes later"),
        memoryview(b"x"),
        None,
        5,
        True,
        {},
        b"x".hex,
    ],
)
def test_what_is_not_bytes_is_no_record_and_hurts_nobody_else(record: Any) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        waiting = journal.wait(journal.append(b"of another"))
        with pytest.raises(InvalidArgument, match=r"record is .*it must be bytes"):
            journal.append(record)
        await waiting
        assert journal.end == 1
        await journal.close()

    run(main())


@pytest.mark.parametrize("lsn", ["1", 1.0, True, None, -1, float("nan"), 2**80, b"1"])
def test_what_is_no_position_is_refused(lsn: Any) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        await journal.wait(journal.append(b"one"))
        uses: list[Callable[[], Any]] = [
            lambda: journal.wait(lsn),
            lambda: journal.follow(lsn),
        ]
        for each in uses:
            with pytest.raises(InvalidArgument, match="lsn"):
                each()
        with pytest.raises(InvalidArgument, match="lsn"):
            await journal.hold("a", lsn)
        with pytest.raises(InvalidArgument, match="lsn"):
            await journal.snapshot(lsn, state())
        assert journal.holders == {}
        assert journal.snapshot_lsn == 0
        await journal.close()

    run(main())


@pytest.mark.parametrize("name", [None, 5, b"a", ["a"]])
def test_what_is_no_text_is_no_holder(name: Any) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        await journal.hold("a", 1)
        with pytest.raises(InvalidArgument, match="name is"):
            await journal.hold(name, 1)
        with pytest.raises(InvalidArgument, match="name is"):
            await journal.release(name)
        assert journal.holders == {"a": 1}
        await journal.close()

    run(main())


@pytest.mark.parametrize("chunks", [[b"state"], b"state", None, state, 5])
def test_what_is_no_asynchronous_iterable_is_no_snapshot(chunks: Any) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        with pytest.raises(InvalidArgument, match="chunks"):
            await journal.snapshot(0, chunks)
        await journal.close()

    run(main())


@pytest.mark.parametrize("chunk", ["text", Shorter(b"abcdef")])
def test_a_chunk_that_is_not_bytes_leaves_the_old_snapshot(chunk: Any) -> None:
    async def wrong() -> AsyncIterator[Any]:
        yield b"good"
        yield chunk

    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk)
        with pytest.raises(InvalidArgument, match="chunk"):
            await journal.snapshot(0, wrong())
        assert not [name for name in disk.names() if name.startswith("snapshot")]
        await journal.close()

    run(main())


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"disk": "data"}, "disk is 'data'.*LocalDisk"),
        ({"disk": None}, "disk is None"),
        ({"config": {"durability": "sync"}}, "config is"),
        ({"random": None}, "random is None"),
        ({"cut_unexplained": "no"}, "cut_unexplained is .no."),
        ({"random": 7}, "random is 7"),
        ({"room": 5}, "room is 5"),
        ({"room": b"room"}, "room is b'room'"),
        ({"room": ""}, "room is ''"),
        ({"room": "größe"}, "room is"),
    ],
)
def test_what_no_journal_can_be_opened_with_is_named(arguments: dict[str, Any], match: str) -> None:
    async def main() -> None:
        given = {"disk": SimulatedDisk(), "room": "room", "random": Random(0), **arguments}
        with pytest.raises(InvalidArgument, match=match):
            await Journal.open(given.pop("disk"), **given)

    run(main())


@pytest.mark.parametrize("durability", [None, True, 5, "SYNC", ["sync"], ""])
def test_a_durability_is_one_of_four_words(durability: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"durability is .*sync, interval, os, none"):
        JournalConfig(durability=durability)
