"""Forced: dependencies that every possible order of the writes has.

Where a history does not tell the order of a key's versions, several orders are possible.
Often all of them are wrong: in none can the transactions run one after the other. Two
rules find that. (Papadimitriou, "The Serializability of Concurrent Database Updates",
JACM 1979, calls the open choices a polygraph.) Suppose a transaction, the reader, read
what T1 wrote, and T2 wrote the same key. Then T2 is before T1, or after the reader:

    T1 is before T2, whatever the order     so the reader is before T2
    T2 is before the reader                 so T2 is before T1

Each rule adds edges, and a new edge may lead to the next. A circle at the end proves that
there is no order. No circle proves nothing: one would have to try all choices, which
takes too long (the problem is NP-complete).

The rules hold for transactions that run one after the other. So a circle found here
contradicts serializable, and no weaker level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from sdkit.check.cycles import ALL, Edge, Graph, Why, components, path
from sdkit.check.orders import UNBORN, Versions

TRANSACTIONS_MAX: Final = 4_000  # takes 2 MB (a bit for each pair) and some seconds
KINDS: Final = ALL | {Why.FORCED}


def forced_circle(graph: Graph, versions: Mapping[object, Versions]) -> list[Edge] | None:
    """Find a circle that every order of the writes has. Returns None if it finds none.

    Args:
        graph: of all dependencies, without a circle. Edges are added to it, of their own kind.
        versions: of the keys whose order is not known.

    Takes time with the square of the number of transactions, divided by 64. Of more than
    `TRANSACTIONS_MAX` it finds none.
    """
    count = len(graph.out)
    if count > TRANSACTIONS_MAX:
        return None
    while True:
        after = _closure(graph)
        before = [0] * count
        for node in range(count):
            for other in _bits(after[node]):
                before[other] |= 1 << node
        is_new = False
        for edge in list(_follow(versions, after, before)):
            if after[edge.target] >> edge.source & 1:
                return [edge, *_way(graph, edge.target, edge.source)]
            graph.add(edge)
            is_new = True
        circle = _circle(graph) if is_new else None
        if circle is not None or not is_new:
            return circle


def _follow(
    versions: Mapping[object, Versions], after: list[int], before: list[int]
) -> Iterator[Edge]:
    """Yield the edges that the two rules add for each read."""
    for key, of_key in versions.items():
        writers = sum(1 << writer for writer in of_key.values)
        values = of_key.values
        for seen in of_key.seen:
            if seen.writer == UNBORN:
                continue  # all writers come after the reader, and the graph says so
            others = writers & ~(1 << seen.writer | 1 << seen.reader)
            for other in _bits(after[seen.writer] & others & ~after[seen.reader]):
                yield Edge(seen.reader, other, Why.FORCED, key, values[seen.writer], values[other])
            for other in _bits(before[seen.reader] & others & ~before[seen.writer]):
                yield Edge(other, seen.writer, Why.FORCED, key, values[other], values[seen.writer])


def _closure(graph: Graph) -> list[int]:
    """For each node a row of bits: what can be reached from it."""
    nexts = [[edge.target for edge in edges if edge.why in KINDS] for edges in graph.out]
    component = components(len(nexts), lambda node: iter(nexts[node]))
    rows = [0] * len(nexts)
    for node in sorted(range(len(nexts)), key=component.__getitem__):
        for other in nexts[node]:
            rows[node] |= rows[other] | 1 << other
    return rows


def _circle(graph: Graph) -> list[Edge] | None:
    nexts = [[edge.target for edge in edges if edge.why in KINDS] for edges in graph.out]
    component = components(len(nexts), lambda node: iter(nexts[node]))
    for edge in graph.edges({Why.FORCED}):
        if component[edge.source] == component[edge.target]:
            return [edge, *_way(graph, edge.target, edge.source)]
    return None


def _way(graph: Graph, start: int, goal: int) -> list[Edge]:
    found = path(
        start,
        goal,
        lambda node: ((edge, edge.target) for edge in graph.out[node] if edge.why in KINDS),
        len(graph.out),
    )
    assert found is not None
    return found


def _bits(row: int) -> Iterator[int]:
    """The numbers of the bits that are set."""
    while row:
        low = row & -row
        yield low.bit_length() - 1
        row ^= low
