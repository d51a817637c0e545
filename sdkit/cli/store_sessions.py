"""Store sessions: several people at one store, in one window, with a transaction each.

    alice: begin [LEVEL] [read-only]
    alice: get KEY | get_for_update KEY | put KEY VALUE | delete KEY | scan [START END]
    alice: savepoint | undo | keep
    alice: commit | rollback
    alice: versions KEY | transactions | locks
    time: passes 10s            (whole seconds)

LEVEL is one of `sdkit.store.interface.Isolation`; without one, the subject's default.
Keys and values are words, or quoted; ``\\xff`` in quotes is a byte, and '' nothing.
Any session can look (`versions`, `transactions`, `locks`) and let time pass; a session
of that name of its own reads best.

It is the subject of golden scripts (`sdkit.script`) about a store, of the anomaly
scripts (`sdkit.cli.anomalies`), and of whoever types the same words by hand.

Things to notice
    1. Who waits, `Store.transactions` says, and no time-out: a step is left waiting
       only when every step under way waits for a lock. That is as true of a server
       behind a real socket, where nobody could tell a step that waits from one whose
       answer is slow.
    2. The same steps on a store in this process and on one behind a socket have the
       same answers. For that, a transaction is begun at its first statement here as
       well, as it is over TCP: numbers follow that order.
    3. A store that neither answers a step nor says that it waits is given up after
       `LOOKS_MAX` looks. The step is then neither answered nor waiting, which a
       runner of scripts refuses by name.
    4. What is typed is refused before anything is done, and the refusal says what is
       close to it (`USAGE`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Final

from sdkit.cli.store_words import describe, describe_locks, describe_version, meant, shown
from sdkit.errors import Aborted, SdkitError
from sdkit.script import Answer, Refused
from sdkit.store import Isolation, Store, Transaction, TransactionInfo

LOOK_S: Final = 0.001  # between two looks, if no step ends meanwhile
LOOKS_MAX: Final = 30_000
_SECONDS: Final = re.compile(r"[0-9]{1,9}s?", re.ASCII)
USAGE: Final = {
    "begin": "[LEVEL] [read-only]",
    "get": "KEY",
    "get_for_update": "KEY",
    "put": "KEY VALUE",
    "delete": "KEY",
    "scan": "[START END]",
    "savepoint": "",
    "undo": "",
    "keep": "",
    "commit": "",
    "rollback": "",
    "versions": "KEY",
    "transactions": "",
    "locks": "",
    "passes": "10s",
}
WITHOUT_A_TRANSACTION: Final = ("versions", "transactions", "locks", "passes")


@dataclass(slots=True)
class Session:
    """Somebody with a store and at most one transaction."""

    name: str
    store: Store
    isolation: Isolation
    read_only: bool = False
    is_open: bool = False
    current: Transaction | None = None  # from the first statement on
    savepoints: list[AbstractAsyncContextManager[None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None  # of the step under way

    @property
    def transaction(self) -> Transaction:
        """The present one; begun if there is none yet."""
        if self.current is None:
            self.current = self.store.begin(isolation=self.isolation, read_only=self.read_only)
        return self.current


class StoreSubject:
    """A `sdkit.script.Subject`.

    Args:
        watched: is asked who waits.
        open_store: gives each session, at its first step, its own view of the store.
        default: the level of a `begin` that names none.
    """

    def __init__(
        self,
        watched: Store,
        open_store: Callable[[], Awaitable[Store]],
        *,
        default: Isolation = Isolation.REPEATABLE_READ,
    ) -> None:
        self._watched, self._open_store, self._default = watched, open_store, default
        self._sessions: dict[str, Session] = {}
        self._told: list[Answer] = []
        self._waiting: list[str] = []
        self._infos: dict[int, TransactionInfo] = {}  # as of the last look
        self.heard: Final = asyncio.Event()
        """Set at each answer; whoever listens between two steps clears it."""

    async def start(self, session: str, command: str, arguments: Sequence[str]) -> None:
        """See `sdkit.script.Subject.start`. Raises `Refused`; nothing was done then."""
        it = self._sessions.get(session)
        if it is None:
            it = Session(session, await self._open_store(), self._default)
            self._sessions[session] = it
        it.task = asyncio.ensure_future(self._answer(it, self.command(it, command, arguments)))
        if command == "passes":
            try:
                await it.task
            except asyncio.CancelledError:  # Ctrl-C cuts it short
                it.task = None
                raise
        await self._settle()

    def answers(self) -> list[Answer]:
        """See `sdkit.script.Subject.answers`."""
        told, self._told = self._told, []
        return told

    def waiting(self) -> list[str]:
        """See `sdkit.script.Subject.waiting`."""
        return self._waiting

    def open_sessions(self) -> list[str]:
        """Who has a transaction open, in order of their first step."""
        return [it.name for it in self._sessions.values() if it.is_open]

    def ahead_of(self, session: str) -> list[str]:
        """For whom it waits, as of the last step: who holds what it wants, then who asked first."""
        current = self._sessions[session].current
        info = self._infos.get(current.id) if current is not None else None
        names = self.names()
        return [names.get(each, f"transaction {each}") for each in info.waits_for] if info else []

    async def close(self) -> None:
        """Give up the steps under way, and roll back what is open."""
        tasks = [it.task for it in self._sessions.values() if it.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for it in self._sessions.values():
            if it.current is not None:
                with suppress(SdkitError):  # committing, or its connection is gone
                    await it.current.rollback()

    async def _answer(self, it: Session, work: Coroutine[Any, Any, str]) -> None:
        try:
            text = await work
        except SdkitError as error:
            text = f"{error.code}: {error.message}"
            it.is_open = it.is_open and not isinstance(error, Aborted)
        self._told.append(Answer(it.name, text))
        self.heard.set()

    async def _settle(self) -> None:
        """Come back when every step under way is done, or waits because the store says so."""
        self._waiting = []
        for _ in range(LOOKS_MAX):
            moving = [
                it.task for it in self._under_way() if it.task and it.name not in self._waiting
            ]
            if moving:  # most steps are done in one turn, and need no question
                await asyncio.wait(moving, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
            under_way = self._under_way()
            if not under_way:
                self._waiting = []
                return
            try:
                self._infos = {info.id: info for info in await self._watched.transactions()}
            except SdkitError:  # those who are under way are about to hear of it, too
                await asyncio.sleep(LOOK_S)
                continue
            # Whoever has come to an end during that question may have woken somebody: look again.
            self._waiting = [it.name for it in self._under_way() if self._waits(it)]
            if len(self._waiting) == len(under_way):
                return

    def _under_way(self) -> list[Session]:
        for it in self._sessions.values():
            if it.task is not None and it.task.done():
                it.task.result()  # raises what no step may raise
                it.task = None
        return [it for it in self._sessions.values() if it.task is not None]

    def _waits(self, it: Session) -> bool:
        info = self._infos.get(it.current.id) if it.current is not None else None
        return info is not None and self.is_waiting(info.state)

    def is_waiting(self, state: str) -> bool:
        """Does a transaction in this state (`TransactionInfo.state`) wait for another one?"""
        return state == "waiting"

    def command(
        self, it: Session, command: str, arguments: Sequence[str]
    ) -> Coroutine[Any, Any, str]:
        """What carries out one step and returns its answer. Raises `Refused`."""
        match [command, *arguments]:
            case ["begin", *options]:
                return _begin(it, options, self._default)
            case ["versions", key]:
                return _versions(it.store, meant(key))
            case ["transactions"]:
                return self._described(describe)
            case ["locks"]:
                return self._described(describe_locks)
            case ["passes", time] if _SECONDS.fullmatch(time):
                return _passes(int(time.removesuffix("s")))
        check_command(command)
        if command in WITHOUT_A_TRANSACTION:
            raise _unlike(command)
        if it.current is None and not it.is_open:
            raise Refused(f"{it.name} has no transaction for {command!r}; expected begin")
        return _statement(it, command, arguments)

    async def _described(
        self, describe_one: Callable[[TransactionInfo, dict[int, str]], str]
    ) -> str:
        names = self.names()
        described = [describe_one(info, names) for info in await self._watched.transactions()]
        return "\n".join(filter(None, described)) or "nothing"

    def names(self) -> dict[int, str]:
        """The sessions by the numbers of their transactions."""
        return {it.current.id: it.name for it in self._sessions.values() if it.current is not None}


def check_command(command: str, *others: str) -> None:
    """Refuse what is none of `USAGE`, nor of ``others``, and say what is close to it."""
    known = [*USAGE, *others]
    if command not in known:
        near = get_close_matches(command, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise Refused(f"no command {command!r}; {hint}")


class Undo(Exception):
    """Ends the block of a savepoint."""


def _begin(it: Session, options: list[str], default: Isolation) -> Coroutine[Any, Any, str]:
    """A transaction for the session; it is begun at its first statement."""
    if it.is_open:
        raise Refused(f"{it.name} has a transaction open; expected commit or rollback")
    it.read_only = options[-1:] == ["read-only"]
    level = " ".join(options[: len(options) - it.read_only]) or default
    if level not in list(Isolation):
        near = get_close_matches(level, list(Isolation), 1)
        hint = f"did you mean {near[0]}?" if near else f"expected {' or '.join(Isolation)}"
        raise Refused(f"no level {level!r}; {hint}")
    it.isolation = Isolation(level)
    it.is_open, it.current, it.savepoints = True, None, []
    return _done(asyncio.sleep(0))


def _statement(it: Session, command: str, arguments: Sequence[str]) -> Coroutine[Any, Any, str]:
    """A statement of the session's transaction."""
    match [command, *map(meant, arguments)]:
        case ["get", bytes(key)]:
            return _value_of(it.transaction.get(key))
        case ["get_for_update", bytes(key)]:
            return _value_of(it.transaction.get_for_update(key))
        case ["put", bytes(key), bytes(value)]:
            return _done(it.transaction.put(key, value))
        case ["delete", bytes(key)]:
            return _done(it.transaction.delete(key))
        case ["scan"]:
            return _scan(it.transaction, b"", None)
        case ["scan", bytes(start), bytes(end)]:
            return _scan(it.transaction, start, end)
        case ["savepoint"]:
            it.savepoints.append(it.transaction.savepoint())
            return _done(it.savepoints[-1].__aenter__())
        case ["undo" | "keep"] if it.savepoints:
            return _leave(it.savepoints.pop(), None if command == "keep" else Undo())
        case ["commit"]:
            return _commit(it)
        case ["rollback"]:
            return _rollback(it)
    if command in ("undo", "keep"):
        raise Refused(f"{it.name} has no savepoint to {command}; expected savepoint")
    raise _unlike(command)


