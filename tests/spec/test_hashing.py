"""Every scheme keeps the promises that it makes; each promise is broken by some mutant."""

from __future__ import annotations

import unittest
from collections.abc import Callable, Mapping
from fractions import Fraction

import pytest
from hypothesis import Phase, settings
from uhashring import HashRing

from sdkit.hashing import (
    BoundedRing,
    Jump,
    KetamaRing,
    Key,
    Modulo,
    Rendezvous,
    Ring,
    Slots,
    blake2b_64,
)
from sdkit.hashing.placement import Placement
from sdkit.spec.hashing import Promises, bounded, placement
from tests.spec.bite import assert_caught, fewer
from tests.spec.mutants import hashing as mutants

OF_MODULO = Promises(least=False, heir=False, any_order=False, weights=False, spread=0.15)
# A node that leaves from the middle gives its number to the last, whose keys then move too.
OF_JUMP = Promises(least=False, heir=False, any_order=False, weights=False, spread=0.15)
OF_SLOTS = Promises(heir=False, memoryless=False, any_order=False, spread=0.15)
# Here the points of a node depend on all weights, and a light one may get none.
OF_KETAMA = Promises(weights=False)


def narrow(data: bytes) -> int:
    """A hash of 16 values: every point is shared, many keys hit one exactly."""
    return blake2b_64(data) % 16


def narrow_ring(nodes: Mapping[str, float]) -> Ring:
    return Ring(nodes, virtual_nodes=8, hash64=narrow)


def idle_bounded_ring(nodes: Mapping[str, float]) -> BoundedRing:
    return BoundedRing(nodes, virtual_nodes=8)


TestRing = fewer(placement(Ring), 10)
TestCollidingRing = fewer(placement(narrow_ring, Promises(share=False, spread=None)), 40)
TestKetamaRing = fewer(placement(KetamaRing, OF_KETAMA), 6)
TestIdleBoundedRing = fewer(placement(idle_bounded_ring, Promises(spread=None)), 10)
TestRendezvous = fewer(placement(Rendezvous, Promises(spread=0.15)), 25)
TestJump = fewer(placement(Jump, OF_JUMP), 25)
TestSlots = fewer(placement(Slots, OF_SLOTS), 5)
TestModulo = fewer(placement(Modulo, OF_MODULO), 25)


def bounded_ring(nodes: Mapping[str, float], factor: float) -> BoundedRing:
    return BoundedRing(nodes, factor=factor, virtual_nodes=8)


TestBoundedRing = fewer(bounded(bounded_ring), 50)


JOINS = "test_a_node_that_joins_takes_keys_and_no_other_key_moves"
LEAVES = "test_a_node_that_leaves_gives_its_keys_away_and_no_other_key_moves"
NO_TRACE = "test_who_came_and_went_leaves_no_trace"
ANY_ORDER = "test_the_order_of_the_nodes_leaves_no_trace"
SHARE = "test_the_share_it_tells_is_the_share_that_moves"
DIFFERENT = "test_owners_are_all_different_and_the_first_is_the_owner"
REFUSED = "test_what_cannot_be_is_refused_and_nothing_has_changed"


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.SpreadsRequests, "test_every_key_has_one_owner_that_is_a_node"),
        (mutants.HashesTheRepr, "test_text_and_its_bytes_are_one_key"),
        (mutants.CountsPointsForNodes, DIFFERENT),
        (mutants.StartsFromTheCountOfNodes, JOINS),
        (mutants.HandsOutAllSlotsAgain, JOINS),
        (mutants.HandsOutAllSlotsAgain, LEAVES),
        (Modulo, LEAVES),
        (mutants.LeavesPointsBehind, LEAVES),
        (mutants.SecondOwnerByName, "test_when_an_owner_leaves_its_key_goes_to_the_second"),
        (mutants.MultipliesBids, "test_keys_are_spread_by_weight"),
        (mutants.TellsTheFairShare, SHARE),
        (mutants.TellsHalfOfIt, SHARE),
        (mutants.DividesOnly, SHARE),
        (mutants.AddsFirstAndChecksLater, REFUSED),
    ],
)
def test_the_specification_catches(
    mutant: Callable[[Mapping[str, float]], Placement], caught_by: str
) -> None:
    only_unweighted = mutant in (Modulo, mutants.TellsHalfOfIt, mutants.DividesOnly)
    assert_caught(placement(mutant, Promises(weights=not only_unweighted)), caught_by, 50)


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [(mutants.LaterNodesWin, ANY_ORDER), (mutants.LosesCollidingPoints, NO_TRACE)],
)
def test_where_points_collide_the_specification_catches(mutant: type[Ring], caught_by: str) -> None:
    def make(nodes: Mapping[str, float]) -> Ring:
        return mutant(nodes, virtual_nodes=8, hash64=narrow)

    assert_caught(placement(make, Promises(spread=None)), caught_by)


