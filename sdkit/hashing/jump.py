"""Jump: consistent hashing in five lines, without memory.

A `ring` of 1,000 nodes keeps 160,000 points. Jump consistent hashing keeps one number: how many
buckets there are. It answers as if it had watched the buckets come one by one. When there are
b of them and one more comes, a key jumps into the new one with probability 1 / (b + 1), by the
toss of a coin that only the key decides; otherwise it stays where it is. So all buckets have an
equal part at any time, and keys move into the new one only.

    buckets           1   2   3   4   5   6   7   8
    a key's bucket    0   0   2   2   2   5   5   5       it jumps to 2, then to 5

Three things to notice
    1. Tossing a coin for each bucket would take n steps. But the probability of *no* jump
       between b and j is b/(b+1) * (b+1)/(b+2) * ... = b / j, so one random number
       gives the next jump directly: j = b / r. There are about ln(n) of these: 7 for 1,000.
    2. It spreads better than any ring, and knows only numbers: buckets come and go at the
       **end**. When node number 3 of 10 leaves, `Jump.remove` gives its number to the last
       node, as one would by hand. That moves nearly twice the keys that a ring would,
       and the share returned says so.
    3. It knows no weights, and the nodes' order is part of the answer: everybody must have
       the same. `Jump.owners` takes the next numbers, so that the copies of one node's keys
       are all on the same neighbours.

It is right for shards that have numbers, are never lost (each is a replicated group) and only
grow. Follows Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from sdkit.arguments import check_between
from sdkit.hashing.hashes import HASH_SIZE, blake2b_64, checked_hash
from sdkit.hashing.placement import (
    Hash,
    Key,
    Nodes,
    check_count,
    checked_nodes,
    described,
    key_bytes,
    with_node,
    without_node,
)

BUCKETS_MAX: Final = 2**31  # of the paper: with more, the next jump would need more random bits


class Jump:
    """A `Placement` by jumps. It knows no weights.

    Args:
        nodes: their names, in the order of their numbers.
        hash64: of a key.

    Raises:
        DuplicateNode, InvalidArgument: as in `Placement.add`; or there is no node.
    """

    def __init__(self, nodes: Nodes, *, hash64: Hash = blake2b_64) -> None:
        self._hash: Final = checked_hash(hash64)
        self._nodes = checked_nodes(nodes, weighted=False)
        self._order = list(self._nodes)

    @property
    def nodes(self) -> Mapping[str, float]:
        """The nodes, in the order of their numbers."""
        return MappingProxyType(self._nodes)

    def __repr__(self) -> str:
        return described(self)

    def owner(self, key: Key) -> str:
        """The node that owns ``key``: one hash and about ln(nodes) steps."""
        order = self._order
        return order[_jump(self._hash(key_bytes(key)), len(order))]

    def owners(self, key: Key, count: int) -> list[str]:
        """The owner and the nodes numbered after it, beginning again after the last."""
        order = self._order
        check_count(count, order)
        first = _jump(self._hash(key_bytes(key)), len(order))
        return [order[(first + step) % len(order)] for step in range(count)]

    def add(self, node: str, weight: float = 1) -> Fraction:
        """The new node gets the next number, and its share of each other node's keys."""
        nodes = with_node(self._nodes, node, weight, weighted=False)
        self._nodes, self._order = nodes, list(nodes)
        return Fraction(1, len(nodes))

    def remove(self, node: str) -> Fraction:
        """The last node gets the number of the one that leaves, unless that is the last."""
        without_node(self._nodes, node)  # refuses
        order = list(self._order)
        number, last = order.index(node), order.pop()
        share = Fraction(1, len(self._order))
        if node != last:
            order[number] = last
            share += self._moved_from_the_last(len(self._order))
        self._nodes, self._order = dict.fromkeys(order, 1), order
        return share

    @staticmethod
    def _moved_from_the_last(count: int) -> Fraction:
        """What the last of ``count`` nodes loses by taking another number.

        Its old bucket is gone and the keys there, 1 / count, spread over the others; those that
        fall into its new one, one of count - 1, stay with it.
        """
        return Fraction(1, count) * (1 - Fraction(1, count - 1))


def jump_bucket(key: int, buckets: int) -> int:
    """The bucket, from 0 to ``buckets`` - 1, of a key that is a number of 64 bits.

    Raises:
        InvalidArgument: ``key`` is not between 0 and 2^64 - 1, or ``buckets`` not between 1
            and 2^31.
    """
    check_between("key", key, 0, HASH_SIZE - 1)
    check_between("buckets", buckets, 1, BUCKETS_MAX)
    return _jump(key, buckets)


def _jump(key: int, buckets: int) -> int:
    bucket, following = 0, 0
    while following < buckets:
        bucket = following
        # The key is its own random generator; these constants are the paper's.
        key = (key * 2862933555777941757 + 1) % HASH_SIZE
        following = int((bucket + 1) * (2**31 / ((key >> 33) + 1)))
    return bucket
