"""Explanations of anomalies: a circle of transactions as text, a sentence for each step.

Each sentence says which transaction comes before which other, and why: who read what
the other wrote, or wrote over it. `page_of_transactions` draws the same.
"""

from __future__ import annotations

from typing import Final

from sdkit.check.anomalies import Anomaly
from sdkit.check.cycles import Edge, Why
from sdkit.check.lines import named, shown
from sdkit.check.versions import Observed

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


def reasons(observed: Observed, anomaly: Anomaly) -> list[str]:
    """A sentence for each edge of the circle."""
    if not anomaly.edges:
        return [anomaly.why]
    return [
        f"{ident(observed, edge.source)} before {ident(observed, edge.target)}: "
        f"{because(observed, edge)}"
        for edge in anomaly.edges
    ]


def ident(observed: Observed, number: int) -> str:
    """The name of a transaction."""
    found = observed.transactions[number].id
    return f"T{found}" if isinstance(found, int) else named(found)


def because(observed: Observed, edge: Edge) -> str:
    """Why the edge is there."""
    source, target = ident(observed, edge.source), ident(observed, edge.target)
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
