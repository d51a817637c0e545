"""Clocks of machines: offset, drift and jumps, and the timers that follow them."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from sdkit import host as hosts
from sdkit.sim.clocks import EPOCH_NS, Clock
from sdkit.sim.world import World, simulate

SECOND = 10**9


class Time:
    """The true time, set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def read(self) -> float:
        return self.now


def started(clock: Clock) -> tuple[Time, Clock]:
    time = Time()
    clock.start(time.read, lambda _before: None)
    return time, clock


def test_a_right_clock_shows_the_true_time() -> None:
    clock = Clock()
    assert clock.monotonic(12.5) == clock.true_time(12.5) == 12.5
    assert clock.wall_ns(12.5) == EPOCH_NS + 12_500_000_000


def test_an_offset_is_of_the_wall_clock_alone() -> None:
    clock = Clock(offset_s=-3.0)
    assert clock.monotonic(10.0) == 10.0
    assert clock.wall_ns(10.0) == EPOCH_NS + 7 * SECOND


def test_a_jump_is_of_the_wall_clock_alone() -> None:
    clock = Clock()
    clock.jump(3600.0)
    clock.jump(-0.5)
    assert clock.monotonic(10.0) == 10.0
    assert clock.wall_ns(10.0) == EPOCH_NS + 3_609_500_000_000


def test_drift_is_of_both() -> None:
    clock = Clock(drift=0.01)
    assert clock.monotonic(100.0) == pytest.approx(101.0)
    assert clock.wall_ns(100.0) == EPOCH_NS + 101 * SECOND
    assert clock.true_time(101.0) == pytest.approx(100.0)


def test_a_change_of_drift_changes_nothing_about_the_past() -> None:
    time, clock = started(Clock())
    time.now = 100.0
    clock.drift = -0.5
    assert clock.monotonic(100.0) == 100.0
    assert clock.monotonic(110.0) == 105.0
    time.now = 110.0
    clock.drift = 0.0
    assert clock.monotonic(120.0) == 115.0


def test_the_instant_of_a_reading_is_never_a_rounding_error_too_early() -> None:
    random = Random(0)
    time, clock = started(Clock())
    for _ in range(300):
        time.now += random.uniform(0.0, 1e5)
        clock.drift = random.uniform(-0.9, 3.0)
        reading = clock.monotonic(time.now) + random.uniform(0.0, 1e3)
        instant = clock.true_time(reading)
        assert clock.monotonic(instant) >= reading
        assert clock.monotonic(instant) == pytest.approx(reading, abs=1e-6)


@pytest.mark.parametrize("drift", [-1.0, -2.0, float("nan")])
def test_a_clock_cannot_stand_still_or_go_back(drift: float) -> None:
    with pytest.raises(ValueError, match="above -1"):
        Clock(drift=drift)
    with pytest.raises(ValueError, match="above -1"):
        Clock().drift = drift


# ── in a world ───────────────────────────────────────────────────────────────


def test_sleeps_are_fast_where_the_clock_is_fast() -> None:
    async def main() -> tuple[float, int, int]:
        host = hosts.current()
        wall_ns, began_ns = host.now_ns(), host.monotonic_ns()
        loop_began = asyncio.get_running_loop().time()
        await asyncio.sleep(101.0)
        slept = asyncio.get_running_loop().time() - loop_began
        return slept, host.now_ns() - wall_ns, host.monotonic_ns() - began_ns

    async def play(world: World) -> float:
        machine = world.machine("fast", clock=Clock(drift=0.01))
        machine.boot(main)
        slept, wall_ns, monotonic_ns = await machine.ended
        assert slept == pytest.approx(101.0, abs=1e-4)
        assert wall_ns == pytest.approx(101 * SECOND, abs=SECOND / 1e4)
        assert monotonic_ns == wall_ns
        return world.time()

    assert simulate(play).value == pytest.approx(100.0, abs=1e-4)


@pytest.mark.parametrize("paused", [False, True])
def test_a_timer_follows_a_drift_that_begins_after_it_was_set(paused: bool) -> None:
    async def main() -> None:
        async with asyncio.timeout(50):
            await asyncio.sleep(20)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(20):
                await asyncio.sleep(1000)

    async def play(world: World) -> float:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(10)
        if paused:
            machine.pause()
        machine.clock.drift = 1.0
        if paused:
            machine.resume()
        await machine.ended
        return world.time()

    assert simulate(play).value == pytest.approx(25.0, abs=1e-3)


def test_time_outs_do_not_notice_a_jump() -> None:
    async def main() -> tuple[float, int]:
        host = hosts.current()
        began_ns = host.now_ns()
        await asyncio.sleep(10)
        return asyncio.get_running_loop().time(), host.now_ns() - began_ns

    async def play(world: World) -> tuple[float, int]:
        machine = world.machine("db")
        machine.boot(main)
        await asyncio.sleep(5)
        machine.clock.jump(-3600.0)
        slept: tuple[float, int] = await machine.ended
        return slept

    slept_s, wall_ns = simulate(play).value
    assert slept_s == pytest.approx(10.0, abs=1e-4)
    assert wall_ns == pytest.approx(-3590 * SECOND, abs=SECOND / 1e3)


def test_a_clock_outlives_the_process_that_reads_it() -> None:
    async def main() -> float:
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    async def play(world: World) -> list[float]:
        machine = world.machine("db", clock=Clock(drift=0.5))
        readings = []
        for _ in range(2):
            machine.boot(main)
            readings.append(await machine.ended)
        return readings

    assert simulate(play).value == pytest.approx([1.0, 2.0], abs=1e-4)
