"""Trace: blocks say what happens, once, in one line; listeners make of it what they like.

A server that prints cannot be measured, one that counts cannot be drawn, and
one that does neither cannot be understood. Here a block only says a fact:

    event("store.commit", transaction=7, lsn=120)
    with span("rpc.call", method="get"):
        ...

and whoever is interested listens: a counter for Prometheus, a line of JSON, a
log record, an arrow in a sequence diagram, the digest of a simulation. With no
listener an event costs one call and one test, so it can stay in a hot path.

Read in this order
    record      an event and a span as data, `event`, `span`, `listening`
    metrics     counts and durations, as Prometheus text
    jsonlines   one JSON object a line
    logs        the standard library's logging, silent unless configured
    mermaid     a sequence diagram from a recorded run

Spans form a tree as in Dapper (Sigelman et al., 2010): each has an id, the id
of its parent, and the id of the trace, which travel along with every remote
call (`sdkit.rpc.session`), so the tree goes on in other processes.
"""

from sdkit.trace.jsonlines import JsonLines
from sdkit.trace.logs import Logs
from sdkit.trace.mermaid import SequenceDiagram
from sdkit.trace.metrics import Metrics
from sdkit.trace.record import (
    Listener,
    Record,
    SpanContext,
    add_listener,
    adopt,
    event,
    listening,
    remove_listener,
    span,
)

__all__ = [
    "JsonLines",
    "Listener",
    "Logs",
    "Metrics",
    "Record",
    "SequenceDiagram",
    "SpanContext",
    "add_listener",
    "adopt",
    "event",
    "listening",
    "remove_listener",
    "span",
]
