"""Ring: consistent hashing. A node that joins takes keys, and no other key moves.

`modulo` moves nearly every key when a node joins, because the number of nodes is part of the
calculation. Here it is not: nodes are hashed onto the same circle as keys, and a key
belongs to the first node at or after it (`circle`). A node that joins takes the
arcs just before its points from whoever had them; one that leaves hands its arcs to
whoever comes next. Everybody else's arcs stay as they were.

    a ────── b ──────── c ─── a          three nodes
    a ────── b ─── d ── c ─── a          d joins: the keys between b and d were c's

Three things to notice
    1. With one point each, nodes have arcs of very different length: with 10 nodes the
       longest is on average 2.9 times the mean. So every node stands at many points
       (**virtual nodes**), and its arcs add up. The share of a node then strays by about
       1 / sqrt(virtual nodes): 8 % for the 160 that are the default here and in libketama,
       18 % for 30. They cost memory, and hardly any time: a lookup is a binary search.
    2. A **weight** is a number of points, weight times ``virtual_nodes``. It depends on this node
       alone. Rings that divide a fixed number of points by weight (`ketama`) move keys between
       nodes that were not touched.
    3. `Ring.owners` walks on, past points of nodes that it has met. So when an owner leaves,
       each of its keys goes to its second owner, and if that one holds a copy, the data is
       there already. That is how Dynamo and Cassandra place replicas.

Keys that are asked for more often than others are not the ring's affair: it spreads keys,
not requests. `bounded` does more.

Follows Karger et al., "Consistent Hashing and Random Trees" (STOC 1997) and DeCandia et al.,
"Dynamo" (SOSP 2007), sections 4.2 and 4.3.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import islice
from types import MappingProxyType
from typing import ClassVar, Final

from sdkit.arguments import check_between, shown
from sdkit.errors import InvalidArgument, LimitExceeded
from sdkit.hashing.circle import Circle, moved
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

VIRTUAL_NODES: Final = 160
POINTS_MAX: Final = 1_000_000  # on the whole ring: some seconds to make, and 100 MB


class Ring:
    """A `Placement` by the next point on a circle.

    Making one, and every change of one, hashes every point: with 100 nodes of 160 points
    that takes some 50 ms, while a lookup takes one microsecond or two.

    Args:
        nodes: their names, or names with weights: small numbers, of which 1 is usual.
        virtual_nodes: points of a node of weight 1.
        hash64: of keys, and of the points of nodes.

    Raises:
        DuplicateNode, InvalidArgument: as in `Placement.add`; or there is no node, or a
            weight is too small for a point of its own.
        LimitExceeded: the ring would have more than a million points.
    """

    bits: ClassVar[int] = 64  # of a position

    def __init__(
        self,
        nodes: Nodes,
        *,
        virtual_nodes: int = VIRTUAL_NODES,
        hash64: Hash = blake2b_64,
    ) -> None:
        check_between("virtual_nodes", virtual_nodes, 1, POINTS_MAX)
        self._virtual_nodes: Final = virtual_nodes
        self._hash: Final = checked_hash(hash64, bits=self.bits)
        self._nodes = checked_nodes(nodes)
        self._circle = self._cut(self._nodes)

    @property
    def nodes(self) -> Mapping[str, float]:
        return MappingProxyType(self._nodes)

    def __repr__(self) -> str:
        return described(self)

    def owner(self, key: Key) -> str:
        """The node that owns ``key``: one hash, and a binary search among the points."""
        # `circle.owner_at(self._hash(key_bytes(key)))` in one stack frame instead of four,
        # for text, which most keys are. That bought 15 % of a lookup.
        circle, starts = self._circle, self._circle.starts
        try:
            data = key.encode() if isinstance(key, str) else key_bytes(key)
        except UnicodeEncodeError:
            data = key_bytes(key)  # has the words for it
        position = self._hash(data)
        part = position >> circle.shift
        return circle.owners[bisect_left(circle.points, position, starts[part], starts[part + 1])]

    def owners(self, key: Key, count: int) -> list[str]:
        """The owner and the nodes met next on the circle. O(log points + count), about."""
        check_count(count, self._nodes)
        met = list(islice(self._circle.walk(self._hash(key_bytes(key))), count))
        # A node may have left since they were counted: then count again, and refuse.
        return met if len(met) == count else self.owners(key, count)

    def add(self, node: str, weight: float = 1) -> Fraction:
        return self._become(with_node(self._nodes, node, weight))

    def remove(self, node: str) -> Fraction:
        return self._become(without_node(self._nodes, node))

    def shares(self) -> dict[str, Fraction]:
        """The exact share of all keys that each node owns; they add up to 1. O(points)."""
        return dict.fromkeys(self._nodes, Fraction(0)) | self._circle.shares()

    def _become(self, nodes: dict[str, float]) -> Fraction:
        circle = self._cut(nodes)
        share = moved(self._circle, circle)
        self._nodes, self._circle = nodes, circle
        return share

    def _cut(self, nodes: Mapping[str, float]) -> Circle:
        """The circle of these nodes. Of nothing else: no ring remembers how it came to them."""
        points = sum(self._point_count(node, weight) for node, weight in nodes.items())
        if points > POINTS_MAX:
            raise LimitExceeded(
                f"the ring would have {points:,} points; it may have {POINTS_MAX:,}: "
                "make weights or virtual_nodes smaller, only their ratios matter"
            )
        return Circle(
            (point, node)
            for node, weight in nodes.items()
            for point in self._points(node, self._point_count(node, weight))
        )

    def _point_count(self, node: str, weight: float) -> int:
        count = weight * self._virtual_nodes
        if count < 1:
            raise InvalidArgument(
                f"the weight of node {shown(node)} is {weight}; with {self._virtual_nodes} virtual "
                "nodes that is less than one point: make it or virtual_nodes larger",
                node=node,
            )
        return round(min(count, POINTS_MAX + 1))

    def _points(self, node: str, count: int) -> Iterator[int]:
        name = key_bytes(node)
        return (self._hash(b"%b-%d" % (name, number)) for number in range(count))
