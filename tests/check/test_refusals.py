"""What the checkers survive: threads, forks, copies, and histories made by hand."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import sys
import threading
from collections.abc import Callable, Hashable
from typing import Any, ClassVar

import pytest

from sdkit.check import (
    IMPOSSIBLE,
    Counter,
    History,
    Log,
    MalformedHistory,
    Model,
    Operation,
    Recorder,
    Register,
    Transaction,
    isolation,
    linearizability,
    page,
    transactions,
)
from sdkit.errors import InvalidArgument

HUGE = 10**5_000  # Python refuses to print it


def test_a_recorder_told_by_threads_gives_no_two_events_one_time() -> None:
    recorder, interval = Recorder(), sys.getswitchinterval()

    def client(name: int) -> None:
        for number in range(300):
            recorder.invoke(name, "add", "x", number, time_ns=0)
            recorder.ok(name, time_ns=0)

    threads = [threading.Thread(target=client, args=(name,)) for name in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    history = recorder.history()
    times = [time for each in history.operations for time in (each.start, each.end)]
    assert len(times) == len(set(times)) == 4 * 300 * 2
    assert linearizability.check(history, Counter()).holds


def test_a_history_does_not_change_when_its_recorder_is_told_more() -> None:
    recorder = Recorder()
    recorder.invoke("a", "write", "x", 1)
    history = recorder.history()
    before = copy.deepcopy(history)
    recorder.ok("a")
    assert history == before != recorder.history()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_recorder_goes_on_in_a_forked_child_whoever_was_in_it() -> None:
    recorder = Recorder()
    recorder.invoke("a", "write", "x", 1)
    with recorder._lock:  # as a thread that is not there in the child would hold it
        child = os.fork()
        if not child:
            recorder.ok("a")
            os._exit(0 if recorder.history().operations[0].outcome == "ok" else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert recorder.history().operations[0].outcome == "info"


def violated() -> list[Any]:
    recorder = Recorder()
    recorder.invoke("a", "append", "x", 1)
    recorder.ok("a")
    recorder.invoke("a", "read", "x")
    recorder.ok("a", [2])
    skew = [
        Transaction(1, reads=[("x", None)], writes=[("y", 1)], position=1),
        Transaction(2, reads=[("y", None)], writes=[("x", 1)], position=2),
    ]
    return [linearizability.check(recorder.history(), Log()), isolation.check(skew)]


def test_verdicts_are_plain_data() -> None:
    for verdict in violated():
        for other in (copy.deepcopy(verdict), pickle.loads(pickle.dumps(verdict))):
            assert other.explain() == verdict.explain()
            assert page(other) == page(verdict)


def test_checks_run_in_threads_beside_an_event_loop() -> None:
    async def main() -> list[list[Any]]:
        return await asyncio.gather(*(asyncio.to_thread(violated) for _ in range(3)))

    texts = [[verdict.explain() for verdict in verdicts] for verdicts in asyncio.run(main())]
    assert texts == [[verdict.explain() for verdict in violated()]] * 3


# ── histories made by hand ───────────────────────────────────────────────────


def call(op: str = "read", **fields: Any) -> Operation:
    given: dict[str, Any] = {
        "process": "a",
        "op": op,
        "key": "x",
        "argument": None,
        "result": None,
        "outcome": "ok",
        "start": 1,
        "end": 2,
    }
    return Operation(**{**given, **fields})


def test_operations_made_by_hand_may_hold_what_python_has() -> None:
    write, read = call("write", argument=[1, True]), call(result=[1, True], start=3, end=4)
    assert linearizability.check([write, read], Register()).holds
    assert linearizability.check([call("cas", argument=[None, 1], result=True)], Register()).holds
    no = linearizability.check([call("cas", argument=[None, 1], result=False)], Register())
    assert no.result == "not linearizable"
    assert repr(write.argument) == "[1, True]"  # it is not changed


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (None, "history is None; it must be an iterable of Operation"),
        ("abc", "'a' in history; each must be of type Operation"),
        ([{"process": 1}], "in history; each must be of type Operation"),
        (Recorder(), "give what its history() returns"),
        ([call(process=[1])], "process is [1]; it must be a number or a text"),
        ([call(["read"])], "op is ['read']"),  # type: ignore[arg-type]
        ([call(start="1")], "start is '1'; it must be a whole number"),
        ([call(start=float("nan"))], "start is nan; it must be a whole number"),
        ([call(start=None)], "read has no start"),
        ([call(key={1})], "key: {1} is of type set"),
        ([call("write", argument=HUGE)], "argument: a number of 16610 bits; it may have 300"),
        ([call("write", argument={1: 2, "1": {}})], "has names that are alike as text"),
    ],
)
def test_what_is_no_history_is_refused_by_name(history: Any, says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        linearizability.check(history, Register())
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("tell", "says"),
    [
        (lambda recorder: recorder.invoke([1], "read"), "process is [1]"),
        (lambda recorder: recorder.invoke(True, "read"), "process is True"),
        (lambda recorder: recorder.invoke("a", 5), "op is 5"),
        (lambda recorder: recorder.ok([1]), "process is [1]"),
        (lambda recorder: recorder.invoke("a", "read", time_ns="5"), "time_ns is '5'"),
        (lambda recorder: recorder.invoke("a", "read", time_ns=float("nan")), "time_ns is nan"),
        (lambda recorder: recorder.invoke("a", "write", "x", HUGE), "value: a number of 16610"),
    ],
)
def test_a_recorder_refuses_by_name_and_records_nothing(
    tell: Callable[[Any], None], says: str
) -> None:
    recorder = Recorder()
    with pytest.raises(MalformedHistory) as refused:
        tell(recorder)
    assert says in str(refused.value)
    assert recorder.history().operations == []


@pytest.mark.parametrize(
    ("history", "says"),
    [
        (None, "transactions is None; it must be an iterable of Transaction"),
        ([{"id": 1}], "each must be of type Transaction"),
        ([Transaction([1])], "id is [1]"),  # type: ignore[arg-type]
        ([Transaction(1, reads=None)], "reads is None; it must be a list of [key, value]"),  # type: ignore[arg-type]
        ([Transaction(1, position=HUGE)], "position of transaction 1 is a number of 16610 bits"),
        ([Transaction(1, begin_ns="5")], "begin_ns of transaction 1 is '5'"),  # type: ignore[arg-type]
        ([Transaction(1, begin_ns=5, end_ns=3)], "began at 5 and ended at 3"),
    ],
)
def test_what_are_no_transactions_is_refused_by_name(history: Any, says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        isolation.check(history)
    assert says in str(refused.value)


def test_reads_beside_operations_of_null_count() -> None:
    line = '{"id": 1, "operations": null, "reads": [["x", 5]]}'
    assert "impossible read" in isolation.check(transactions.parse([line])).anomalies


@pytest.mark.parametrize("lines", ['{"process": 1}', b"{}", None, 5])
def test_what_are_no_lines_is_refused(lines: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"give an open file, or text.splitlines\(\)"):
        History.parse(lines)


def test_names_of_processes_do_not_steer_the_terminal() -> None:
    recorder = Recorder()
    recorder.invoke("a\n\x1b[2J", "read", "\x9b2J")
    recorder.ok("a\n\x1b[2J", "\x1b[31m")
    text = linearizability.check(recorder.history(), Register()).explain()
    assert "process a\\n\\x1b[2J" in text
    assert all(each.isprintable() for each in text.splitlines())


# ── models of one's own ──────────────────────────────────────────────────────


def model(step: Any, **members: Any) -> Model:
    class Mine(Model):
        calls: ClassVar = {"read": False, "write": True}

    Mine.step = step  # type: ignore[method-assign]
    for name, value in members.items():
        setattr(Mine, name, value)
    return Mine()


async def step_async(self: Model, state: Hashable, operation: Operation) -> Hashable:
    return state


@pytest.mark.parametrize(
    ("mine", "says"),
    [
        (model(lambda *_: [1]), "a state of the model Mine is [1], of type list"),
        (model(lambda *_: 1, initial={}), "a state of the model Mine is {}, of type dict"),
        (model(step_async), "step of the model Mine is"),
    ],
)
def test_a_model_with_states_that_change_is_refused_by_name(mine: Model, says: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        linearizability.check([call("write", argument=1)], mine)
    assert says in str(refused.value)


def test_a_state_that_json_does_not_know_is_explained() -> None:
    def step(_: Model, state: Hashable, operation: Operation) -> Hashable:
        return frozenset({operation.argument}) if operation.op == "write" else IMPOSSIBLE

    history = [call("write", argument=1), call(result=2, start=3, end=4)]
    text = linearizability.check(history, model(step)).explain()
    assert "frozenset({1})" in text
