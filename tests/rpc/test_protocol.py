"""The protocol against peers that break it: an error, a closed connection, others served."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdkit.errors import AuthenticationFailed, ProtocolError, SdkitError, VersionMismatch
from sdkit.rpc import Limits, connect
from sdkit.rpc.hello import Hello, Side, common_version, proof
from sdkit.rpc.messages import (
    CALL,
    CANCEL,
    CREDIT,
    END,
    ERROR,
    GOODBYE,
    HELLO,
    ITEM,
    PING,
    PONG,
    PROOF,
    RESULT,
    STREAM,
)
from sdkit.rpc.session import Session
from sdkit.sim.loop import run
from tests.rpc.services import (
    HELLO_OF_A_STRANGER,
    SECRET,
    STRANGER,
    RawPeer,
    connected,
    frame,
    raw_peer,
    serving,
)
from tests.rpc.test_frames import VALUES


def ends_with(code: str, behave: Callable[[RawPeer], Awaitable[None]], **config: Any) -> None:
    """Behave like that: the connection ends with ``code``, and another one is served on."""

    async def main() -> str:
        async with connected(**config) as (server, good):
            async with raw_peer(server) as bad:
                await behave(bad)
                heard = await bad.hear_the_end()
            assert await good.call("echo", "still here") == "still here"
            return heard

    assert run(main()) == code


@pytest.mark.parametrize(
    "first",
    [
        b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 600,  # a TLS hello
        struct.pack(">I", 5000),  # too long for a stranger
        frame([CALL, 1, "echo", [1], None, None]),  # out of state
        frame([PROOF, b"x"]),
        frame(["sdkit-rpc"]),
        frame([]),
        frame([HELLO]),
        frame([HELLO, "other", 1, 1, b"n" * 32, False, 1 << 20, "raw"]),
        frame([HELLO, "sdkit-rpc", 1, 1, b"short", False, 1 << 20, "raw"]),
        frame([HELLO, "sdkit-rpc", 2, 1, b"n" * 32, False, 1 << 20, "raw"]),
        frame([HELLO, "sdkit-rpc", 1, 1, b"n" * 32, False, 7, "raw"]),
    ],
)
def test_a_stranger_who_does_not_say_hello_is_sent_away(first: bytes) -> None:
    async def behave(peer: RawPeer) -> None:
        peer.writer.write(first)

    ends_with("protocol_error", behave)


@pytest.mark.parametrize(
    "message",
    [
        HELLO_OF_A_STRANGER,
        [PROOF, b"x" * 32],
        [14],
        [-1],
        [None],
        [[]],
        [CALL],
        [CALL, "1", "echo", [1], None, None],
        [CALL, 1, b"echo", [1], None, None],
        [CALL, 1, "echo", 1, None, None],
        [CALL, 1, "echo", [1], -1, None],
        [CALL, 1, "echo", [1], 1.5, None],
        [CALL, 1, "echo", [1], None, "trace"],
        [CALL, 0, "echo", [1], None, None],
        [STREAM, 1, "count", [1], None, None],
        [STREAM, 1, "count", [1], None, None, 0],
        [STREAM, 1, "count", [1], None, None, 1 << 40],
        [CANCEL, 1],
        [CANCEL, "1"],
        [CREDIT, 1, 1],
        [RESULT, 1, None],
        [RESULT, "1", None],
        [ERROR, 1, "rejected", "x", "y", {}],
        [ERROR, 1, "rejected", "x", "y"],
        [ITEM, 1, None],
        [END, 1],
        [GOODBYE, 0, "why"],
    ],
    ids=str,
)
def test_a_message_that_is_wrong_or_out_of_place_ends_the_connection(message: object) -> None:
    async def behave(peer: RawPeer) -> None:
        await peer.hello()
        await peer.say(message)

    ends_with("protocol_error", behave)


@pytest.mark.parametrize(
    "messages",
    [
        [[CALL, 2, "echo", [1], None, None], [CALL, 2, "echo", [1], None, None]],
        [[CALL, 2, "echo", [1], None, None], [CALL, 1, "echo", [1], None, None]],
        [[STREAM, 1, "count", [9], None, None, 1 << 31], [CREDIT, 1, 1 << 31]],
        [[CALL, 1, "echo", [1], None, None], [CREDIT, 1, "much"]],
        [[CALL, 1, "echo", [1], None, None], [CANCEL, 2]],
    ],
    ids=str,
)
def test_ids_that_come_again_and_credit_without_end_are_refused(messages: list[object]) -> None:
    async def behave(peer: RawPeer) -> None:
        await peer.hello()
        await peer.say(*messages)

    ends_with("protocol_error", behave)


def test_a_frame_over_the_limit_ends_the_connection() -> None:
    async def behave(peer: RawPeer) -> None:
        await peer.hello()
        peer.writer.write(struct.pack(">I", 1_000_001))

    ends_with("protocol_error", behave, frame_bytes_max=1_000_000)


def test_a_truncated_frame_and_a_closed_connection_harm_nobody() -> None:
    async def main() -> None:
        async with connected() as (server, good):
            async with raw_peer(server) as peer:
                await peer.hello()
                peer.writer.write(frame([CALL, 1, "sleep", [100.0], None, None]))
                peer.writer.write(frame([CALL, 2, "echo", [b"x" * 1000], None, None])[:500])
                await asyncio.sleep(0.1)
                assert len(server.connections) == 2
            await asyncio.sleep(0.1)
            assert len(server.connections) == 1
            assert await good.call("echo", 1) == 1

    run(main())


def test_elements_that_a_later_version_adds_are_ignored() -> None:
    async def main() -> None:
        async with serving() as server, raw_peer(server) as peer:
            await peer.say([*HELLO_OF_A_STRANGER, "new"])
            assert (await peer.hear())[0] == HELLO
            await peer.say([CALL, 1, "echo", [5], None, None, "new", {"newer": 1}])
            assert await peer.hear() == [RESULT, 1, 5]
            await peer.say([PING, "new"])
            assert await peer.hear() == [PONG]

    run(main())


def test_a_late_answer_to_a_call_that_was_given_up_is_ignored() -> None:
    async def main() -> None:
        async with connected() as (server, connection):
            (theirs,) = server.connections.values()
            call = connection.start("echo", 1)
            await asyncio.sleep(0)  # it is sent in the next turn
            await asyncio.sleep(0)
            call.cancel()  # crosses the answer
            await asyncio.sleep(1)
            assert theirs.is_open
            assert await connection.call("echo", 2) == 2

    run(main())


def test_a_server_that_answers_as_it_likes_breaks_only_its_own_connection() -> None:
    async def main(answer: object) -> None:
        async def odd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.hear()
            await peer.say(HELLO_OF_A_STRANGER)
            await peer.hear()
            await peer.say(answer)
            await peer.hear_the_end()
            writer.close()

        server = await asyncio.start_server(odd, "127.0.0.1", 0)
        connection = await connect(*server.sockets[0].getsockname()[:2])
        with pytest.raises(SdkitError) as caught:
            await connection.call("echo", 1)
        assert caught.value.kind == "indeterminate"
        await connection.close()
        server.close()
        await asyncio.sleep(0.1)

    for answer in ([ITEM, 1, 0], [END, 1], [RESULT, 2, 0], [HELLO], [ERROR, 1, 1, 1, 1, 1], 7):
        run(main(answer))


def test_an_item_without_credit_is_refused() -> None:
    async def main() -> None:
        async def greedy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = RawPeer(reader, writer)
            await peer.hear()
            await peer.say(HELLO_OF_A_STRANGER)
            await peer.hear()
            await peer.say(*([ITEM, 1, b"x" * 600] for _ in range(4)))
            assert await peer.hear_the_end() == "protocol_error"
            writer.close()

        server = await asyncio.start_server(greedy, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()[:2]
        connection = await connect(*address, limits=Limits(stream_window_bytes=1024))
        stream = connection.stream("rows")
        await connection.wait_closed()
        assert isinstance(connection._session.ended, ProtocolError)
        await stream.aclose()
        server.close()
        await asyncio.sleep(0.1)

    run(main())


# ---------------------------------------------------------------- secrets and versions


def test_the_same_secret_lets_in_and_another_or_none_does_not() -> None:
    async def main() -> None:
        async with serving(secret=SECRET) as server:
            async with await connect(*server.address, secret=SECRET) as connection:
                assert await connection.call("echo", 1) == 1
            async with await connect(*server.address, secret=SECRET.encode()) as connection:
                assert await connection.call("echo", 1) == 1
            with pytest.raises(AuthenticationFailed, match="does not know the shared secret"):
                await connect(*server.address, secret="another one")
            with pytest.raises(AuthenticationFailed, match="the client has none"):
                await connect(*server.address)
        async with serving() as server:
            with pytest.raises(AuthenticationFailed, match="the server has none"):
                await connect(*server.address, secret=SECRET)

    run(main())


def test_without_the_proof_nothing_but_the_proof_is_listened_to() -> None:
    async def behave(peer: RawPeer) -> None:
        await peer.hello(proves=True)
        await peer.say([CALL, 1, "echo", [1], None, None])

    async def main() -> str:
        async with serving(secret=SECRET) as server, raw_peer(server) as peer:
            await behave(peer)
            return await peer.hear_the_end()

    assert run(main()) == "protocol_error"


def test_a_recorded_proof_is_worth_nothing_in_another_connection() -> None:
    async def main() -> str:
        async with serving(secret=SECRET) as server:
            proofs = []
            for _ in range(2):
                async with raw_peer(server) as peer:
                    hello = await peer.hello(proves=True)
                    theirs = Hello.from_message(hello)
                    ours = Hello(STRANGER.nonce, True, STRANGER.frame_bytes_max, "raw")
                    proofs.append(proof(SECRET.encode(), Side.CLIENT, ours, theirs))
                    await peer.say([PROOF, proofs[0]])  # right the first time only
                    if len(proofs) == 1:
                        assert (await peer.hear())[0] == PROOF
                    else:
                        return await peer.hear_the_end()
        return ""

    assert run(main()) == "authentication_failed"


def test_a_peer_that_sends_our_own_words_back_is_refused() -> None:
    async def main() -> None:
        async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(1000):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(mirror, "127.0.0.1", 0)
        with pytest.raises(AuthenticationFailed, match="echoes"):
            await connect(*server.sockets[0].getsockname()[:2], secret=SECRET)
        server.close()
        await asyncio.sleep(0.1)

    run(main())


def test_the_secret_never_travels() -> None:
    async def main() -> bytes:
        said = b""

        async def listen_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal said
            there, back = await asyncio.open_connection(*server.address)

            async def pass_on(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
                nonlocal said
                while data := await source.read(1000):
                    said += data
                    to.write(data)
                to.close()

            await asyncio.gather(pass_on(reader, back), pass_on(there, writer))

        async with serving(secret=SECRET) as server:
            middle = await asyncio.start_server(listen_in, "127.0.0.1", 0)
            address = middle.sockets[0].getsockname()[:2]
            async with await connect(*address, secret=SECRET) as connection:
                await connection.call("echo", 1)
            middle.close()
            await asyncio.sleep(0.1)
        return said

    said = run(main())
    assert b"echo" in said
    assert SECRET.encode() not in said


def test_no_common_version_is_said_to_both() -> None:
    async def behave(peer: RawPeer) -> None:
        await peer.hello(version_min=7, version_max=9)

    ends_with("", behave)  # the goodbye was the answer to the hello

    async def main() -> list[object]:
        async with serving() as server, raw_peer(server) as peer:
            return await peer.hello(version_min=7, version_max=9)

    kind, _, error = run(main())
    assert kind == GOODBYE
    assert isinstance(error, list)
    assert error[1] == "version_mismatch"
    assert "versions 1 to 1" in error[2]
    assert "7 to 9" in error[2]


@given(*[st.integers(1, 9)] * 4)
def test_both_sides_choose_the_same_version_and_the_highest(a: int, b: int, c: int, d: int) -> None:
    ours = Hello(b"", False, 0, "a", min(a, b), max(a, b))
    theirs = Hello(b"", False, 0, "b", min(c, d), max(c, d))
    common = set(range(min(a, b), max(a, b) + 1)) & set(range(min(c, d), max(c, d) + 1))
    if common:
        assert common_version(ours, theirs) == common_version(theirs, ours) == max(common)
    else:
        with pytest.raises(VersionMismatch):
            common_version(ours, theirs)


# ---------------------------------------------------------------- fuzzing


def open_server_session() -> Session[object]:
    session = Session[object](
        Side.SERVER, limits=Limits(), name="s", nonce=b"s" * 32, secret=None, now_ns=0
    )
    give(session, frame(HELLO_OF_A_STRANGER))
    assert session.is_open
    return session


def give(session: Session[object], data: bytes) -> None:
    while data:
        space = session.space()
        part, data = data[: len(space)], data[len(space) :]
        space[: len(part)] = part
        session.receive(len(part), 0)


MESSAGES = st.lists(
    st.tuples(st.integers(-1, 15), st.integers(0, 4) | VALUES, VALUES | st.just("echo")).flatmap(
        lambda head: st.lists(VALUES | st.just([]), max_size=5).map(lambda rest: [*head, *rest])
    ),
    max_size=5,
)


@settings(max_examples=150)
@given(st.binary(max_size=200))
def test_no_bytes_at_all_make_a_session_do_anything_but_end(garbage: bytes) -> None:
    fresh = Session[object](
        Side.SERVER, limits=Limits(), name="s", nonce=b"s" * 32, secret=b"secret", now_ns=0
    )
    for session in (fresh, open_server_session()):
        give(session, garbage)
        assert session.ended is None or isinstance(session.ended, SdkitError)


@settings(max_examples=200)
@given(MESSAGES)
def test_no_messages_make_a_session_do_anything_but_serve_or_end(messages: list[object]) -> None:
    session = open_server_session()
    for message in messages:
        give(session, frame(message))
    session.expire(10**12)
    session.lost("the test is over")
    assert not session.is_open


@settings(max_examples=25)
@given(st.lists(st.binary(min_size=1, max_size=60), max_size=4), MESSAGES)
def test_whatever_one_peer_sends_the_server_serves_the_others(
    garbage: list[bytes], messages: list[object]
) -> None:
    async def main() -> None:
        async with connected() as (server, good):
            async with raw_peer(server) as bad:
                await bad.hello()
                await bad.say(*messages)
                for piece in garbage:
                    bad.writer.write(piece)
                await asyncio.sleep(0.1)
                assert await good.call("echo", "still here") == "still here"
            await asyncio.sleep(0.1)
            assert len(server.connections) == 1

    run(main())
