"""Big histories, budgets, reasons; that the words are right is in `tests/spec/test_check.py`."""

from __future__ import annotations

import time
from random import Random
from typing import Any

import pytest

from sdkit.check import (
    MODELS,
    Counter,
    FencedLock,
    Log,
    MalformedHistory,
    Mutex,
    Operation,
    Queue,
    Recorder,
    Register,
    Set,
    linearizability,
)
from sdkit.check.explain_calls import call as told
from sdkit.errors import InvalidArgument
from sdkit.spec.check import random_calls
from sdkit.spec.check_oracle import has_an_order
from tests.check.generate import make_stale, register_calls


def test_ten_thousand_operations_on_fifty_keys() -> None:
    calls = register_calls(Random(1), clients=10, operations=10_000, keys=50)
    began = time.process_time()
    verdict = linearizability.check(calls, Register())
    assert verdict.holds
    assert verdict.parts == 50
    assert time.process_time() - began < 10
    # A stale read among them is found, and told with a handful of calls.
    read = make_stale(Random(2), calls)
    verdict = linearizability.check(calls, Register())
    assert verdict.result == "not linearizable"
    found = verdict.counterexample
    assert found is not None
    assert found.part == str(read.key)
    assert len(found.operations) == 3
    assert found.stuck == [read]


def test_steps_grow_no_faster_than_the_history() -> None:
    steps = [
        linearizability.check(
            register_calls(Random(1), clients=10, operations=count, keys=1), Register()
        ).steps
        for count in (1_000, 4_000)
    ]
    assert steps[1] < 5 * steps[0]


@pytest.mark.parametrize("stale", [False, True])
def test_thirty_clients_on_one_register(stale: bool) -> None:
    """A sample of a hundred histories, which the benchmark decides all of."""
    for seed in range(12):
        calls = register_calls(Random(seed), clients=30, operations=100, stale=stale)
        verdict = linearizability.check(calls, Register())
        assert verdict.result == ("not linearizable" if stale else "linearizable"), seed


def test_a_history_of_many_thousand_calls_in_a_row_needs_no_recursion() -> None:
    calls = [
        Operation(0, "enqueue" if n % 2 == 0 else "dequeue", None, n // 2, n // 2, "ok", n, n)
        for n in range(20_000)
    ]
    for call in calls:
        if call.op == "dequeue":
            call.argument = None
    assert linearizability.check(calls, Queue()).holds


def hard_counter() -> list[Operation]:
    """Thirty additions at once whose total was read wrong: 2 to the power of 30 subsets."""
    adds = [Operation(n, "add", None, 3**n, None, "ok", 0, 10) for n in range(30)]
    return [*adds, Operation(99, "read", None, None, 2, "ok", 5, 6)]


def test_a_budget_ends_in_undecided_and_never_in_a_wrong_word() -> None:
    verdict = linearizability.check(hard_counter(), Counter(), steps=2_000)
    assert verdict.result == "undecided"
    assert not verdict.holds
    assert verdict.steps == 2_000
    assert "undecided" in verdict.explain()
    assert linearizability.check(hard_counter(), Counter(), seconds=0.01).result == "undecided"


def test_a_part_that_is_wrong_is_enough_though_another_is_undecided() -> None:
    wrong = Operation(50, "read", "easy", None, 7, "ok", 0, 1)
    verdict = linearizability.check([*hard_counter(), wrong], Counter(), steps=20_000)
    assert verdict.result == "not linearizable"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": True}, "steps is True"),
        ({"steps": "9"}, "steps is '9'"),
        ({"seconds": 0.0}, "seconds is 0.0"),
        ({"seconds": float("nan")}, "seconds is nan"),
        ({"seconds": float("inf")}, "seconds is inf"),
    ],
)
def test_no_budget_at_all_is_refused(arguments: dict[str, float], what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        linearizability.check([], Register(), **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "what"),
    [(Register, "give an instance, as in Register()"), ("register", "'register'")],
)
def test_what_is_no_model_is_refused(model: Any, what: str) -> None:
    with pytest.raises(InvalidArgument, match="model is ") as caught:
        linearizability.check([], model)
    assert what in str(caught.value)


