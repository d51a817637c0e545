"""A set of ranges holds what was added, and after coarsening rather more than less."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.store import ranges as module
from sdkit.store.accesses import Accesses
from sdkit.store.ranges import KeyOrder, RangeSet, coarse, just

KEYS = [bytes([letter]) for letter in b"abcdefghij"]
bounds = st.sampled_from(KEYS)
ranges = st.lists(st.tuples(bounds, st.none() | bounds), max_size=12)


def filled(added: list[tuple[bytes, bytes | None]]) -> RangeSet:
    held = RangeSet()
    for start, end in added:
        held.add(start, end)
    return held


def is_in(key: bytes, added: list[tuple[bytes, bytes | None]]) -> bool:
    return any(start <= key and (end is None or key < end) for start, end in added)


@given(ranges)
def test_it_holds_what_was_added_and_nothing_else(
    added: list[tuple[bytes, bytes | None]],
) -> None:
    held = filled(added)
    for key in [b"", *KEYS, b"z", *(key + b"\0" for key in KEYS)]:
        assert (key in held) == is_in(key, added)
    flat = list(held)
    assert flat == sorted(flat, key=lambda each: each[0])
    for (_, end), (start, _) in pairwise(flat):
        assert end is not None
        assert end < start, "ranges that meet are one"


@given(ranges, bounds, st.none() | bounds)
def test_it_knows_what_it_overlaps(
    added: list[tuple[bytes, bytes | None]], start: bytes, end: bytes | None
) -> None:
    held = filled(added)
    candidates = [*KEYS, *(key + b"\0" for key in KEYS), start]
    common = any(is_in(key, [(start, end)]) and is_in(key, added) for key in candidates)
    assert held.overlaps(start, end) or not common
    if end is None or start < end:
        assert held.overlaps(start, end) == common


@given(ranges, st.integers(1, 4))
def test_coarsened_it_holds_no_less(added: list[tuple[bytes, bytes | None]], most: int) -> None:
    held = filled(added)
    held.coarsen(most)
    assert len(held) <= most
    assert all(key in held for key in KEYS if is_in(key, added))


@given(st.lists(bounds, max_size=10), st.integers(1, 4))
def test_keys_become_few_ranges_that_hold_them_all(keys: list[bytes], most: int) -> None:
    made = coarse(keys, most)
    assert len(made) <= most
    assert all(is_in(key, made) for key in keys)


@given(st.lists(st.tuples(st.integers(0, 2), bounds, st.none() | bounds), max_size=20))
def test_who_has_accessed_a_key_is_who_has_named_it_or_a_range_with_it(
    program: list[tuple[int, bytes, bytes | None]],
) -> None:
    accesses: Accesses[int] = Accesses()
    added: dict[int, list[tuple[bytes, bytes | None]]] = {0: [], 1: [], 2: []}
    for owner, start, end in program:
        if end is None:
            accesses.add_key(owner, start)
            added[owner].append(just(start))
        else:
            accesses.add_range(owner, start, end)
            added[owner].append((start, end))
    for key in KEYS:
        expected = {owner for owner, ranges in added.items() if is_in(key, ranges)}
        assert set(accesses.owners(key)) == expected
        for owner in added:
            assert accesses.has(owner, key) == (owner in expected)
            assert accesses.has_other(owner, key) == bool(expected - {owner})
    for count in (1, 4, len(KEYS)):
        some = KEYS[:count]
        found = {owner for _, owner in accesses.owners_of(some)}
        assert found == {owner for key in some for owner in accesses.owners(key)}
    named = {o for key in accesses.named_within(b"c", b"f") for o in accesses.owners_by_name(key)}
    found = named | set(accesses.owners_overlapping(b"c", b"f"))
    expected = {
        o for o, each in added.items() if any(filled(each).overlaps(*just(k)) for k in KEYS[2:5])
    }
    assert found >= expected
    for owner in added:
        accesses.forget(owner)
    assert not accesses
    assert not list(accesses.owners(b"a"))


@given(
    st.lists(st.one_of(st.tuples(bounds), st.tuples(bounds, st.none() | bounds)), max_size=40),
    st.integers(0, 5),
)
def test_keys_that_come_and_go_are_in_order_whenever_somebody_asks(
    steps: list[tuple[bytes] | tuple[bytes, bytes | None]], changed_min: int
) -> None:
    keys: dict[bytes, None] = {}
    order = KeyOrder(keys)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "CHANGED_MIN", changed_min)
        for step in steps:
            if len(step) == 1:
                if keys.pop(step[0], step) is step:
                    keys[step[0]] = None
                order.changed(step[0])
            else:
                start, end = step
                expected = [key for key in sorted(keys) if is_in(key, [(start, end)])]
                assert list(order.within(start, end)) == expected
