"""What an event costs while nobody listens."""

from __future__ import annotations

import time

from benchmarks.harness import Bar, Contender, Work
from sdkit.trace import event

CALLS = 500_000


def table() -> list[Work]:
    return [
        Work(
            "`event()` without a listener",
            "ns a call",
            "less",
            [
                Contender("sdkit.trace.event", "ours", _ours),
                Contender("empty function, same keywords", "limit", _limit),
            ],
            [Bar("limit", 1.5, at_most=True)],
        )
    ]


def _empty(name: str, /, **fields: object) -> None:
    pass


def _ours() -> float:
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        event("store.commit", transaction=7, position=120)
    return (time.perf_counter_ns() - began) / CALLS


def _limit() -> float:
    began = time.perf_counter_ns()
    for _ in range(CALLS):
        _empty("store.commit", transaction=7, position=120)
    return (time.perf_counter_ns() - began) / CALLS
