"""Page of transactions: each circle drawn, with a sentence for every arrow.

First the ladder of levels with what was found on each rung; then for each anomaly its
smallest circle, and cards with what its transactions read and wrote, so that one can
follow the sentences without going back to the file.
"""

from __future__ import annotations

import math
from html import escape
from typing import Final

from sdkit.check import isolation
from sdkit.check.anomalies import Anomaly
from sdkit.check.cycles import Edge, Why
from sdkit.check.explain_circles import MEANINGS, because, ident
from sdkit.check.levels import LEVELS, forbids
from sdkit.check.lines import shown
from sdkit.check.markup import LETTER, filled, legend, short


def page_of_transactions(verdict: isolation.Verdict, title: str) -> str:
    """The page of a verdict of `isolation.check`."""
    body = [f'<p class="verdict">{escape(verdict.summary)}</p>', _levels(verdict)]
    for name, anomaly in verdict.anomalies.items():
        body.append(f"<h2>{escape(name)}</h2>")
        body.append(
            f'<p class="dim">{escape(MEANINGS[name])}; forbidden from {forbids(name)} on</p>'
        )
        if anomaly.edges:
            body.append(f'<div class="circle">{_Circle(verdict, anomaly).svg()}')
            body.append(_sentences(verdict, anomaly) + "</div>")
        else:
            body.append(f"<p>{escape(anomaly.why)}</p>")
        body.append(_cards(verdict, anomaly))
    if any(anomaly.edges for anomaly in verdict.anomalies.values()):
        body.append(_EDGE_LEGEND)
    return filled(title, body)


_CLASS: Final = {
    Why.WRITE_WRITE: "ww",
    Why.WRITE_READ: "wr",
    Why.READ_WRITE: "rw",
    Why.PREDICATE_READ_WRITE: "prw",
    Why.REAL_TIME: "time",
    Why.FORCED: "time",
}
_NODE: Final = 24


class _Circle:
    """The transactions of an anomaly on a ring, and why each is before the next."""

    def __init__(self, verdict: isolation.Verdict, anomaly: Anomaly) -> None:
        self._verdict = verdict
        self._edges = anomaly.edges
        count = len(anomaly.edges)
        self._radius = max(96, 20 * count)
        self._size = 2 * self._radius + 2 * _NODE + 96
        self._angle = [-math.pi / 2 + 2 * math.pi * n / count for n in range(count)]
        if count == 2:  # side by side reads better than one above the other
            self._angle = [math.pi, 0.0]

    def svg(self) -> str:
        height = self._size if len(self._edges) > 2 else 220
        self._middle = (self._size / 2, height / 2)
        label = "a circle of transactions, each before the next"
        parts = [
            f'<svg width="{self._size:.0f}" height="{height:.0f}" role="img" aria-label="{label}">'
        ]
        parts += [self._arrow(n, edge) for n, edge in enumerate(self._edges)]
        for n, edge in enumerate(self._edges):
            x, y = self._at(self._angle[n])
            name = ident(self._verdict.observed, edge.source)
            parts.append(f'<circle class="node" cx="{x:.1f}" cy="{y:.1f}" r="{_NODE}"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{y + 4.5:.1f}" text-anchor="middle">'
                f"{escape(short(name, 6))}</text>"
            )
        return "".join(parts) + "</svg>"

    def _at(self, angle: float, radius: float | None = None) -> tuple[float, float]:
        length = self._radius if radius is None else radius
        return (
            self._middle[0] + length * math.cos(angle),
            self._middle[1] + length * math.sin(angle),
        )

    def _arrow(self, n: int, edge: Edge) -> str:
        """Bent outwards, ending at the rim of the node, its reason beside it."""
        one = self._angle[n]
        other = self._angle[(n + 1) % len(self._angle)]
        turn = (other - one) % (2 * math.pi) or math.pi
        bend = self._at(one + turn / 2, self._radius * (1.15 if len(self._edges) > 2 else 0.85))
        start, end = self._at(one), self._at(other)
        start, end = _towards(start, bend, _NODE + 2), _towards(end, bend, _NODE + 11)
        kind = _CLASS[edge.why]
        tip = _towards(end, bend, -9)
        across = (end[1] - tip[1], tip[0] - end[0])
        wings = [(end[0] + s * across[0] * 0.6, end[1] + s * across[1] * 0.6) for s in (1, -1)]
        head = " ".join(f"{x:.1f},{y:.1f}" for x, y in (tip, *wings))
        label = f"{edge.why.value} {shown(edge.key)}" if edge.key is not None else edge.why.value
        label = short(label, 20)
        x, y = ((start[k] + 2 * bend[k] + end[k]) / 4 for k in (0, 1))
        width = len(label) * LETTER + 8
        return (
            f"<g><title>{escape(because(self._verdict.observed, edge))}</title>"
            f'<path class="edge {kind}" d="M{start[0]:.1f} {start[1]:.1f} Q{bend[0]:.1f} '
            f'{bend[1]:.1f} {end[0]:.1f} {end[1]:.1f}"/>'
            f'<polygon class="head-{kind}" points="{head}"/>'
            f'<rect class="halo" x="{x - width / 2:.1f}" y="{y - 10:.1f}" width="{width:.1f}" '
            f'height="20"/><text class="{kind}" x="{x:.1f}" y="{y + 4.5:.1f}" '
            f'text-anchor="middle">{escape(label)}</text></g>'
        )


