"""Bank: clients move money while the store is killed under them; then the books are checked.

Money is the oldest test of a database, because it has a law that needs no model:
transfers move it and never make or destroy any. Whatever a store loses, repeats
or shows half done breaks a sum.

The idea
    A transfer is one transaction: it takes from one account, gives to another,
    and writes a row under the transfer's id, all or nothing.

        account/0017            93
        account/0042           112
        transfer/c3-00009/1     17 42 12       (the 1 says: by the first attempt)

    When the server dies between "commit" and its answer, the client cannot know
    what happened: the commit is *indeterminate*. It must neither give up (the
    money may have moved) nor simply repeat (it may move twice). It repeats the
    transfer *under the same id*, in a transaction that first looks for the id.

Things to notice
    1. Looking alone proves nothing: the old commit may still be under way, and
       appear just after the look. The repeated transaction therefore goes on to
       write the same two accounts. If the old one is still under way it holds
       their locks, ours waits and then loses (first updater wins), begins anew,
       looks again, and now sees the row.
    2. The attempt is part of the row's key. Were it not, a transfer applied twice
       would overwrite its own evidence.
    3. The auditor reads all accounts in one snapshot, beside all this. Any other
       sum than the opening one means that it saw half a transfer.

`Bank.verdict` compares what clients were promised with what the store holds.
The procedure is the one that Jepsen's bank test made common
(https://jepsen.io/analyses), with ids and indeterminate outcomes added.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

from sdkit.arguments import check_between
from sdkit.errors import Aborted, Indeterminate, Unavailable
from sdkit.store.interface import Isolation, Store, Transaction

T = TypeVar("T")

ACCOUNT: Final = b"account/%04d"
ACCOUNTS: Final = b"account/"
TRANSFERS: Final = b"transfer/"
AMOUNT_MAX: Final = 20
ATTEMPTS_OF_ONE_RUN: Final = 30  # lost races in a row before the client pauses and goes on

NextStore = Callable[[], Awaitable[Store]]


@dataclass
class Indeterminates:
    """Commits whose answer was lost, and how each turned out."""

    committed: int = 0
    not_committed: int = 0


@dataclass
class Verdict:
    """What the books say in the end. `held` is the judgement."""

    transfers_acknowledged: int
    lost_acknowledged: int
    applied_twice: int
    half_applied: int
    audits: int
    wrong_audits: int
    total_before: int
    total_after: int
    indeterminate: Indeterminates
    lost_races: int
    examples: list[str] = field(default_factory=list)  # a few of what went wrong, by id

    @property
    def held(self) -> bool:
        """True if no promise was broken."""
        return (
            not (self.lost_acknowledged or self.applied_twice or self.half_applied)
            and not self.wrong_audits
            and self.total_before == self.total_after
        )


class Bank:
    """The books of one run.

    Args:
        accounts: how many, 2 to 10,000.
        opening_balance: what each begins with, at least 1.
        isolation: of transfers and audits: repeatable read, or serializable.
        look_for_the_id: False leaves the look out, to see what it is for.
        on_acknowledged: told of each transfer that a client was told is done, by its id.
    """

    def __init__(
        self,
        *,
        accounts: int = 100,
        opening_balance: int = 100,
        isolation: Isolation = Isolation.REPEATABLE_READ,
        look_for_the_id: bool = True,
        on_acknowledged: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        check_between("accounts", accounts, 2, 10_000)
        check_between("opening_balance", opening_balance, 1, 10**9)
        self.accounts: Final = accounts
        self.opening_balance: Final = opening_balance
        self.isolation: Final = isolation
        self.look_for_the_id: Final = look_for_the_id
        self._on_acknowledged: Final = on_acknowledged
        self.acknowledged: Final[set[bytes]] = set()
        self.indeterminate: Final = Indeterminates()
        self.audits = 0
        self.wrong_audits: Final[list[int]] = []
        self.lost_races = 0

    @property
    def total(self) -> int:
        """The sum of all accounts, now and for ever."""
        return self.accounts * self.opening_balance

    async def open_accounts(self, store: Store) -> None:
        """Give every account its opening balance, in one transaction."""
        async with store.begin() as transaction:
            for number in range(self.accounts):
                await transaction.put(ACCOUNT % number, b"%d" % self.opening_balance)

    async def transfers(
        self, name: str, next_store: NextStore, draw: random.Random, go_on: Callable[[], bool]
    ) -> None:
        """One client: transfer after transfer while ``go_on()``; the last one is seen through.

        Args:
            name: of the client; part of its transfers' ids.
            next_store: a store to use; asked again when the last one was lost.
            draw: chooses accounts and amounts.
            go_on: asked before each transfer.
        """
        number = 0
        while go_on():
            number += 1
            source, target = draw.sample(range(self.accounts), 2)
            amount = draw.randint(1, AMOUNT_MAX)
            transfer = _Transfer(f"{name}-{number:05d}".encode(), source, target, amount)
            await self._see_through(transfer, next_store)

    async def audit(
        self,
        next_store: NextStore,
        go_on: Callable[[], bool],
        pause: Callable[[], Awaitable[None]],
    ) -> None:
        """The auditor: add up all accounts in one snapshot, again and again while ``go_on()``.

        Args:
            next_store, go_on: as for `transfers`.
            pause: between two audits; without any, the auditor would have the
                store to itself half of the time.
        """
        while go_on():
            await pause()
            store = await next_store()
            try:
                total = await store.run(_sum_of_accounts, isolation=self.isolation, read_only=True)
            except (Unavailable, Indeterminate, Aborted):
                continue  # an audit changes nothing: ask again
            self.audits += 1
            if total != self.total:
                self.wrong_audits.append(total)

    async def verdict(self, store: Store) -> Verdict:
        """Compare everything that was promised with everything that is there."""
        async with store.begin(read_only=True) as transaction:
            balances = {key: int(value) async for key, value in transaction.scan(prefix=ACCOUNTS)}
            rows = {key: value async for key, value in transaction.scan(prefix=TRANSFERS)}
        applied = Counter(key.split(b"/")[1] for key in rows)
        lost = sorted(self.acknowledged - applied.keys())
        twice = sorted(name for name, times in applied.items() if times > 1)
        half = self._accounts_that_disagree(balances, list(rows.values()))
        return Verdict(
            transfers_acknowledged=len(self.acknowledged),
            lost_acknowledged=len(lost),
            applied_twice=len(twice),
            half_applied=len(half),
            audits=self.audits,
            wrong_audits=len(self.wrong_audits),
            total_before=self.total,
            total_after=sum(balances.values()),
            indeterminate=self.indeterminate,
            lost_races=self.lost_races,
            examples=[f"lost: {name.decode()}" for name in lost[:5]]
            + [f"applied twice: {name.decode()}" for name in twice[:5]]
            + [f"disagrees with its transfers: {key.decode()}" for key in half[:5]]
            + [f"an audit saw {total}" for total in self.wrong_audits[:5]],
        )

    def _accounts_that_disagree(self, balances: dict[bytes, int], rows: list[bytes]) -> list[bytes]:
        """Accounts whose balance is not what their transfer rows add up to."""
        expected = {ACCOUNT % number: self.opening_balance for number in range(self.accounts)}
        for row in rows:
            source, target, amount = map(int, row.split())
            expected[ACCOUNT % source] -= amount
            expected[ACCOUNT % target] += amount
        return sorted(key for key in expected if balances.get(key) != expected[key])

    async def _see_through(self, transfer: _Transfer, next_store: NextStore) -> None:
        """Repeat ``transfer`` under its id until the store has said ok."""
        attempt, unknown = 0, 0  # unknown: commits of this transfer whose answer was lost
        while True:
            attempt += 1
            store = await next_store()
            look = unknown > 0 and self.look_for_the_id
            try:
                found = await self._attempt(store, transfer, attempt, look=look)
            except Indeterminate:
                unknown += 1
            except (Unavailable, Aborted):
                pass  # nothing happened: the same again
            else:
                self.acknowledged.add(transfer.id)
                self._on_acknowledged(transfer.id)
                self.indeterminate.committed += found
                self.indeterminate.not_committed += unknown - found
                return

    async def _attempt(
        self, store: Store, transfer: _Transfer, attempt: int, *, look: bool
    ) -> bool:
        """One attempt, repeated while it loses races. True: the look found it done before."""
        tries = 0

        async def move(transaction: Transaction) -> bool:
            nonlocal tries
            tries += 1
            if look and await _is_applied(transaction, transfer.id):
                return True
            await transfer.apply(transaction, attempt)
            return False

        try:
            return await store.run(move, isolation=self.isolation, attempts=ATTEMPTS_OF_ONE_RUN)
        finally:
            self.lost_races += max(0, tries - 1)


@dataclass(frozen=True)
class _Transfer:
    id: bytes
    source: int
    target: int
    amount: int

    async def apply(self, transaction: Transaction, attempt: int) -> None:
        balances = {}
        for number in (self.source, self.target):
            balance = await transaction.get(ACCOUNT % number)
            assert balance is not None, f"account {number} is gone"
            balances[number] = int(balance)
        amount = min(self.amount, balances[self.source])  # nobody is overdrawn
        balances[self.source] -= amount
        balances[self.target] += amount
        # Always the lower account first: two transfers in opposite directions
        # would otherwise each hold what the other waits for.
        for number in sorted(balances):
            await transaction.put(ACCOUNT % number, b"%d" % balances[number])
        row = b"%d %d %d" % (self.source, self.target, amount)
        await transaction.put(TRANSFERS + self.id + b"/%d" % attempt, row)


async def _is_applied(transaction: Transaction, transfer_id: bytes) -> bool:
    async for _ in transaction.scan(prefix=TRANSFERS + transfer_id + b"/", limit=1):
        return True
    return False


async def _sum_of_accounts(transaction: Transaction) -> int:
    return sum([int(value) async for _, value in transaction.scan(prefix=ACCOUNTS)])
