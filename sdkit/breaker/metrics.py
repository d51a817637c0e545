"""Metrics: what there is to see of a breaker, at one look.

Three questions are asked of a breaker by those who run it, and each has its number:

    does it do anything now?        ``state``, ``open_s``
    what does it cost our users?    ``refused``: calls that were not even tried
    are its thresholds right?       ``failure_rate`` beside the threshold; ``would_open``
                                    while it only measures; ``cancelled`` and ``stale``,
                                    which it saw and did not count

A breaker that counts failures in a row has no failure rate: a rate needs calls to be
counted, and not counting them is what makes that policy cheap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sdkit.breaker.circuit import Circuit
from sdkit.breaker.policies import SECOND_NS
from sdkit.breaker.states import State
from sdkit.trace.metrics import labelled

MEANINGS: Final = {
    "breaker.open": "1 while every call is refused, forced by an operator or not, else 0.",
    "breaker.failure_rate": "Part of the calls in the window that failed, 0 to 1.",
    "breaker.failed_total": "Calls that counted as failed, the slow ones among them.",
    "breaker.slow_total": "Calls that took longer than slow_call_s.",
    "breaker.refused_total": "Calls that were not let through.",
    "breaker.opened_total": "How often the breaker opened.",
    "breaker.open_seconds_total": "How long the breaker was open, all in all.",
}


@dataclass(frozen=True, kw_only=True)
class BreakerMetrics:
    """A breaker at one moment. Counters since it was made, but for the first two.

    Args:
        state: where it is.
        failure_rate: of the calls in the window, 0.0 to 1.0; None where none are counted.
        failed, slow, cancelled: calls that ended so; a slow one has failed, too.
        stale: results that were ignored, of calls from an older generation.
        refused: calls that were not let through.
        opened: how often it opened; would_open, how often it would have, only measuring.
        open_s: how long it was open, all in all.
    """

    state: State
    failure_rate: float | None
    failed: int
    slow: int
    cancelled: int
    stale: int
    refused: int
    opened: int
    would_open: int
    open_s: float


def look(circuit: Circuit, now_ns: int) -> BreakerMetrics:
    """What is to be seen at this moment."""
    totals = circuit.totals
    return BreakerMetrics(
        state=circuit.state,
        failure_rate=circuit.rate(now_ns),
        failed=totals.failed,
        slow=totals.slow,
        cancelled=totals.cancelled,
        stale=totals.stale,
        refused=totals.refused,
        opened=totals.opened,
        would_open=totals.would_open,
        open_s=circuit.open_ns(now_ns) / SECOND_NS,
    )


def gauges(name: str, seen: BreakerMetrics) -> dict[str, float]:
    """The numbers of a breaker as `sdkit.trace.Metrics.text` takes them.

    The name is a label, ``breaker.open{breaker="GET /users"}``: a name is anything that
    somebody calls a breaker, and the same question is asked of all breakers at once.
    """
    values: dict[str, float] = {
        "open": seen.state in (State.OPEN, State.FORCED_OPEN),
        "failed_total": seen.failed,
        "slow_total": seen.slow,
        "refused_total": seen.refused,
        "opened_total": seen.opened,
        "open_seconds_total": seen.open_s,
    }
    if seen.failure_rate is not None:
        values["failure_rate"] = seen.failure_rate
    return {
        labelled(f"breaker.{what}", breaker=name): float(value) for what, value in values.items()
    }
