"""Dependencies: which transaction must come before which, and because of what.

If the transactions had run one after the other, in what order? Three observations
answer that, for each two that touch the same key (Adya's direct serialization graph):

    ww   T2 wrote the version after the one that T1 wrote     T1 is before T2
    wr   T2 read what T1 wrote                                T1 is before T2
    rw   T1 read a version, T2 wrote the one after it         T1 is before T2, which
         it did not see

The third is the one that people forget: having *not* seen something puts you before
it. An rw that comes from a scan is told apart ("predicate rw"), because locks on rows
prevent one kind and not the other. A circle means that no such order exists.

With real time there is a fourth: T1 was over before T2 began. Most of these follow
from others, so a transaction is joined only to the last ones before it.

Where the order of versions has a gap (`orders.Gap`), one thing is still certain: who
read the version before the gap comes before all who wrote in it, or has overwritten
one of them unseen. An extra node per gap says so without an edge for each two.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from sdkit.check.cycles import Edge, Graph, Why
from sdkit.check.lines import MalformedHistory
from sdkit.check.orders import UNBORN, Gap, Versions
from sdkit.check.versions import Observed


@dataclass(slots=True)
class LostUpdate:
    """``loser`` read a version and wrote the key, and ``winner`` wrote in between."""

    edges: list[Edge]


class Dependencies:
    """The graph of one observed history, and the updates that were lost."""

    def __init__(self, observed: Observed, *, real_time: bool = False) -> None:
        self.graph: Final = Graph(len(observed.transactions))
        self.lost: Final[list[LostUpdate]] = []
        self._observed = observed
        for key, versions in observed.versions.items():
            self._add_key(key, versions)
        if real_time:
            self._add_real_time()

    def add(
        self, source: int, target: int, why: Why, key: Hashable, versions: Versions, known: int
    ) -> Edge:
        """An edge about ``key``; ``known`` wrote the version that source wrote or read."""
        before = versions.values.get(known)
        after = before if why is Why.WRITE_READ else versions.values.get(target)
        edge = Edge(source, target, why, key, before, after)
        self.graph.add(edge)
        return edge

    def _add_key(self, key: Hashable, versions: Versions) -> None:
        for one, other in versions.facts:
            if one != UNBORN:
                self.add(one, other, Why.WRITE_WRITE, key, versions, one)
        following = dict(versions.order)
        gaps = {gap.writer: self._add_gap(gap, key, versions) for gap in versions.gaps}
        # A scan and a read of one key are one edge, that of the read.
        plain = {(seen.reader, seen.writer) for seen in versions.seen if not seen.by_predicate}
        for seen in versions.seen:
            if seen.by_predicate and (seen.reader, seen.writer) in plain:
                continue
            if seen.writer != UNBORN:
                self.add(seen.writer, seen.reader, Why.WRITE_READ, key, versions, seen.writer)
            why = Why.PREDICATE_READ_WRITE if seen.by_predicate else Why.READ_WRITE
            targets = gaps[seen.writer].before(seen.reader) if seen.writer in gaps else []
            if seen.writer in following:
                targets = [following[seen.writer]]
            for target in targets:
                self.add(seen.reader, target, why, key, versions, seen.writer)
        self._find_lost(key, versions)

    def _add_gap(self, gap: Gap, key: Hashable, versions: Versions) -> _GapNodes:
        readers = {seen.reader for seen in versions.seen if seen.writer == gap.writer}
        updaters = [each for each in gap.others if each in readers]
        blind = [each for each in gap.others if each not in readers]
        nodes = _GapNodes(set(updaters), [], [])
        for group, made in ((updaters, nodes.to_updaters), (blind, nodes.to_blind)):
            if not group:
                continue
            made.append(self.graph.new_node())
            for each in group:
                self.add(made[0], each, Why.WRITE_WRITE, key, versions, gap.writer)
        for one, other in pairwise(updaters):
            there = Edge(one, other, Why.READ_WRITE, key, versions.values.get(gap.writer))
            back = Edge(other, one, Why.READ_WRITE, key, versions.values.get(gap.writer))
            there.after, back.after = versions.values[other], versions.values[one]
            self.lost.append(LostUpdate([there, back]))
        return nodes

    def _find_lost(self, key: Hashable, versions: Versions) -> None:
        """Who read a version and wrote the key, but not the next version."""
        order = [UNBORN, *versions.chain]
        place = {writer: number for number, writer in enumerate(order)}
        late = set(versions.late)
        values = versions.values
        for seen in versions.seen:
            read = place.get(seen.writer, -1)
            passed = order[read + 1 : place.get(seen.reader, 0)]
            if seen.reader in late:
                passed = order[read + 1 :]
            if read < 0 or not passed:
                continue
            why = Why.PREDICATE_READ_WRITE if seen.by_predicate else Why.READ_WRITE
            edges = [
                Edge(seen.reader, passed[0], why, key, values.get(seen.writer), values[passed[0]])
            ]
            for one, other in pairwise([*passed, seen.reader]):
                edges.append(Edge(one, other, Why.WRITE_WRITE, key, values[one], values[other]))
            self.lost.append(LostUpdate(edges))

    def _add_real_time(self) -> None:
        timed = []
        for number, each in enumerate(self._observed.transactions):
            if not self._observed.counts[number]:
                continue
            if each.begin_ns is None or (each.end_ns is None and each.status == "committed"):
                raise MalformedHistory(
                    f"transaction {each.id} lacks begin_ns or end_ns; real time needs both",
                    line=each.line,
                )
            timed.append((each.begin_ns, each.end_ns, number))
        ended = sorted((end, begin, number) for begin, end, number in timed if end is not None)
        recent: list[tuple[int, int]] = []  # ended, and not long before something that ended too
        at, newest_begin = 0, None
        for begin, _, number in sorted(timed, key=lambda each: each[0]):
            while at < len(ended) and ended[at][0] < begin:
                end, began, other = ended[at]
                recent.append((end, other))
                newest_begin = began if newest_begin is None else max(newest_begin, began)
                at += 1
            if newest_begin is not None:
                recent = [each for each in recent if each[0] >= newest_begin]
            for _, other in recent:
                self.graph.add(Edge(other, number, Why.REAL_TIME))


@dataclass(slots=True)
class _GapNodes:
    """The extra nodes of a gap: before those who read what is before it, before the others."""

    updaters: set[int]
    to_updaters: list[int]
    to_blind: list[int]

    def before(self, reader: int) -> list[int]:
        """Where an rw of ``reader`` goes."""
        return self.to_blind if reader in self.updaters else self.to_updaters + self.to_blind