BOUND = "test_nobody_gets_more_than_its_bound_and_only_the_full_are_passed_over"
RELEASED = "test_what_a_node_holds_when_it_leaves_can_be_released_and_no_more"


@pytest.mark.parametrize(
    ("mutant", "caught_by"),
    [
        (mutants.CountsWithoutTheNewOne, BOUND),
        (mutants.KnowsNoWeights, BOUND),
        (mutants.NeverFull, "test_a_hot_key_is_on_few_nodes_and_a_large_factor_leaves_it_on_one"),
        (mutants.ForgetsWhoLeaves, RELEASED),
        (mutants.ReleasesBelowNothing, RELEASED),
    ],
)
def test_the_specification_of_bounds_catches(mutant: type[BoundedRing], caught_by: str) -> None:
    def make(nodes: Mapping[str, float], factor: float) -> BoundedRing:
        return mutant(nodes, factor=factor, virtual_nodes=8)

    assert_caught(bounded(make), caught_by)


class Uhashring:
    """uhashring behind our interface. It tells no shares, and weights are whole numbers."""

    def __init__(self, nodes: Mapping[str, float], hash64: Callable[[bytes], int]) -> None:
        def hash_key(key: Key) -> int:
            return hash64(key.encode() if isinstance(key, str) else key)

        doubled = {node: int(2 * weight) for node, weight in nodes.items()}
        self._ring = HashRing(doubled, vnodes=80, hash_fn=hash_key)

    @property
    def nodes(self) -> Mapping[str, float]:
        return {node: conf["weight"] / 2 for node, conf in self._ring.nodes.items()}

    def owner(self, key: Key) -> str:
        return str(self._ring.get_node(key))

    def owners(self, key: Key, count: int) -> list[str]:
        return [conf["nodename"] for conf in self._ring.range(key, count)]

    def add(self, node: str, weight: float = 1) -> Fraction:
        self._ring.add_node(node, {"weight": int(2 * weight)})
        return Fraction(0)

    def remove(self, node: str) -> Fraction:
        self._ring.remove_node(node)
        return Fraction(0)


def failures(spec: type[unittest.TestCase]) -> set[str]:
    result = unittest.TestResult()
    for name in unittest.TestLoader().getTestCaseNames(spec):
        spec(name).run(result)
    return {test.id().split(".")[-1] for test, _ in result.failures + result.errors}


def test_uhashring_keeps_every_promise_but_to_refuse() -> None:
    spec = placement(lambda nodes: Uhashring(nodes, blake2b_64), Promises(share=False))
    assert failures(settled(spec)) == {REFUSED}


def test_where_points_collide_uhashring_depends_on_what_was_before() -> None:
    def make(nodes: Mapping[str, float]) -> Uhashring:
        return Uhashring(nodes, lambda data: blake2b_64(data) % 4096)

    spec = placement(make, Promises(share=False, spread=None))
    assert failures(settled(spec)) == {REFUSED, ANY_ORDER, NO_TRACE}


def settled(spec: type[unittest.TestCase]) -> type[unittest.TestCase]:
    """Repeatable, few examples, the first failure as it is: an expected one needs no shrinking."""
    quick = settings(
        derandomize=True, database=None, max_examples=10, phases=[Phase.generate], deadline=None
    )
    for name in unittest.TestLoader().getTestCaseNames(spec):
        if hasattr(getattr(spec, name), "hypothesis"):
            setattr(spec, name, quick(getattr(spec, name)))
    return spec
