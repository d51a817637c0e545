"""Circles that only the order of asking has made are dissolved: PostgreSQL's soft deadlocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from sdkit.store import Deadlock, Isolation, StoreConfig
from sdkit.store.database import Database
from sdkit.store.deadlock import find_cycle
from sdkit.store.isolation import rules_of
from sdkit.store.lock_manager import LockManager
from sdkit.store.locks import Kind
from sdkit.store.ranges import just
from sdkit.store.reorder import take_places
from sdkit.store.transaction import State, Transaction

CONFIG = StoreConfig(serializable="locking")

# PostgreSQL's isolation tests lock tables; keys are locked here. ACCESS SHARE is a get, and
# ACCESS EXCLUSIVE a put. In the second, a1 has a lock in which two get into each other's way.
DEADLOCK_SOFT = {
    "d1": ["get a1", "get a2", "commit"],
    "d2": ["get a2", "get a1", "commit"],
    "e1": ["put a1", "commit"],
    "e2": ["put a2", "commit"],
}
DEADLOCK_SOFT_2 = {
    "s1": ["put a1", "get a2", "commit"],
    "s2": ["get a2", "put a1", "commit"],
    "s3": ["put a2", "commit"],
    "s4": ["put a2", "commit"],
}
PUBLISHED = [
    (DEADLOCK_SOFT, "d1 d2 e1 e2 d1 d2 d1 e1 d2 e2"),
    (DEADLOCK_SOFT_2, "s1 s2 s2 s3 s4 s1 s1 s2 s3 s4"),
]
EVERY = 17  # of 25,200 orders; prime to the sizes of the groups in them


@dataclass
class Session:
    transaction: Transaction
    steps: Iterator[str]
    behind: int = 0  # steps whose turn has come while it waited


@dataclass
class Play:
    """Takes the steps of a program in an order; who waits makes up for it later."""

    program: dict[str, list[str]]
    database: Database
    sessions: dict[str, Session] = field(default_factory=dict)

    def run(self, order: list[str]) -> list[State]:
        rules = rules_of(Isolation.SERIALIZABLE, "locking")
        for name, steps in self.program.items():
            number = self.database.next_id()
            transaction = Transaction(number, Isolation.SERIALIZABLE, rules, read_only=False)
            self.database.enter(transaction)
            self.sessions[name] = Session(transaction, iter(steps))
        for name in order:
            self.sessions[name].behind += 1
            while any(self.catch_up(each) for each in self.sessions.values()):
                pass
        return [each.transaction.state for each in self.sessions.values()]

    def catch_up(self, session: Session) -> bool:
        """Take one step of those that it may take."""
        transaction = session.transaction
        if transaction.state is State.WAITING and transaction.request is None:
            transaction.state = State.ACTIVE
        if transaction.state is not State.ACTIVE or not session.behind:
            return False
        session.behind -= 1
        with suppress(Deadlock):
            self.take(transaction, *next(session.steps).encode().split())
        return True

    def take(self, transaction: Transaction, verb: bytes, key: bytes = b"") -> None:
        database = self.database
        match verb:
            case b"get":
                if not database.locks.take_shared(transaction, key):
                    database.begin_to_wait(transaction, Kind.SHARED, just(key))
            case b"put":
                if not database.take_exclusive(transaction, key):
                    database.begin_to_wait(transaction, Kind.EXCLUSIVE, just(key))
            case _:
                database.begin_commit(transaction)


def orders(program: dict[str, list[str]]) -> Iterator[list[str]]:
    """Every order in which the steps can be taken."""

    def go_on(left: dict[str, int], order: list[str]) -> Iterator[list[str]]:
        if not any(left.values()):
            yield order
        for name, count in left.items():
            if count:
                yield from go_on({**left, name: count - 1}, [*order, name])

    return go_on({name: len(steps) for name, steps in program.items()}, [])


def states(
    program: dict[str, list[str]], order: list[str], database: type[Database] = Database
) -> list[State]:
    return Play(program, database(CONFIG)).run(order)


@pytest.mark.parametrize(("program", "order"), PUBLISHED, ids=["deadlock-soft", "deadlock-soft-2"])
def test_the_published_order_aborts_nobody(program: dict[str, list[str]], order: str) -> None:
    assert set(states(program, order.split())) == {State.COMMITTED}


@pytest.mark.parametrize("program", [DEADLOCK_SOFT, DEADLOCK_SOFT_2], ids=["soft", "soft-2"])
def test_no_order_of_the_steps_aborts_anybody(program: dict[str, list[str]]) -> None:
    every = list(orders(program))
    assert len(every) == 25_200
    for order in every[::EVERY]:
        assert set(states(program, order)) == {State.COMMITTED}, " ".join(order)


class AbortsInsteadOfReordering(Database):
    class Manager(LockManager):
        def find_deadlock(self, transaction: Transaction) -> list[Transaction]:
            return find_cycle(transaction, self.stands_behind)

    lock_manager_type = Manager


@pytest.mark.parametrize(("program", "order"), PUBLISHED, ids=["deadlock-soft", "deadlock-soft-2"])
def test_a_store_that_aborts_instead_is_seen(program: dict[str, list[str]], order: str) -> None:
    assert State.ABORTED in states(program, order.split(), AbortsInsteadOfReordering)


@dataclass(eq=False)
class Ask:
    owner: str
    holders: list[str]
    asked: float


def test_who_holds_others_back_takes_the_place_of_the_first_of_them() -> None:
    first, second, third = Ask("a", ["c"], 1), Ask("b", ["c", "d"], 2), Ask("c", ["e"], 3)
    fourth, fifth = Ask("d", [], 4), Ask("e", [], 5)
    waiting = [fifth, fourth, third, second, first]
    take_places(waiting, lambda request: request.holders)
    assert [each.asked for each in (first, second, third, fourth, fifth)] == [1, 2, 1, 2, 1]
