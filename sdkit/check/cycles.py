"""Cycles: the few questions about graphs that the isolation checker asks.

Nodes are numbers, an edge knows its kind, and a question says which kinds count.
Everything is a loop: a history of a hundred thousand transactions is a path of a
hundred thousand nodes, and a recursive search would end at the first thousand.

    components      sets of nodes that all reach each other (Tarjan, "Depth-First Search
                    and Linear Graph Algorithms", 1972): whatever lies on a cycle lies
                    in one with more than one node
    path            a shortest way, breadth first
    Reaching        for many pairs at once, is there a way from one to the other?
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar


class Why(StrEnum):
    """Why one transaction must come before another."""

    WRITE_WRITE = "ww"
    WRITE_READ = "wr"
    READ_WRITE = "rw"
    PREDICATE_READ_WRITE = "predicate rw"
    REAL_TIME = "time"
    FORCED = "forced"


DEPENDENCIES: Final = frozenset({Why.WRITE_WRITE, Why.WRITE_READ})
ITEM: Final = DEPENDENCIES | {Why.READ_WRITE}
ANTI: Final = frozenset({Why.READ_WRITE, Why.PREDICATE_READ_WRITE})
ALL: Final = DEPENDENCIES | ANTI

BLOCK: Final = 4096  # targets that `Reaching` looks at in one go
Node = TypeVar("Node", bound=Hashable)


@dataclass(slots=True)
class Edge:
    """``source`` comes before ``target``, because of ``key`` (None for real time).

    Args:
        before: the value that the source wrote or read.
        after: the value that the target wrote or read.
    """

    source: int
    target: int
    why: Why
    key: Hashable = None
    before: Hashable = None
    after: Hashable = None


class Graph:
    """Edges by where they begin."""

    def __init__(self, nodes: int) -> None:
        self.out: list[list[Edge]] = [[] for _ in range(nodes)]
        self._known: set[tuple[int, int, Why, Hashable]] = set()

    def add(self, edge: Edge) -> None:
        """Once for each pair, reason and key; never from a node to itself."""
        name = (edge.source, edge.target, edge.why, edge.key)
        if edge.source != edge.target and name not in self._known:
            self._known.add(name)
            self.out[edge.source].append(edge)

    def new_node(self) -> int:
        """One more node."""
        self.out.append([])
        return len(self.out) - 1

    def edges(self, kinds: Collection[Why]) -> Iterator[Edge]:
        """Those of the given kinds."""
        return (edge for edges in self.out for edge in edges if edge.why in kinds)


def components(count: int, after: Callable[[int], Iterator[int]]) -> list[int]:
    """The number of each node's component; one that can be reached from another has a lower number.

    Args:
        count: nodes 0 to ``count`` - 1.
        after: where one gets from a node in one step.
    """
    found = [-1] * count
    order, low = [-1] * count, [0] * count
    path, stack = list[tuple[int, Iterator[int]]](), list[int]()
    clock = components_found = 0
    for root in range(count):
        if order[root] >= 0:
            continue
        path.append((root, after(root)))
        order[root] = low[root] = clock
        clock += 1
        stack.append(root)
        while path:
            node, rest = path[-1]
            for other in rest:
                if order[other] < 0:
                    order[other] = low[other] = clock
                    clock += 1
                    stack.append(other)
                    path.append((other, after(other)))
                    break
                if found[other] < 0:
                    low[node] = min(low[node], order[other])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[node])
                if low[node] == order[node]:
                    while found[node] < 0:
                        found[stack.pop()] = components_found
                    components_found += 1
    return found


def path(
    start: Node, goal: Node, after: Callable[[Node], Iterator[tuple[Edge, Node]]], longest: int
) -> list[Edge] | None:
    """A shortest way of at most ``longest`` edges; None if there is none."""
    came: dict[Node, tuple[Edge, Node] | None] = {start: None}
    waiting = deque([(start, 0)])
    while waiting and goal not in came:
        node, length = waiting.popleft()
        if length < longest:
            for edge, other in after(node):
                if other not in came:
                    came[other] = (edge, node)
                    waiting.append((other, length + 1))
    if goal not in came:
        return None
    edges: list[Edge] = []
    step = came[goal]
    while step is not None:
        edges.append(step[0])
        step = came[step[1]]
    return edges[::-1]


class Reaching:
    """Which nodes reach which targets, for a block of targets at a time.

    A row of bits for each node, or-ed together from the end of the graph to its
    beginning: some thousand targets for the price of one walk. Nodes that reach each
    other share their row, which `components` has put in the right order.
    """

    def __init__(self, graph: Graph, kinds: Collection[Why]) -> None:
        self._nexts = [[e.target for e in edges if e.why in kinds] for edges in graph.out]
        self.component: Final = components(len(self._nexts), lambda node: iter(self._nexts[node]))
        self._by_component = sorted(range(len(self._nexts)), key=self.component.__getitem__)

    def blocks(self, targets: Sequence[int]) -> Iterator[tuple[dict[int, int], list[int]]]:
        """For each block: the bit of each of its targets, and the row of each component."""
        for begin in range(0, len(targets), BLOCK):
            bit = {node: 1 << n for n, node in enumerate(targets[begin : begin + BLOCK])}
            rows = [0] * (max(self.component, default=-1) + 1)
            for node in self._by_component:
                row = rows[self.component[node]] | bit.get(node, 0)
                for other in self._nexts[node]:
                    row |= rows[self.component[other]]
                rows[self.component[node]] = row
            yield bit, rows

    def reaches(self, rows: Sequence[int], bit: int, node: int) -> bool:
        """Is there a way from ``node`` to the target with that bit?"""
        return bool(rows[self.component[node]] & bit)
