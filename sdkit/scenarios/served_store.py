"""Served store: a database on a machine, its supervisor, and its clients' way to it.

What `bank`, `levels` and `registers` have in common.

Things to notice
    1. A database whose disk has failed takes no writes until it is opened again,
       as the journal's rules ask. So somebody has to: `serve` does what a
       supervisor (systemd, Kubernetes) would.
    2. Nothing here knows of faults. Clients see time-outs, resets and refused
       connections, and go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sdkit import host as hosts
from sdkit.errors import Aborted, DiskFailed, DiskUnavailable, Indeterminate, Unavailable
from sdkit.rpc import Limits
from sdkit.sim.machine import Machine
from sdkit.sim.scenario import Broken
from sdkit.store import StoreClient, StoreServerConfig
from sdkit.store.config import Serializable
from sdkit.store.interface import Isolation
from sdkit.store.isolation import RULES
from sdkit.without import Parts

T = TypeVar("T")

PORT: Final = 7000
SECRET: Final = "in the vault"
SUPERVISED_EVERY_S: Final = 0.05
PATIENCE_S: Final = 120.0  # virtual; for the last transactions to be seen through
CONFIG: Final = StoreServerConfig(
    host="0.0.0.0",
    port=PORT,
    secret=SECRET,
    lock_wait_timeout_s=20.0,
    idle_transaction_timeout_s=1.0,
    idle_timeout_s=5.0,
    handshake_timeout_s=0.5,
    stall_timeout_s=1.0,
    keepalive_s=0.5,
    snapshot_log_bytes=4096,
    segment_bytes=4096,
)
LEVELS: Final = tuple(RULES)
LIMITS: Final = Limits(handshake_timeout_s=0.5, stall_timeout_s=1.0, keepalive_s=0.3)
TRY_AGAIN: Final = (Unavailable, Indeterminate, Aborted)


def drawn(seed: int | str, levels: Sequence[str]) -> str:
    """The level that this seed draws."""
    return Random(f"{seed} level").choice(levels)


def at_level(level: str) -> tuple[Isolation, StoreServerConfig]:
    """What a client asks for, and the config of the server, to get a level of `RULES`."""
    name, _, kind = level.removesuffix(")").partition(" (")
    serializable: Serializable = "locking" if kind == "locking" else "optimistic"
    return Isolation(name), replace(CONFIG, serializable=serializable)


async def serve(parts: Parts, config: StoreServerConfig, closing: asyncio.Event) -> None:
    """The database's process, and the supervisor that opens it again when its disk has failed."""
    while not closing.is_set():
        try:
            async with parts.store_server(hosts.current(), config) as server:
                while server.engine.failed is None and not closing.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(SUPERVISED_EVERY_S)
        except (DiskUnavailable, DiskFailed):  # while it opens or closes: once more
            await asyncio.sleep(SUPERVISED_EVERY_S)


class Way:
    """A client's way to the store: connects again when the connection is lost.

    Args:
        parts: what the client is made of.
        timeout_s: how long it waits for an answer.
        limits: what the server is allowed.
    """

    def __init__(self, parts: Parts, *, timeout_s: float = 2.0, limits: Limits = LIMITS) -> None:
        self._store: Final = parts.store_client(
            "db", PORT, secret=SECRET, timeout_s=timeout_s, connect_timeout_s=1.0, limits=limits
        )

    async def __call__(self) -> StoreClient:
        while True:
            try:
                await self._store.connect()
            except Unavailable:
                await asyncio.sleep(0.05)
            else:
                return self._store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._store.close()


async def insist(parts: Parts, work: Callable[[StoreClient], Awaitable[T]]) -> T:
    """Do something that may be repeated, until it succeeds."""
    async with Way(parts) as way:
        while True:
            try:
                return await work(await way())
            except TRY_AGAIN:
                await asyncio.sleep(0.05)


async def pause(random: Random, longest_s: float) -> None:
    """Do nothing, for some time up to that."""
    await asyncio.sleep(random.uniform(0.0, longest_s))


async def work_on(machine: Machine, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Let a machine do one thing, to its end."""
    machine.boot(main)
    result: T = await machine.ended
    return result


async def all_come_back(machines: Sequence[Machine]) -> list[Broken]:
    """Wait until everybody has ended; a broken promise if somebody does not."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(machine.ended for machine in machines))
    except TimeoutError:
        late = ", ".join(machine.name for machine in machines if machine.is_up)
        return [Broken("it comes back", f"{late} still waiting {PATIENCE_S:g} s later")]
    return []
