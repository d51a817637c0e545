"""Two protocols that are not ours get limits, grace time, refusals and TLS without writing them."""

from __future__ import annotations

import asyncio
import gc
import logging
import ssl
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trustme

from sdkit.errors import ConnectionLost, NotConnected
from sdkit.net import (
    ConnectionLimits,
    Conversation,
    Listener,
    ListenerConfig,
    Stalled,
    converse,
    conversing,
)
from sdkit.sim.loop import run
from tests.net.echo import LINE_MAX, echo, refusal
from tests.net.upload import BODY_S, HEAD, HEAD_S, upload, uploading

MIB = 1 << 20
LATER = b"try again later\n"


def now() -> float:
    return asyncio.get_running_loop().time()


@asynccontextmanager
async def serving(
    talk: Callable[[Conversation], Awaitable[None]] = echo, **settings: Any
) -> AsyncIterator[Listener[Conversation]]:
    config = ListenerConfig(**settings)
    listener = Listener[Conversation](config)
    async with listener.serving(conversing(talk, config, refusal=refusal)):
        yield listener


async def said(talk: Conversation) -> bytes:
    """Everything that comes until the other side says no more."""
    heard = b""
    while data := await talk.read():
        heard += data
    return heard


async def nothing(_data: bytes) -> None:
    """Reads at once."""


async def one_second(_data: bytes) -> None:
    await asyncio.sleep(1.0)


def test_lines_come_back_however_they_were_cut() -> None:
    async def main() -> bytes:
        async with serving() as listener, await converse(*listener.address) as talk:
            for piece in (b"one\ntw", b"o\nthr", b"ee\n"):
                await talk.write(piece)
                await asyncio.sleep(1.0)
            talk.end_writing()
            return await said(talk)

    assert run(main()) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("length", [LINE_MAX, LINE_MAX + 1])
def test_a_line_that_is_too_long_is_refused_in_the_words_of_the_protocol(length: int) -> None:
    async def main() -> bytes:
        async with serving() as listener, await converse(*listener.address) as talk:
            await talk.write(b"x" * (length - 1) + b"\n")
            talk.end_writing()
            return await said(talk)

    fits = b"x" * (LINE_MAX - 1) + b"\n"
    assert run(main()) == (fits if length == LINE_MAX else b"sorry: no b'\\n' within 1000 bytes\n")


def test_one_connection_too_many_is_told_so_and_closed() -> None:
    async def main() -> None:
        async with serving(connections_max=2) as listener:
            first, second = [await converse(*listener.address) for _ in range(2)]
            async with await converse(*listener.address) as third:
                assert (
                    await said(third)
                    == b"sorry: local has 2 connections already; try again later\n"
                )
            await first.close()
            await asyncio.sleep(1.0)
            async with await converse(*listener.address) as fourth:
                await fourth.write(b"hello\n")
                assert await fourth.read() == b"hello\n"
                assert (listener.accepted, listener.refused) == (3, 1)
                assert len(listener.connections) == 2
            await second.close()

    run(main())


def test_the_grace_time_is_for_what_was_begun_and_not_for_who_is_at_rest() -> None:
    async def main() -> tuple[int, float, bytes]:
        async with serving(uploading(one_second), grace_s=10.0) as listener:
            resting, busy = [await converse(*listener.address) for _ in range(2)]
            sending = asyncio.ensure_future(upload(busy, b"x" * 20_000))
            await asyncio.sleep(0.5)
            assert listener.calls_in == 1
            began = now()
        took = now() - began
        heard = await said(resting), await sending
        await resting.close()
        await busy.close()
        return heard[1], took, heard[0]

    sent, took, last_words = run(main())
    assert sent == 20_000
    assert 0.5 < took < 9.0
    assert last_words == b"bye\n"


def test_after_the_grace_time_it_is_cut_and_nothing_remains() -> None:
    async def main() -> float:
        before = asyncio.all_tasks()
        async with serving(uploading(one_second), grace_s=2.0) as listener:
            talk = await converse(*listener.address)
            sending = asyncio.ensure_future(upload(talk, b"x" * 20 * MIB))
            await asyncio.sleep(5.0)
            began = now()
        took = now() - began
        with pytest.raises(ConnectionLost):
            await sending
        await talk.close()
        assert asyncio.all_tasks() == before
        assert not listener.connections
        return took

    assert 2.0 <= run(main()) < 3.5


def test_a_stranger_who_says_nothing_and_a_friend_who_falls_silent_are_closed() -> None:
    async def main() -> tuple[float, float]:
        async with serving(handshake_timeout_s=3.0, idle_timeout_s=50.0) as listener:
            async with await converse(*listener.address) as stranger:
                began = now()
                assert await said(stranger) == b""
                strange = now() - began
            async with await converse(*listener.address) as friend:
                await friend.write(b"hello\n")
                began = now()
                assert await said(friend) == b"hello\n"
                return strange, now() - began

    strange, friendly = run(main())
    assert 3.0 <= strange < 3.1
    assert 50.0 <= friendly < 50.1


def test_who_reads_nothing_is_cut_after_the_stall_time_out() -> None:
    async def main() -> float:
        async def endless(talk: Conversation) -> None:
            try:
                while True:
                    await talk.write(b"x" * 1000)
            except Stalled:
                ended.set_result(now())
                raise

        ended = asyncio.get_running_loop().create_future()
        async with (
            serving(endless, stall_timeout_s=7.0) as listener,
            await converse(*listener.address),
        ):
            at_s: float = await ended
            return at_s

    assert 7.0 <= run(main()) < 8.0


