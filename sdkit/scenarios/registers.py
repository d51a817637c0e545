"""Registers: single keys, read, written, compared and set, under faults; is there an order?

A transaction that touches one key is a call on a register, and a store that keeps its
promises is *linearizable* for such calls, at every level that reads what is committed:
each seems to happen at one moment between its call and its answer. Whoever has seen a
write is never shown the state before it again, by no crash and no other client.

    read             a read-only transaction
    write            a put that has not looked
    compare and set  get_for_update, and a put if the value is as expected

Each call draws its level anew, the seed draws the kind of serializable, and what was
called and answered is judged by `sdkit.check.linearizability`. A commit whose answer
was lost is recorded as such, and may have happened or not.

Two things are judged beside it
    * *First come, first served.* There are more clients than keys, so they queue up for
      locks. A witness looks who waits behind whom. Nobody may get the lock of a key
      while somebody waits for it whom it was waiting behind.
    * *No deadlock over one key.* At each key one client, and only that one, reads first
      and locks then: an upgrade, where reads lock. It holds back the others, so it must
      not stand behind them. Two such clients could deadlock; one cannot, so no
      transaction here is ever aborted for a deadlock or for having waited too long.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Any, Final

from sdkit import host as hosts
from sdkit.check import History, Recorder, Register
from sdkit.check import linearizability as checker
from sdkit.check.explain_calls import call
from sdkit.errors import Aborted, Indeterminate, Unavailable
from sdkit.scenarios.served_store import (
    TRY_AGAIN,
    Way,
    all_come_back,
    at_level,
    drawn,
    pause,
    serve,
)
from sdkit.sim.faults import Menu
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.store.interface import Isolation, Store, Transaction, TransactionInfo
from sdkit.trace import listening
from sdkit.without import SAFEGUARDS, Parts, assemble

CLIENTS: Final = 6
KEYS: Final = 2
SECONDS: Final = 1.5
PAUSE_S: Final = 0.02
WITNESS_PAUSE_S: Final = 0.005
TIMEOUT_S: Final = 30.0  # of clients: longer than anybody has to wait for a lock
SOME: Final = (Isolation.READ_COMMITTED, Isolation.REPEATABLE_READ, Isolation.SERIALIZABLE)
KINDS: Final = ("serializable (locking)", "serializable (optimistic)")
NEVER_HERE: Final = ("deadlock", "lock_timeout")


class Client:
    """One client of the registers.

    Args:
        number: its own, from 0. It may upgrade at the key of that number.
        recorder: where its calls are noted.
        now_ns: the time of the world.
        random: what it draws from.
    """

    def __init__(
        self, number: int, recorder: Recorder, now_ns: Callable[[], int], random: Random
    ) -> None:
        self._number = number
        self._recorder = recorder
        self._now_ns = now_ns
        self._random = random
        self._counter = itertools.count(1)
        self._seen: dict[int, str | None] = {}

    async def call(self, store: Store) -> None:
        """One call: of which kind and at which level is drawn."""
        key = self._random.randrange(KEYS)
        # Whoever reads first and locks then needs a level that does not let go of what it read.
        upgrade = key == self._number
        isolation = Isolation.SERIALIZABLE if upgrade else self._random.choice(SOME)
        value = f"{self._number}.{next(self._counter)}"
        match self._random.choice(("read", "write", "cas", "cas")):
            case "read":
                work = partial(_read, _key(key))
                await self._record(store, isolation, "read", key, None, work)
            case "write":
                work = partial(_write, _key(key), value)
                await self._record(store, isolation, "write", key, value, work)
            case _:
                expected = self._seen.get(key)
                work = partial(_compare_and_set, _key(key), expected, value, upgrade)
                await self._record(store, isolation, "cas", key, [expected, value], work)

    async def _record(
        self,
        store: Store,
        isolation: Isolation,
        op: str,
        key: int,
        argument: object,
        work: Callable[[Transaction], Coroutine[Any, Any, tuple[object, str | None]]],
    ) -> None:
        process = f"client-{self._number}"
        self._recorder.invoke(process, op, key, argument, time_ns=self._now_ns())
        try:
            async with store.begin(isolation=isolation, read_only=op == "read") as transaction:
                answer, self._seen[key] = await work(transaction)
        except (Aborted, Unavailable):
            self._recorder.fail(process, time_ns=self._now_ns())
        except Indeterminate:
            self._recorder.info(process, time_ns=self._now_ns())
        else:
            self._recorder.ok(process, answer, time_ns=self._now_ns())


async def _read(key: bytes, transaction: Transaction) -> tuple[object, str | None]:
    value = _text(await transaction.get(key))
    return value, value


async def _write(key: bytes, value: str, transaction: Transaction) -> tuple[object, str | None]:
    await transaction.put(key, value.encode())
    return None, value


async def _compare_and_set(
    key: bytes, expected: str | None, value: str, upgrade: bool, transaction: Transaction
) -> tuple[object, str | None]:
    """What the answer is, and what the client knows to be there."""
    get = transaction.get if upgrade else transaction.get_for_update
    found = _text(await get(key))
    if found != expected:
        return False, found
    await transaction.put(key, value.encode())
    return True, value


@dataclass
class Queues:
    """Who was seen waiting for which key, and behind whom."""

    waiting: dict[int, TransactionInfo] = field(default_factory=dict)
    looks: int = 0
    longest: int = 0
    overtaken: list[str] = field(default_factory=list)

    def look(self, found: list[TransactionInfo]) -> None:
        """Compare with the last look."""
        waiting = {info.id: info for info in found if info.waits_for_key is not None}
        for info in found:
            before = self.waiting.get(info.id)
            if before is None or before.waits_for_key not in info.locks:
                continue  # it did not wait, or waits still
            for other in before.waits_for:
                if other in self.waiting and other in waiting:
                    key = waiting[other].waits_for_key
                    if key == before.waits_for_key == self.waiting[other].waits_for_key:
                        self.overtaken.append(f"{info.id} got {key!r} before {other}")
        self.waiting = waiting
        self.looks += 1
        self.longest = max(self.longest, len(waiting))

    def forget(self) -> None:
        """The server is another one now: its transactions have other numbers."""
        self.waiting.clear()


async def play(stage: Stage) -> Findings:
    """The whole run: calls, a witness, and the search for an order."""
    parts, world = assemble(stage.without), stage.world
    kind = drawn(world.seed, KINDS)
    _, config = at_level(kind)
    recorder, queues = Recorder(), Queues()
    never: list[Broken] = []

    def go_on() -> bool:
        return world.time() < stage.seconds

    def now_ns() -> int:
        return round(world.time() * 1e9)

    async def client(number: int) -> None:
        random = hosts.current().random
        mine = Client(number, recorder, now_ns, random)
        async with Way(parts, timeout_s=TIMEOUT_S) as way:
            while go_on():
                await mine.call(await way())
                await pause(random, PAUSE_S)

    def aborted(code: str) -> None:
        if code in NEVER_HERE:
            never.append(Broken("no deadlock", f"a transaction of one key: {code}", world.time()))

    database = world.machine("db", disk=parts.disk(sync_s=0.002))
    people = [world.machine(name) for name in PEOPLE]
    witness = world.machine("witness")
    closing = asyncio.Event()
    database.boot(partial(serve, parts, config, closing))
    with listening(lambda record: aborted(str(record.fields["code"])), "store.abort"):
        for number, machine in enumerate(people):
            machine.boot(partial(client, number))
        witness.boot(partial(_watch, parts, queues, go_on))
        await stage.calm()
        if late := await all_come_back([*people, witness]):
            return Findings([*never[:1], *late])
    closing.set()
    await database.ended
    return _findings(kind, recorder.history(), queues, never)


async def _watch(parts: Parts, queues: Queues, go_on: Callable[[], bool]) -> None:
    """Look who waits for whom, again and again."""
    random = hosts.current().random
    connection = None
    async with Way(parts) as way:
        while go_on():
            store = await way()
            try:
                if connection is not (connection := await store.connect()):
                    queues.forget()
                queues.look(await store.transactions())
            except TRY_AGAIN:
                queues.forget()
            await pause(random, WITNESS_PAUSE_S)


def _findings(kind: str, history: History, queues: Queues, never: list[Broken]) -> Findings:
    verdict = checker.check(history, Register())
    broken = never[:1]
    if verdict.counterexample is not None:
        told = [f"{each.process}: {call(each)}" for each in verdict.counterexample.operations]
        broken.append(Broken("one order", f"no register answers so: {', '.join(told)}"))
    if queues.overtaken:
        broken.append(Broken("first come", f"{len(queues.overtaken)} times; {queues.overtaken[0]}"))
    outcomes = [operation.outcome for operation in history.operations]
    return Findings(
        broken,
        {
            "kind": kind,
            "calls answered": outcomes.count("ok"),
            "calls that did not happen": outcomes.count("fail"),
            "calls of unknown outcome": outcomes.count("info"),
            "longest queue": queues.longest,
            "verdict": verdict.result,
        },
    )


def _key(number: int) -> bytes:
    return b"register/%d" % number


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


PEOPLE: Final = tuple(f"client-{number}" for number in range(CLIENTS))

REGISTERS: Final = Scenario(
    name="registers",
    summary="single keys, read, written, compared and set; is there an order of it all?",
    checks={
        "one order": "each call seems to happen at one moment between call and answer",
        "first come": "nobody gets a lock before somebody who waits longer",
        "no deadlock": "transactions of one key do not deadlock, nor wait until they time out",
        "it comes back": "when the faults are over, every client gets its answers",
    },
    safeguards={
        name: SAFEGUARDS[name].otherwise
        for name in (
            "store.exclusive_locks",
            "store.lock_order",
            "store.upgrade_order",
        )
    },
    menus=(
        Menu("kill", ["db"], (0, 1), for_s=(0.0, 0.3)),
        Menu("power cut", ["db"], (0, 2), for_s=(0.0, 0.3)),
        Menu("pause", ["db", *PEOPLE], (0, 1), for_s=(0.01, 0.5)),
        Menu("slow cpu", ["db"], (0, 1), for_s=(0.1, 0.5), amount=(0.1, 0.9)),
        Menu("slow disk", ["db"], (0, 1), for_s=(0.1, 0.5), amount=(2.0, 50.0)),
        Menu("cut", [f"{who}<->db" for who in PEOPLE], (0, 1), for_s=(0.05, 1.0)),
        Menu("cut", [f"db->{who}" for who in PEOPLE], (0, 1), for_s=(0.05, 1.0)),
        Menu("lossy link", [f"{who}<->db" for who in PEOPLE], (0, 1), (0.1, 0.5), (0.01, 0.5)),
        Menu("reset", [f"{who}<->db" for who in PEOPLE], (0, 1)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.005),
    play=play,
)
