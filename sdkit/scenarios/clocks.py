"""Clocks: time-outs and idle limits on machines whose clocks drift, and are set while they wait.

A server and its clients each believe their own clock. Everything here that
waits, waits for a duration: a deadline, an idle limit, a lock that is not given.
A duration is measured with the monotonic clock, which drifts and never jumps. So
whatever an operator or NTP does to the wall clock, a wait of two seconds takes
two seconds of the machine that waits, give or take its drift:

    wall clock set back by an hour       nobody notices
    clock 5 % fast                       the wait ends 5 % early, by the true time

A store that measured time-outs with the wall clock would end them at once, or
after an hour.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final

from sdkit import host as hosts
from sdkit.errors import Aborted, DeadlineExceeded, SdkitError
from sdkit.rpc import Connection, Server, ServerConfig, connect
from sdkit.sim.clocks import Clock
from sdkit.sim.faults import Menu
from sdkit.sim.machine import Machine
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.sim.world import World
from sdkit.store import StoreClient, StoreServerConfig
from sdkit.without import SAFEGUARDS, Parts, assemble

PORT: Final = 7000
SECRET: Final = "every second counts"
SECONDS: Final = 12.0
LOCK_WAIT_S: Final = 1.0
IDLE_TRANSACTION_S: Final = 2.0
IDLE_CONNECTION_S: Final = 3.0
CALL_S: Final = 0.7
DRIFT_MAX: Final = 0.05
PATIENCE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.05
SLACK_S: Final = 0.15  # latencies, looks, and deadlines that are looked at every 50 ms
CONFIG: Final = StoreServerConfig(
    host="0.0.0.0",
    port=PORT,
    secret=SECRET,
    lock_wait_timeout_s=LOCK_WAIT_S,
    idle_transaction_timeout_s=IDLE_TRANSACTION_S,
    idle_timeout_s=IDLE_CONNECTION_S,
)


@dataclass
class Waits:
    """How long each kind of wait took, by the true time, and which took too long or too short."""

    world: World
    counts: dict[str, int] = field(default_factory=dict)
    broken: list[Broken] = field(default_factory=list)

    def took(self, what: str, began_s: float, wanted_s: float, *, late_s: float = 0.0) -> None:
        """A wait for ``wanted_s`` has ended; it may be late by ``late_s`` by design."""
        took_s = self.world.time() - began_s
        self.counts[what] = self.counts.get(what, 0) + 1
        shortest = wanted_s / (1 + DRIFT_MAX) - 0.001
        longest = (wanted_s + late_s) / (1 - DRIFT_MAX) + SLACK_S
        if not shortest <= took_s <= longest:
            text = f"took {took_s:.3f} s instead of {wanted_s:g} s"
            self.broken.append(Broken(what, text, self.world.time()))


async def _wait_for_a_lock(waits: Waits, go_on: Callable[[], bool]) -> None:
    """Two clients want one key; the second waits until the store has had enough."""
    async with _client() as first, _client() as second:
        while go_on():
            with suppress(Aborted):  # the holder, if it has had to wait for too long
                async with first.begin() as holder:
                    await holder.put(b"contended", b"1")
                    began = waits.world.time()
                    with suppress(Aborted):
                        async with second.begin() as waiter:
                            await waiter.put(b"contended", b"2")
                    waits.took("lock waits end", began, LOCK_WAIT_S)


async def _be_idle(waits: Waits, go_on: Callable[[], bool]) -> None:
    """Begin a transaction, lock something, and fall asleep; somebody else waits for the lock."""
    key = b"idle"
    async with _client() as sleeper:
        while go_on():
            transaction = sleeper.begin()
            await transaction.put(key, b"1")
            began = waits.world.time()
            await _until_free(key)
            # It ends within a quarter more, as `StoreConfig` says.
            waits.took("idle ends", began, IDLE_TRANSACTION_S, late_s=IDLE_TRANSACTION_S / 4)
            with suppress(SdkitError):
                await transaction.rollback()


async def _until_free(key: bytes) -> None:
    async with _client() as store:
        while True:
            found = await store.transactions()
            if not any(key in info.locks for info in found):
                return
            await asyncio.sleep(LOOK_EVERY_S)


async def _say_nothing(waits: Waits, go_on: Callable[[], bool]) -> None:
    """Connect, and say nothing until the server has had enough."""
    while go_on():
        connection = await connect("db", PORT, secret=SECRET)
        await connection.call("metrics")
        began = waits.world.time()
        await connection.closed
        waits.took("silence ends", began, IDLE_CONNECTION_S, late_s=IDLE_CONNECTION_S)


async def _be_impatient(waits: Waits, go_on: Callable[[], bool]) -> None:
    """Call somebody who never answers, with a deadline."""

    while go_on():
        connection = await connect("sleepy", PORT, secret=SECRET)
        began = waits.world.time()
        with suppress(DeadlineExceeded):
            await connection.call("never", timeout_s=CALL_S)
        waits.took("deadlines hold", began, CALL_S)
        await connection.close()


async def _sleep(_connection: Connection) -> None:
    await asyncio.Event().wait()


async def _serve_nothing(closing: asyncio.Event) -> None:
    config = ServerConfig(host="0.0.0.0", port=PORT, secret=SECRET)
    async with Server({"never": _sleep}, config):
        await closing.wait()


async def _serve(parts: Parts, closing: asyncio.Event) -> None:
    async with parts.store_server(hosts.current(), CONFIG):
        await closing.wait()


def _client() -> StoreClient:
    return StoreClient("db", PORT, secret=SECRET)


async def play(stage: Stage) -> Findings:
    """Two servers, and four machines that wait for what does not come."""
    parts, world = assemble(stage.without), stage.world
    waits, closing = Waits(world), asyncio.Event()

    def go_on() -> bool:
        return world.time() < stage.seconds

    def machine(name: str) -> Machine:
        draw = Random(f"{world.seed} clock {name}")
        drift = draw.uniform(-DRIFT_MAX, DRIFT_MAX)
        return world.machine(name, clock=Clock(offset_s=draw.uniform(-60, 60), drift=drift))

    database, sleepy = machine("db"), machine("sleepy")
    database.boot(partial(_serve, parts, closing))
    sleepy.boot(partial(_serve_nothing, closing))
    waiting = []
    for name, wait in WAITING.items():
        waiting.append(machine(name))
        waiting[-1].boot(partial(wait, waits, go_on))
    await stage.calm()
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(each.ended for each in waiting))
    except TimeoutError:
        late = [each.name for each in waiting if each.is_up]
        waits.broken.append(
            Broken("every wait ends", f"{', '.join(late)}: not {PATIENCE_S:g} s later")
        )
    else:
        closing.set()
        await asyncio.gather(database.ended, sleepy.ended)
    return Findings(waits.broken[:5], {f"{what}, times": n for what, n in waits.counts.items()})


WAITING: Final = {
    "contender": _wait_for_a_lock,
    "sleeper": _be_idle,
    "silent": _say_nothing,
    "impatient": _be_impatient,
}
MACHINES: Final = ("db", "sleepy", *WAITING)

CLOCKS: Final = Scenario(
    name="clocks",
    summary="time-outs and idle limits while clocks drift and are set",
    checks={
        "lock waits end": f"after {LOCK_WAIT_S:g} s, as configured",
        "idle ends": f"an idle transaction ends after {IDLE_TRANSACTION_S:g} s",
        "silence ends": f"a silent connection is closed after {IDLE_CONNECTION_S:g} s",
        "deadlines hold": f"a call gives up after {CALL_S:g} s",
        "every wait ends": "nobody waits for ever",
    },
    safeguards={
        name: SAFEGUARDS[name].otherwise
        for name in ("store.lock_timeout", "store.idle_timeout", "rpc.deadlines")
    },
    menus=(
        Menu("clock jump", MACHINES, (0, 2), amount=(-7200.0, 7200.0)),
        Menu("clock drift", MACHINES, (0, 2), (0.5, 5.0), (-DRIFT_MAX, DRIFT_MAX)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.01),
    play=play,
)
