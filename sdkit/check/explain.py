"""Explain: a verdict as text, with the smallest reason that was found.

"Not linearizable" convinces nobody who wrote the system. What does is a handful of
calls, in order, up to the one that has no place; or a circle of transactions, with a
sentence for each step that says what had to come before what, and why. `page` draws
the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from sdkit.check.anomalies import Anomaly
from sdkit.check.cycles import Edge, Why
from sdkit.check.history import Operation
from sdkit.check.levels import LEVELS, forbids
from sdkit.check.lines import named, printable, shown
from sdkit.check.reason import Counterexample

if TYPE_CHECKING:
    from sdkit.check import isolation, linearizability

UNDECIDED_SHOWN: Final = 5
ANSWERS: Final = ("read", "get", "dequeue", "length")  # null says something there
MEANINGS: Final = {
    "impossible read": "a read that no database could have answered",
    "G0": "two overwrite each other's writes",
    "G1a": "a read of what was undone",
    "G1b": "a read of what was not finished",
    "G1c": "each depends on what the other wrote",
    "lost update": "one reads, and writes over what another wrote in between",
    "G-single": "read skew: what one reads belongs to two different moments",
    "G-nonadjacent": "two readers disagree about the order of two writes",
    "G2-item": "write skew: each writes, and does not see what the other writes",
    "G2": "write skew with a phantom: a scan does not see a row that the other writes",
    "no order": "whatever the order of the writes, they cannot have run one after the other",
    "real time": "one was over before another began, and still comes after it",
}


# ── linearizability ──────────────────────────────────────────────────────────


def explain_order(verdict: linearizability.Verdict) -> str:
    """The verdict of `linearizability.check`."""
    what = f"{verdict.operations:,} operation{'s' * (verdict.operations != 1)} on a {verdict.model}"
    match verdict.result:
        case "linearizable":
            return f"linearizable: there is an order for {what}"
        case "undecided":
            names = [name or "the history" for name in verdict.undecided]
            more = f" and {len(names) - UNDECIDED_SHOWN} more" * (len(names) > UNDECIDED_SHOWN)
            return (
                f"undecided: of {what}, {', '.join(names[:UNDECIDED_SHOWN])}{more} took more than "
                f"the {verdict.steps:,} steps of the budget"
            )
        case _:
            assert verdict.counterexample is not None
            return printable("\n".join(_contradiction(verdict.model, verdict.counterexample)))


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


def _contradiction(model: str, found: Counterexample) -> list[str]:
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


# ── isolation ────────────────────────────────────────────────────────────────


def explain_isolation(verdict: isolation.Verdict) -> str:
    """The verdict of `isolation.check`."""
    lines = [summary(verdict)]
    for name, anomaly in verdict.anomalies.items():
        lines += ["", f"{name}, which {forbids(name)} forbids: {MEANINGS[name]}"]
        lines += [f"    {line}" for line in reasons(verdict, anomaly)]
    return printable("\n".join(lines))


def summary(verdict: isolation.Verdict) -> str:
    """One sentence: which levels hold, or what could not be known."""
    levels = verdict.levels
    best = levels[-1] if levels else ""
    count = f"{verdict.transactions:,} transaction{'s' * (verdict.transactions != 1)}"
    broken = next((level for level in LEVELS if level not in levels), "")
    if not verdict.real_time and broken == "strict serializable":
        broken = ""
    if verdict.complete:
        holds = f"{best} holds" if best else "no level holds"
        return f"{count}: {holds}" + (f", {broken} does not" if broken and best else "")
    keys = ", ".join(shown(key) for key in verdict.unordered[:3])
    more = ", ..." if len(verdict.unordered) > 3 else ""
    found = f"{broken} is violated; " if broken else ""
    rest = f"no anomaly found that {best} forbids" if best else "nothing is left to hold"
    return (
        f"{count}: {found}{rest}. That is no proof: the order of writes is not known for "
        f"{len(verdict.unordered):,} of the keys ({keys}{more}); record the positions of commits"
    )


def reasons(verdict: isolation.Verdict, anomaly: Anomaly) -> list[str]:
    """A sentence for each edge of the circle."""
    if not anomaly.edges:
        return [anomaly.why]
    return [
        f"{ident(verdict, edge.source)} before {ident(verdict, edge.target)}: "
        f"{because(verdict, edge)}"
        for edge in anomaly.edges
    ]


def ident(verdict: isolation.Verdict, number: int) -> str:
    """The name of a transaction."""
    found = verdict.observed.transactions[number].id
    return f"T{found}" if isinstance(found, int) else named(found)


def because(verdict: isolation.Verdict, edge: Edge) -> str:
    """Why the edge is there."""
    source, target = ident(verdict, edge.source), ident(verdict, edge.target)
    key, before, after = shown(edge.key), shown(edge.before), shown(edge.after)
    match edge.why:
        case Why.WRITE_WRITE:
            return f"{target} wrote {after} to {key} after {source} wrote {before} (ww)"
        case Why.WRITE_READ:
            return f"{target} read {before} from {key}, which {source} wrote (wr)"
        case Why.READ_WRITE:
            return (
                f"{source} read {before} from {key}, and not yet {after}, which {target} wrote (rw)"
            )
        case Why.PREDICATE_READ_WRITE:
            return (
                f"a scan of {source} saw {before} for {key}, and not yet {after}, which {target} "
                "wrote (predicate rw)"
            )
        case Why.FORCED:
            return (
                f"else a read of {key} would have seen another value, whatever the order of its "
                f"writes ({before}, {after})"
            )
        case _:
            return f"{source} was over before {target} began (real time)"
