"""Modulo: ``hash(key) % n``, what everybody writes first, and why it does not last.

The owner of a key is the node number ``hash % n``. Nothing is faster, smaller or more
even. Then a node joins, every key is divided by another number, and a key stays only if
both remainders name the same node:

    hash     0  1  2  3  4  5  6  7  8  9 10 11
    % 3      a  b  c  a  b  c  a  b  c  a  b  c
    % 4      a  b  c  d  a  b  c  d  a  b  c  d
    stays    =  =  =  .  .  .  .  .  .  .  .  .       3 of 12: one in n + 1

Three things to notice
    1. It gets worse with size. From 3 nodes to 4, three quarters of the keys move; from
       99 to 100, 99 of 100. A cache that grows by one machine is empty.
    2. The share is exact, not a guess: n and n + 1 have no common divisor, so within
       n * (n + 1) consecutive hashes every pair of remainders comes once (the Chinese
       remainder theorem), and n pairs name the same node twice. `Modulo._moved` is
       that sentence.
    3. Which node leaves makes no difference, though the last one looks harmless.

It is right where n never changes: partitions inside one process, the slots of `slots`,
a topic whose partitions were counted well once and for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

from sdkit.hashing.hashes import blake2b_64, checked_hash
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


class Modulo:
    """A `Placement` by the remainder of a division. It knows no weights.

    Args:
        nodes: their names, in the order of their numbers. Everybody must know the same order.
        hash64: of a key. One of more than 64 bits will do as well.

    Raises:
        DuplicateNode, InvalidArgument: as in `Placement.add`, or there is no node.
    """

    def __init__(self, nodes: Nodes, *, hash64: Hash = blake2b_64) -> None:
        self._hash: Final = checked_hash(hash64, bits=None)
        self._nodes = checked_nodes(nodes, weighted=False)
        self._order = list(self._nodes)

    @property
    def nodes(self) -> Mapping[str, float]:
        return MappingProxyType(self._nodes)

    def __repr__(self) -> str:
        return described(self)

    def owner(self, key: Key) -> str:
        """The node that owns ``key``: a hash and a division."""
        order = self._order
        return order[self._hash(key_bytes(key)) % len(order)]

    def owners(self, key: Key, count: int) -> list[str]:
        """The owner and the nodes numbered after it, beginning again after the last."""
        order = self._order
        check_count(count, order)
        first = self._hash(key_bytes(key)) % len(order)
        return [order[(first + step) % len(order)] for step in range(count)]

    def add(self, node: str, weight: float = 1) -> Fraction:
        return self._become(with_node(self._nodes, node, weight, weighted=False))

    def remove(self, node: str) -> Fraction:
        return self._become(without_node(self._nodes, node))

    def _become(self, nodes: dict[str, float]) -> Fraction:
        moved = self._moved(len(self._nodes), len(nodes))
        self._nodes, self._order = nodes, list(nodes)
        return moved

    @staticmethod
    def _moved(before: int, after: int) -> Fraction:
        """All but one of so many keys as there are nodes on the larger side."""
        return 1 - Fraction(1, max(before, after))
