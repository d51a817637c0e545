"""Anomalies: the circles in a graph of dependencies, each by its name, the smallest first.

Finding *whether* there is a circle of a class is exact and cheap, for all classes that
decide about a level. Finding the *smallest*, which is the one a person can follow, is a
search from many places, so it stops after `WORK` steps and gives the best it has.

How each class is decided
    G0, G1c          circles of ww, of ww and wr: components of that graph
    lost update      seen from the order of versions of one key (`dependencies`)
    G-single         an rw from a to b, and a way from b back to a by ww and wr. Asked for
                     all rw at once (`cycles.Reaching`)
    G-nonadjacent    a circle in a graph of twice the size: each node there is "at T, and
                     came by an rw" or "at T, and did not", and from the first no rw leaves
    G2-item, G2      components of the whole graph; then a pivot, rw in and rw out, with a
                     way around it
    no order         edges that every order of the writes has in common (`forced`), if there
                     is no other circle

A way may lead over the extra node of a gap (`dependencies`). The two edges there are one
dependency, so an rw that leads to such a node is an rw to each one behind it. A circle is
named only when the extra nodes are out of it; whatever its name is then, it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from sdkit.check.cycles import (
    ALL,
    ANTI,
    DEPENDENCIES,
    ITEM,
    Edge,
    Graph,
    Reaching,
    Why,
    components,
    path,
)
from sdkit.check.dependencies import Dependencies
from sdkit.check.forced import forced_circle
from sdkit.check.versions import Observed

WORK: Final = 1_500_000  # edges looked at in search of smaller examples, for each anomaly
ENDLESS: Final = 2**62

At = tuple[int, bool]  # a node, and one thing to remember of the way to it


@dataclass(slots=True)
class Anomaly:
    """One anomaly.

    Args:
        name: as in `isolation`.
        transactions: numbers of those that take part, in the order of the circle.
        edges: the circle, from the first of them back to it; none for G1a, G1b and the like.
        why: for those, what was wrong.
    """

    name: str
    transactions: list[int]
    edges: list[Edge] = field(default_factory=list)
    why: str = ""


def name_of(cycle: Sequence[Edge]) -> str:
    """The name of a circle: the first in the list of `isolation` that fits."""
    kinds = [edge.why for edge in cycle]
    anti = [kind in ANTI for kind in kinds]
    if Why.REAL_TIME in kinds:
        return "real time"
    if not any(anti):
        return "G1c" if Why.WRITE_READ in kinds else "G0"
    if sum(anti) == 1:
        one_key = len({edge.key for edge in cycle}) == 1 and Why.WRITE_READ not in kinds
        return "lost update" if one_key else "G-single"
    if not any(one and other for one, other in zip(anti, anti[1:] + anti[:1], strict=True)):
        return "G-nonadjacent"
    return "G2" if Why.PREDICATE_READ_WRITE in kinds else "G2-item"


class Anomalies:
    """Looks for all of them in one history."""

    def __init__(
        self, observed: Observed, dependencies: Dependencies, progress: Callable[[str], None]
    ) -> None:
        self._observed = observed
        self._dependencies = dependencies
        self._graph: Graph = dependencies.graph
        self._progress = progress
        self._found: dict[str, Anomaly] = {}
        self._work = 0

    def found(self) -> dict[str, Anomaly]:
        """The smallest example of each, in the order of the list in `isolation`."""
        for finding in self._observed.findings:
            if finding.name not in self._found:
                self._found[finding.name] = Anomaly(
                    finding.name, finding.transactions, why=finding.why
                )
        self._progress("circles of writes and reads")
        self.find_write_cycles()
        self.find_information_cycles()
        self._progress("lost updates and read skew")
        self.find_lost_updates()
        self.find_read_skew()
        self._progress("write skew")
        self.find_write_skew()
        self.find_forced_circle()
        self._progress("real time")
        self.find_real_time()
        return {name: self._found[name] for name in NAMES if name in self._found}

    # ── the classes ──────────────────────────────────────────────────────────

    def find_write_cycles(self) -> None:
        """G0."""
        self._find_through({Why.WRITE_WRITE}, {Why.WRITE_WRITE})

    def find_information_cycles(self) -> None:
        """G1c."""
        self._find_through({Why.WRITE_READ}, DEPENDENCIES)

    def find_lost_updates(self) -> None:
        """The one with the fewest writes in between."""
        for lost in self._dependencies.lost:
            self._take(lost.edges, "lost update")

    def find_read_skew(self) -> None:
        """G-single: exact for each rw, then the shortest among them."""
        reaching = Reaching(self._graph, DEPENDENCIES)
        by_source: dict[int, list[Edge]] = {}
        for edge in self._graph.edges(ANTI):
            by_source.setdefault(edge.source, []).append(edge)
        hits: list[Edge] = []
        for bits, rows in reaching.blocks(sorted(by_source)):
            for source, bit in bits.items():
                reaches = partial(reaching.reaches, rows, bit)
                hits += [edge for edge in by_source[source] if self._comes_back(edge, reaches)]
        self._work = 0
        for edge in sorted(hits, key=self._telling):
            if self._work > WORK:
                break
            self._take(self._way_around(edge))

    def find_write_skew(self) -> None:
        """G-nonadjacent, G2-item, G2."""
        component = components(
            len(self._graph.out), lambda node: (e.target for e in self._out(node, ALL))
        )
        inside = [
            edge
            for edge in self._graph.edges(ANTI)
            if component[edge.source] == component[edge.target]
        ]
        if not inside:
            return
        self._find_nonadjacent(inside)
        self._find_pivots(inside)
        if not self._found.keys() & set(NAMES[1:]):
            # A circle there is, and the search for a telling one gave up: whichever comes first.
            back = self._path(inside[0].target, inside[0].source, ALL)
            assert back is not None
            self._take([inside[0], *back])

    def find_forced_circle(self) -> None:
        """A circle that shows only when all orders of the writes are thought of at once."""
        unordered = {key: self._observed.versions[key] for key in self._observed.unordered}
        if unordered and not self._found.keys() & set(NAMES[1:]):
            self._take(forced_circle(self._graph, unordered), "no order")

    def find_real_time(self) -> None:
        """A circle that needs one transaction to be over before another began."""
        self._find_through({Why.REAL_TIME}, ALL | {Why.REAL_TIME})

    # ── how ──────────────────────────────────────────────────────────────────

    def _find_through(self, one_of: Collection[Why], kinds: Collection[Why]) -> None:
        """A circle of ``kinds`` that has an edge of ``one_of``."""
        component = components(
            len(self._graph.out), lambda node: (e.target for e in self._out(node, kinds))
        )
        self._work = 0
        for edge in self._graph.edges(one_of):
            if self._work > WORK:
                return
            if component[edge.source] == component[edge.target]:
                back = self._path(edge.target, edge.source, kinds)
                assert back is not None
                self._take([edge, *back])

    def _comes_back(self, edge: Edge, reaches: Callable[[int], bool]) -> bool:
        """Is there a way from the rw's end to its beginning that is more than a lost update?

        A lost update comes back by ww of the same key alone; so follow those, and look at
        each node on that way whether some other edge leaves it and gets there. Behind a gap
        no such way is known.
        """
        if self._is_extra(edge.target):
            return reaches(edge.target)
        node, passed = edge.target, set[int]()
        while node != edge.source and node not in passed and reaches(node):
            passed.add(node)
            following = node
            for other in self._out(node, DEPENDENCIES):
                if other.why is Why.WRITE_WRITE and other.key == edge.key:
                    following = other.target
                elif other.target == edge.source or reaches(other.target):
                    return True
            node = following
        return False

    def _telling(self, edge: Edge) -> tuple[bool, int]:
        """First those who did not write what they read: a lost update says it better."""
        writers = self._observed.versions[edge.key].values
        return edge.source in writers, abs(edge.source - edge.target)

    def _way_around(self, edge: Edge) -> list[Edge] | None:
        """The shortest circle of G-single through an rw."""

        def after(at: At) -> Iterator[tuple[Edge, At]]:
            node, is_more = at
            for other in self._out(node, DEPENDENCIES):
                pure = other.why is Why.WRITE_WRITE and other.key == edge.key
                yield other, (other.target, is_more or not pure)

        back = path((edge.target, False), (edge.source, True), after, self._shorter("G-single"))
        if back is None or len({each.source for each in back}) < len(back):
            return None  # passes a transaction twice: beside a G1c, and that is named already
        return [edge, *back]

    def _find_nonadjacent(self, inside: Sequence[Edge]) -> None:
        """Circles with no two rw in a row, in the graph that remembers the last edge."""

        def after(at: At) -> Iterator[tuple[Edge, At]]:
            node, came_by_anti = at
            for edge in self._out(node, DEPENDENCIES if came_by_anti else ALL):
                is_anti = came_by_anti if self._is_extra(node) else edge.why in ANTI
                yield edge, (edge.target, is_anti)

        count = len(self._graph.out)
        component = components(
            2 * count,
            lambda n: (
                node + count * is_anti for _, (node, is_anti) in after((n % count, n >= count))
            ),
        )
        self._work = 0
        spare: list[Edge] | None = None
        for edge in inside:
            if self._work > WORK:
                break
            if component[edge.source] != component[edge.target + count]:
                continue
            longest = self._shorter("G-nonadjacent")
            back = path((edge.target, True), (edge.source, False), after, longest)
            if back is None:
                continue
            cycle = self._without_extra_nodes([edge, *back])
            if name_of(cycle) != "G-nonadjacent":
                continue
            if len({each.source for each in cycle}) == len(cycle):
                self._take(cycle)
            else:
                spare = spare or cycle  # passes a transaction twice: still no snapshot allows it
        if spare and not self._found.keys() & set(NAMES[: NAMES.index("G-nonadjacent") + 1]):
            self._take(spare)

    def _find_pivots(self, inside: Sequence[Edge]) -> None:
        """Circles with two rw in a row: the node between them, and a way around it."""
        outgoing: dict[int, list[Edge]] = {}
        for edge in inside:
            outgoing.setdefault(edge.source, []).append(edge)
        pairs = [
            (steps, middle, two)
            for steps, middle in self._steps(inside)
            for two in outgoing.get(middle, [])
        ]
        # The two that meet at both ends are the smallest, and need no search.
        pairs.sort(key=lambda pair: pair[2].target != pair[0][0].source)
        self._work = 0
        for steps, middle, two in pairs:
            if self._work > WORK:
                return
            for kinds in (ITEM, ALL):
                if kinds is ITEM and not {steps[0].why, two.why} <= ITEM:
                    continue
                longest = self._shorter("G2-item" if kinds is ITEM else "G2") - 1
                back = self._path(two.target, steps[0].source, kinds, longest, without=middle)
                if back is not None:
                    self._take([*steps, two, *back])

    def _steps(self, edges: Sequence[Edge]) -> Iterator[tuple[list[Edge], int]]:
        """Each edge and where it leads; over the node of a gap, to each one behind it."""
        for edge in edges:
            if self._is_extra(edge.target):
                for more in self._graph.out[edge.target]:
                    yield [edge, more], more.target
            else:
                yield [edge], edge.target

    def _path(
        self,
        start: int,
        goal: int,
        kinds: Collection[Why],
        longest: int = ENDLESS,
        without: int | None = None,
    ) -> list[Edge] | None:
        return path(
            start,
            goal,
            lambda node: (
                (edge, edge.target) for edge in self._out(node, kinds) if edge.target != without
            ),
            longest,
        )

    def _out(self, node: int, kinds: Collection[Why]) -> Iterator[Edge]:
        for edge in self._graph.out[node]:
            self._work += 1
            if edge.why in kinds:
                yield edge

    def _shorter(self, name: str) -> int:
        """How long the way back may be, for a circle shorter than what was found."""
        known = self._found.get(name)
        return ENDLESS if known is None else len(known.edges) - 2

    def _take(self, cycle: Sequence[Edge] | None, name: str = "") -> None:
        """Keep it if it is the shortest of its name."""
        if cycle is None:
            return
        edges = self._without_extra_nodes(cycle)
        name = name or name_of(edges)
        known = self._found.get(name)
        if known is None or len(edges) < len(known.edges):
            self._found[name] = Anomaly(name, [edge.source for edge in edges], edges)

    def _is_extra(self, node: int) -> bool:
        """Is it the node of a gap, and no transaction?"""
        return node >= len(self._observed.transactions)

    def _without_extra_nodes(self, cycle: Sequence[Edge]) -> list[Edge]:
        """Two edges over the node of a gap are one, that of the first."""
        turn = next(n for n, edge in enumerate(cycle) if not self._is_extra(edge.source))
        kept: list[Edge] = []
        for edge in [*cycle[turn:], *cycle[:turn]]:
            if self._is_extra(edge.source):
                first = kept.pop()
                edge = Edge(
                    first.source, edge.target, first.why, first.key, first.before, edge.after
                )
            kept.append(edge)
        return kept


NAMES: Final = (
    "impossible read",
    "G0",
    "G1a",
    "G1b",
    "G1c",
    "lost update",
    "G-single",
    "G-nonadjacent",
    "G2-item",
    "G2",
    "no order",
    "real time",
)