def test_a_slow_reader_holds_the_sender_back() -> None:
    read = 0

    async def slow(data: bytes) -> None:
        nonlocal read
        read += len(data)
        await asyncio.sleep(0.01)

    async def main() -> int:
        limits = ConnectionLimits(write_buffer_bytes=64 * 1024)
        ahead, sent = 0, 0
        async with (
            serving(uploading(slow)) as listener,
            await converse(*listener.address, limits=limits) as talk,
        ):
            await talk.write(HEAD.pack(10 * MIB))
            while sent < 10 * MIB:
                await talk.write(b"x" * 8192)
                sent += 8192
                ahead = max(ahead, sent - read)
            assert await talk.read_until(b"\n", bytes_max=30) == b"%d\n" % sent
        return ahead

    assert 64 * 1024 < run(main(), buffer_bytes=64 * 1024) < 600 * 1024
    assert read == 10 * MIB


def test_a_slow_reader_of_the_answers_holds_the_server_back() -> None:
    echoed = 0

    async def counting(talk: Conversation) -> None:
        nonlocal echoed
        while await talk.more():
            await talk.write(line := await talk.read_until(b"\n", bytes_max=LINE_MAX))
            echoed += len(line)

    async def main() -> int:
        async with (
            serving(counting, write_buffer_bytes=64 * 1024) as listener,
            await converse(*listener.address) as talk,
        ):
            line = b"x" * 999 + b"\n"

            async def say() -> None:
                for _ in range(5000):
                    await talk.write(line)

            saying = asyncio.ensure_future(say())
            await asyncio.sleep(10.0)
            unread = echoed
            heard = 0
            while heard < 5000 * len(line):
                heard += len(await talk.read())
            await saying
            return unread

    assert run(main(), buffer_bytes=64 * 1024) < 400 * 1024
    assert echoed == 5_000_000


def test_another_protocol_goes_on_with_the_bytes_that_were_read_already() -> None:
    async def main() -> bytes:
        async with (
            serving(uploading(nothing)) as listener,
            await converse(*listener.address) as talk,
        ):
            await talk.write(HEAD.pack(3) + b"abc" + HEAD.pack(0) + b"one\ntw")
            await talk.write(b"o\n")
            talk.end_writing()
            return await said(talk)

    assert run(main()) == b"3\none\ntwo\n"


def test_each_side_may_say_no_more_and_still_listen() -> None:
    async def main() -> bytes:
        async with (
            serving(uploading(one_second)) as listener,
            await converse(*listener.address) as talk,
        ):
            await talk.write(HEAD.pack(3) + b"abc")
            talk.end_writing()
            heard = await said(talk)
            with pytest.raises(ConnectionLost):
                await talk.read_exactly(1)
            return heard

    assert run(main()) == b"3\nbye\n"


@pytest.mark.parametrize(
    ("words", "after_s"), [(b"\0\0\0", HEAD_S), (HEAD.pack(9) + b"abc", BODY_S)]
)
def test_each_phase_has_its_deadline(words: bytes, after_s: float) -> None:
    async def main() -> float:
        async with (
            serving(uploading(nothing)) as listener,
            await converse(*listener.address) as talk,
        ):
            began = now()
            await talk.write(words)
            assert await said(talk) == b""
            return now() - began

    assert after_s <= run(main()) < after_s + 0.1


def test_an_upload_that_ends_early_and_a_function_that_fails_harm_nobody_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def main() -> int:
        async def fails(_data: bytes) -> None:
            raise ZeroDivisionError

        async with serving(uploading(fails)) as listener:
            async with await converse(*listener.address) as early:
                await early.write(HEAD.pack(9))
            async with await converse(*listener.address) as unlucky:
                await unlucky.write(HEAD.pack(1) + b"x")
                assert await said(unlucky) == b""
            async with await converse(*listener.address) as other:
                await other.write(HEAD.pack(0) + b"hello\n")
                assert await other.read() == b"hello\n"
            await asyncio.sleep(1.0)
            return len(listener.connections)

    with caplog.at_level(logging.ERROR, "sdkit.net"):
        assert run(main()) == 0
    assert [each.exc_info[0] for each in caplog.records if each.exc_info] == [ZeroDivisionError]


def test_nobody_there_is_an_error_that_says_so() -> None:
    async def main() -> None:
        async with serving() as listener:
            address = listener.address
        with pytest.raises(NotConnected, match="no program listens there"):
            await converse(*address)

    run(main())


def test_both_speak_tls_without_a_word_of_theirs() -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        async with serving(uploading(nothing), ssl=context, connections_max=1) as listener:
            secure: dict[str, Any] = {"ssl": trusting, "server_hostname": "localhost"}
            async with await converse(*listener.address, **secure) as talk:
                assert await upload(talk, b"x" * MIB) == MIB
                async with await converse(*listener.address, **secure) as second:
                    assert b"connections already" in await said(second)
                await talk.write(HEAD.pack(0) + b"hello\n")
                assert await talk.read() == b"hello\n"

    asyncio.run(main())


def test_a_conversation_that_has_ended_is_freed_at_once() -> None:
    async def main() -> None:
        gone = []
        async with serving() as listener:
            async with await converse(*listener.address) as talk:
                await talk.write(b"hello\n")
                assert await talk.read() == b"hello\n"
                gone += [weakref.ref(each) for each in listener.connections.values()]
                gone.append(weakref.ref(talk))
            await asyncio.sleep(0.1)
            del talk
            assert [each() for each in gone] == [None, None]

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()
