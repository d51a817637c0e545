"""The smallest consistent hashing: a circle with one point for each node.

All clients must send a key to the same node, without asking each other. So each client
calculates the owner. Keys and nodes are hashed to points of one circle. A key belongs to
the first node at or after its point. A node that joins takes the keys just before its
point; no other key moves.

    $ python -m sdkit.hashing.smallest
    three nodes: ant lives on b, bee on c, cat on c
    d joins, and 208 of 1,000 keys move, all of them to d
    the same by hash % n: 734 of 1,000 keys move
    keys on each node: a 37, b 230, c 525, d 208
    b leaves: of its 230 keys, 230 move to the next node of the circle, other keys 0

What it gets wrong, and where that is answered
    1. The spread is uneven: with one point each, one node may hold half of all keys.
       Many points for each node even it out: `ring`.
    2. All nodes are taken to be equally strong. A node of weight 2 has twice the points:
       `ring` again.
    3. A change does not say how much it moves, although it can be calculated: `circle`.
    4. Mistakes are not noticed: a node that is there already, a node with an empty name.
       `placement` refuses them before anything changes.
    5. An equal share of the keys is no equal share of the requests: all requests for one
       famous key go to one node. `bounded` limits what a node holds. (The specification of
       placements does not see this; `sdkit.spec.hashing.bounded` does.)

The specification of the room is run against this file. It fails at numbers 1 to 4 only
(``tests/hashing/test_smallest.py``).
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left


class SmallestRing:
    """A ring of nodes, which says the owner of each key."""

    def __init__(self, nodes: list[str]) -> None:
        self.nodes: list[str] = []
        self.points: list[tuple[int, str]] = []  # sorted: place on the circle, node
        for node in nodes:
            self.add(node)

    def add(self, node: str) -> None:
        """Let ``node`` own the keys just before its point."""
        self.nodes.append(node)
        self.points = sorted([*self.points, (place(node), node)])

    def remove(self, node: str) -> None:
        """Hand the keys of ``node`` to the next node of the circle."""
        self.nodes.remove(node)
        self.points.remove((place(node), node))

    def owner(self, key: str) -> str:
        """The node that owns ``key``."""
        return self.owners(key, 1)[0]

    def owners(self, key: str, count: int) -> list[str]:
        """The owner of ``key``, then the owner if that one left, and so on: ``count`` nodes."""
        first = bisect_left(self.points, (place(key), ""))
        return [node for _, node in (self.points[first:] + self.points[:first])[:count]]


def place(text: str) -> int:
    """A point of the circle. It is the same in every process; that of ``hash()`` is not."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def main() -> None:
    """Show it at work."""
    ring = SmallestRing(["a", "b", "c"])
    keys = [f"key {number}" for number in range(1_000)]
    ant, bee, cat = map(ring.owner, ("ant", "bee", "cat"))
    print(f"three nodes: ant lives on {ant}, bee on {bee}, cat on {cat}")

    before = {key: ring.owner(key) for key in keys}
    ring.add("d")
    moved = [key for key in keys if ring.owner(key) != before[key]]
    (joined,) = {ring.owner(key) for key in moved}
    print(f"d joins, and {len(moved)} of 1,000 keys move, all of them to {joined}")
    modulo = sum(place(key) % 3 != place(key) % 4 for key in keys)
    print(f"the same by hash % n: {modulo} of 1,000 keys move")

    before = {key: ring.owner(key) for key in keys}
    held = {node: list(before.values()).count(node) for node in ring.nodes}
    print("keys on each node: " + ", ".join(f"{node} {count}" for node, count in held.items()))
    ring.remove("b")
    moved = [key for key in keys if ring.owner(key) != before[key]]
    of_b = sum(before[key] == "b" for key in moved)
    print(
        f"b leaves: of its {held['b']} keys, {of_b} move to the next node of the circle, "
        f"other keys {len(moved) - of_b}"
    )


if __name__ == "__main__":
    main()
