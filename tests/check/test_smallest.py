"""The smallest checker fails its specification exactly where its lesson says so."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sdkit.check import Operation, smallest
from sdkit.check.lines import Flag
from sdkit.spec.check import calls
from tests.smallest import assert_it_is_a_first_lesson, failed

WRONG = {  # 1
    f"test_it_knows_{model}"
    for model in ("maps", "queues", "mutexes", "fenced_locks", "logs", "counters", "sets")
}


def decide(model: str, operations: Sequence[Operation]) -> str:
    """The verdict, key by key; of another model than a register it knows nothing."""
    if model != "register":
        return "undecided"
    for key in {each.key for each in operations}:
        here = [call(each) for each in operations if each.key == key and each.outcome != "fail"]
        if smallest.SmallestChecker().explain(here) is None:
            return "not linearizable"
    return "linearizable"


def call(operation: Operation) -> smallest.Call:
    """What was written down of a compare-and-set is whether it has found what it expected."""
    result = operation.result is not Flag.FALSE if operation.op == "cas" else operation.result
    end = inf if operation.end is None else operation.end
    client = str(operation.process)
    return smallest.Call(client, operation.op, operation.argument, result, operation.start, end)


def test_it_fails_what_its_lesson_lists_and_nothing_else() -> None:
    assert failed(calls(decide), examples=60) == WRONG


def test_it_is_a_first_lesson() -> None:
    assert_it_is_a_first_lesson(smallest)
