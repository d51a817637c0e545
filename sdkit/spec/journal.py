"""Specification: a journal is a list that survives being closed.

    TestMine = journal(opener)

``opener()`` makes a new, empty place and returns a function that opens the
journal in it: called again after a close, it opens the same one. The oracle is
a plain list. What happens when it is *not* closed is the business of
`sdkit.spec.journal_crashes`.
"""

from __future__ import annotations

import asyncio
import unittest
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.running import finished, run
from sdkit.storage.journal import Journal

Open = Callable[[], Awaitable[Journal]]

records = st.lists(st.binary(max_size=900), max_size=25)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.binary(max_size=900)),
        st.tuples(st.sampled_from(["sync", "wait", "reopen"]), st.just(b"")),
        st.tuples(st.just("snapshot"), st.binary(max_size=1)),
    ),
    max_size=30,
)


def journal(
    opener: Callable[[], Open],
    *,
    loop: Literal["virtual", "real"] = "virtual",
    without: Collection[str] = (),
) -> type[unittest.TestCase]:
    """Build the test case for one implementation."""

    def play(main: Coroutine[object, object, None]) -> None:
        if loop == "real":
            asyncio.run(main)
        else:
            run(main)

    class JournalSpec(unittest.TestCase):
        @given(steps)
        def test_it_holds_what_was_appended_however_often_it_is_reopened(
            self, taken: list[tuple[str, bytes]]
        ) -> None:
            async def main() -> None:
                open_again = opener()
                subject, log = await open_again(), list[bytes]()
                assert await contents(subject) == log
                for step, argument in taken:
                    if step == "append":
                        log.append(argument)
                        assert subject.append(argument) == len(log) == subject.end
                    elif step == "sync":
                        await subject.sync()
                        assert subject.synced == len(log)
                    elif step == "wait":
                        await subject.wait(len(log))
                        assert subject.durable == len(log)
                    elif step == "snapshot":
                        lsn = max(subject.snapshot_lsn, len(log) - len(argument) * 3)
                        await subject.snapshot(lsn, pieces(log[:lsn]))
                    else:
                        await subject.close()
                        subject = await open_again()
                        assert await contents(subject) == log
                await subject.close()
                subject = await open_again()
                assert await contents(subject) == log
                await subject.close()

            play(main())

        @given(records, st.integers(1, 26))
        def test_a_follower_sees_every_record_from_its_position_on(
            self, log: list[bytes], start: int
        ) -> None:
            async def main() -> None:
                subject = await opener()()
                for record in log:
                    subject.append(record)
                first = min(start, len(log) + 1)
                follower = subject.follow(first)
                late = [b"appended", b"while it waits"]

                async def append_late() -> None:
                    await asyncio.sleep(0.001)
                    for record in late:
                        subject.append(record)

                task = asyncio.ensure_future(append_late())
                whole = log + late
                for lsn in range(first, len(whole) + 1):
                    assert await anext(follower) == (lsn, whole[lsn - 1])
                    assert lsn <= subject.synced
                await follower.aclose()
                await task
                await subject.close()

            play(main())

        @given(st.integers(1, 40), st.integers(1, 60))
        def test_what_is_held_stays_and_the_rest_goes(self, held: int, snapshot_at: int) -> None:
            async def main() -> None:
                subject = await opener()()
                log = [b"%03d" % number + bytes(500) for number in range(60)]
                for lsn, record in enumerate(log, 1):
                    assert subject.append(record) == lsn
                    if lsn % 6 == 0:
                        await subject.wait(lsn)
                await subject.hold("a follower", held)
                assert subject.holders == {"a follower": held}
                await subject.snapshot(snapshot_at, pieces(log[:snapshot_at]))
                assert subject.first <= held
                follower = subject.follow(held)
                assert await anext(follower) == (held, log[held - 1])
                await follower.aclose()
                await subject.release("a follower")
                await subject.snapshot(60, pieces(log))
                if subject.first > 1:
                    with pytest.raises(LookupError):
                        await subject.hold("too late", 1)
                    gone = subject.follow(1)
                    with pytest.raises(LookupError):
                        await anext(gone)
                assert subject.first > 40, "nobody holds it, and the snapshot has it"
                await subject.close()

            play(main())

        @given(st.integers(1, 40), st.booleans())
        def test_what_is_held_is_still_held_when_it_is_opened_again(
            self, held: int, released: bool
        ) -> None:
            async def main() -> None:
                open_again = opener()
                subject = await open_again()
                log = [b"%03d" % number + bytes(500) for number in range(60)]
                for lsn, record in enumerate(log, 1):
                    assert subject.append(record) == lsn
                    if lsn % 6 == 0:
                        await subject.wait(lsn)
                await subject.hold("gone", 1)
                await subject.hold("a follower", held)
                await subject.release("gone")
                if released:
                    await subject.release("a follower")
                await subject.close()
                subject = await open_again()
                assert subject.holders == ({} if released else {"a follower": held})
                assert await contents(subject) == log
                await subject.snapshot(60, pieces(log))
                if released:
                    assert subject.first > 40
                else:
                    follower = subject.follow(held)
                    assert await anext(follower) == (held, log[held - 1])
                    await follower.aclose()
                await subject.close()

            play(main())

        @given(records)
        def test_a_snapshot_is_the_state_at_its_position_while_the_log_goes_on(
            self, log: list[bytes]
        ) -> None:
            async def main() -> None:
                open_again = opener()
                subject = await open_again()
                for record in log:
                    subject.append(record)
                lsn = subject.end

                async def slowly() -> AsyncIterator[bytes]:
                    for record in log[:lsn]:
                        yield b"+" + record
                        log.append(b"meanwhile")
                        subject.append(b"meanwhile")
                        await asyncio.sleep(0)

                await subject.snapshot(lsn, slowly())
                assert subject.snapshot_lsn == lsn
                await subject.close()
                subject = await open_again()
                assert await contents(subject) == log
                await subject.close()

            play(main())

        @given(st.integers(1, 30), st.integers(0, 20))
        def test_a_snapshot_that_is_read_stays_as_it_is_and_so_does_the_log_behind_it(
            self, first: int, read: int
        ) -> None:
            async def main() -> None:
                subject = await opener()()
                log = [b"%03d" % number + bytes(500) for number in range(60)]
                for lsn, record in enumerate(log, 1):
                    assert subject.append(record) == lsn
                    if lsn % 6 == 0:
                        await subject.wait(lsn)
                with pytest.raises(Exception, match="no snapshot"):
                    await subject.reading_snapshot().__aenter__()
                state = [*log[:first], bytes(300_000)]  # more than is read at once
                await subject.snapshot(first, pieces(state))
                async with subject.reading_snapshot() as (at, chunks):
                    assert at == first
                    found = [await anext(chunks) for _ in range(min(read, first))]
                    await subject.snapshot(60, pieces(log))
                    found += [chunk async for chunk in chunks]
                    assert found == [b"+" + record for record in state]
                    follower = subject.follow(at + 1)
                    assert await anext(follower) == (at + 1, log[at])
                    await follower.aclose()
                async with subject.reading_snapshot() as (at, chunks):
                    assert at == 60
                    assert [chunk async for chunk in chunks] == [b"+" + it for it in log]
                await subject.snapshot(60, pieces(log))
                assert subject.first > 40, "nobody reads it any more"
                await subject.close()

            play(main())

        @given(records, st.integers(0, 25), st.integers(1, 40))
        def test_a_snapshot_from_elsewhere_takes_the_place_of_state_and_log(
            self, log: list[bytes], snapshot_at: int, lsn: int
        ) -> None:
            async def main() -> None:
                open_again = opener()
                subject = await open_again()
                for record in log:
                    subject.append(record)
                if snapshot_at:
                    at = min(snapshot_at, len(log))
                    await subject.snapshot(at, pieces(log[:at]))
                await subject.install(lsn, pieces([b"from elsewhere"]))
                with pytest.raises(Exception, match="closed"):
                    subject.append(b"late")
                for serial in range(3):
                    subject = await open_again()
                    late = [b"later"] * serial
                    assert subject.snapshot_lsn == lsn
                    assert subject.recovered.last_lsn == lsn + serial
                    assert await contents(subject) == [b"from elsewhere", *late]
                    assert subject.append(b"later") == lsn + serial + 1
                    await subject.close()

            play(main())

        @given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 2))))
        def test_what_is_superseded_is_gone_and_its_numbers_are_given_out_again(
            self, rounds: list[tuple[int, int, int]]
        ) -> None:
            async def main() -> None:
                open_again = opener()
                subject, log = await open_again(), list[bytes]()
                for serial, (appended, dropped, then) in enumerate(rounds):
                    for _ in range(appended):
                        log.append(b"%d" % serial + bytes(300))
                        subject.append(log[-1])
                    lsn = max(subject.snapshot_lsn, len(log) - dropped) + 1
                    await subject.supersede(lsn)
                    del log[lsn - 1 :]
                    assert subject.end == subject.durable == subject.synced == len(log)
                    if subject.snapshot_lsn:
                        with pytest.raises(ValueError, match="can be superseded"):
                            await subject.supersede(subject.snapshot_lsn)
                    if then == 1:
                        await subject.snapshot(len(log), pieces(log))
                    elif then == 2:
                        await subject.close()
                        subject = await open_again()
                        assert await contents(subject) == log
                await subject.close()
                subject = await open_again()
                assert await contents(subject) == log
                await subject.close()

            play(main())

        @given(st.integers(1, 20), st.integers(0, 20))
        def test_a_follower_learns_that_what_it_was_shown_is_superseded(
            self, lsn: int, shown: int
        ) -> None:
            async def main() -> None:
                subject = await opener()()
                log = [b"%03d" % number + bytes(500) for number in range(20)]
                for record in log:
                    subject.append(record)
                await subject.sync()
                follower, whole = subject.follow(1), subject.follow(1)
                for at in range(1, shown + 1):
                    assert await anext(follower) == (at, log[at - 1])
                for at in range(1, 21):
                    assert await anext(whole) == (at, log[at - 1])
                waiting = asyncio.ensure_future(anext(whole))
                await asyncio.sleep(0.001)
                await subject.supersede(lsn)
                with pytest.raises(LookupError, match="superseded"):
                    await waiting
                for later in range(20):
                    assert subject.append(b"another") == lsn + later
                found = log[:shown]
                try:
                    while len(found) < lsn + 19:
                        at, record = await anext(follower)
                        assert at == len(found) + 1
                        found.append(record)
                except LookupError:
                    assert found == log[:shown]
                    assert shown >= lsn
                else:
                    assert found == log[: lsn - 1] + [b"another"] * 20
                await follower.aclose()
                await subject.close()

            play(main())

        def test_one_waiter_that_gives_up_takes_no_other_along(self) -> None:
            async def main() -> None:
                subject = await opener()()
                lsn = subject.append(b"wanted by two")
                one, other = subject.wait(lsn), subject.wait(lsn)
                one.cancel()
                await other
                assert subject.durable >= lsn
                await subject.close()

            play(main())

        def test_closing_twice_is_closing_and_nothing_is_appended_later(self) -> None:
            async def main() -> None:
                subject = await opener()()
                last = subject.append(b"still to be written")
                await subject.close()
                await subject.close()
                assert subject.synced == last
                with pytest.raises(Exception, match="closed"):
                    subject.append(b"late")

            play(main())

    return finished(JournalSpec, without, opener=opener)


async def pieces(log: list[bytes]) -> AsyncIterator[bytes]:
    """A state that is the list itself, one chunk for each record."""
    for record in log:
        yield b"+" + record  # a chunk may not be empty, a record may


async def contents(subject: Journal) -> list[bytes]:
    """The list, out of snapshot and log."""
    found: list[bytes] = []
    await subject.replay(
        on_snapshot=lambda chunk: found.append(chunk[1:]),
        on_record=lambda lsn, record: found.append(record),
    )
    return found
