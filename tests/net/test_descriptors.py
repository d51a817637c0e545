"""Descriptors: a server takes no more connections than leave some for the disk."""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
from typing import Any

import pytest

from sdkit.errors import Overloaded
from sdkit.host import Host, running_on
from sdkit.net import FewDescriptors
from sdkit.net.descriptors import RESERVE, connections_possible
from sdkit.rpc import Server, connect
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.sim.sockets import SimulatedSocket
from sdkit.trace.record import Record, listening
from tests.rpc.services import serving

INFINITY = resource.RLIM_INFINITY


class Limit:
    """The process's limit on open files."""

    def __init__(self, soft: int, hard: int, *, fixed: bool = False) -> None:
        self.soft, self.hard, self.fixed = soft, hard, fixed

    def get(self, _which: int) -> tuple[int, int]:
        return self.soft, self.hard

    def set(self, _which: int, limits: tuple[int, int]) -> None:
        if self.fixed:
            raise PermissionError("not here")
        self.soft, self.hard = limits


def limited(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, *, fixed: bool = False) -> Limit:
    limit = Limit(soft, hard, fixed=fixed)
    monkeypatch.setattr(resource, "getrlimit", limit.get)
    monkeypatch.setattr(resource, "setrlimit", limit.set)
    return limit


@pytest.mark.parametrize(
    ("soft", "hard", "fixed", "possible", "soft_then"),
    [
        (4096, 4096, False, 1000, 4096),  # enough
        (INFINITY, INFINITY, False, 1000, INFINITY),
        (1024, 4096, False, 1000, 1000 + RESERVE),  # no more than is needed
        (1024, INFINITY, False, 1000, 1000 + RESERVE),
        (1024, 1024, False, 1024 - RESERVE, 1024),
        (1024, 1200, False, 1200 - RESERVE, 1200),
        (1024, 4096, True, 1024 - RESERVE, 1024),  # it may not be raised
        (64, 64, False, 32, 64),
        (1, 1, False, 1, 1),
    ],
)
def test_so_many_of_a_thousand_connections_are_possible(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    fixed: bool,
    possible: int,
    soft_then: int,
) -> None:
    limit = limited(monkeypatch, soft, hard, fixed=fixed)
    assert connections_possible(1000, Host("real")) == possible
    assert (limit.soft, limit.hard) == (soft_then, hard)


def test_a_server_that_may_not_open_enough_files_says_so_and_takes_fewer_connections() -> None:
    async def main() -> None:
        with (  # noqa: PT031
            running_on(SimulatedHost("small", descriptors_max=4)),
            pytest.warns(FewDescriptors, match="2 connections at most instead of 10"),
        ):
            async with (
                serving(connections_max=10) as server,
                await connect(*server.address),
                await connect(*server.address),
            ):
                with pytest.raises(Overloaded, match="2 connections already"):
                    await connect(*server.address)

    run(main())


def test_a_simulated_server_neither_reads_nor_raises_the_limit_of_the_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit = limited(monkeypatch, 4, 4096)

    async def main() -> None:
        async with serving(connections_max=10):
            pass

    run(main())
    assert limit.soft == 4


def exhausted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let the simulated system have no descriptor for another connection until this is empty."""
    asked = [0]
    accept = SimulatedSocket.accept

    def refuse(listening: SimulatedSocket) -> tuple[SimulatedSocket, tuple[Any, ...]]:
        if not asked:
            return accept(listening)
        asked[0] += 1
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(SimulatedSocket, "accept", refuse)
    return asked


def test_without_a_descriptor_it_looks_away_for_a_second_and_then_takes_who_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = exhausted(monkeypatch)
    said: list[Record] = []

    async def main() -> None:
        with listening(said.append, "server.exhausted"):
            async with serving() as server:
                waiting = asyncio.ensure_future(connect(*server.address))
                await asyncio.sleep(2.5)
                assert not waiting.done()
                assert asked == [3], "it asks at once, and then once a second"
                asked.clear()
                async with await waiting as connection:
                    assert await connection.call("echo", 1) == 1

    run(main())
    assert len(said) == 3
    assert said[0].fields == {"reason": "Too many open files", "pause_s": 1.0}


def test_a_server_that_is_left_while_it_looks_away_leaves_no_timer_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = exhausted(monkeypatch)
    trouble: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, told: trouble.append(told))
        async with serving() as server:
            waiting = asyncio.ensure_future(connect(*server.address))
            await asyncio.sleep(0.5)
            assert asked == [1]
        await asyncio.sleep(5)  # a timer that was left would have gone off
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    run(main())
    assert trouble == []
    assert asked == [1]


def test_small_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm is off at both ends: it made contended transfers ten times slower."""

    async def main() -> None:
        async with Server({}) as server, await connect(*server.address) as client:
            (served,) = server.connections.values()
            for end in (client, served):
                transport = end._flow.transport
                assert transport is not None
                sock = transport.get_extra_info("socket")
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    asyncio.run(main())
