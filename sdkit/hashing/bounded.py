"""Bounded: a ring that never loads one node far above the others.

A ring spreads keys, and a few keys make most requests. One famous user, one product on sale,
and the node that owns it burns while the others are idle. Consistent hashing with bounded loads
keeps the ring and adds one rule: **a node may hold at most ``factor`` times its fair share of
what is held at the moment**. If the owner is full, the key goes to the next node on the circle
that is not.

    held now      a 5   b 1   c 2          factor 1.25, 9 with the new one: at most 4 each
    key of a      a is full ─> b, the next on the circle

Three things to notice
    1. Somebody always has room: the capacities add up to at least ``factor`` times what will
       be held, and that is more than what is. No request is refused here.
    2. The factor is a knob between two worlds. At 1 all nodes hold the same, and a key may be
       anywhere; without bound it is the plain ring. At 1.25, the usual choice, the owner
       serves its keys but for a rush, and in a rush its successors help: a hot key warms the
       caches of a few nodes, not of all.
    3. The price is memory of the present: the answer depends on who holds what *now*. So this
       is for one balancer that sees the load (`BoundedRing.acquire`, `BoundedRing.release`),
       not for clients that must agree without talking. While nothing is held it is a `Ring`.

A node that leaves while it holds something takes no new keys and is forgotten when all is
released. If it comes back before, what it still holds counts again.

Follows Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (SODA 2018),
for requests that come and go, as do HAProxy (``hash-balance-factor``) and Envoy
(``hash_balance_factor``). Left out: moving back what is held when its owner has room again,
which the paper does for keys that stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final, Self

from sdkit.arguments import check_between, shown
from sdkit.errors import InvalidState
from sdkit.hashing.circle import Circle, moved
from sdkit.hashing.hashes import blake2b_64
from sdkit.hashing.placement import Hash, Key, Nodes, UnknownNode, check_count, key_bytes
from sdkit.hashing.ring import VIRTUAL_NODES, Ring

FACTOR_MAX: Final = 1e6  # a plain ring, to all intents


class BoundedRing(Ring):
    """A `Ring` whose owners have room. Not for several threads at once.

    Args:
        nodes, virtual_nodes, hash64: as of a `Ring`.
        factor: how many times its fair share a node may hold, from 1 to a million.

    Raises:
        InvalidArgument: ``factor`` is out of range. Others as `Ring`.
    """

    def __init__(
        self,
        nodes: Nodes,
        *,
        factor: float = 1.25,
        virtual_nodes: int = VIRTUAL_NODES,
        hash64: Hash = blake2b_64,
    ) -> None:
        check_between("factor", factor, 1.0, FACTOR_MAX)
        self._factor: Final = factor
        self._held: dict[str, int] = {}  # what a node that has left still holds, too
        super().__init__(nodes, virtual_nodes=virtual_nodes, hash64=hash64)
        self._weigh()

    @property
    def held(self) -> Mapping[str, int]:
        """How much each node holds, those that have left and still hold something included."""
        return MappingProxyType(dict.fromkeys(self._nodes, 0) | self._held)

    def capacity(self, node: str) -> int:
        """How much ``node`` may hold when one more is held than now.

        Raises:
            UnknownNode: it is not there.
        """
        if not isinstance(node, str) or node not in self._nodes:
            raise UnknownNode(f"no node is called {shown(node)}", node=shown(node))
        return math.ceil(self._limits[node] * (self._total + 1))

    def acquire(self, key: Key) -> str:
        """The node that shall serve ``key`` now; it holds one more until `release`."""
        node = self.owner(key)
        self._held[node] = self._held.get(node, 0) + 1
        self._total += 1
        return node

    def release(self, node: str) -> None:
        """Something that `acquire` gave to ``node`` has ended.

        Raises:
            InvalidState: it holds nothing: released twice, or never acquired.
        """
        held = self._held.get(node, 0) if isinstance(node, str) else 0
        if held < 1:
            raise InvalidState(
                f"node {shown(node)} holds nothing that could be released", node=shown(node)
            )
        self._held[node] = held - 1
        if node in self._nodes:
            self._total -= 1
        elif held == 1:
            del self._held[node]

    def owner(self, key: Key) -> str:
        """The node that would serve ``key`` now: one hash, and a step past each full node."""
        walk = self._circle.walk(self._hash(key_bytes(key)))
        return next(node for node in walk if self._has_room(node))

    def owners(self, key: Key, count: int) -> list[str]:
        """The nodes met on the circle that have room; if those are too few, then the full."""
        check_count(count, self._nodes)
        walk = list(self._circle.walk(self._hash(key_bytes(key))))
        return sorted(walk, key=lambda node: not self._has_room(node))[:count]  # sorted is stable

    def shares(self) -> dict[str, Fraction]:
        """The exact share of all keys that each node would serve now."""
        return dict.fromkeys(self._nodes, Fraction(0)) | self._open_circle().shares()

    def __copy__(self) -> Self:
        """A copy holds the same at first, and from then on what it is given itself."""
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__, _held=dict(self._held))
        return copied

    def _has_room(self, node: str) -> bool:
        return self._held.get(node, 0) < self.capacity(node)

    def _become(self, nodes: dict[str, float]) -> Fraction:
        before = self._open_circle()
        super()._become(nodes)
        self._weigh()
        return moved(before, self._open_circle())

    def _open_circle(self) -> Circle:
        """To be skipped is to own nothing: the circle without the points of full nodes."""
        return self._circle.without([node for node in self._nodes if not self._has_room(node)])

    def _weigh(self) -> None:
        """What depends on which nodes there are: each one's limit, and all that they hold."""
        weights = {node: Fraction(weight) for node, weight in self._nodes.items()}
        fair = Fraction(self._factor) / sum(weights.values())
        self._limits = {node: fair * weight for node, weight in weights.items()}
        self._total = sum(self._held.get(node, 0) for node in self._nodes)
