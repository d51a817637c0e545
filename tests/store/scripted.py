"""The store as the subject of golden scripts: sessions with a transaction each.

    alice: begin [read committed | repeatable read] [read-only]
    alice: get KEY | get_for_update KEY | put KEY VALUE | delete KEY | scan [START END]
    alice: savepoint | undo | keep
    alice: commit | rollback
    alice: versions KEY | transactions
    time: passes 10s            (whole seconds)
    disk: slow | fast

Any session can look (`versions`, `transactions`) and let time pass; a session of
that name of its own reads best. While the disk is slow, a commit waits for it.

The same script runs on a store in this process (`embedded`) and on one behind a
socket (`over_tcp`), and gives the same transcript. For that, a transaction is begun
at its first statement here as well, as it is over TCP: numbers follow that order.

Who waits, `Store.transactions` says: a step is left waiting only when every step
under way waits there. A step that neither ends nor waits is given up after
`LOOKS_MAX` looks, in virtual time, and the runner then complains.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sdkit.errors import Aborted, SdkitError
from sdkit.script import Answer, Refused, transcript
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import (
    Isolation,
    Store,
    StoreClient,
    StoreEngine,
    StoreServer,
    StoreServerConfig,
    Transaction,
    TransactionInfo,
    VersionInfo,
)
from sdkit.store.database import Database

LOOK_S = 0.001
LOOKS_MAX = 2_000
SLOWNESS = 10_000.0  # a sync takes a second


@dataclass(slots=True)
class Session:
    """Somebody with a store and at most one transaction."""

    name: str
    store: Store
    isolation: Isolation = Isolation.REPEATABLE_READ
    read_only: bool = False
    is_open: bool = False
    current: Transaction | None = None  # from the first statement on
    savepoints: list[AbstractAsyncContextManager[None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None  # of the step under way

    @property
    def transaction(self) -> Transaction:
        if self.current is None:
            self.current = self.store.begin(isolation=self.isolation, read_only=self.read_only)
        return self.current


class Undo(Exception):
    """Ends the block of a savepoint."""


class StoreSubject:
    """A `sdkit.script.Subject`. `open_store` gives each session its own view of the store."""

    def __init__(
        self, watched: Store, open_store: Callable[[], Awaitable[Store]], disk: SimulatedDisk
    ) -> None:
        self._watched, self._open_store, self._disk = watched, open_store, disk
        self._sessions: dict[str, Session] = {}
        self._told: list[Answer] = []
        self._waiting: list[str] = []

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        it = self._sessions.get(session)
        if it is None:
            it = self._sessions[session] = Session(session, await self._open_store())
        it.task = asyncio.ensure_future(self._answer(it, self._command(it, command, arguments)))
        if command == "passes":
            await it.task
        await self._settle()

    def answers(self) -> list[Answer]:
        told, self._told = self._told, []
        return told

    def waiting(self) -> list[str]:
        return self._waiting

    async def close(self) -> None:
        tasks = [it.task for it in self._sessions.values() if it.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _answer(self, it: Session, work: Coroutine[Any, Any, str]) -> None:
        try:
            text = await work
        except SdkitError as error:
            text = f"{error.code}: {error.message}"
            it.is_open = it.is_open and not isinstance(error, Aborted)
        self._told.append(Answer(it.name, text))

    async def _settle(self) -> None:
        """Come back when every step under way is done, or waits because the store says so."""
        for _ in range(LOOKS_MAX):
            under_way = self._under_way()
            states = {info.id: info.state for info in await self._watched.transactions()}
            # Whoever has come to an end during that question may have woken somebody: look again.
            self._waiting = [it.name for it in self._under_way() if self._waits(it, states)]
            if len(self._waiting) == len(under_way):
                return
            await asyncio.sleep(LOOK_S)

    def _under_way(self) -> list[Session]:
        for it in self._sessions.values():
            if it.task is not None and it.task.done():
                it.task.result()  # raises what no step may raise
                it.task = None
        return [it for it in self._sessions.values() if it.task is not None]

    def _waits(self, it: Session, states: dict[int, str]) -> bool:
        state = states.get(it.current.id) if it.current is not None else None
        slow = self._disk.slowness > 1
        return state == "waiting" or (state == "committing" and slow)

    # The commands

    def _command(
        self, it: Session, command: str, arguments: Sequence[str]
    ) -> Coroutine[Any, Any, str]:
        match [command, *arguments]:
            case ["begin", *options]:
                return begin(it, options)
            case ["versions", key]:
                return versions(it.store, key.encode())
            case ["transactions"]:
                return self._transactions()
            case ["passes", time] if time.removesuffix("s").isdecimal():
                return passes(int(time.removesuffix("s")))
            case ["slow" | "fast" as speed]:
                return self._set_speed(SLOWNESS if speed == "slow" else 1.0)
        if it.current is None and not it.is_open:
            raise Refused(f"{it.name} has no transaction for {command!r}; expected begin")
        return statement(it, command, arguments)

    async def _transactions(self) -> str:
        names = {it.current.id: it.name for it in self._sessions.values() if it.current is not None}
        return "\n".join(
            describe(info, names[info.id]) for info in await self._watched.transactions()
        )

    async def _set_speed(self, slowness: float) -> str:
        self._disk.slowness = slowness
        return "ok"


def begin(it: Session, options: list[str]) -> Coroutine[Any, Any, str]:
    """A transaction for the session; it is begun at its first statement."""
    if it.is_open:
        raise Refused(f"{it.name} has a transaction open; expected commit or rollback")
    it.read_only = options[-1:] == ["read-only"]
    level = " ".join(options[: len(options) - it.read_only]) or Isolation.REPEATABLE_READ
    if level not in list(Isolation):
        raise Refused(f"no level {level!r}; expected {' or '.join(Isolation)}")
    it.isolation = Isolation(level)
    it.is_open, it.current, it.savepoints = True, None, []
    return done(asyncio.sleep(0))


def statement(it: Session, command: str, arguments: Sequence[str]) -> Coroutine[Any, Any, str]:
    """A statement of the session's transaction."""
    match [command, *(word.encode() for word in arguments)]:
        case ["get", bytes(key)]:
            return value_of(it.transaction.get(key))
        case ["get_for_update", bytes(key)]:
            return value_of(it.transaction.get_for_update(key))
        case ["put", bytes(key), bytes(value)]:
            return done(it.transaction.put(key, value))
        case ["delete", bytes(key)]:
            return done(it.transaction.delete(key))
        case ["scan"]:
            return scan(it.transaction, b"", None)
        case ["scan", bytes(start), bytes(end)]:
            return scan(it.transaction, start, end)
        case ["savepoint"]:
            it.savepoints.append(it.transaction.savepoint())
            return done(it.savepoints[-1].__aenter__())
        case ["undo" | "keep"] if it.savepoints:
            return leave(it.savepoints.pop(), None if command == "keep" else Undo())
        case ["commit"]:
            return commit(it)
        case ["rollback"]:
            return rollback(it)
    raise Refused(f"no command {' '.join([command, *arguments])!r}; see tests/store/scripted.py")


