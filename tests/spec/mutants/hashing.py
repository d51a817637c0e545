"""Placements that break one promise each."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from sdkit.hashing import BoundedRing, Jump, Key, Modulo, Rendezvous, Ring, Slots
from sdkit.hashing.circle import Circle


class SpreadsRequests(Ring):
    """Spreads requests instead of keys: every seventh goes to the next node."""

    asked = 0

    def owner(self, key: Key) -> str:
        self.asked += 1
        return self.owners(key, len(self.nodes))[-1 if self.asked % 7 == 0 else 0]


class HashesTheRepr(Ring):
    """``str(key)``: text and bytes become two keys."""

    def owner(self, key: Key) -> str:
        return super().owner(str(key))


class CountsPointsForNodes(Ring):
    """Takes the next points for the next nodes: two of them may be one node's."""

    def owners(self, key: Key, count: int) -> list[str]:
        super().owners(key, count)
        circle = self._circle
        start = circle.points.index(min(circle.points))
        return [circle.owners[(start + step) % len(circle.points)] for step in range(count)]


class LaterNodesWin(Ring):
    """Keeps its points in a dictionary: of two nodes at one point the later one stays."""

    def _cut(self, nodes: Mapping[str, float]) -> Circle:
        at: dict[int, str] = {}
        for node, weight in nodes.items():
            at.update(dict.fromkeys(self._points(node, self._point_count(node, weight)), node))
        return Circle(at.items())


class LosesCollidingPoints(Ring):
    """And when it leaves, the point is gone with it: the other node does not get it back."""

    def remove(self, node: str) -> Fraction:
        share = super().remove(node)
        points = set(self._points(node, 8))
        circle = self._circle
        left = [
            (point, owner)
            for point, owner in zip(circle.points, circle.owners, strict=False)
            if point not in points
        ]
        self._circle = Circle(left or [(0, next(iter(self._nodes)))])
        return share


class StartsFromTheCountOfNodes(Ring):
    """Names points by how many nodes there are: everything moves, as with a division."""

    def _cut(self, nodes: Mapping[str, float]) -> Circle:
        return super()._cut({f"{node}/{len(nodes)}": weight for node, weight in nodes.items()})

    def owner(self, key: Key) -> str:
        return super().owner(key).split("/")[0]

    def owners(self, key: Key, count: int) -> list[str]:
        return [node.split("/")[0] for node in super().owners(key, count)]


class LeavesPointsBehind(Ring):
    """A node that leaves goes on owning its keys."""

    def remove(self, node: str) -> Fraction:
        circle = self._circle
        share = super().remove(node)
        self._circle = circle
        return share


class SecondOwnerByName(Rendezvous):
    """Knows the owner, and takes the others as they come."""

    def owners(self, key: Key, count: int) -> list[str]:
        ranked = super().owners(key, len(self.nodes))
        return [ranked[0], *sorted(ranked[1:])][:count]


class MultipliesBids(Rendezvous):
    """Weights as one would first do it: hash times weight."""

    def _bid(self, key: bytes, prefix: bytes, node: str, weight: float) -> tuple[float, str]:
        return weight * self._hash(prefix + key), node


class TellsTheFairShare(Ring):
    """Says what theory says, not what this ring does; with few points that differs much."""

    def __init__(self, nodes: Mapping[str, float]) -> None:
        super().__init__(nodes, virtual_nodes=4)

    def add(self, node: str, weight: float = 1) -> Fraction:
        super().add(node, weight)
        return Fraction(1, len(self.nodes))

    def remove(self, node: str) -> Fraction:
        super().remove(node)
        return Fraction(1, len(self.nodes) + 1)


class TellsHalfOfIt(Jump):
    """Counts the keys of the node that leaves, and forgets those of the last one."""

    @staticmethod
    def _moved_from_the_last(count: int) -> Fraction:
        return Fraction(0)


class DividesOnly(Modulo):
    """Says that dividing moves what a ring moves."""

    @staticmethod
    def _moved(before: int, after: int) -> Fraction:
        return Fraction(1, max(before, after))


class HandsOutAllSlotsAgain(Slots):
    """Cuts the table anew at every change."""

    def _become(self, nodes: dict[str, float], changes: Mapping[int, str]) -> Fraction:
        share = super()._become(nodes, changes)
        self._table = self._runs(nodes)
        return share


class AddsFirstAndChecksLater(Ring):
    """The refusal comes too late: the node is there."""

    def add(self, node: str, weight: float = 1) -> Fraction:
        if isinstance(node, str) and node:
            self._nodes = {**self._nodes, node: weight}
        nodes = {name: self._nodes[name] for name in self._nodes if name != node}
        return self._become({**nodes, node: self._checked(weight)})

    def _checked(self, weight: float) -> float:
        if not 0 < weight < float("inf"):
            raise ValueError(weight)
        return weight


class CountsWithoutTheNewOne(BoundedRing):
    """A bound of what is held now has no room for the next."""

    def capacity(self, node: str) -> int:
        return max(1, super().capacity(node) - 1)


class KnowsNoWeights(BoundedRing):
    """Bounds all nodes alike, the small as the large."""

    def capacity(self, node: str) -> int:
        return -(-int(self._factor * (self._total + 1)) // len(self._nodes))


class ForgetsWhoLeaves(BoundedRing):
    """What a node holds is forgotten when it leaves; its release is then refused."""

    def remove(self, node: str) -> Fraction:
        share = super().remove(node)
        self._held.pop(node, None)
        return share


class NeverFull(BoundedRing):
    """The plain ring: a hot key stays where it is, whatever is held."""

    def _has_room(self, node: str) -> bool:
        return True


class ReleasesBelowNothing(BoundedRing):
    """A second release makes room that is not there."""

    def release(self, node: str) -> None:
        self._held[node] = self._held.get(node, 0) - 1
        self._total -= 1
