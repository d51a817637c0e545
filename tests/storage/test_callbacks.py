"""What a callback raises is its own affair: nobody waits for ever, and no disk is blamed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from random import Random
from typing import Any

import pytest

from sdkit.errors import DiskUnavailable, InvalidArgument
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.loop import run
from sdkit.storage import Journal, JournalConfig
from sdkit.trace import Record, listening


def broken(*_: object) -> None:
    raise ValueError("the callback's own")


def cancelled(*_: object) -> None:
    raise asyncio.CancelledError


def interrupted(*_: object) -> None:
    raise KeyboardInterrupt


async def opened(disk: SimulatedDisk, durability: str = "sync", **callbacks: Any) -> Journal:
    config = JournalConfig(durability=durability, segment_bytes=4096)
    return await Journal.open(disk, room="room", config=config, random=Random(0), **callbacks)


def hear_of_trouble() -> list[dict[str, Any]]:
    heard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: heard.append(context))
    return heard


@pytest.mark.parametrize("durability", ["sync", "interval", "os", "none"])
@pytest.mark.parametrize("callback", [broken, cancelled])
def test_what_on_durable_raises_reaches_the_loop_and_nobody_who_waits(
    durability: str, callback: Callable[..., None]
) -> None:
    async def main() -> None:
        heard = hear_of_trouble()
        disk = SimulatedDisk()
        journal = await opened(disk, durability, on_durable=callback)
        await journal.wait(journal.append(b"one"))
        await journal.sync()
        await journal.wait(journal.append(b"two"))
        await journal.close()
        assert journal.ended
        assert {type(it["exception"]) for it in heard} <= {ValueError, asyncio.CancelledError}
        assert heard
        assert "called by a journal" in heard[0]["message"]
        again = await opened(disk)
        assert again.recovered.last_lsn == 2
        await again.close()

    run(main())


def test_what_on_lost_raises_hinders_no_refusal_and_no_going_on() -> None:
    async def main() -> None:
        heard = hear_of_trouble()
        disk = SimulatedDisk()
        journal = await opened(disk, on_lost=broken)
        disk.fail("append")
        with pytest.raises(DiskUnavailable):
            await journal.wait(journal.append(b"refused"))
        await journal.wait(journal.append(b"kept"))
        await journal.close()
        assert [type(it["exception"]) for it in heard] == [ValueError]

    run(main())


def test_what_on_lost_appends_again_is_not_refused_with_what_was_lost() -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        again: list[asyncio.Future[None]] = []

        def append_again(first: int, _: object) -> None:
            assert journal.append(b"again") == first
            again.append(journal.wait(first))

        journal = await opened(disk, on_lost=append_again)
        disk.fail("append")
        with pytest.raises(DiskUnavailable):
            await journal.wait(journal.append(b"lost"))
        await again[0]
        assert journal.synced == 1
        await journal.close()

    run(main())


def test_an_interrupt_in_a_callback_ends_the_program_and_leaves_nobody_waiting() -> None:
    told: list[BaseException | None] = []

    async def main() -> None:
        journal = await opened(SimulatedDisk(), on_durable=interrupted)
        waiting = journal.wait(journal.append(b"one"))
        waiting.add_done_callback(lambda it: told.append(it.exception()))
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run(main())
    assert told == [None], "it is durable"


def test_a_listener_that_fails_fails_no_commit() -> None:
    def listener(record: Record) -> None:
        if record.name in ("journal.sync", "journal.rotate"):
            raise ValueError("an observer's own")

    async def main() -> None:
        heard = hear_of_trouble()
        journal = await opened(SimulatedDisk())
        with listening(listener):
            for _ in range(20):
                await journal.wait(journal.append(bytes(600)))
        await journal.close()
        assert journal.ended
        assert {str(it["exception"]) for it in heard} == {"an observer's own"}

    run(main())


def test_a_lambda_that_returns_a_coroutine_is_told_of_and_does_not_hang() -> None:
    async def later(_: int) -> None:
        return

    async def main() -> None:
        heard = hear_of_trouble()
        journal = await opened(SimulatedDisk(), on_durable=lambda lsn: later(lsn))
        await journal.wait(journal.append(b"one"))
        await journal.close()
        assert ["plain functions" in str(it["exception"]) for it in heard] == [True]

    run(main())


async def asynchronous(*_: object) -> None:
    return


@pytest.mark.parametrize("name", ["on_durable", "on_lost", "progress"])
@pytest.mark.parametrize("wrong", [asynchronous, partial(asynchronous, 1), 7, "print", [broken]])
def test_a_callback_of_the_wrong_kind_is_refused_when_it_is_given(name: str, wrong: Any) -> None:
    async def main() -> None:
        disk = SimulatedDisk()
        with pytest.raises(InvalidArgument, match=name):
            await opened(disk, **{name: wrong})
        assert disk.names() == []
        await (await opened(disk)).close()  # it is not in use

    run(main())


@pytest.mark.parametrize("name", ["on_record", "on_snapshot", "progress"])
def test_a_replay_refuses_the_wrong_kind_and_can_be_asked_again(name: str) -> None:
    async def main() -> None:
        journal = await opened(SimulatedDisk())
        with pytest.raises(InvalidArgument, match=name):
            given: dict[str, Any] = {"on_record": print, name: asynchronous}
            await journal.replay(**given)
        await journal.replay(on_record=print)
        await journal.close()

    run(main())


def test_what_the_chunks_of_a_snapshot_raise_is_not_the_disks() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one"
        raise OSError(5, "the chunks' own")

    async def main() -> None:
        disk = SimulatedDisk()
        journal = await opened(disk)
        await journal.wait(journal.append(b"one"))
        with pytest.raises(OSError, match="the chunks' own") as raised:
            await journal.snapshot(1, chunks())
        assert type(raised.value) is OSError
        assert "snapshot.tmp" not in disk.names()
        await journal.close()

    run(main())