async def done(call: Awaitable[None]) -> str:
    await call
    return "ok"


async def value_of(call: Awaitable[bytes | None]) -> str:
    value = await call
    return "nothing" if value is None else shown(value)


async def scan(transaction: Transaction, start: bytes, end: bytes | None) -> str:
    rows = [row async for row in transaction.scan(start, end)]
    return "\n".join(f"{key.decode()} {shown(value)}" for key, value in rows) or "nothing"


def shown(value: bytes) -> str:
    return value.decode() or "''"


async def leave(block: AbstractAsyncContextManager[None], error: Undo | None) -> str:
    stops_it = await block.__aexit__(None if error is None else Undo, error, None)
    assert not stops_it, "an exception in the block goes on up"
    return "ok"


async def commit(it: Session) -> str:
    position = await it.transaction.commit()
    it.is_open, it.current, it.savepoints = False, None, []
    return f"commit {position}" if position else "ok, nothing written"


async def rollback(it: Session) -> str:
    await it.transaction.rollback()
    it.is_open, it.current, it.savepoints = False, None, []
    return "ok"


async def passes(seconds: int) -> str:
    await asyncio.sleep(seconds)
    return "ok"


async def versions(store: Store, key: bytes) -> str:
    return "\n".join(map(describe_version, await store.versions(key))) or "nothing"


def describe_version(info: VersionInfo) -> str:
    value = "deleted" if info.value is None else shown(info.value)
    if info.position is None:
        return f"transaction {info.transaction}, not visible: {value}"
    return f"commit {info.position}: {value}"


def describe(info: TransactionInfo, name: str) -> str:
    parts = [info.state]
    if info.waits_for_key is not None:
        ahead = ", ".join(map(str, info.waits_for))
        parts = [f"waiting for {info.waits_for_key.decode()} behind {ahead}"]
    if info.locks:
        parts.append(f"holds {', '.join(key.decode() for key in info.locks)}")
    if info.snapshot is not None:
        parts.append(f"reads at {info.snapshot}")
    return f"{info.id} ({name}): {'; '.join(parts)}"


# Where it runs

Opened = Callable[[], AbstractAsyncContextManager[StoreSubject]]


@asynccontextmanager
async def embedded(
    database: type[Database] = Database, subject: type[StoreSubject] = StoreSubject
) -> AsyncIterator[StoreSubject]:
    """A store in this process."""
    disk = SimulatedDisk()
    async with StoreEngine(SimulatedHost("db", disk), database=database) as store:

        async def open_store() -> Store:
            return store

        it = subject(store, open_store, disk)
        try:
            yield it
        finally:
            await it.close()


@asynccontextmanager
async def over_tcp() -> AsyncIterator[StoreSubject]:
    """A store behind a socket, and a connection for each session."""
    disk = SimulatedDisk()
    host = SimulatedHost("db", disk)
    async with StoreServer(host, StoreServerConfig()) as server, AsyncExitStack() as clients:

        async def open_store() -> Store:
            return await clients.enter_async_context(StoreClient(*server.address))

        it = StoreSubject(await open_store(), open_store, disk)
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
