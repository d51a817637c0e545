"""States: the whole life of a breaker, as one table.

A breaker is a small machine, and the questions that go wrong in practice are
about its edges: may it go from open to closed without asking anybody? what if
an operator forces it while it probes? So the edges are data, and there is no
other way from one state to another:

    from          when                                    to
    closed        tripped: too many failures              open
    open          waited: its open time is over           half-open
    half-open     recovered: enough successes             closed
    half-open     tripped: one failure                    open
    half-open     stuck: no probe comes back              open
    any           an operator says so                     forced open, forced closed, metrics only
    any           reset                                   closed

`TRANSITIONS` is that table, `after` looks a row up, and the diagram on
``docs/breaker.md`` is drawn from it.

Two things to notice
    1. Open leads to half-open only. Time says that asking again is decent; it
       says nothing about whether the other side is well.
    2. What an operator forces stays until an operator ends it. The three forced
       states have no row that a call or a clock could take.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class State(StrEnum):
    """What a breaker does with the next call. Its members are text: ``state == "closed"``."""

    CLOSED = "closed"  # lets it through, and watches how it ends
    OPEN = "open"  # refuses it
    HALF_OPEN = "half-open"  # lets a few through, as probes
    FORCED_OPEN = "forced open"  # refuses it, until an operator says otherwise
    FORCED_CLOSED = "forced closed"  # lets it through, and does not look
    METRICS_ONLY = "metrics only"  # lets it through, watches, and never opens


class Trigger(StrEnum):
    """What makes a breaker change its state."""

    TRIPPED = "tripped"
    WAITED = "waited"
    RECOVERED = "recovered"
    STUCK = "stuck"
    FORCE_OPEN = "force open"
    FORCE_CLOSED = "force closed"
    MEASURE_ONLY = "measure only"
    RESET = "reset"


OPERATOR: Final[Mapping[Trigger, State]] = {
    Trigger.FORCE_OPEN: State.FORCED_OPEN,
    Trigger.FORCE_CLOSED: State.FORCED_CLOSED,
    Trigger.MEASURE_ONLY: State.METRICS_ONLY,
    Trigger.RESET: State.CLOSED,
}
TRANSITIONS: Final[Mapping[tuple[State, Trigger], State]] = {
    (State.CLOSED, Trigger.TRIPPED): State.OPEN,
    (State.OPEN, Trigger.WAITED): State.HALF_OPEN,
    (State.HALF_OPEN, Trigger.RECOVERED): State.CLOSED,
    (State.HALF_OPEN, Trigger.TRIPPED): State.OPEN,
    (State.HALF_OPEN, Trigger.STUCK): State.OPEN,
    **{(state, trigger): to for state in State for trigger, to in OPERATOR.items()},
}


def after(state: State, trigger: Trigger) -> State:
    """The state that follows."""
    assert (state, trigger) in TRANSITIONS, f"no breaker goes anywhere from {state} when {trigger}"
    return TRANSITIONS[state, trigger]
