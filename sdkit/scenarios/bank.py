"""Bank: the store in a world where power fails, and money that must not be lost.

One machine has the database; three have clients that transfer money, and one an
auditor (`sdkit.scenarios.bank_workload` is what they do, the same as in ``sdkit
demo``). Processes are killed, power fails, links are cut, disks fill up and
fail. In the end all is mended, the books are read once more, and every promise
that a client was given is held against them.

What differs from the demo on real processes: here the power fails between two
sectors, a reader sees every moment in between, and the run can be made again.

Things to notice
    1. A database whose disk has failed takes no writes until it is opened again,
       as the journal's rules ask. So somebody has to: `_serve` does what a
       supervisor (systemd, Kubernetes) would.
    2. A commit without an answer is repeated under its id, in a transaction that
       looks for the id first. ``--without bank.look_for_the_id`` leaves the look
       out.
    3. Nothing here knows of faults. Clients see time-outs, resets and refused
       connections, and go on.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from graphlib import CycleError, TopologicalSorter
from random import Random
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sdkit import host as hosts
from sdkit.errors import Aborted, DiskFailed, DiskUnavailable, Indeterminate, Unavailable
from sdkit.net import Limits
from sdkit.scenarios.bank_workload import ACCOUNT, TRANSFERS, Bank, NextStore, Verdict
from sdkit.sim.faults import Menu
from sdkit.sim.machine import Machine
from sdkit.sim.scenario import Broken, Findings, Scenario, Stage
from sdkit.store import StoreClient, StoreServerConfig
from sdkit.store.interface import Transaction
from sdkit.trace import listening
from sdkit.without import SAFEGUARDS, Parts, assemble

T = TypeVar("T")

PORT: Final = 7000
CLIENTS: Final = 3
ACCOUNTS: Final = 8
SECONDS: Final = 3.0
SUPERVISED_EVERY_S: Final = 0.05
PATIENCE_S: Final = 120.0  # virtual; for the last transfers to be seen through
LOOK_FOR_THE_ID: Final = "bank.look_for_the_id"

SECRET: Final = "in the vault"

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
TRY_AGAIN: Final = (Unavailable, Indeterminate, Aborted)
LIMITS: Final = Limits(handshake_timeout_s=0.5, stall_timeout_s=1.0, keepalive_s=0.3)


async def play(stage: Stage) -> Findings:
    """The whole run, from opening the accounts to the verdict."""
    parts = assemble(stage.without - {LOOK_FOR_THE_ID})
    world = stage.world
    acknowledged_at: dict[bytes, float] = {}
    bank = Bank(
        accounts=ACCOUNTS,
        look_for_the_id=LOOK_FOR_THE_ID not in stage.without,
        on_acknowledged=lambda name: acknowledged_at.update({name: world.time()}),
    )
    witness = Witness()
    aborts: Counter[str] = Counter()

    def go_on() -> bool:
        return world.time() < stage.seconds

    async def client() -> None:
        host = hosts.current()
        async with _Teller(parts) as teller:
            await bank.transfers(host.name, teller, host.random, go_on)

    async def auditor() -> None:
        random = hosts.current().random
        async with _Teller(parts) as teller:
            pause = partial(_pause, random, 0.1)
            audits = bank.audit(teller, go_on, pause)
            await asyncio.gather(audits, witness.watch(teller, go_on, pause))

    async def locker() -> None:
        async with _Teller(parts) as teller:
            await _lock_backwards(teller, go_on)

    database = world.machine("db", disk=parts.disk(sync_s=0.002))
    closing = asyncio.Event()
    database.boot(partial(_serve, parts, closing))
    desk = world.machine("desk")
    programs = {f"client-{number}": client for number in range(1, CLIENTS + 1)}
    programs |= {"auditor": auditor, "locker": locker}
    people = [world.machine(name) for name in programs]
    await _work(desk, partial(_open_accounts, parts, bank))
    with listening(lambda record: aborts.update([str(record.fields["code"])]), "store.abort"):
        for machine in people:
            machine.boot(programs[machine.name])
        await stage.calm()
        try:
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(machine.ended for machine in people))
        except TimeoutError:
            late = [machine.name for machine in people if machine.is_up]
            return Findings(
                [Broken("it comes back", f"{', '.join(late)} still waiting {PATIENCE_S:g} s later")]
            )
    verdict, rows = await _work(desk, partial(_read_the_books, parts, bank))
    closing.set()
    await database.ended
    return _findings(verdict, acknowledged_at, witness, rows, aborts)


async def _serve(parts: Parts, closing: asyncio.Event) -> None:
    """The database's process, and the supervisor that opens it again when its disk has failed."""
    while not closing.is_set():
        try:
            async with parts.store_server(hosts.current(), CONFIG) as server:
                while server.engine.failed is None and not closing.is_set():  # noqa: ASYNC110
                    await asyncio.sleep(SUPERVISED_EVERY_S)
        except (DiskUnavailable, DiskFailed):  # while it opens or closes: once more
            await asyncio.sleep(SUPERVISED_EVERY_S)


async def _open_accounts(parts: Parts, bank: Bank) -> None:
    # Nobody has transferred anything yet, so it may be done twice.
    await _insist(parts, bank.open_accounts)


async def _read_the_books(parts: Parts, bank: Bank) -> tuple[Verdict, set[bytes]]:
    async def read(store: StoreClient) -> tuple[Verdict, set[bytes]]:
        verdict = await bank.verdict(store)
        async with store.begin(read_only=True) as transaction:
            return verdict, {key async for key, _ in transaction.scan(prefix=TRANSFERS)}

    return await _insist(parts, read)


async def _insist(parts: Parts, work: Callable[[StoreClient], Awaitable[T]]) -> T:
    """Do something that may be repeated, until it succeeds."""
    async with _Teller(parts) as teller:
        while True:
            try:
                return await work(await teller())
            except TRY_AGAIN:
                await asyncio.sleep(0.05)


class _Teller:
    """A client's way to the store: connects again when the connection is lost."""

    def __init__(self, parts: Parts) -> None:
        self._store: Final = parts.store_client(
            "db", PORT, secret=SECRET, timeout_s=2.0, connect_timeout_s=1.0, limits=LIMITS
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


async def _pause(random: Random, longest_s: float) -> None:
    await asyncio.sleep(random.uniform(0.0, longest_s))


class Witness:
    """A reader that remembers: what it has seen once may never be gone."""

    def __init__(self) -> None:
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
                self.seen.update(await store.run(self._newest, read_only=True))
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


async def _lock_backwards(next_store: NextStore, go_on: Callable[[], bool]) -> None:
    """Lock two accounts, the higher one first: what transfers take care not to do."""
    random = hosts.current().random

    async def lock(transaction: Transaction) -> None:
        for number in sorted(random.sample(range(ACCOUNTS), 2), reverse=True):
            await transaction.get_for_update(ACCOUNT % number)

    while go_on():
        await _pause(random, 0.1)
        store = await next_store()
        try:
            await store.run(lock)
        except TRY_AGAIN:
            continue


async def _work(machine: Machine, main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Let a machine do one thing, to its end."""
    machine.boot(main)
    result: T = await machine.ended
    return result


def _findings(
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
        "one state": "a transaction at repeatable read sees one state",
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
