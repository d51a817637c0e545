"""Where scripts about the store run: in this process, and over TCP; and a disk that can be slow.

`sdkit.cli.store_sessions` has the commands. Here there is one more, for whose sake the
disk is the simulator's:

    disk: slow | fast

While the disk is slow, a commit waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final

from sdkit.cli.store_sessions import Session, StoreSubject
from sdkit.script import transcript
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreClient, StoreConfig, StoreEngine, StoreServer, StoreServerConfig
from sdkit.store.config import Serializable
from sdkit.store.database import Database

SLOWNESS: Final = 10_000.0  # a sync takes a second


class ScriptedStore(StoreSubject):
    """Sessions at a store whose disk can be slow."""

    def __init__(
        self, watched: Store, open_store: Callable[[], Awaitable[Store]], disk: SimulatedDisk
    ) -> None:
        super().__init__(watched, open_store)
        self._disk = disk

    def is_waiting(self, state: str) -> bool:
        return super().is_waiting(state) or (state == "committing" and self._disk.slowness > 1)

    def command(
        self, it: Session, command: str, arguments: Sequence[str]
    ) -> Coroutine[Any, Any, str]:
        match [command, *arguments]:
            case ["slow" | "fast" as speed]:
                return self._set_speed(SLOWNESS if speed == "slow" else 1.0)
        return super().command(it, command, arguments)

    async def _set_speed(self, slowness: float) -> str:
        self._disk.slowness = slowness
        return "ok"


Opened = Callable[[], AbstractAsyncContextManager[ScriptedStore]]


@asynccontextmanager
async def embedded(
    database: type[Database] = Database,
    subject: type[ScriptedStore] = ScriptedStore,
    *,
    serializable: Serializable = "optimistic",
) -> AsyncIterator[ScriptedStore]:
    """A store in this process."""
    disk = SimulatedDisk()
    config = StoreConfig(serializable=serializable)
    async with StoreEngine(SimulatedHost("db", disk), config, database=database) as store:

        async def open_store() -> Store:
            return store

        it = subject(store, open_store, disk)
        try:
            yield it
        finally:
            await it.close()


@asynccontextmanager
async def over_tcp(*, serializable: Serializable = "optimistic") -> AsyncIterator[ScriptedStore]:
    """A store behind a socket, and a connection for each session."""
    disk = SimulatedDisk()
    host = SimulatedHost("db", disk)
    config = StoreServerConfig(serializable=serializable)
    async with StoreServer(host, config) as server, AsyncExitStack() as clients:

        async def open_store() -> Store:
            return await clients.enter_async_context(StoreClient(*server.address))

        it = ScriptedStore(await open_store(), open_store, disk)
        try:
            yield it
        finally:
            await it.close()


def play(opened: Opened) -> Callable[[str, str], str]:
    """Runs a script on a fresh store, in virtual time; for `sdkit.script.check`."""

    def played(text: str, name: str) -> str:
        async def main() -> str:
            async with opened() as subject:
                return await transcript(text, name, subject)

        return run(main())

    return played
