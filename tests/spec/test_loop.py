"""The simulator's loop meets the specification of loops, and the specification bites."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any

import pytest

from sdkit.sim import loop as simulated
from sdkit.sim import smallest
from sdkit.spec.loop import Run, loop
from tests.spec.bite import assert_caught


class CountsWholeSeconds(smallest.JumpingSelector):
    """Moves the clock by whole seconds only."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return super().select(None if timeout is None else float(-(-timeout // 1)))


class LatestTimerFirst(smallest.SmallestLoop):
    """Sets a timer the later, the sooner it should come."""

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        return super().call_later(1 / (delay + 1), callback, *args, context=context)


class ForgetsTimeOuts(smallest.SmallestLoop):
    """Sets every timer but those of time-outs."""

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Any = None
    ) -> Any:
        if "Timeout" in getattr(callback, "__qualname__", ""):
            when = self.time() + 1e12
        return super().call_at(when, callback, *args, context=context)


def on(
    loop_type: type[smallest.SmallestLoop] = smallest.SmallestLoop,
    clock_type: type[smallest.JumpingSelector] = smallest.JumpingSelector,
) -> Run:
    def make() -> asyncio.AbstractEventLoop:
        loop = loop_type()
        loop.clock.__class__ = clock_type
        return loop

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=make) as runner:
            runner.run(main)

    return run


TestLoop = loop(simulated.run)


@pytest.mark.parametrize(
    ("mutant", "by"),
    [
        (on(clock_type=CountsWholeSeconds), "test_a_sleep_takes_exactly_its_time"),
        (on(LatestTimerFirst), "test_timers_come_in_the_order_of_their_instants"),
        (on(ForgetsTimeOuts), "test_a_time_out_ends_what_takes_longer_and_nothing_else"),
        (on(), "test_tasks_that_run_on_while_time_stands_still_are_an_error"),
        (on(), "test_a_server_and_its_client_talk"),
        (on(), "test_leaving_the_simulation_is_refused"),
        (on(), "test_modules_that_read_a_clock_read_the_virtual_one"),
    ],
)
def test_the_specification_catches(mutant: Run, by: str) -> None:
    assert_caught(loop(mutant), by, examples=100)


def test_the_specification_catches_a_loop_that_ends_what_waits_for_nothing() -> None:
    def quietly(main: Coroutine[Any, Any, None]) -> None:
        with contextlib.suppress(smallest.Deadlock):
            smallest.run(main)

    assert_caught(loop(quietly), "test_a_program_that_waits_for_nothing_is_an_error")
