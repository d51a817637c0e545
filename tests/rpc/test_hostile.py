"""What broke a server once: each of these was found by attacking it, and stays tried."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from sdkit.rpc import Connection, Server
from sdkit.rpc.calling import Waiter
from sdkit.rpc.hello import Side
from sdkit.rpc.limits import Limits
from sdkit.rpc.messages import CALL, CANCEL, CREDIT, RESULT, STREAM, Broken, Event
from sdkit.rpc.session import Session
from sdkit.sim.loop import run
from tests.rpc.services import (
    HELLO_OF_A_STRANGER,
    frame,
    raw_peer,
    serving,
)


def opened(side: Side = Side.SERVER) -> Session[Any]:
    """A session whose peer has said hello."""
    session: Session[Any] = Session(
        side, limits=Limits(), name="s", nonce=b"s" * 32, secret=None, now_ns=0
    )
    say(session, HELLO_OF_A_STRANGER)
    assert session.version
    session.take_output()
    return session


def say(session: Session[Any], *messages: object) -> list[Event[Any]]:
    """Let the session receive these messages, in one read."""
    data = b"".join(map(frame, messages))
    session.space()[: len(data)] = data
    return session.receive(len(data), 0)


# ------------------------------------------------------------- streams and the clock


def test_a_stream_cancelled_in_the_packet_that_asks_for_it_leaves_no_clock_running() -> None:
    async def main() -> list[float]:
        async with (
            serving(stall_timeout_s=1.0, idle_timeout_s=10.0) as server,
            raw_peer(server) as peer,
        ):
            await peer.hello()
            await peer.say([STREAM, 1, "count", [10], None, None, 1000], [CANCEL, 1])
            await asyncio.sleep(3)  # the stall time-out, had it been waiting for credit
            began = asyncio.get_running_loop().time()
            await peer.say([CALL, 2, "sleep", [100.0], 1_000_000_000, None])
            assert (await peer.hear())[3] == "deadline_exceeded"
            over = asyncio.get_running_loop().time()
            assert await peer.hear_the_end() == "closed"  # for idleness
            return [over - began, asyncio.get_running_loop().time() - over]

    deadline_s, idle_s = run(main())
    assert 1.0 <= deadline_s <= 1.1
    assert 10.0 <= idle_s <= 21.0  # counted from the first look after the last call


def test_a_withdrawn_stream_does_not_wait_for_credit() -> None:
    session = opened()
    say(session, [STREAM, 1, "count", [10], None, None, 1000], [CANCEL, 1])
    session.serving.starved(1, 0)  # the first step of its producer, before the cancellation
    assert not session.serving.stalls
    session.serving.drop(1)
    assert session.expire(1 << 62) == []


def test_a_stream_that_starved_leaves_nothing_behind_when_it_ends() -> None:
    session = opened()
    say(session, [STREAM, 1, "count", [10], None, None, 1])
    session.serving.item(1, b"x" * 10)
    session.serving.starved(1, 0)
    say(session, [CANCEL, 1])
    assert not session.serving.stalls


def test_a_connection_whose_clock_fails_ends_instead_of_going_on_without_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Failing(Connection):
        class session_type(Session[Waiter]):  # noqa: N801
            def expire(self, now_ns: int) -> list[Event[Waiter]]:
                raise KeyError(7)

    class FailingServer(Server):
        connection_type = Failing

    async def main() -> str:
        async with FailingServer() as server, raw_peer(server) as peer:
            await peer.hello()
            heard = await peer.hear_the_end()  # the first look at the clock is for the handshake
            await asyncio.sleep(5)
            assert not server.connections
            return heard

    with caplog.at_level(logging.ERROR, "sdkit.rpc"):
        assert run(main()) == "internal_error"
    assert "the clock of the connection with raw failed" in caplog.text


# ------------------------------------------------------------- what stands where a number belongs

DEEP: object = None
for _ in range(1000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ([CANCEL, DEEP], "request of type list"),
        ([CREDIT, DEEP, 1], "request of type list"),
        ([RESULT, DEEP, None], "RESULT for call of type list"),
        ([STREAM, 1, "count", [1], None, None, DEEP], "credit is of type list"),
        ([STREAM, 1, "count", [1], None, None, 0], "credit is 0"),
        ([CANCEL, 12], "request 12"),
    ],
)
def test_a_number_that_is_something_else_is_told_by_its_type(message: object, said: str) -> None:
    (*_, broken) = say(opened(), message)
    assert isinstance(broken, Broken)
    assert broken.error.code == "protocol_error"
    assert said in broken.error.message
