"""Rendezvous: every node bids for every key, and the highest bid wins.

A `ring` needs a sorted list of points and a way to survive their collisions. Rendezvous hashing
(highest random weight) needs neither. Hash the key together with each node's name; the
hashes are the nodes' bids; the highest owns the key, the second highest is the next owner:

    key "ant"     a bids 0.31    b bids 0.84    c bids 0.57      owners: b, c, a
    d joins       a bids 0.31    b bids 0.84    c bids 0.57    d bids 0.62     b, d, c, a
    b leaves      a bids 0.31                   c bids 0.57    d bids 0.62     d, c, a

Three things to notice
    1. Why nothing else moves is plain to see: a bid depends on the key and on one node. A node
       that joins can only outbid; one that leaves hands its keys to whoever was second.
    2. It spreads as evenly as the hash does: no virtual nodes, nothing to tune, and when a
       node leaves its keys go to all others, each a fair part.
    3. The price is a hash per node and lookup. For ten nodes that is little; for a thousand
       take a ring.

**Weights.** Multiplying a bid by a weight gives wrong shares (2 : 1 becomes 3 : 1). The bid that
works is ``weight / -ln(u)`` with the hash as u between 0 and 1: then -ln(u) / weight is
exponentially distributed with rate ``weight``, and the first of several such clocks to ring is
node i with probability weight i / all weights. Exactly, not about.

Follows Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996); the weights,
Schindelhauer and Schomaker, "Weighted Distributed Hash Tables" (SPAA 2005), section 4.
"""

from __future__ import annotations

import math
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

_UNIT_BITS: Final = 52  # (n + 1/2) / 2**52 is exact as a float for every n, and never 0 or 1


class Rendezvous:
    """A `Placement` by the highest bid.

    Args:
        nodes: their names, or names with weights.
        hash64: of a node's name and a key.

    Raises:
        DuplicateNode, InvalidArgument: as in `Placement.add`; or there is no node.
    """

    def __init__(self, nodes: Nodes, *, hash64: Hash = blake2b_64) -> None:
        self._hash: Final = checked_hash(hash64)
        self._nodes = checked_nodes(nodes)
        self._bidders = self._bidders_of(self._nodes)

    @property
    def nodes(self) -> Mapping[str, float]:
        return MappingProxyType(self._nodes)

    def __repr__(self) -> str:
        return described(self)

    def owner(self, key: Key) -> str:
        """The node that owns ``key``. O(nodes)."""
        data = key_bytes(key)
        return max(self._bid(data, *bidder) for bidder in self._bidders)[1]

    def owners(self, key: Key, count: int) -> list[str]:
        """The ``count`` highest bidders, the highest first. O(nodes log nodes)."""
        check_count(count, self._nodes)
        data = key_bytes(key)
        bids = sorted((self._bid(data, *bidder) for bidder in self._bidders), reverse=True)
        # A node may have left since they were counted: then count again, and refuse.
        return [node for _, node in bids[:count]] if len(bids) >= count else self.owners(key, count)

    def add(self, node: str, weight: float = 1) -> Fraction:
        nodes = with_node(self._nodes, node, weight)
        self._become(nodes)
        return _share(node, nodes)

    def remove(self, node: str) -> Fraction:
        before = self._nodes
        self._become(without_node(before, node))
        return _share(node, before)

    def _bid(self, key: bytes, prefix: bytes, node: str, weight: float) -> tuple[float, str]:
        # A tie, which a weak hash may make, is broken by the name: max and sorted compare pairs.
        unit = ((self._hash(prefix + key) >> (64 - _UNIT_BITS)) + 0.5) / 2**_UNIT_BITS
        return weight / -math.log(unit), node

    def _become(self, nodes: dict[str, float]) -> None:
        bidders = self._bidders_of(nodes)
        self._nodes, self._bidders = nodes, bidders

    def _bidders_of(self, nodes: Mapping[str, float]) -> list[tuple[bytes, str, float]]:
        # The name's hash and not the name before the key: of a fixed length, so that no two
        # pairs of a name and a key look alike.
        return [
            (self._hash(key_bytes(node)).to_bytes(8, "big"), node, weight)
            for node, weight in nodes.items()
        ]


def _share(node: str, nodes: Mapping[str, float]) -> Fraction:
    return Fraction(nodes[node]) / sum(map(Fraction, nodes.values()))
