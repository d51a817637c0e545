"""Specification: the promises of an event loop in virtual time.

    TestMine = loop(run)

``run(main)`` runs the coroutine ``main`` to its end on a new loop, as ``asyncio.run``
does in real time. The oracle is arithmetic: an instant is the sum of the delays before
it, and of two timers the earlier comes first.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
import unittest
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.spec.running import finished

Run = Callable[[Coroutine[Any, Any, None]], None]

YEAR_S: Final = 365 * 86_400.0
SPINS: Final = 300_000  # turns of a loop while time stands still: more than any program needs

delays = st.lists(st.sampled_from([0.0, 0.001, 0.1, 1.0, 3_600.0, YEAR_S]), max_size=12)


def loop(run: Run, *, without: Collection[str] = ()) -> type[unittest.TestCase]:
    """Build the test case for one loop.

    Args:
        without: names of promises that it does not make.
    """

    class LoopSpec(unittest.TestCase):
        @given(delays)
        def test_a_sleep_takes_exactly_its_time(self, delays: list[float]) -> None:
            async def main() -> None:
                now = asyncio.get_running_loop().time
                for delay_s in delays:
                    before = now()
                    await asyncio.sleep(delay_s)
                    assert now() - before == pytest.approx(delay_s, abs=1e-5)

            run(main())

        @given(delays)
        def test_timers_come_in_the_order_of_their_instants(self, delays: list[float]) -> None:
            async def main() -> None:
                here, came = asyncio.get_running_loop(), list[float]()
                for delay_s in delays:
                    here.call_later(delay_s, came.append, delay_s)
                await asyncio.sleep(max(delays, default=0.0) + 1.0)
                assert came == sorted(delays)

            run(main())

        @given(st.floats(0.1, YEAR_S), st.floats(0.1, YEAR_S))
        def test_a_time_out_ends_what_takes_longer_and_nothing_else(
            self, patience_s: float, takes_s: float
        ) -> None:
            async def main() -> None:
                here = asyncio.get_running_loop()
                began, is_over = here.time(), False
                try:
                    async with asyncio.timeout(patience_s):
                        await asyncio.sleep(takes_s)
                except TimeoutError:
                    is_over = True
                if abs(patience_s - takes_s) > 1e-3:
                    assert is_over == (patience_s < takes_s)
                took_s = here.time() - began
                assert took_s == pytest.approx(min(patience_s, takes_s), abs=1e-3)

            run(main())

        def test_a_program_that_waits_for_nothing_is_an_error(self) -> None:
            async def main() -> None:
                await asyncio.get_running_loop().create_future()

            with pytest.raises(RuntimeError):
                run(main())

        def test_tasks_that_run_on_while_time_stands_still_are_an_error(self) -> None:
            async def main() -> None:
                for _ in range(SPINS):
                    await asyncio.sleep(0)

            with pytest.raises(RuntimeError):
                run(main())

        def test_a_server_and_its_client_talk(self) -> None:
            async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while line := await reader.readline():
                    writer.write(line)
                    await writer.drain()
                writer.close()
                await writer.wait_closed()

            async def main() -> None:
                server = await asyncio.start_server(echo, "127.0.0.1", 0)
                async with server:
                    port = server.sockets[0].getsockname()[1]
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    for line in (b"one\n", b"two\n"):
                        writer.write(line)
                        assert await reader.readline() == line
                    writer.close()
                    await writer.wait_closed()
                    await asyncio.sleep(1.0)

            run(main())

        def test_leaving_the_simulation_is_refused(self) -> None:
            leaving: list[Callable[[], object]] = [
                lambda: time.sleep(0),
                lambda: threading.Thread(target=int).start(),
                lambda: open(__file__, "rb").close(),
            ]

            async def main() -> None:
                for leave in leaving:
                    with pytest.raises(RuntimeError):
                        leave()

            run(main())

        def test_modules_that_read_a_clock_read_the_virtual_one(self) -> None:
            async def main() -> None:
                before = logging.makeLogRecord({}).created
                await asyncio.sleep(YEAR_S)
                after = logging.makeLogRecord({}).created
                assert after - before == pytest.approx(YEAR_S, abs=1.0)

            run(main())

    return finished(LoopSpec, without)
