"""Levels: random transactions under faults, at one level of isolation; what did they see?

Four clients run transactions that `sdkit.scenarios.levels_workload` draws, all at the
level that the seed draws, while the database is killed and loses power and links break.
What they read and wrote is judged by `sdkit.check.isolation`: of its anomalies,
none that the level forbids may have occurred. That it *does* show those that it
allows is seen in the story, and is a test.

    read uncommitted             nothing that nobody wrote; no G0: in the end, each row is
                                 what the last commit that wrote it left
    read committed               and no G1a, G1b, G1c
    repeatable read              and no lost update, no read skew, no long fork
    serializable, both kinds     and no write skew: no circle at all

Three things are judged beside it
    * *Durability.* Each transaction that writes leaves a mark. If its commit was
      acknowledged, the mark is there in the end; if it was aborted, it is not.
    * *A long scan is of one moment.* An auditor reads more rows than the store reads in
      one go, of which two are always changed together. They must agree, at every level
      that reads what is committed: at read committed as well, where the next statement
      may see something else.
    * *Whoever waits has somebody in the way.* A witness looks at who waits for whom. One
      that waits behind nobody has been forgotten when a lock was given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from sdkit import host as hosts
from sdkit.check import isolation as checker
from sdkit.check.anomalies import Anomaly
from sdkit.check.explain_circles import MEANINGS
from sdkit.check.levels import forbidden
from sdkit.rpc import Limits
from sdkit.scenarios.levels_workload import MARKS, ROWS, Client, Rows
from sdkit.scenarios.served_store import (
    LEVELS,
    TRY_AGAIN,
    Way,
    all_come_back,
    at_level,
    drawn,
    insist,
    pause,
    serve,
    work_on,
)
from sdkit.sim.faults import Menu
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.store import StoreClient, StoreEngine
from sdkit.store.interface import Isolation, Transaction
from sdkit.store.scan import PIECE_KEYS
from sdkit.without import SAFEGUARDS, Parts, assemble

CLIENTS: Final = 4
SECONDS: Final = 2.0
PAUSE_S: Final = 0.01
SETTLED_S: Final = 25.0  # what was sent and is still under way has arrived by then, or never will

LONG: Final = b"long/"
LONG_ROWS: Final = PIECE_KEYS + 64
LONG_VALUE: Final = b"." * 160  # so that one part of the answer holds less than one piece
LONG_PAUSE_S: Final = 0.1
MOVE_PAUSE_S: Final = 0.05
WITNESS_PAUSE_S: Final = 0.01
SLOW_READER: Final = Limits(
    handshake_timeout_s=0.5, stall_timeout_s=1.0, keepalive_s=0.3, stream_window_bytes=1024
)

PROMISED: Final = {
    "read uncommitted": "read uncommitted",
    "read committed": "read committed",
    "repeatable read": "snapshot isolation",
    "serializable (locking)": "serializable",
    "serializable (optimistic)": "serializable",
}
"""What a level is called on the checker's ladder."""


@dataclass
class Waits:
    """What the witness has seen of those who wait."""

    count: int = 0
    idle: list[str] = field(default_factory=list)


@dataclass
class Audits:
    """What the auditor has seen."""

    count: int = 0
    torn: list[str] = field(default_factory=list)


async def play(stage: Stage) -> Findings:
    """The whole run, from loading the rows to the verdict."""
    parts, world = assemble(stage.without), stage.world
    level = drawn(world.seed, LEVELS)
    isolation, config = at_level(level)
    reads_committed = isolation is not Isolation.READ_UNCOMMITTED
    rows, audits, waits = Rows(deletes=reads_committed), Audits(), Waits()

    def go_on() -> bool:
        return world.time() < stage.seconds

    async def client() -> None:
        host = hosts.current()
        mine = Client(host.name, rows, isolation, host.random)
        async with Way(parts) as way:
            while go_on():
                await mine.transact(await way(), world.time)
                await pause(host.random, PAUSE_S)

    database = world.machine("db", disk=parts.disk(sync_s=0.002))
    programs: dict[str, Callable[[], Coroutine[Any, Any, None]]] = dict.fromkeys(PEOPLE, client)
    programs["mover"] = partial(_move, parts, isolation, go_on)
    programs["auditor"] = partial(_audit, parts, isolation, audits, go_on)
    programs["witness"] = partial(_watch, parts, waits, go_on)
    people = [world.machine(name) for name in programs]
    rows.first.position = await work_on(database, partial(_load, rows))
    closing = asyncio.Event()
    database.boot(partial(serve, parts, config, closing))
    for machine in people:
        machine.boot(programs[machine.name])
    await stage.calm()
    if late := await all_come_back(people):
        return Findings(late)
    await asyncio.sleep(SETTLED_S)
    look = partial(insist, parts, partial(_look_at_the_end, rows))
    marks, left = await work_on(world.machine("desk"), look)
    closing.set()
    await database.ended
    return _findings(level, rows, marks, left, audits, waits)


