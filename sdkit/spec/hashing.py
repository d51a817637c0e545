"""Specification: what is promised by whoever says which node owns a key.

    TestMine = placement(MyRing)                             # all promises
    TestMine = placement(MyJump, Promises(weights=False))    # and what one does not make
    TestMine = bounded(MyBoundedRing)                        # if its owners have room

``make`` takes a mapping of names to weights. The oracle is no second ring: it is what
the subject itself said before a change. Of two answers, before and after, the promise
says which keys may differ: those of the node that came or went.

To see what becomes of colliding points, give ``make`` a hash with few values, and
``Promises(spread=None)``, since with that nothing is spread.
"""

from __future__ import annotations

import math
import unittest
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdkit.hashing.placement import Key, Placement
from sdkit.spec.running import finished

KEYS = [f"key {number}" for number in range(60)]
MANY_KEYS = [f"user:{number}" for number in range(2_500)]


@dataclass(frozen=True)
class Promises:
    """What a subject promises beyond "the same key, the same owner".

    Args:
        least: a change moves keys of the node that comes or goes, and no other.
        heir: when a node leaves, each of its keys goes to its second owner.
        memoryless: the answer depends on the nodes, not on how they came to be these.
        any_order: nor on the order in which they are given.
        weights: a node of weight 2 gets twice the keys of a node of weight 1.
        share: ``add`` and ``remove`` return the share of keys that they move.
        spread: by how much, relative to its fair share, a node's part may stray; None: anything.
    """

    least: bool = True
    heir: bool = True
    memoryless: bool = True
    any_order: bool = True
    weights: bool = True
    share: bool = True
    spread: float | None = 0.25


Make = Callable[[Mapping[str, float]], Placement]
names = st.text("abcdef-0123456789", min_size=1, max_size=8)


def some_nodes(promises: Promises, *, at_least: int = 1) -> st.SearchStrategy[dict[str, float]]:
    """Node lists to try; with weights if they are promised."""
    weights = st.sampled_from([1, 2, 3, 0.5] if promises.weights else [1])
    return st.dictionaries(names, weights, min_size=at_least, max_size=6)


def owners(subject: Placement) -> dict[str, str]:
    """What the subject says of every key."""
    return {key: subject.owner(key) for key in KEYS}


