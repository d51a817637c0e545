"""The bank's verdict notices every kind of broken promise: each is planted here."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from sdkit.errors import ConnectionLost
from sdkit.scenarios.bank_workload import Bank, Verdict
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run
from sdkit.store import Store, StoreConfig, StoreEngine

Plant = Callable[[Bank, Store], Awaitable[None]]


@asynccontextmanager
async def a_store() -> AsyncIterator[Store]:
    async with StoreEngine(SimulatedHost("db"), StoreConfig()) as store:
        yield store


async def some_transfers(bank: Bank, store: Store, count: int = 20) -> None:
    left = iter(range(count))

    async def same_store() -> Store:
        return store

    await bank.transfers("c", same_store, random.Random(3), lambda: next(left, None) is not None)


def verdict_after(plant: Plant | None) -> Verdict:
    async def main() -> Verdict:
        bank = Bank(accounts=10)
        async with a_store() as store:
            await bank.open_accounts(store)
            await some_transfers(bank, store)
            if plant is not None:
                await plant(bank, store)
            return await bank.verdict(store)

    return run(main())


async def lose_a_transfer(bank: Bank, store: Store) -> None:
    bank.acknowledged.add(b"c-99999")


async def apply_one_twice(bank: Bank, store: Store) -> None:
    async with store.begin() as transaction:
        row = await transaction.get(b"transfer/c-00001/1")
        assert row is not None
        await transaction.put(b"transfer/c-00001/2", row)


async def apply_half_of_one(bank: Bank, store: Store) -> None:
    async with store.begin() as transaction:
        for account, change in ((b"account/0001", 5), (b"account/0002", -5)):
            balance = await transaction.get(account)
            assert balance is not None
            await transaction.put(account, b"%d" % (int(balance) + change))


async def make_money(bank: Bank, store: Store) -> None:
    async with store.begin() as transaction:
        balance = await transaction.get(b"account/0001")
        assert balance is not None
        await transaction.put(b"account/0001", b"%d" % (int(balance) + 1))


async def audit_while_money_is_missing(bank: Bank, store: Store) -> None:
    await make_money(bank, store)
    left = iter(range(1))

    async def same_store() -> Store:
        return store

    async def no_pause() -> None:
        return None

    await bank.audit(same_store, lambda: next(left, None) is not None, no_pause)


def test_twenty_transfers_without_a_fault_hold() -> None:
    verdict = verdict_after(None)
    assert verdict.held
    assert verdict.transfers_acknowledged == 20
    assert verdict.total_before == verdict.total_after == 1_000


@pytest.mark.parametrize(
    ("plant", "field", "value"),
    [
        (lose_a_transfer, "lost_acknowledged", 1),
        (apply_one_twice, "applied_twice", 1),
        (apply_half_of_one, "half_applied", 2),
        (make_money, "total_after", 1_001),
        (audit_while_money_is_missing, "wrong_audits", 1),
    ],
)
def test_the_verdict_notices(plant: Plant, field: str, value: int) -> None:
    verdict = verdict_after(plant)
    assert getattr(verdict, field) == value
    assert not verdict.held


class LosesAnswers:
    """A store whose commits succeed and whose answers get lost, every other time."""

    def __init__(self, store: Store, *, applied: bool) -> None:
        self._store = store
        self._applied = applied
        self._calls = 0
        self.begin = store.begin
        self.versions = store.versions
        self.transactions = store.transactions

    async def run(self, function, **options):  # type: ignore[no-untyped-def]
        self._calls += 1
        if self._calls % 2 == 0:
            return await self._store.run(function, **options)
        if self._applied:
            await self._store.run(function, **options)
        raise ConnectionLost("the answer to commit was lost")


@pytest.mark.parametrize("applied", [True, False])
def test_a_transfer_whose_answer_was_lost_is_looked_for_and_applied_once(applied: bool) -> None:
    async def main() -> Verdict:
        bank = Bank(accounts=10)
        async with a_store() as store:
            await bank.open_accounts(store)
            await some_transfers(bank, LosesAnswers(store, applied=applied), 8)
            return await bank.verdict(store)

    verdict = run(main())
    assert verdict.held
    assert verdict.transfers_acknowledged == 8
    lost = verdict.indeterminate
    assert (lost.committed, lost.not_committed) == ((8, 0) if applied else (0, 8))
