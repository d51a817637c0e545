"""Circle: the numbers that a hash can give, bent round, and cut into arcs by points.

Every node stands at some points of the circle. A key is hashed to a position and belongs to
the first point at or after it; past the last point, to the first:

              0 ── a ──── b ── a ────────── c ──── 2^64
        key:     ^        .                        |
                 └ to b   └ here: to b             └ after c: round, to a

`Circle` is that picture, and never changes once made. `moved` lays two of them over each
other and adds up where they disagree: the exact share of all keys that changes hands,
whatever was changed, since between two neighbouring points of either circle all positions
have one owner each before and after.

Two nodes may stand at the same point. With 64 bits nobody lives to see it; with the 32 bits
of `ketama`, one ring of 300 nodes in four has such a pair. Points kept in a dictionary lose one
of the two for good: when the other node leaves, the point is gone, and this ring disagrees with
every ring that was built without that node. So both stay, in the order of their names; the
first owns the arc, and when it leaves, the second is there.

The search is binary, and begins near its end: the circle is cut into equal parts of about eight
points, and a table says which point comes first in each. Hashes are spread evenly, so three
comparisons are left of the fourteen that 16,000 points would take.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from fractions import Fraction
from typing import Final

PART_POINTS: Final = 8  # a finer table would not be quicker: it would not stay in the cache


class Circle:
    """Points on a circle, each with its node. At least one point.

    Args:
        placed: the points, in any order, each a position from 0 up to below 2^bits.
        bits: of a position.
    """

    __slots__ = ("bits", "owners", "points", "shift", "starts")

    def __init__(self, placed: Iterable[tuple[int, str]], *, bits: int = 64) -> None:
        ordered = sorted(placed)
        assert ordered, "a circle without points has no owners"
        self.bits: Final = bits
        self.points: Final = [point for point, _ in ordered]
        self.owners: Final = [node for _, node in ordered]
        # Past the last point comes the first one: one entry more, and no case to tell apart.
        self.owners.append(self.owners[0])
        # Part number n is all positions with n = position >> shift; its first point, or the next
        # after it, is points[starts[n]].
        part_bits = min(bits, (len(self.points) // PART_POINTS).bit_length())
        self.shift: Final = bits - part_bits
        self.starts: Final = [
            bisect_left(self.points, part << self.shift) for part in range(2**part_bits + 1)
        ]

    @property
    def size(self) -> int:
        """How many positions there are."""
        return 1 << self.bits

    def index(self, position: int) -> int:
        """Where in `points` the first one at or after ``position`` is, or would be."""
        part = position >> self.shift
        return bisect_left(self.points, position, self.starts[part], self.starts[part + 1])

    def owner_at(self, position: int) -> str:
        """The owner of ``position``."""
        return self.owners[self.index(position)]

    def walk(self, position: int) -> Iterator[str]:
        """Every node once, in the order in which they are met from ``position`` on."""
        met: set[str] = set()
        start, count = self.index(position), len(self.points)
        for step in range(count):
            node = self.owners[(start + step) % count]
            if node not in met:
                met.add(node)
                yield node

    def shares(self) -> dict[str, Fraction]:
        """The exact share of the circle that each node owns. O(points)."""
        owned: Counter[str] = Counter()
        previous = self.points[-1] - self.size  # the last point, as seen from the first
        for point, node in zip(self.points, self.owners, strict=False):
            owned[node] += point - previous
            previous = point
        return {node: Fraction(positions, self.size) for node, positions in owned.items()}

    def without(self, nodes: Collection[str]) -> Circle:
        """The circle on which ``nodes``, not all of them, have no points."""
        placed = zip(self.points, self.owners, strict=False)  # less the entry added above
        return Circle((pair for pair in placed if pair[1] not in nodes), bits=self.bits)


def moved(before: Circle, after: Circle) -> Fraction:
    """The share of all positions whose owner differs. O(points).

    Both circles have one size.
    """
    last = before.size - 1
    previous, positions = -1, 0
    for end in sorted({*before.points, *after.points, last}):
        if before.owner_at(end) != after.owner_at(end):
            positions += end - previous  # those above `previous`, up to and with `end`
        previous = end
    return Fraction(positions, before.size)