def placement(
    make: Make, promises: Promises = Promises(), *, without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for one implementation.

    Args:
        make: makes a subject of nodes with weights.
        promises: which of them are made.
    """

    class PlacementSpec(unittest.TestCase):
        @given(some_nodes(promises))
        def test_every_key_has_one_owner_that_is_a_node(self, nodes: dict[str, float]) -> None:
            subject = make(nodes)
            said = owners(subject)
            assert list(subject.nodes) == list(nodes)
            assert set(said.values()) <= set(nodes)
            assert owners(subject) == said, "it changed its mind"

        @given(some_nodes(promises))
        def test_text_and_its_bytes_are_one_key(self, nodes: dict[str, float]) -> None:
            subject = make(nodes)
            for key in ("", "ant", "größe", "键"):
                assert subject.owner(key) == subject.owner(key.encode())
                assert subject.owners(key, 1) == subject.owners(key.encode(), 1)

        @given(some_nodes(promises))
        def test_owners_are_all_different_and_the_first_is_the_owner(
            self, nodes: dict[str, float]
        ) -> None:
            subject = make(nodes)
            for key in KEYS[:20]:
                ranked = subject.owners(key, len(nodes))
                assert sorted(ranked) == sorted(nodes)
                assert ranked[0] == subject.owner(key)
                for count in range(1, len(nodes)):
                    assert subject.owners(key, count) == ranked[:count]

        @given(some_nodes(promises))
        def test_the_order_of_the_nodes_leaves_no_trace(self, nodes: dict[str, float]) -> None:
            if promises.any_order:
                backwards = dict(reversed(nodes.items()))
                assert owners(make(backwards)) == owners(make(nodes))

        @given(some_nodes(promises), some_nodes(promises))
        def test_who_came_and_went_leaves_no_trace(
            self, nodes: dict[str, float], guests: dict[str, float]
        ) -> None:
            guests = {name: weight for name, weight in guests.items() if name not in nodes}
            subject = make({**nodes, **guests} if promises.any_order else nodes)
            if not promises.any_order:
                for name, weight in guests.items():
                    subject.add(name, weight)
            for name in reversed(guests):
                subject.remove(name)
            assert list(subject.nodes) == list(nodes)
            if promises.memoryless:
                assert owners(subject) == owners(make(nodes))

        @given(some_nodes(promises), names)
        def test_a_node_that_joins_takes_keys_and_no_other_key_moves(
            self, nodes: dict[str, float], name: str
        ) -> None:
            subject = make({node: nodes[node] for node in nodes if node != name} or {"z": 1})
            before = owners(subject)
            subject.add(name)
            assert name in subject.nodes
            after = owners(subject)
            if promises.least:
                moved = {key for key in KEYS if after[key] != before[key]}
                assert {after[key] for key in moved} <= {name}

        @given(some_nodes(promises, at_least=2), st.data())
        def test_a_node_that_leaves_gives_its_keys_away_and_no_other_key_moves(
            self, nodes: dict[str, float], data: st.DataObject
        ) -> None:
            leaving = data.draw(st.sampled_from(sorted(nodes)))
            subject = make(nodes)
            before = owners(subject)
            subject.remove(leaving)
            after = owners(subject)
            assert leaving not in after.values()
            if promises.least:
                moved = {key for key in KEYS if after[key] != before[key]}
                assert {before[key] for key in moved} <= {leaving}

        @given(some_nodes(promises, at_least=2))
        def test_when_an_owner_leaves_its_key_goes_to_the_second(
            self, nodes: dict[str, float]
        ) -> None:
            if promises.heir:
                for key in KEYS[:5]:
                    subject = make(nodes)
                    first, *rest = subject.owners(key, len(nodes))
                    subject.remove(first)
                    assert subject.owners(key, len(rest)) == rest

        def test_keys_are_spread_by_weight(self) -> None:
            if promises.spread is None:
                return
            heavy = 3 if promises.weights else 1
            nodes = {"small": 1, "large": heavy, "also small": 1, "also large": heavy}
            subject = make(nodes)
            counts = Counter(subject.owner(key) for key in MANY_KEYS)
            for node, weight in nodes.items():
                fair = len(MANY_KEYS) * weight / sum(nodes.values())
                assert abs(counts[node] / fair - 1) <= promises.spread, (node, counts)

        def test_the_share_it_tells_is_the_share_that_moves(self) -> None:
            if not promises.share:
                return
            subject = make({f"node {number}": 1 for number in range(5)})
            for change, name in (
                (subject.add, "sixth"),
                (subject.remove, "node 2"),
                (subject.remove, "sixth"),
            ):
                before = [subject.owner(key) for key in MANY_KEYS]
                told = change(name)
                moved = sum(subject.owner(k) != o for k, o in zip(MANY_KEYS, before, strict=True))
                assert isinstance(told, Fraction)
                # Keys are a sample of all hashes. Five standard deviations: once in a million.
                strays = 5 * math.sqrt(told * (1 - told) / len(MANY_KEYS))
                assert abs(moved / len(MANY_KEYS) - told) <= strays, (name, moved, float(told))

        def test_what_cannot_be_is_refused_and_nothing_has_changed(self) -> None:
            with pytest.raises(ValueError):
                make({})
            subject = make({"a": 1, "b": 1})
            before = owners(subject)
            refused: list[tuple[type[Exception], Callable[[], object]]] = [
                (ValueError, lambda: subject.add("a")),
                (ValueError, lambda: subject.add("")),
                (KeyError, lambda: subject.remove("c")),
                (ValueError, lambda: subject.owners("k", 0)),
                (ValueError, lambda: subject.owners("k", 3)),
                *[(ValueError, refused_weight(subject, weight)) for weight in BAD_WEIGHTS],
                *[(ValueError, refused_key(subject, key)) for key in BAD_KEYS],
            ]
            for error, attempt in refused:
                with pytest.raises(error):
                    attempt()
                assert dict(subject.nodes) == {"a": 1, "b": 1}
                assert owners(subject) == before
            subject.remove("a")
            with pytest.raises(ValueError):
                subject.remove("b")
            assert set(owners(subject).values()) == {"b"}

    return finished(PlacementSpec, without, make=make)


BAD_WEIGHTS: list[float] = [0, -1, -0.5, math.nan, math.inf]
BAD_KEYS: list[object] = [7, None, ("k",), bytearray(b"k"), "\ud800"]


def refused_weight(subject: Placement, weight: float) -> Callable[[], object]:
    return lambda: subject.add("c", weight)


def refused_key(subject: Placement, key: object) -> Callable[[], object]:
    return lambda: subject.owner(key)  # type: ignore[arg-type]


class Bounded(Protocol):
    """A placement whose nodes hold what they were given until it is released."""

    @property
    def held(self) -> Mapping[str, int]: ...
    def owners(self, key: Key, count: int) -> list[str]: ...
    def acquire(self, key: Key) -> str: ...
    def release(self, node: str) -> None: ...
    def add(self, node: str, weight: float = 1) -> Fraction: ...
    def remove(self, node: str) -> Fraction: ...


B = TypeVar("B", bound=Bounded)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.integers(0, 100)),
        st.tuples(st.just("leave and come back"), st.just(0)),
    ),
    max_size=60,
)


def bounded(
    make: Callable[[Mapping[str, float], float], B], *, without: Collection[str] = ()
) -> type[unittest.TestCase]:
    """Build the test case for a ring with bounded load.

    Args:
        make: makes one that holds nothing, of nodes with weights and the factor.
    """
    factors = st.sampled_from([1.0, 1.25, 2.0, 10.0])
    weighted = st.dictionaries(names, st.sampled_from([1, 2, 0.5]), min_size=2, max_size=6)

    class BoundedSpec(unittest.TestCase):
        @given(weighted, factors, steps)
        def test_nobody_gets_more_than_its_bound_and_only_the_full_are_passed_over(
            self, nodes: dict[str, float], factor: float, taken: list[tuple[str, int]]
        ) -> None:
            subject, idle = make(nodes, factor), make(nodes, factor)
            holds: list[str] = []
            for step, number in taken:
                if step == "acquire":
                    ranked = idle.owners(f"key {number}", len(nodes))
                    bounds = bounds_of(nodes, factor, len(holds) + 1)
                    room = [node for node in ranked if holds.count(node) < bounds[node]]
                    assert subject.acquire(f"key {number}") == room[0]
                    holds.append(room[0])
                elif step == "release" and holds:
                    subject.release(holds.pop(number % len(holds)))
                elif step == "leave and come back":
                    leaving = next(iter(nodes))
                    subject.remove(leaving)
                    subject.add(leaving, nodes[leaving])
                assert {node: n for node, n in subject.held.items() if n} == Counter(holds)

        @given(weighted, factors)
        def test_what_a_node_holds_when_it_leaves_can_be_released_and_no_more(
            self, nodes: dict[str, float], factor: float
        ) -> None:
            subject = make(nodes, factor)
            node = subject.acquire("key")
            subject.remove(node)
            others = [subject.acquire(f"key {number}") for number in range(10)]
            assert node not in others
            for holder in [node, *others]:
                subject.release(holder)
            assert not any(subject.held.values())
            for holder in (node, others[0]):
                with pytest.raises(RuntimeError):
                    subject.release(holder)

        def test_a_hot_key_is_on_few_nodes_and_a_large_factor_leaves_it_on_one(self) -> None:
            nodes = {f"node {number}": 1 for number in range(10)}
            for factor, expected in ((1.0, 10), (2.0, 5), (10.0, 1)):
                subject = make(nodes, factor)
                served = {subject.acquire("the famous one") for _ in range(1_000)}
                assert len(served) == expected, (factor, served)

    return finished(BoundedSpec, without, make=make)


def bounds_of(nodes: Mapping[str, float], factor: float, held: int) -> dict[str, int]:
    """The promise: at most ``factor`` times the fair part of what is held, rounded up."""
    total = sum(map(Fraction, nodes.values()))
    return {
        node: math.ceil(Fraction(factor) * held * Fraction(weight) / total)
        for node, weight in nodes.items()
    }