async def _load(rows: Rows) -> int:
    """Put in what is there from the beginning, once; the position of that commit."""
    first_rows = list(rows.first_rows())
    async with StoreEngine(hosts.current()) as store:
        async with store.begin() as transaction:
            if await transaction.get(first_rows[0][0]) is None:
                for key, value in first_rows:
                    await transaction.put(key, value)
                for number in range(LONG_ROWS):
                    await transaction.put(LONG + b"%04d" % number, LONG_VALUE)
        (version,) = await store.versions(first_rows[0][0])
    assert version.position is not None
    return version.position


async def _move(parts: Parts, isolation: Isolation, go_on: Callable[[], bool]) -> None:
    """Change the first and the last of the long rows, always both and to the same."""
    random = hosts.current().random
    number = 0

    async def both(transaction: Transaction) -> None:
        for key in (0, LONG_ROWS - 1):
            await transaction.put(LONG + b"%04d" % key, b"%d" % number)

    async with Way(parts) as way:
        while go_on():
            number += 1
            await pause(random, MOVE_PAUSE_S)
            try:
                await (await way()).run(both, isolation=isolation)
            except TRY_AGAIN:
                continue


async def _audit(
    parts: Parts, isolation: Isolation, audits: Audits, go_on: Callable[[], bool]
) -> None:
    """Read all long rows with one scan. The first and the last must agree."""
    random = hosts.current().random

    async def ends(transaction: Transaction) -> tuple[int, bytes, bytes]:
        values = [value async for _, value in transaction.scan(prefix=LONG)]
        return len(values), values[0], values[-1]

    async with Way(parts, limits=SLOW_READER) as way:
        while go_on():
            await pause(random, LONG_PAUSE_S)
            try:
                found = await (await way()).run(ends, isolation=isolation, read_only=True)
            except TRY_AGAIN:
                continue
            count, first, last = found
            audits.count += 1
            if first != last or count != LONG_ROWS:
                audits.torn.append(f"of {count} rows, the first {first!r}, the last {last!r}")


async def _watch(parts: Parts, waits: Waits, go_on: Callable[[], bool]) -> None:
    """Look who waits for whom, again and again."""
    random = hosts.current().random
    async with Way(parts) as way:
        while go_on():
            await pause(random, WITNESS_PAUSE_S)
            try:
                found = await (await way()).transactions()
            except TRY_AGAIN:
                continue
            for each in found:
                if each.waits_for_key is not None:
                    waits.count += 1
                    if not each.waits_for:
                        waits.idle.append(f"{each.id} waits for {each.waits_for_key!r}")


async def _look_at_the_end(
    rows: Rows, store: StoreClient
) -> tuple[dict[bytes, int | None], dict[bytes, bytes]]:
    """The marks that are there, of unknown commits with their positions; and the rows."""
    unknown = {each.mark for each in rows.accounts if each.status == "unknown"}
    async with store.begin(read_only=True) as transaction:
        marks: dict[bytes, int | None] = {
            key: None async for key, _ in transaction.scan(prefix=MARKS)
        }
        left = {key: value async for key, value in transaction.scan(prefix=ROWS)}
    for key in sorted(unknown & marks.keys()):
        marks[key] = (await store.versions(key))[0].position
    return marks, left