def _unlike(command: str) -> Refused:
    return Refused(f"expected '{f'{command} {USAGE[command]}'.strip()}'")


async def _done(call: Awaitable[None]) -> str:
    await call
    return "ok"


async def _value_of(call: Awaitable[bytes | None]) -> str:
    value = await call
    return "nothing" if value is None else shown(value)


async def _scan(transaction: Transaction, start: bytes, end: bytes | None) -> str:
    rows = [row async for row in transaction.scan(start, end)]
    return "\n".join(f"{shown(key)} {shown(value)}" for key, value in rows) or "nothing"


async def _leave(block: AbstractAsyncContextManager[None], error: Undo | None) -> str:
    stops_it = await block.__aexit__(None if error is None else Undo, error, None)
    assert not stops_it, "an exception in the block goes on up"
    return "ok"


async def _commit(it: Session) -> str:
    position = await it.transaction.commit()
    it.is_open, it.current, it.savepoints = False, None, []
    return f"commit {position}" if position else "ok, nothing written"


async def _rollback(it: Session) -> str:
    await it.transaction.rollback()
    it.is_open, it.current, it.savepoints = False, None, []
    return "ok"


async def _passes(seconds: int) -> str:
    await asyncio.sleep(seconds)
    return "ok"


async def _versions(store: Store, key: bytes) -> str:
    return "\n".join(map(describe_version, await store.versions(key))) or "nothing"
