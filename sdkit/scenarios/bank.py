"""Bank: the store in a world where power fails, and money that must not be lost.

One machine has the database; three have clients that transfer money, and one an
auditor (`sdkit.scenarios.bank_workload` is what they do, the same as in ``sdkit
demo``). Processes are killed, power fails, links are cut, disks fill up and
fail. In the end all is mended, the books are read once more, and every promise
that a client was given is held against them.

What differs from the demo on real processes: here the power fails between two
sectors, a reader sees every moment in between, and the run can be made again.

Things to notice
    1. A commit without an answer is repeated under its id, in a transaction that
       looks for the id first. ``--without bank.look_for_the_id`` leaves the look
       out.
    2. All promises hold at repeatable read and at both kinds of serializable, so
       each seed draws one of the three. How they differ is seen in the story: in
       conflicts and deadlocks.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Final

from sdkit import host as hosts
from sdkit.scenarios.bank_workload import ACCOUNT, TRANSFERS, Bank, NextStore, Verdict
from sdkit.scenarios.served_store import (
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
from sdkit.store import StoreClient
from sdkit.store.interface import Isolation, Transaction
from sdkit.trace import listening
from sdkit.without import SAFEGUARDS, Parts, assemble

CLIENTS: Final = 3
ACCOUNTS: Final = 8
SECONDS: Final = 3.0
LOOK_FOR_THE_ID: Final = "bank.look_for_the_id"
LEVELS: Final = (
    "repeatable read",
    "serializable (locking)",
    "serializable (optimistic)",
)
"""Of which a seed draws one. Below them, transfers as they are written would lose updates."""


async def play(stage: Stage) -> Findings:
    """The whole run, from opening the accounts to the verdict."""
    parts = assemble(stage.without - {LOOK_FOR_THE_ID})
    world = stage.world
    level = drawn(world.seed, LEVELS)
    isolation, config = at_level(level)
    acknowledged_at: dict[bytes, float] = {}
    bank = Bank(
        accounts=ACCOUNTS,
        isolation=isolation,
        look_for_the_id=LOOK_FOR_THE_ID not in stage.without,
        on_acknowledged=lambda name: acknowledged_at.update({name: world.time()}),
    )
    witness = Witness(isolation)
    aborts: Counter[str] = Counter()

    def go_on() -> bool:
        return world.time() < stage.seconds

    async def client() -> None:
        host = hosts.current()
        async with Way(parts) as teller:
            await bank.transfers(host.name, teller, host.random, go_on)

    async def auditor() -> None:
        random = hosts.current().random
        async with Way(parts) as teller:
            rest = partial(pause, random, 0.1)
            audits = bank.audit(teller, go_on, rest)
            await asyncio.gather(audits, witness.watch(teller, go_on, rest))

    async def locker() -> None:
        async with Way(parts) as teller:
            await _lock_backwards(teller, isolation, go_on)

    database = world.machine("db", disk=parts.disk(sync_s=0.002))
    closing = asyncio.Event()
    database.boot(partial(serve, parts, config, closing))
    desk = world.machine("desk")
    programs = {f"client-{number}": client for number in range(1, CLIENTS + 1)}
    programs |= {"auditor": auditor, "locker": locker}
    people = [world.machine(name) for name in programs]
    await work_on(desk, partial(_open_accounts, parts, bank))
    with listening(lambda record: aborts.update([str(record.fields["code"])]), "store.abort"):
        for machine in people:
            machine.boot(programs[machine.name])
        await stage.calm()
        if late := await all_come_back(people):
            return Findings(late)
    verdict, rows = await work_on(desk, partial(_read_the_books, parts, bank))
    closing.set()
    await database.ended
    return _findings(level, verdict, acknowledged_at, witness, rows, aborts)


async def _open_accounts(parts: Parts, bank: Bank) -> None:
    # Nobody has transferred anything yet, so it may be done twice.
    await insist(parts, bank.open_accounts)


async def _read_the_books(parts: Parts, bank: Bank) -> tuple[Verdict, set[bytes]]:
    async def read(store: StoreClient) -> tuple[Verdict, set[bytes]]:
        verdict = await bank.verdict(store)
        async with store.begin(read_only=True) as transaction:
            return verdict, {key async for key, _ in transaction.scan(prefix=TRANSFERS)}

    return await insist(parts, read)


class Witness:
    """A reader that remembers: what it has seen once may never be gone."""

    def __init__(self, isolation: Isolation) -> None:
        self._isolation: Final = isolation
        self.seen: Final[set[bytes]] = set()
        self.two_states = 0  # reads of one transaction that saw two states
        self.circles = 0  # of transactions that wait for one another, and nobody breaks them

    async def watch(
        self,
        next_store: NextStore,
        go_on: Callable[[], bool],
        pause: Callable[[], Awaitable[None]],
    ) -> None:
        """Look at the newest transfer of each client, and at who waits for whom."""
        while go_on():
            await pause()
            store = await next_store()
            try:
                self.seen.update(
                    await store.run(self._newest, isolation=self._isolation, read_only=True)
                )
                waiting = {info.id: info.waits_for for info in await store.transactions()}
            except TRY_AGAIN:
                continue
            try:
                TopologicalSorter(waiting).prepare()
            except CycleError:
                self.circles += 1

    async def _newest(self, transaction: Transaction) -> list[bytes]:
        before = await transaction.get(ACCOUNT % 0)
        prefixes = [TRANSFERS + b"client-%d-" % number for number in range(1, CLIENTS + 1)]
        newest = [
            key
            for prefix in prefixes
            async for key, _ in transaction.scan(prefix=prefix, reverse=True, limit=1)
        ]
        self.two_states += await transaction.get(ACCOUNT % 0) != before
        return newest


async def _lock_backwards(
    next_store: NextStore, isolation: Isolation, go_on: Callable[[], bool]
) -> None:
    """Lock two accounts, the higher one first: what transfers take care not to do."""
    random = hosts.current().random

    async def lock(transaction: Transaction) -> None:
        for number in sorted(random.sample(range(ACCOUNTS), 2), reverse=True):
            await transaction.get_for_update(ACCOUNT % number)

    while go_on():
        await pause(random, 0.1)
        store = await next_store()
        try:
            await store.run(lock, isolation=isolation)
        except TRY_AGAIN:
            continue


def _findings(
    level: str,
    verdict: Verdict,
    acknowledged_at: dict[bytes, float],
    witness: Witness,
    rows: set[bytes],
    aborts: Counter[str],
) -> Findings:
    taken_back = witness.seen - rows
    applied = {key.split(b"/")[1] for key in rows}
    lost_at = min((at for name, at in acknowledged_at.items() if name not in applied), default=None)
    broken = [
        Broken(promise, f"{count} {what}", lost_at if promise == "nothing lost" else None)
        for promise, count, what in (
            ("nothing lost", verdict.lost_acknowledged, "acknowledged transfers lost"),
            ("nothing twice", verdict.applied_twice, "transfers applied twice"),
            ("nothing half", verdict.half_applied, "accounts that disagree with their transfers"),
            ("audits agree", verdict.wrong_audits, "audits that saw another total"),
            ("seen stays", len(taken_back), "transfers seen by a reader, and gone"),
            (
                "one state",
                witness.two_states,
                "transactions that saw two states",
            ),
            ("deadlocks end", witness.circles, "times, transactions waited in a circle"),
        )
        if count
    ]
    if verdict.total_after != verdict.total_before:
        what = f"{verdict.total_before} became {verdict.total_after}"
        broken.append(Broken("total unchanged", what))
    return Findings(
        broken,
        {
            "level": level,
            "transfers acknowledged": verdict.transfers_acknowledged,
            "answers lost, had committed": verdict.indeterminate.committed,
            "answers lost, had not": verdict.indeterminate.not_committed,
            "conflicts, repeated": verdict.lost_races,
            "deadlocks": aborts["deadlock"],
            "audits": verdict.audits,
        },
    )


PEOPLE: Final = (*(f"client-{number}" for number in range(1, CLIENTS + 1)), "auditor", "locker")

BANK: Final = Scenario(
    name="bank",
    summary="transfers between accounts while the database loses power, links and disks fail",
    checks={
        "nothing lost": "every acknowledged transfer is there",
        "nothing twice": "none is there twice, however often its answer was lost",
        "nothing half": "each account agrees with its transfers",
        "total unchanged": "transfers move money and never make or destroy any",
        "audits agree": "no audit ever saw another total",
        "seen stays": "what a reader has seen once is never gone",
        "one state": "a transaction sees one state",
        "deadlocks end": "nobody is ever seen waiting in a circle",
        "it comes back": "when the faults are over, every client gets its answers",
    },
    safeguards={
        LOOK_FOR_THE_ID: "a transfer whose answer was lost is repeated, and applied twice",
        **{
            name: SAFEGUARDS[name].otherwise
            for name in (
                "journal.sync",
                "journal.position_before_sync",
                "journal.failed_sync_is_final",
                "journal.cut_back",
                "journal.snapshot_sync",
                "journal.snapshot_before_truncation",
                "journal.directory_sync",
                "store.visible_when_durable",
                "store.locks_until_durable",
                "store.no_abort_after_commit",
                "store.first_updater_wins",
                "store.one_snapshot",
                "store.deadlock_search",
                "rpc.deadlines",
                "rpc.lost_calls_fail",
                "rpc.lost_is_indeterminate",
            )
        },
    },
    menus=(
        Menu("kill", ["db"], (0, 2), for_s=(0.0, 0.5)),
        Menu("power cut", ["db"], (0, 3), for_s=(0.0, 0.5)),
        Menu("pause", ["db", *PEOPLE], (0, 1), for_s=(0.01, 1.5)),
        Menu("slow cpu", ["db"], (0, 1), for_s=(0.1, 1.0), amount=(0.1, 0.9)),
        Menu("clock jump", ["db"], (0, 1), amount=(-3600.0, 3600.0)),
        Menu("failed sync", ["db"], (0, 1)),
        Menu("failed write", ["db"], (0, 1)),
        Menu("short write", ["db"], (0, 1), amount=(0, 600)),
        Menu("full disk", ["db"], (0, 1), for_s=(0.05, 0.5)),
        Menu("slow disk", ["db"], (0, 1), for_s=(0.1, 1.0), amount=(2.0, 50.0)),
        Menu("cut", [f"{who}<->db" for who in PEOPLE], (0, 1), for_s=(0.05, 3.0)),
        Menu("cut", [f"{who}->db" for who in PEOPLE], (0, 1), for_s=(0.05, 3.0)),
        Menu("slow link", [f"db->{who}" for who in PEOPLE], (0, 1), (0.1, 1.0), (0.01, 0.3)),
        Menu("lossy link", [f"{who}<->db" for who in PEOPLE], (0, 1), (0.1, 1.0), (0.01, 0.5)),
        Menu("reset", [f"{who}<->db" for who in PEOPLE], (0, 2)),
        Menu("refuse", ["db"], (0, 1), for_s=(0.05, 0.5)),
        Menu("no name", ["db"], (0, 1), for_s=(0.05, 0.5)),
    ),
    seconds=SECONDS,
    latency_s=(0.001, 0.005),
    play=play,
)
