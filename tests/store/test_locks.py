"""Locks wait in order; a circle of waiting is found the moment it closes."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from sdkit.store.deadlock import Deadlock, choose_victim, deadlock_error, find_cycle
from sdkit.store.locks import LockTable


@dataclass(frozen=True)
class Owner:
    id: int


A, B, C = Owner(1), Owner(2), Owner(3)


def table(holder: Owner, *queue: Owner) -> LockTable[Owner]:
    locks: LockTable[Owner] = LockTable()
    locks.holders[b"k"] = holder
    for owner in queue:
        locks.enqueue(owner, b"k")
    return locks


def test_a_lock_goes_to_whoever_asked_first() -> None:
    locks = table(A, B, C)
    assert locks.release(b"k") is B
    assert locks.release(b"k") is C
    assert locks.release(b"k") is None
    assert b"k" not in locks.holders


def test_a_waiter_waits_for_the_holder_and_those_before_it() -> None:
    locks = table(A, B, C)
    assert locks.waits_for(B, b"k", 9) == [A]
    assert locks.waits_for(C, b"k", 9) == [A, B]
    assert locks.waits_for(C, b"k", 1) == [A]


def test_whoever_gives_up_leaves_the_others_in_order() -> None:
    locks = table(A, B, C)
    locks.withdraw(B, b"k")
    assert locks.waits_for(C, b"k", 9) == [A]
    locks.withdraw(C, b"k")
    assert locks.release(b"k") is None


@given(st.dictionaries(st.integers(0, 6), st.integers(0, 6)), st.integers(0, 6))
def test_a_cycle_is_found_exactly_if_there_is_one(graph: dict[int, int], start: int) -> None:
    owners = [Owner(number) for number in range(7)]
    asked: list[int] = []

    def waits_for(owner: Owner) -> Owner | None:
        asked.append(owner.id)
        return owners[graph[owner.id]] if owner.id in graph else None

    reached, at = list[int](), graph.get(start)
    while at is not None and at not in reached:
        reached.append(at)
        at = graph.get(at)
    cycle = find_cycle(owners[start], waits_for)
    assert bool(cycle) == (start in reached)
    assert len(set(asked)) == len(asked), "it goes round in a circle that is not its own"
    for index, owner in enumerate(cycle):
        assert waits_for(owner) is cycle[(index + 1) % len(cycle)]


def test_the_youngest_gives_way() -> None:
    assert choose_victim([B, C, A]) is C


def test_the_victims_error_shows_the_circle() -> None:
    error = deadlock_error(3, [(1, b"a"), (3, b"b")])
    assert isinstance(error, Deadlock)
    assert error.code == "deadlock"
    assert "1 waits for b'a' behind 3, 3 waits for b'b' behind 1" in str(error)
    assert error.fields["cycle"] == [1, 3]