def _towards(
    one: tuple[float, float], other: tuple[float, float], length: float
) -> tuple[float, float]:
    x, y = other[0] - one[0], other[1] - one[1]
    whole = math.hypot(x, y) or 1.0
    return one[0] + x / whole * length, one[1] + y / whole * length


def _sentences(verdict: isolation.Verdict, anomaly: Anomaly) -> str:
    observed = verdict.observed
    rows = [
        f"<li><b>{escape(ident(observed, edge.source))}</b> is before "
        f"<b>{escape(ident(observed, edge.target))}</b>: {escape(because(observed, edge))}</li>"
        for edge in anomaly.edges
    ]
    name = escape(ident(observed, anomaly.edges[0].source))
    return f"<ol>{''.join(rows)}<p>So {name} would have to come before itself.</p></ol>"


def _cards(verdict: isolation.Verdict, anomaly: Anomaly) -> str:
    """What the transactions of a circle did."""
    cards = []
    for number in dict.fromkeys(anomaly.transactions):
        each = verdict.observed.transactions[number]
        keys = {edge.key for edge in anomaly.edges}
        done = [
            f"{access.kind.value} {shown(access.key)}: {shown(access.value)}"
            for access in each.accesses()
            if not keys or access.key in keys
        ]
        where = "" if each.position is None else f", position {each.position}"
        line = f", line {each.line}" if each.line else ""
        shown_rows = "<br>".join(f"<code>{escape(row)}</code>" for row in done)
        cards.append(
            f'<div class="card"><b>{escape(ident(verdict.observed, number))}</b> '
            f'<span class="dim">{each.status}{where}{line}</span><br>{shown_rows}</div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>'


def _levels(verdict: isolation.Verdict) -> str:
    rows = ["<tr><th>level<th><th>what it forbids, and what was found</tr>"]
    broken = False
    for level, names in LEVELS.items():
        if level == "strict serializable" and not verdict.real_time:
            continue
        broken = broken or any(name in verdict.anomalies for name in names)
        word = "violated" if broken else "holds" if verdict.complete else "no anomaly found"
        kind = {"violated": "violated", "holds": "holds"}.get(word, "open")
        sign = {"violated": "✗", "holds": "✓"}.get(word, "?")
        cells = ", ".join(
            f'<b class="violated">{name} found</b>' if name in verdict.anomalies else name
            for name in names
        )
        rows.append(f'<tr><td>{level}<td class="{kind}">{sign} {word}<td>{cells}</tr>')
    return f"<table>{''.join(rows)}</table>"


_EDGE_LEGEND: Final = legend(
    [
        (f'<path class="edge {kind}" d="M0 7 H34"/>', meaning)
        for kind, meaning in (
            ("ww", "ww: wrote after it"),
            ("wr", "wr: read what it wrote"),
            ("rw", "rw: did not see what it wrote"),
            ("prw", "predicate rw: the same, in a scan"),
            ("time", "time: was over before it began; forced: in any order of writes"),
        )
    ]
)
