"""The smallest ring fails its specification exactly where its lesson says so."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from sdkit.hashing import Key, smallest
from sdkit.spec.hashing import placement
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {
    "test_keys_are_spread_by_weight",  # 1, 2
    "test_the_share_it_tells_is_the_share_that_moves",  # 3
    "test_what_cannot_be_is_refused_and_nothing_has_changed",  # 4
}


class Adapter:
    """The smallest ring behind the interface of a placement: weights are dropped."""

    def __init__(self, nodes: Mapping[str, float]) -> None:
        self._ring = smallest.SmallestRing(list(nodes))

    @property
    def nodes(self) -> Mapping[str, float]:
        return dict.fromkeys(self._ring.nodes, 1)

    def owner(self, key: Key) -> str:
        return self._ring.owner(_text(key))

    def owners(self, key: Key, count: int) -> list[str]:
        return self._ring.owners(_text(key), count)

    def add(self, node: str, weight: float = 1) -> Fraction:
        self._ring.add(node)
        return Fraction(0)

    def remove(self, node: str) -> Fraction:
        self._ring.remove(node)
        return Fraction(0)


def _text(key: Key) -> str:
    return key.decode() if isinstance(key, bytes) else key


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(placement(Adapter), examples=30) == WRONG


def test_one_famous_key_is_on_one_node_however_many_ask() -> None:
    ring = smallest.SmallestRing(["a", "b", "c"])
    assert len({ring.owner("famous") for _ in range(1_000)}) == 1  # 5


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