@pytest.mark.parametrize(
    ("outcome", "end", "what"),
    [("okay", 5, "outcome is 'okay'"), ("ok", None, "ended at None"), ("ok", 1, "began at 2")],
)
def test_an_operation_that_cannot_be_is_refused(outcome: Any, end: Any, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        linearizability.check([Operation(1, "read", "x", None, 1, outcome, 2, end)], Register())


def test_an_answer_of_null_is_shown() -> None:
    for op, argument, text in (("read", None, "read: null"), ("read", 7, "read 7: null")):
        assert told(Operation(1, op, "x", argument, None, "ok", 0, 1)) == text
    assert told(Operation(1, "write", "x", 7, None, "ok", 0, 1)) == "write 7"
    assert told(Operation(1, "acquire", "x", None, None, "ok", 0, 1)) == "acquire"


def test_an_empty_history_is_linearizable() -> None:
    assert linearizability.check([], Register()).holds


def test_the_history_is_not_changed() -> None:
    calls = register_calls(Random(3), clients=5, operations=50, stale=True)
    before = [repr(call) for call in calls]
    linearizability.check(calls, Register())
    assert [repr(call) for call in calls] == before


def test_the_explanation_has_the_calls_an_order_and_the_one_without_a_place() -> None:
    recorder = Recorder()
    recorder.invoke("alice", "write", "x", 1)
    recorder.ok("alice")
    recorder.invoke("bob", "write", "x", 2)
    recorder.invoke("carol", "read", "x")
    recorder.ok("carol", 2)
    recorder.invoke("carol", "read", "x")
    recorder.ok("carol", 1)
    text = linearizability.check(recorder.history(), Register()).explain()
    assert text.splitlines()[0] == (
        'not linearizable: no register could have answered these 4 calls on "x"; times '
        "count from the first"
    )
    assert "process bob    write 2: no answer" in text
    assert "✗  process carol  read: 1  cannot be next: at this point it is 2" in text


def test_a_lock_that_two_hold() -> None:
    recorder = Recorder()
    for process in ("a", "b"):
        recorder.invoke(process, "acquire", "lock")
        recorder.ok(process)
    verdict = linearizability.check(recorder.history(), MODELS["mutex"]())
    assert "at this point it is held by process a" in verdict.explain()


def test_a_mutex_that_two_hold_is_told_with_two_calls_of_hundreds() -> None:
    """An acquire and its release can be left out together, whatever else is lost."""
    calls = []
    for at in range(0, 520, 4):
        process = at % 7
        calls.append(Operation(process, "acquire", "l", None, None, "ok", at, at + 1))
        calls.append(Operation(process, "release", "l", None, None, "ok", at + 2, at + 3))
    lost = Operation(8, "release", "l", None, None, "info", 8, None)
    second = [Operation(p, "acquire", "l", None, None, "ok", 600 + p, 600 + p) for p in (1, 2)]
    verdict = linearizability.check([*calls, lost, *second], Mutex())
    assert verdict.counterexample is not None
    assert verdict.counterexample.operations == second


def test_a_queue_that_answers_out_of_order_is_told_with_few_calls_of_hundreds() -> None:
    calls = []
    for at in range(0, 800, 4):
        calls.append(Operation(0, "enqueue", "q", at, None, "ok", at, at + 1))
        calls.append(Operation(1, "dequeue", "q", None, at, "ok", at + 2, at + 3))
    calls.append(Operation(1, "dequeue", "q", None, 400, "ok", 900, 901))
    verdict = linearizability.check(calls, Queue())
    assert verdict.counterexample is not None
    assert len(verdict.counterexample.operations) == 3


@pytest.mark.parametrize("model", MODELS)
def test_what_a_reason_leaves_out_was_not_needed(model: str) -> None:
    """Struck out of a history that has an order, a group of calls leaves one that has."""
    struck = 0
    for seed in range(300):
        calls = random_calls(model, Random(seed))
        part = [call for call in calls if call.key == "x" and call.outcome != "fail"]
        if has_an_order(model, part):
            for group in MODELS[model]().groups(part):
                rest = [call for number, call in enumerate(part) if number not in group]
                assert has_an_order(model, rest), (seed, group)
                struck += 1
    assert (struck > 100) == (model in ("mutex", "fenced-lock", "queue"))


@pytest.mark.parametrize("model", ["log", "counter", "set"])
def test_lost_calls_are_tried_in_the_order_in_which_they_began(model: str) -> None:
    """A read of them all takes a step for each, and not their factorial."""
    count, op = 200, "append" if model == "log" else "add"
    lost = [Operation(n, op, "x", n + 1, None, "info", n, None) for n in range(count)]
    every: object = tuple(range(1, count + 1))
    answer = sum(range(1, count + 1)) if model == "counter" else every
    read = Operation("r", "read", "x", None, answer, "ok", count, count + 1)
    verdict = linearizability.check([*lost, read], MODELS[model]())
    assert verdict.holds
    assert verdict.steps == count + 1


def test_an_unseen_token_lies_above_all_before_it() -> None:
    def acquired(token: int) -> bool:
        calls = [
            Operation(1, "acquire", None, None, 3, "ok", 0, 1),
            Operation(1, "release", None, 3, None, "ok", 2, 3),
            Operation(2, "acquire", None, None, None, "info", 4, None),
            Operation(3, "expire", None, 4, None, "ok", 6, 7),
            Operation(4, "acquire", None, None, token, "ok", 8, 9),
        ]
        return linearizability.check(calls, FencedLock()).holds

    assert acquired(5)
    assert acquired(4)  # then the lost one never got the lock
    assert not acquired(3)


def test_a_set_is_judged_by_element_unless_somebody_reads_it_whole() -> None:
    calls = [
        Operation(1, "add", "s", 1, None, "ok", 0, 1),
        Operation(1, "add", "s", 2, None, "ok", 2, 3),
    ]
    assert linearizability.check(calls, Set()).parts == 2
    read = Operation(1, "read", "s", None, (2, 1), "ok", 4, 5)
    assert linearizability.check([*calls, read], Set()).parts == 1


def test_a_long_log_does_not_copy_itself() -> None:
    calls = [Operation(0, "append", None, n, n, "ok", n, n) for n in range(5_000)]
    assert linearizability.check(calls, Log()).holds


@pytest.mark.parametrize(
    ("model", "call", "what"),
    [
        ("register", ("cas", 5, None), "value of cas is 5; it must be [EXPECTED, NEW]"),
        ("register", ("cas", (1, 2), 7), "cas answered 7; expected true or false"),
        ("map", ("put", None, None), "null stands for absent"),
        ("queue", ("enqueue", None, None), "null stands for empty"),
        ("counter", ("add", "x", None), 'add of "x"; it must be a whole number'),
        ("set", ("contains", 1, None), "contains answered null"),
        ("set", ("read", None, 3), "read answered 3; expected a list"),
        ("log", ("read", "x", 3), "offset"),
        ("fenced-lock", ("acquire", None, None), "token of acquire is null"),
        ("fenced-lock", ("release", 0, None), "token of release is 0"),
    ],
)
def test_a_call_that_cannot_be_is_refused(
    model: str, call: tuple[str, object, object], what: str
) -> None:
    op, argument, result = call
    made = Operation(1, op, "k", argument, result, "ok", 0, 1, 12)
    with pytest.raises(MalformedHistory, match="line 12: ") as caught:
        linearizability.check([made], MODELS[model]())
    assert what in str(caught.value)
