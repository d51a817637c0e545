"""Time-outs are finite numbers in range, wherever they are given; nothing is sent otherwise."""

from __future__ import annotations

import asyncio
import datetime
import math
from decimal import Decimal
from typing import Any

import pytest

from sdkit.errors import DeadlineExceeded, InvalidArgument
from sdkit.rpc import Limits, ServerConfig, connect
from sdkit.sim.loop import run
from sdkit.store import StoreClient
from tests.rpc.services import connected

BAD: list[Any] = ["3", math.nan, math.inf, -math.inf, -5, -0.001, True, 1e7, 10**400, [1]]
BAD += [datetime.timedelta(seconds=1), Decimal(1), b"1", 1j]


@pytest.mark.parametrize("timeout_s", BAD, ids=lambda value: repr(value)[:20])
def test_a_time_out_that_is_none_is_refused_before_anything_is_sent(timeout_s: Any) -> None:
    begun: list[int] = []

    def note(_connection: object, value: int) -> None:
        begun.append(value)

    async def main() -> None:
        async with connected({"note": note}) as (server, connection):
            for ask in (connection.call, connection.start, connection.stream):
                with pytest.raises(InvalidArgument, match=r"^timeout_s is "):
                    outcome = ask("note", 1, timeout_s=timeout_s)
                    if asyncio.iscoroutine(outcome):
                        await outcome
            with pytest.raises(InvalidArgument, match=r"^timeout_s is "):
                await connect(*server.address, timeout_s=timeout_s)
            assert await connection.call("echo", 1) == 1

    run(main())
    assert begun == []


@pytest.mark.parametrize("timeout_s", BAD, ids=lambda value: repr(value)[:20])
def test_so_it_is_in_a_configuration_and_in_a_client_of_a_store(timeout_s: Any) -> None:
    for name in ("handshake_timeout_s", "stall_timeout_s", "keepalive_s", "idle_timeout_s"):
        with pytest.raises(InvalidArgument, match=rf"^{name} is "):
            Limits(**{name: timeout_s})
    with pytest.raises(InvalidArgument, match=r"^grace_s is "):
        ServerConfig(grace_s=timeout_s)
    with pytest.raises(InvalidArgument, match=r"^timeout_s is "):
        StoreClient("127.0.0.1", 1, timeout_s=timeout_s)
    with pytest.raises(InvalidArgument, match=r"^connect_timeout_s is "):
        StoreClient("127.0.0.1", 1, connect_timeout_s=timeout_s)


def test_with_no_time_at_all_nothing_is_sent() -> None:
    begun: list[int] = []

    def note(_connection: object, value: int) -> None:
        begun.append(value)

    async def main() -> None:
        async with connected({"note": note}) as (_, connection):
            for zero in (0, 0.0):
                with pytest.raises(DeadlineExceeded, match="not sent"):
                    await connection.call("note", 1, timeout_s=zero)
            assert await connection.call("echo", 1, timeout_s=1) == 1
            assert await connection.call("echo", 1, timeout_s=1e6) == 1

    run(main())
    assert begun == []
