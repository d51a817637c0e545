"""Locks wait in order; a circle of waiting is found the moment it closes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.store.deadlock import Deadlock, choose_victim, deadlock_error, find_cycle
from sdkit.store.locks import Kind, LockTable, Request
from sdkit.store.ranges import just

Ask: TypeAlias = "tuple[Owner, tuple[Any, ...]]"


@dataclass(frozen=True)
class Owner:
    id: int

    @property
    def age(self) -> int:
        return self.id


A, B, C = Owner(1), Owner(2), Owner(3)


def write(owner: Owner, key: bytes = b"k") -> Request[Owner]:
    return Request(owner, Kind.EXCLUSIVE, *just(key))


def read(owner: Owner, key: bytes = b"k") -> Request[Owner]:
    return Request(owner, Kind.SHARED, *just(key))


def scan(owner: Owner, start: bytes, end: bytes | None) -> Request[Owner]:
    return Request(owner, Kind.RANGE, start, end)


def take(locks: LockTable[Owner], owner: Owner, key: bytes) -> bool:
    if not locks.is_free(owner, key):
        return False
    locks.take_exclusive(owner, key)
    return True


def queued(locks: LockTable[Owner], *requests: Request[Owner]) -> None:
    for request in requests:
        locks.enqueue(request)


def owners(requests: list[Request[Owner]]) -> list[Owner]:
    return [request.owner for request in requests]


def table(holder: Owner) -> LockTable[Owner]:
    locks: LockTable[Owner] = LockTable()
    assert take(locks, holder, b"k")
    return locks


def test_a_lock_goes_to_whoever_asked_first() -> None:
    locks = table(A)
    queued(locks, write(B), write(C))
    assert owners(locks.release(A, [b"k"])) == [B]
    assert owners(locks.release(B, [b"k"])) == [C]
    assert owners(locks.release(C, [b"k"])) == []
    assert b"k" not in locks.holders


def test_a_waiter_waits_for_the_holder_and_those_before_it() -> None:
    locks = table(A)
    first, second = write(B), write(C)
    queued(locks, first, second)
    assert list(locks.before(first)) == [A]
    assert list(locks.before(second)) == [A, B]


def test_whoever_gives_up_leaves_the_others_in_order() -> None:
    locks = table(A)
    first, second = write(B), write(C)
    queued(locks, first, second)
    assert locks.withdraw(first) == []
    assert list(locks.before(second)) == [A]
    assert locks.withdraw(second) == []
    assert locks.release(A, [b"k"]) == []


def test_readers_share_a_key_and_a_writer_waits_for_all_of_them() -> None:
    locks: LockTable[Owner] = LockTable()
    assert locks.take(read(A))
    assert locks.take(scan(B, b"a", b"m"))
    assert not take(locks, C, b"k")
    waiting = write(C)
    queued(locks, waiting)
    assert locks.release(A, []) == []
    assert owners(locks.release(B, [])) == [C]


def test_a_range_keeps_keys_out_that_do_not_exist() -> None:
    locks: LockTable[Owner] = LockTable()
    assert locks.take(scan(A, b"a", b"m"))
    assert not take(locks, B, b"l\xff")
    assert take(locks, B, b"m")
    assert take(locks, A, b"b"), "its own range is in nobody's way but others'"


def test_a_reader_does_not_overtake_a_writer_that_waits() -> None:
    locks: LockTable[Owner] = LockTable()
    assert locks.take(read(A))
    queued(locks, write(B))
    assert not locks.take(read(C))
    assert not locks.take(scan(C, b"", None))


def test_an_upgrade_goes_before_those_whom_its_own_lock_holds_back() -> None:
    locks: LockTable[Owner] = LockTable()
    assert locks.take(read(A))
    assert locks.take(read(C))
    queued(locks, write(B))
    upgrade = write(A)
    assert list(locks.before(upgrade)) == [C]
    queued(locks, upgrade)
    assert owners(locks.release(C, [])) == [A]
    assert owners(locks.release(A, [b"k"])) == [B]


def test_who_scans_passes_those_who_wait_for_what_it_has_written() -> None:
    locks = table(A)
    queued(locks, write(B))
    assert locks.take(scan(A, b"", None))


def test_who_goes_on_writing_passes_a_scan_that_waits_for_it() -> None:
    locks = table(A)
    waiting = scan(B, b"", None)
    queued(locks, waiting)
    assert take(locks, A, b"z"), "the scan waits for A, so A cannot wait for the scan"
    assert not take(locks, C, b"y"), "but nobody else overtakes it"
    queued(locks, write(C, b"y"))
    upgraded = write(A, b"y")
    assert locks.is_free(A, b"y")
    assert owners(locks.release(A, [b"k", b"z"])) == [B]
    assert list(locks.before(upgraded)) == [B, C]


def test_a_scan_that_leaves_lets_those_in_who_waited_behind_it() -> None:
    locks = table(A)
    waiting, behind = scan(B, b"", None), write(C, b"z")
    queued(locks, waiting)
    assert not take(locks, C, b"z")
    queued(locks, behind)
    assert owners(locks.withdraw(waiting)) == [C]


OWNERS = [Owner(number) for number in range(5)]
KEYS = [b"a", b"b", b"c"]
BOUNDS = [b"", b"b", b"c", b"d"]
asks = st.tuples(
    st.sampled_from(OWNERS),
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(KEYS)),
        st.tuples(st.just("read"), st.sampled_from(KEYS)),
        st.tuples(st.just("scan"), st.sampled_from(BOUNDS), st.sampled_from([*BOUNDS[1:], None])),
        st.tuples(st.just("end")),
    ),
)


class Model:
    """Plays requests on a table, and knows by itself what is held and who waits."""

    def __init__(self, locks: LockTable[Owner] | None = None) -> None:
        self.locks = locks or LockTable()
        self.reorders = 0
        self.aborted: list[Owner] = []
        self.held: list[Request[Owner]] = []
        self.waiting: dict[Owner, Request[Owner]] = {}

    def ask(self, owner: Owner, request: Request[Owner]) -> None:
        if request.kind is Kind.EXCLUSIVE:
            taken = take(self.locks, owner, request.key)
        else:
            taken = self.locks.take(request)
        if taken:
            self.held.append(request)
            return
        self.waiting[owner] = request
        self.locks.enqueue(request)
        while cycle := find_cycle(owner, self.holders_before):
            victim = choose_victim(cycle)
            self.aborted.append(victim)
            self.end(victim)
        found = find_cycle(owner, self.waits_for)
        assert bool(found) == bool(find_cycle(owner, self.really_waits_for))
        if found:
            self.reorders += 1
            self.granted(self.locks.reorder())
        for each in self.waiting:
            assert not find_cycle(each, self.really_waits_for), "a circle that nobody has found"

    def holders_before(self, owner: Owner) -> list[Owner]:
        waiting = self.waiting
        return list(self.locks.held_against(waiting[owner])) if owner in waiting else []

    def granted(self, requests: list[Request[Owner]]) -> None:
        for request in requests:
            self.held.append(request)
            del self.waiting[request.owner]

    def waits_for(self, owner: Owner) -> list[Owner]:
        return list(self.locks.waits_for(self.waiting[owner])) if owner in self.waiting else []

    def really_waits_for(self, owner: Owner) -> list[Owner]:
        return list(self.locks.before(self.waiting[owner])) if owner in self.waiting else []

    def end(self, owner: Owner) -> None:
        if owner in self.waiting:
            self.granted(self.locks.withdraw(self.waiting.pop(owner)))
        mine = [each for each in self.held if each.owner is owner]
        self.held = [each for each in self.held if each.owner is not owner]
        keys = list(dict.fromkeys(each.key for each in mine if each.kind is Kind.EXCLUSIVE))
        self.granted(self.locks.release(owner, keys))

    def check(self) -> None:
        for one in self.held:
            for other in self.held:
                assert one.owner is other.owner or not conflict(one, other)
        for request in self.waiting.values():
            assert next(self.locks.before(request), None) is not None, "it waits for nobody"


def conflict(one: Request[Owner], other: Request[Owner]) -> bool:
    return (one.kind is Kind.EXCLUSIVE and other.covers(one.key)) or (
        other.kind is Kind.EXCLUSIVE and one.covers(other.key)
    )


MAKERS: dict[str, Callable[..., Request[Owner]]] = {"write": write, "read": read, "scan": scan}
# The length is drawn first: lists alone would be short.
programs = st.integers(1, 40).flatmap(lambda n: st.lists(asks, min_size=n, max_size=n))


def follow(program: list[Ask], model: Model) -> None:
    """Play a program, and look after each step."""
    for owner, (verb, *arguments) in program:
        if owner in model.waiting:
            continue
        if verb == "end":
            model.end(owner)
        else:
            model.ask(owner, MAKERS[verb](owner, *arguments))
        model.check()


@given(programs)
def test_no_two_conflict_nobody_waits_for_nobody_and_every_circle_is_found(
    program: list[Ask],
) -> None:
    model = Model()
    follow(program, model)
    for owner in [*OWNERS, *OWNERS]:
        model.end(owner)
        model.check()
    assert not model.held
    assert not model.waiting
    assert not model.locks.shared
    assert not model.locks.holders


LOST_WAKE_UP: list[Ask] = [
    (A, ("write", b"b")),
    (B, ("read", b"a")),
    (C, ("scan", b"a", b"c")),
    (B, ("write", b"a")),
    (A, ("write", b"a")),
]
"""A writer is placed before an upgrade that it waits for, and the scan between them goes."""


def test_who_waits_behind_one_that_it_holds_back_goes_on_when_its_way_is_free() -> None:
    locks: LockTable[Owner] = LockTable()
    assert take(locks, A, b"b")
    assert locks.take(read(B, b"a"))
    between, upgrade, writer = scan(C, b"a", b"c"), write(B, b"a"), write(A, b"a")
    queued(locks, between, upgrade, writer)
    assert owners(locks.withdraw(between)) == [B]


def test_a_circle_that_only_the_order_of_asking_has_made_costs_nobody_anything() -> None:
    model = Model()
    follow(LOST_WAKE_UP, model)
    assert model.reorders == 1
    assert not model.aborted
    model.end(B)
    assert list(model.waiting) == [C]
    model.end(A)
    assert not model.waiting


class LooksAtTheHeadOnly(LockTable[Owner]):
    def next_of(self, key: bytes) -> Request[Owner] | None:
        for head in self._queues.get(key, ()):
            return None if any(self.held_against(head)) else head
        return None


class NeverReorders(LockTable[Owner]):
    def reorder(self) -> list[Request[Owner]]:
        return []


class MovesNobodyForward(LockTable[Owner]):
    """Looks again who can be granted, in the old order."""

    def reorder(self) -> list[Request[Owner]]:
        return self._grant_next(list(self._queues))


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (LooksAtTheHeadOnly, "it waits for nobody"),
        (NeverReorders, "a circle that nobody has found"),
        (MovesNobodyForward, "a circle that nobody has found"),
    ],
)
def test_random_programs_find_a_table_that(wrong: type[LockTable[Owner]], complaint: str) -> None:
    random = Random(7)

    def some_step() -> tuple[Any, ...]:
        verb = random.choice(["write"] * 4 + ["read"] * 3 + ["scan"] * 2 + ["end"])
        if verb == "scan":
            return (verb, *sorted(random.sample(BOUNDS, 2)))
        return (verb,) if verb == "end" else (verb, random.choice(KEYS))

    with pytest.raises(AssertionError, match=complaint):
        for _ in range(3000):
            program = [(random.choice(OWNERS), some_step()) for _ in range(30)]
            follow(program, Model(wrong()))


@given(
    st.dictionaries(st.integers(0, 6), st.sets(st.integers(0, 6), max_size=3)), st.integers(0, 6)
)
def test_a_cycle_is_found_exactly_if_there_is_one(graph: dict[int, set[int]], start: int) -> None:
    everybody = [Owner(number) for number in range(7)]
    asked: list[int] = []

    def waits_for(owner: Owner) -> list[Owner]:
        asked.append(owner.id)
        return [everybody[number] for number in sorted(graph.get(owner.id, ()))]

    reached, new = set[int](), set(graph.get(start, ()))
    while new:
        reached |= new
        new = {at for number in new for at in graph.get(number, ())} - reached
    cycle = find_cycle(everybody[start], waits_for)
    assert bool(cycle) == (start in reached)
    assert len(set(asked)) == len(asked), "it goes round in a circle that is not its own"
    for index, owner in enumerate(cycle):
        assert cycle[(index + 1) % len(cycle)] in waits_for(owner)


def test_the_youngest_gives_way() -> None:
    assert choose_victim([B, C, A]) is C


def test_the_victims_error_shows_the_circle() -> None:
    error = deadlock_error(3, [(1, b"a"), (3, b"b")])
    assert isinstance(error, Deadlock)
    assert error.code == "deadlock"
    assert "1 waits for b'a' behind 3, 3 waits for b'b' behind 1" in str(error)
    assert error.fields["cycle"] == [1, 3]