def _findings(
    level: str,
    rows: Rows,
    marks: dict[bytes, int | None],
    left: dict[bytes, bytes],
    audits: Audits,
    waits: Waits,
) -> Findings:
    lost, undead = rows.lost(marks), rows.undead(marks)
    unknown = [each for each in rows.accounts if each.status == "unknown"]
    rows.settle(marks)
    verdict = checker.check(rows.history())
    assert verdict.complete, "each commit has a position, so the order of versions is known"
    wrong = {key for key, _ in rows.left().items() ^ left.items()}
    broken = [
        Broken("level kept", f"{level}, {name} of {_who(verdict, anomaly)}: {MEANINGS[name]}")
        for name, anomaly in verdict.anomalies.items()
        if name in forbidden(PROMISED[level])
    ]
    if lost:
        at_s = min(each.committed_s for each in lost)
        broken.append(Broken("nothing lost", f"{len(lost)} acknowledged commits lost", at_s))
    if undead:
        broken.append(Broken("aborted is gone", f"{len(undead)} aborted, and there"))
    if wrong:
        detail = f"{len(wrong)} rows are not as the last commits of them left them"
        broken.append(Broken("nothing half", detail))
    if audits.torn and level != "read uncommitted":
        broken.append(Broken("one moment", f"{len(audits.torn)} scans; {audits.torn[0]}"))
    if waits.idle:
        broken.append(Broken("no idle wait", f"{waits.idle[0]}, and nobody is in its way"))
    return Findings(
        broken,
        {
            "level": level,
            "transactions": len(rows.accounts) - 1,
            "committed": sum(each.status == "committed" for each in rows.accounts) - 1,
            "answers lost, had committed": sum(each.status == "committed" for each in unknown),
            "answers lost, had not": sum(each.status != "committed" for each in unknown),
            "long scans": audits.count,
            "seen waiting": waits.count,
            "anomalies": ", ".join(verdict.anomalies) or "none",
        },
    )


def _who(verdict: checker.Verdict, anomaly: Anomaly) -> str:
    names = dict.fromkeys(verdict.observed.transactions[n].id for n in anomaly.transactions)
    return ", ".join(map(str, names))


PEOPLE: Final = tuple(f"client-{number}" for number in range(1, CLIENTS + 1))
EVERYBODY: Final = (*PEOPLE, "mover", "auditor")

ISOLATION_LEVELS: Final = Scenario(
    name="levels",
    summary="random transactions at a level of isolation, judged by what they saw",
    checks={
        "level kept": "no anomaly occurs that the level forbids",
        "nothing lost": "every acknowledged commit is there",
        "aborted is gone": "of what was aborted nothing is there",
        "nothing half": "each row is what the last commit of it has left",
        "one moment": "a scan of many rows sees one state, unless it reads what is uncommitted",
        "no idle wait": "whoever waits for a lock has somebody in the way",
        "it comes back": "when the faults are over, every client gets its answers",
    },
    safeguards={
        name: SAFEGUARDS[name].otherwise
        for name in (
            "journal.sync",
            "store.no_abort_after_commit",
            "store.exclusive_locks",
            "store.statement_snapshot",
            "store.range_locks",
            "store.two_phase",
            "store.every_waiter",
            "store.conflict_on_read",
            "store.conflict_on_commit",
            "store.check_at_commit",
            "store.read_only_anomaly",
            "store.committed_conflicts",
            "rpc.lost_is_indeterminate",
        )
    },
    menus=(
        Menu("kill", ["db"], (0, 1), for_s=(0.0, 0.3)),
        Menu("power cut", ["db"], (0, 2), for_s=(0.0, 0.3)),
        Menu("pause", ["db", *EVERYBODY], (0, 1), for_s=(0.01, 0.5)),
        Menu("slow cpu", ["db"], (0, 1), for_s=(0.1, 0.5), amount=(0.1, 0.9)),
        Menu("slow disk", ["db"], (0, 1), for_s=(0.1, 0.5), amount=(2.0, 50.0)),
        Menu("cut", [f"{who}<->db" for who in PEOPLE], (0, 1), for_s=(0.05, 1.5)),
        Menu("cut", [f"db->{who}" for who in PEOPLE], (0, 1), for_s=(0.05, 1.5)),
        Menu("slow link", [f"db->{who}" for who in EVERYBODY], (0, 1), (0.1, 0.5), (0.01, 0.1)),
        Menu("lossy link", [f"{who}<->db" for who in PEOPLE], (0, 1), (0.1, 0.5), (0.01, 0.5)),
        Menu("reset", [f"{who}<->db" for who in PEOPLE], (0, 1)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.005),
    play=play,
)
