"""What the checkers cost: seconds of CPU, and how many hard histories they decide.

No peer runs here: Porcupine is Go, Knossos and Elle are Clojure. The limit is a loop
that looks at every event of the history once, which says how far from free this is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from benchmarks.harness import Bar, Contender, Work
from sdkit.check import Operation, Register, Transaction, isolation, linearizability
from tests.check.generate import Level, register_calls, store_transactions

HARD: Final = 100
HARD_SECONDS: Final = 60.0


def table() -> list[Work]:
    """The rows that the checkers are asked for."""
    calls = register_calls(Random(1), clients=10, operations=10_000, keys=50)
    many = register_calls(Random(1), clients=10, operations=80_000, keys=50)
    works = [
        _row(
            "`check.linearizability`, 10,000 operations on 50 keys",
            lambda: _linear(calls),
            lambda: _touch(calls),
            10,
        ),
        Work(
            "`check.linearizability`, 80,000 operations, times those of 10,000",
            "times",
            "less",
            [Contender("sdkit.check", "ours", lambda: _seconds(_linear, many, calls))],
            # 8 times as many, and log2(80,000) / log2(10,000) = 1.23
            [Bar("", 8 * 1.23, at_most=True)],
        ),
        *(_hard(stale=stale) for stale in (False, True)),
    ]
    levels: tuple[Level, ...] = ("serializable", "snapshot", "read committed")
    return works + [_transactions(level) for level in levels]


def _row(work: str, ours: Callable[[], None], limit: Callable[[], None], most: float) -> Work:
    return Work(
        work,
        "s of CPU",
        "less",
        [
            Contender("sdkit.check", "ours", lambda: _cpu(ours)),
            Contender("each event once", "limit", lambda: _cpu(limit)),
        ],
        [Bar("", most, at_most=True)],
    )


def _transactions(level: Level) -> Work:
    history = store_transactions(Random(1), level, count=10_000, keys=400)

    def judge() -> None:
        isolation.check(history)

    return _row(
        f"`check.isolation`, 10,000 transactions ({level})", judge, lambda: _read(history), 10
    )


def _hard(*, stale: bool) -> Work:
    kind = "one stale read planted" if stale else "valid"
    return Work(
        f"100 operations of 30 clients on one register, values unique, {kind}",
        "of 100 decided",
        "more",
        [Contender("sdkit.check", "ours", lambda: _decided(stale=stale))],
        [Bar("", 95)],
        rounds_max=1,
    )


def _decided(*, stale: bool) -> float:
    """How many are decided within a minute each; a wrong word is an error."""
    decided = 0
    for seed in range(HARD):
        calls = register_calls(Random(seed), clients=30, operations=100, stale=stale)
        found = linearizability.check(calls, Register(), steps=None, seconds=HARD_SECONDS)
        assert found.result in ("undecided", "not linearizable" if stale else "linearizable")
        decided += found.result != "undecided"
    return decided


def _linear(calls: Sequence[Operation]) -> None:
    assert linearizability.check(calls, Register()).holds


def _touch(calls: Sequence[Operation]) -> None:
    state: dict[object, object] = {}
    for call in calls:
        if call.op == "write":
            state[call.key] = call.argument
        else:
            state.get(call.key)


def _read(history: Sequence[Transaction]) -> None:
    state: dict[object, object] = {}
    for each in history:
        for key, _ in each.reads:
            state.get(key)
        state.update((key, value) for key, value in each.writes)


def _seconds(
    work: Callable[[Sequence[Operation]], None],
    many: Sequence[Operation],
    few: Sequence[Operation],
) -> float:
    return min(_cpu(lambda: work(many)) for _ in range(3)) / min(
        _cpu(lambda: work(few)) for _ in range(3)
    )


def _cpu(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
