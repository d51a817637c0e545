"""Files of histories: what is read is what was written, and what is wrong is named by line."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sdkit.check import (
    MODELS,
    History,
    MalformedHistory,
    Model,
    Recorder,
    Register,
    linearizability,
)
from sdkit.check.lines import Flag, Frozen, frozen, shown, thawed
from sdkit.check.models import Log

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def line(**fields: object) -> str:
    return json.dumps(fields)


@settings(max_examples=40)
@given(VALUES)
def test_a_value_is_hashable_inside_and_itself_again_outside(value: object) -> None:
    kept = frozen(value)
    hash(kept)
    assert json.dumps(thawed(kept), sort_keys=True) == json.dumps(value, sort_keys=True)
    assert frozen(thawed(kept)) == kept


def test_true_is_not_one_and_one_is_one_point_nought() -> None:
    assert frozen(True) is Flag.TRUE
    assert frozen(True) != frozen(1)
    assert frozen(1) == frozen(1.0)
    assert frozen([1, [True]]) == (1, (Flag.TRUE,))
    assert isinstance(frozen({"a": 1}), Frozen)


def test_an_object_is_no_list_of_pairs() -> None:
    assert frozen({"a": 1}) != frozen([["a", 1]])
    assert frozen({}) != frozen([])
    assert frozen([{}]) != frozen([[]])
    assert frozen({"a": 1, "b": 2}) == frozen({"b": 2.0, "a": 1})
    assert len({frozen({"a": 1}), frozen({"a": 1.0}), frozen([["a", 1]])}) == 2


@pytest.mark.parametrize(
    ("model", "op", "argument", "result"),
    [
        (Register, "write", [["a", 1]], None),
        (Log, "append", ["a", 1], 0),
    ],
)
def test_an_object_that_is_read_where_a_list_was_written_is_a_violation(
    model: type[Model], op: str, argument: object, result: object
) -> None:
    recorder = Recorder()
    recorder.invoke(1, op, value=argument)
    recorder.ok(1, result)
    recorder.invoke(1, "read")
    recorder.ok(1, {"a": 1})
    assert linearizability.check(recorder.history(), model()).result == "not linearizable"


def test_an_object_is_no_pair_of_an_expected_and_a_new_value() -> None:
    recorder = Recorder()
    recorder.invoke(1, "cas", value={"a": 1, "b": 2})
    with pytest.raises(MalformedHistory, match="value of cas is "):
        linearizability.check(recorder.history(), Register())


def test_bytes_become_text_and_different_bytes_different_text() -> None:
    assert frozen(b"key") == "key"
    assert frozen(b"\xff") != frozen(b"\\xff")
    assert shown(frozen(b"\xff")) == '"\\udcff"'


def test_what_the_recorder_writes_is_read_again() -> None:
    recorder = Recorder()
    recorder.invoke("alice", "write", "x", 5, time_ns=100)
    recorder.invoke(2, "cas", "x", [5, {"a": True}], time_ns=100)
    recorder.ok("alice", time_ns=100)
    recorder.info(2, time_ns=140)
    recorder.invoke(2, "read", "x", time_ns=150)
    recorder.ok(2, {"a": True}, time_ns=160)
    recorder.invoke("alice", "read", "y")
    history = recorder.history()
    again = History.parse(history.lines())
    for one, other in zip(history.operations, again.operations, strict=True):
        other.line = 0
        assert one == other


def test_a_recorder_knows_the_order_even_where_the_clock_stands_still() -> None:
    recorder = Recorder()
    recorder.invoke(1, "write", "x", 5, time_ns=100)
    recorder.ok(1, time_ns=100)
    recorder.invoke(2, "read", "x", time_ns=100)
    recorder.ok(2, None, time_ns=100)
    assert not linearizability.check(recorder.history(), Register()).holds


def test_in_a_file_equal_times_prove_nothing() -> None:
    lines = [
        line(process=1, type="invoke", op="write", value=5, time_ns=1),
        line(process=1, type="ok", time_ns=2),
        line(process=2, type="invoke", op="read", time_ns=2),
        line(process=2, type="ok", value=None, time_ns=3),
    ]
    assert linearizability.check(History.parse(lines), Register()).holds
    later = [text.replace('"time_ns": 2}', '"time_ns": 3}') for text in lines[2:]]
    later[1] = later[1].replace('"time_ns": 3}', '"time_ns": 4}')
    assert not linearizability.check(History.parse([*lines[:2], *later]), Register()).holds


def test_a_process_is_in_order_even_at_equal_times() -> None:
    lines = [
        line(process=1, type="invoke", op="write", value=5, time_ns=7),
        line(process=1, type="ok", time_ns=7),
        line(process=1, type="invoke", op="read", time_ns=7),
        line(process=1, type="ok", value=None, time_ns=7),
    ]
    assert not linearizability.check(History.parse(lines), Register()).holds


def test_files_of_several_clients_may_stand_one_behind_the_other() -> None:
    one = [
        line(process=1, type="invoke", op="write", value=5, time_ns=10),
        line(process=1, type="ok", time_ns=20),
    ]
    two = [
        line(process=2, type="invoke", op="read", time_ns=5),
        line(process=2, type="ok", value=None, time_ns=8),
    ]
    history = History.parse([*one, *two])
    assert [each.start for each in history.operations] == [5, 10]
    assert linearizability.check(history, Register()).holds


def deep(name: str, levels: int) -> str:
    """The end of the call `BEGIN`, with lists within lists in one field."""
    fields = {"process": 1, "type": "ok", "op": "write", "time_ns": 11}
    rest = line(**{field: value for field, value in fields.items() if field != name})[:-1]
    return f'{rest}, "{name}": {"[" * levels}{"]" * levels}}}'


BEGIN = line(process=1, type="invoke", op="write", value=5, time_ns=10)


@pytest.mark.parametrize(
    ("lines", "number", "what"),
    [
        (["{"], 1, "not JSON"),
        (["", "[1]"], 2, "expected one JSON object"),
        (['{"value": NaN}'], 1, "NaN is no number of JSON"),
        (["[" * 100_000], 1, "too deep"),
        ([BEGIN, deep("value", 600)], 2, "more than 100 deep"),
        ([BEGIN, deep("key", 101)], 2, "more than 100 deep"),
        ([deep("process", 900)], 1, "more than 100 deep"),
        (['{"process": 1, "type": "invoke", "op": "read", "key": 1e999}'], 1, "key: inf is no"),
        (['{"process": 1, "type": "invoke", "op": "write", "value": -1e999}'], 1, "value: -inf"),
        ([b"\xff"], 1, "not UTF-8"),
        ([line(type="ok")], 1, "process is missing"),
        ([line(process=True, type="ok")], 1, "process is True"),
        ([line(process=1)], 1, "type is missing; it must be one of invoke, ok, fail, info"),
        ([line(process=1, type="done")], 1, "type is 'done'"),
        ([line(process=1, type="invoke")], 1, "op is None"),
        ([line(process=1, type="ok")], 1, "no call open"),
        ([BEGIN, BEGIN], 2, "one call at a time"),
        ([BEGIN, line(process=1, type="ok", time_ns=9)], 2, "goes back from 10 to 9"),
        ([BEGIN, line(process=1, type="ok")], 2, "on every line or on none"),
        ([BEGIN, line(process=1, type="ok", time_ns="x")], 2, "time_ns is 'x'"),
        ([BEGIN, line(process=1, type="ok", op="read", time_ns=11)], 2, "'write' in line 1"),
        ([BEGIN, line(process=1, type="ok", key="k", time_ns=11)], 2, "key is 'k'"),
        ([line(process=1, type="invoke", op="write", valeu=8)], 1, "did you mean value?"),
        ([line(process=1, type="invoke", op="read", time=8)], 1, "did you mean time_ns?"),
        ([line(process=1, type="invoke", op="read", zzz=8)], 1, "'zzz'; there are: process, type"),
    ],
)
def test_a_line_that_is_wrong_is_named(lines: list[str], number: int, what: str) -> None:
    with pytest.raises(MalformedHistory, match=f"line {number}: .*") as caught:
        History.parse(lines)
    assert what in str(caught.value)
    assert caught.value.fields["line"] == number


@pytest.mark.parametrize("model", MODELS)
def test_null_must_be_written_down_where_a_value_says_something(model: str) -> None:
    kind = MODELS[model]
    for op in sorted(kind.takes):
        history = History.parse([line(process=1, type="invoke", op=op)])
        with pytest.raises(MalformedHistory, match=f"line 1: {op} has no value"):
            linearizability.check(history, kind())
    for op in sorted(kind.answers):
        called = line(process=1, type="invoke", op=op, value=7)
        history = History.parse([called, line(process=1, type="ok")])
        with pytest.raises(MalformedHistory, match=f"line 1: the ok of this {op} has no value"):
            linearizability.check(history, kind())
        open_one = History.parse([called, line(process=1, type="info")])
        assert linearizability.check(open_one, kind()).holds


def test_what_was_not_given_is_not_given_when_it_is_written_again() -> None:
    lines = [line(process=1, type="invoke", op="read"), line(process=1, type="ok")]
    (again,) = History.parse(History.parse(lines).lines()).operations
    assert not again.argument_given
    assert not again.result_given


def test_a_hundred_lists_within_each_other_are_read_and_written_again() -> None:
    history = History.parse([BEGIN, deep("value", 100)])
    assert History.parse(history.lines()).operations[0].result == history.operations[0].result
    assert linearizability.check(history, Register()).holds


@pytest.mark.parametrize("value", [float("inf"), {1, 2}, [[[]]] * 2])
def test_a_recorder_refuses_what_json_does_not_know_and_goes_on(value: object) -> None:
    for _ in range(98):
        value = [value]
    recorder = Recorder()
    with pytest.raises(MalformedHistory, match="key: "):
        recorder.invoke(1, "write", value)
    recorder.invoke(1, "write", value=1)
    with pytest.raises(MalformedHistory, match="value: "):
        recorder.ok(1, value)
    recorder.ok(1)
    assert linearizability.check(recorder.history(), Register()).holds


def test_a_call_that_the_model_does_not_know_is_named_with_those_it_knows() -> None:
    history = History.parse([line(process=1, type="invoke", op="push", value=5)])
    with pytest.raises(MalformedHistory, match="line 1: register has no operation 'push'; it has"):
        linearizability.check(history, Register())
