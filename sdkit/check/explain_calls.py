"""Explanations of calls: a counterexample as text.

"Not linearizable" convinces nobody who wrote the system. A handful of calls does, in
order, up to the one that has no place. `page_of_calls` draws the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sdkit.check.history import Operation
from sdkit.check.lines import named, shown
from sdkit.check.reason import Counterexample

ANSWERS: Final = ("read", "get", "dequeue", "length")  # null says something there


def call(operation: Operation) -> str:
    """A call and its answer, as in ``read: 5``."""
    if operation.op in ("read", "get", "dequeue", "length", "acquire"):
        asked = operation.op
    else:
        asked = f"{operation.op} {shown(operation.argument)}"
    if operation.op == "read" and operation.argument is not None:
        asked = f"read {shown(operation.argument)}"
    if operation.op == "release" and operation.argument is None:
        asked = operation.op
    if operation.outcome == "info":
        return f"{asked}: no answer"
    if operation.op not in ANSWERS and operation.result in (None, operation.argument):
        return asked
    return f"{asked}: {shown(operation.result)}"


def contradiction(model: str, found: Counterexample) -> list[str]:
    """Lines that tell the calls which contradict each other, and the one that has no place."""
    count = len(found.operations)
    calls = "this call" if count == 1 else f"these {count} calls"
    where = f" on {found.part}" if found.part else ""
    judged = f"not linearizable: no {model} could have answered {calls}{where}"
    lines = [
        f"{judged}; times count from the first",
        *_table(found.operations),
        "",
        f"an order, as far as there is one, from {found.initial}:",
    ]
    lines += [
        f"    {number}. {_who(each.operation)}  {call(each.operation)}  → {each.after}"
        for number, each in enumerate(found.order, start=1)
    ] or ["    none of them can be the first"]
    for each, reason in zip(found.stuck, found.reasons, strict=True):
        lines.append(f"    ✗  {_who(each)}  {call(each)}  cannot be next: {reason}")
    return lines


def _who(operation: Operation) -> str:
    return f"process {named(operation.process)}"


def _table(operations: Sequence[Operation]) -> list[str]:
    begin = min(each.start for each in operations)
    rows = []
    for each in operations:
        line = f"line {each.line}" if each.line else ""
        end = "open" if each.end is None else duration(each.end - begin)
        time = f"{duration(each.start - begin)} to {end}"
        rows.append((_who(each), call(each), time, line))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return [
        (
            "    " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(nanoseconds: int) -> str:
    """As a person would write it."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.4g} {unit}"
    return f"{nanoseconds} ns"
