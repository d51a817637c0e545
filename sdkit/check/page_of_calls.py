"""Page of calls: a verdict as one file of HTML that needs nothing else, not even a script.

The form is the one that Jepsen and Porcupine have made familiar: a row per process,
time from left to right, a bar for each call. The calls that contradict each other are
strong, others of the same time pale. Numbered points on the bars are the order as far
as there is one; the call that has no place in it is outlined, crossed and named:

    1   ▐ write 1 ①▌
    2              ▐ write 2 ②▌
    3                          ╎✗ read: 1╎

Time is not to scale: each instant at which a strong call began or ended gets the same
width. Histories have calls of microseconds and pauses of seconds, and what counts is
only what overlaps. Nothing depends on colour alone: lines differ in their dashes,
bars in their outline and marks, and the colours are those of Okabe and Ito.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from html import escape
from itertools import accumulate
from typing import Final

from sdkit.check import linearizability
from sdkit.check.explain_calls import call, duration
from sdkit.check.history import Operation
from sdkit.check.markup import LETTER, filled, legend, short
from sdkit.check.reason import Counterexample

AROUND_MAX: Final = 10  # pale bars of other processes; more of them hide what matters
ROW: Final = 54
PALE_ROW: Final = 26
BAR: Final = 30
LEFT: Final = 140
MARGIN: Final = 40  # to the left of the first instant, and to the right of the last
STEP_MIN, STEP_MAX = 34, 200
WIDTH: Final = 1_176  # of a page; what would be narrower is stretched
POINT: Final = 10  # the radius of one


def page_of_calls(verdict: linearizability.Verdict, title: str) -> str:
    """The page of a verdict of `linearizability.check`."""
    found = verdict.counterexample
    words = {"linearizable": "holds", "not linearizable": "violated", "undecided": "open"}
    text = verdict.explain().splitlines()[0]
    body = [f'<p class="verdict {words[verdict.result]}">{escape(text)}</p>']
    if found is not None:
        body += [
            f'<div class="scroll">{_Bars(found).svg()}</div>',
            _BAR_LEGEND,
            _order_table(found),
        ]
    return filled(title, body)


class _Bars:
    """The calls of a counterexample, and some around them, as bars."""

    def __init__(self, found: Counterexample) -> None:
        self._found = found
        self._stuck = {id(each) for each in found.stuck[:1]}
        strong = list(dict.fromkeys(each.process for each in found.operations))
        mine = [each for each in found.around if each.process in strong]
        others = [each for each in found.around if each.process not in strong]
        self._pale = mine + others[:AROUND_MAX]
        self._strong = len(strong)
        processes = dict.fromkeys([*strong, *(each.process for each in self._pale)])
        self._row = {process: number for number, process in enumerate(processes)}
        ends = [each.end for each in found.operations if each.end is not None]
        self._instants = sorted({each.start for each in found.operations} | set(ends))
        spaces = len(self._instants) - 1
        self._step = max(
            self._wide_enough(), (WIDTH - 30 - LEFT - 2 * MARGIN) / spaces if spaces else 0.0
        )
        self._right = max(LEFT + 2 * MARGIN + spaces * self._step, WIDTH - 30)
        self._places = self._placed()
        self._point_x = {
            id(placed.operation): x
            for placed, (x, _) in zip(found.order, self._places, strict=True)
        }

    def svg(self) -> str:
        """All of it."""
        height = self._middle(len(self._row) - 1) + ROW // 2 + 8
        label = "calls by process, time from left to right"
        width = self._right + 30
        parts = [
            f'<svg width="{width:.0f}" height="{height}" role="img" aria-label="{label}">',
            f'<text class="dim" x="{LEFT}" y="18">time, not to scale →</text>',
        ]
        for process, row in self._row.items():
            y, kind = self._middle(row), ' class="dim"' * (row >= self._strong)
            parts.append(
                f'<line class="row" x1="{LEFT}" x2="{self._right:.0f}" y1="{y}" y2="{y}"/>'
                f'<text{kind} x="{LEFT - 12}" y="{y + 5}" text-anchor="end">'
                f"process {escape(short(str(process), 8))}</text>"
            )
        parts += [self._bar(each, "other") for each in self._pale]
        parts += [
            self._bar(each, "bad" if id(each) in self._stuck else "placed")
            for each in self._found.operations
        ]
        return "".join(parts + self._points()) + "</svg>"

    def _wide_enough(self) -> float:
        """The width between two instants, so that every strong bar holds its label."""
        step = float(STEP_MIN)
        for each in self._found.operations:
            spaces = self._instants.index(each.start) - len(self._instants) + 1
            if each.end is not None:
                spaces = self._instants.index(each.start) - self._instants.index(each.end)
            step = max(step, (len(self._label(each)) * LETTER + 48) / (-spaces or 1))
        return min(step, STEP_MAX)

    def _x(self, instant: int | None) -> float:
        """Evenly from one instant of a strong call to the next; others in between."""
        if instant is None or instant > self._instants[-1]:
            return self._right
        if instant < self._instants[0]:
            return LEFT
        at = bisect_right(self._instants, instant) - 1
        one, other = self._instants[at], self._instants[min(at + 1, len(self._instants) - 1)]
        part = (instant - one) / (other - one) if other > one else 0
        return LEFT + MARGIN + (at + part) * self._step

    def _middle(self, row: int) -> int:
        pale = max(0, row - self._strong + 1)
        return 34 + ROW // 2 + (row - pale) * ROW + pale * PALE_ROW + 8 * bool(pale)

    def _label(self, each: Operation) -> str:
        return ("✗ " if id(each) in self._stuck else "") + call(each)

    def _bar(self, each: Operation, kind: str) -> str:
        left, right = self._x(each.start), self._x(each.end)
        y = self._middle(self._row[each.process])
        height = 18 if kind == "other" else BAR
        width, top = max(right - left, 4.0), y - height / 2
        dashes = ' stroke-dasharray="6 3"' * (kind == "bad")
        shape = (
            f'<rect class="bar-{kind}" x="{left:.1f}" y="{top}" width="{width:.1f}" '
            f'height="{height}" rx="4"{dashes}/>'
        )
        if each.end is None and kind != "other":  # it may happen at any later time
            half = height / 2
            shape += (
                f'<path class="bar-{kind}" d="M{left + width:.1f} {top} l{half} {half} '
                f'l-{half} {half}"/>'
            )
        begin, room = self._room(each, left, left + width)
        label = short(self._label(each), int(room / LETTER))
        text = f'<text class="on-{kind}" x="{begin:.1f}" y="{y + 5}">{escape(label)}</text>'
        return f"<g><title>{escape(self._hover(each))}</title>{shape}{text}</g>"

    def _room(self, each: Operation, left: float, right: float) -> tuple[float, float]:
        """Where the label of a bar begins, and how wide it may be: on one side of its point."""
        point = self._point_x.get(id(each))
        if point is None:
            return left + 8, right - left - 12
        before = point - POINT - 4 - (left + 8)
        after = right - 4 - (point + POINT + 4)
        if before >= min(len(self._label(each)) * LETTER, after):
            return left + 8, before
        return point + POINT + 4, after

    def _hover(self, each: Operation) -> str:
        begin = min(other.start for other in [*self._pale, *self._found.operations])
        end = "on, no answer seen" if each.end is None else f"to {duration(each.end - begin)}"
        line = f", line {each.line}" if each.line else ""
        start = duration(each.start - begin)
        return f"process {each.process}: {call(each)}\nfrom {start} {end}{line}"

    def _placed(self) -> list[tuple[float, float]]:
        """Where the points of the order are."""
        spans = [
            (self._x(placed.operation.start), self._x(placed.operation.end))
            for placed in self._found.order
        ]
        # No later than what follows can still be reached from there.
        latest = list(accumulate((right for _, right in reversed(spans)), min))[::-1]
        at, places = -math.inf, list[tuple[float, float]]()
        for placed, (left, right), limit in zip(self._found.order, spans, latest, strict=True):
            wanted = left + POINT + 4 if placed.operation.end is None else max(left, right - 15)
            at = min(max(at + 22, wanted), limit)
            places.append((at, self._middle(self._row[placed.operation.process])))
        return places

    def _points(self) -> list[str]:
        """The order as far as there is one: numbered, joined by a dotted line."""
        places = self._places
        path = "M" + " L".join(f"{x:.1f} {y}" for x, y in places)
        parts = [f'<path class="way" d="{path}"/>'] if len(places) > 1 else []
        parts += [
            f'<circle class="point" cx="{x:.1f}" cy="{y}" r="{POINT}"/><text class="count" '
            f'x="{x:.1f}" y="{y + 4.5}" text-anchor="middle">{number}</text>'
            for number, (x, y) in enumerate(places, start=1)
        ]
        return parts


def _order_table(found: Counterexample) -> str:
    rows = [
        "<tr><th><th>process<th>call<th>and then it is</tr>",
        '<tr><td class="number"><td><td class="dim">at first<td><code>'
        + escape(found.initial)
        + "</code></tr>",
    ]
    for number, placed in enumerate(found.order, start=1):
        each = placed.operation
        rows.append(
            f'<tr><td class="number">{number}<td>{escape(str(each.process))}<td><code>'
            f"{escape(call(each))}</code><td><code>{escape(placed.after)}</code></tr>"
        )
    for each, reason in zip(found.stuck, found.reasons, strict=True):
        rows.append(
            f'<tr class="bad"><td class="number">✗<td>{escape(str(each.process))}<td><code>'
            f"{escape(call(each))}</code><td>cannot be next: {escape(reason)}</tr>"
        )
    return (
        "<h2>An order, as far as there is one</h2><table>" + "".join(rows) + "</table>"
        '<p class="dim">No order that was tried gets further.</p>'
    )


_BOX: Final = 'x="1" y="1" width="32" height="12" rx="3"'
_BAR_LEGEND: Final = legend(
    [
        (f'<rect class="bar-placed" {_BOX}/>', "a call that matters"),
        (f'<rect class="bar-bad" stroke-dasharray="4" {_BOX}/>', "✗ the one without a place"),
        (f'<rect class="bar-other" {_BOX}/>', "others at that time"),
        (
            '<path class="bar-placed" d="M0 0 H26 L33 7 L26 14 H0 z"/>',
            "no answer: may happen later, or never",
        ),
        ('<circle class="point" cx="17" cy="7" r="6"/>', "the order, as far as there is one"),
    ]
)
