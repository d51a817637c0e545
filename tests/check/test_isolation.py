"""Anomalies by example, lists, unknown outcomes, real time, big histories.

That the names are right is in `tests/spec/test_check.py`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from sdkit.check import MalformedHistory, Transaction, isolation, transactions
from sdkit.check.levels import forbidden, forbids
from sdkit.errors import InvalidArgument
from sdkit.spec.check import random_transactions
from tests.check.generate import Level, store_transactions


def names(*history: Transaction, real_time: bool = False) -> set[str]:
    return set(isolation.check(history, real_time=real_time).anomalies)


T = Transaction
Steps = list[tuple[str, object, object]]


# ── orders of writes that are known in part ──────────────────────────────────


def test_a_circle_over_a_gap_is_reported() -> None:
    """Each read a key before the other wrote it: no order of the two is serializable."""
    found = isolation.check(
        [
            T(1, [("x", None)], [("x", 1), ("y", 1)]),
            T(2, [("y", None)], [("x", 2), ("y", 2)]),
        ]
    )
    assert found.result("serializable") == "violated"
    assert 'T1 before T2: T1 read null from "x", and not yet 2' in found.explain()


def test_read_skew_over_a_gap_is_found_whichever_way_leads_back() -> None:
    """T3 did not see that x is written, and sees another write of one who wrote it."""
    writers = [T(1, [], [("x", 1), ("y", 1)]), T(2, [], [("x", 2)])]
    reader = T(3, [("x", None), ("y", 1)], [])
    assert names(*writers, reader) == names(*reversed(writers), reader) == {"G-single"}


def test_a_list_that_nobody_appends_to_is_empty() -> None:
    assert names(T(1, [("x", [])], appends=[("y", 1)]), T(2, [("y", [1])])) == set()


def test_an_update_is_lost_though_others_append_in_an_unknown_order() -> None:
    history = [
        T(1, appends=[("x", 1)]),
        T(2, appends=[("x", 2)]),
        T(3, [("x", [1, 2])]),
        T(4, [("x", [1])], appends=[("x", 4)]),
        T(5, appends=[("x", 5)]),
    ]
    assert "lost update" in names(*history)


def test_one_who_read_two_writes_of_one_key_contradicts_every_order() -> None:
    """Whichever was later, the reader of the earlier value came too late for it."""
    history = [T(1, [], [("x", 1)]), T(2, [], [("x", 2)]), T(3, [("x", 1), ("x", 2)], [])]
    verdict = isolation.check(history)
    assert set(verdict.anomalies) == {"no order"}
    assert verdict.result("serializable") == "violated"
    assert verdict.result("snapshot isolation") == "no anomaly found"
    assert "whatever the order of its writes" in verdict.explain()


def test_positions_stay_facts_beside_a_writer_of_unknown_outcome() -> None:
    """By the positions T2 wrote x before T1, whose value it has read."""
    history = [
        T(1, [("x", None)], [("x", 1)], position=2),
        T(2, [("x", 1)], [("x", 2)], position=1),
        T(3, [("x", 2)], [("x", 3)], status="unknown"),
        T(4, [("x", 3)], []),
    ]
    assert isolation.check(history).result("read committed") == "violated"
    in_order = [replace(history[0], position=1), replace(history[1], position=2), *history[2:]]
    assert isolation.check(in_order).result("serializable") == "holds"


# ── lists ────────────────────────────────────────────────────────────────────


def test_a_list_that_was_read_is_the_order_of_those_who_appended() -> None:
    """Elle's example of G1c: each of two saw or followed the other."""
    found = isolation.check(
        [
            T(1, appends=[("x", 2), ("y", 1)]),
            T(2, appends=[("x", 1)], reads=[("y", [1])]),
            T(3, reads=[("x", [1, 2])]),
        ]
    )
    assert set(found.anomalies) == {"G1c"}
    assert found.complete
    assert found.levels == ("read uncommitted",)


def test_a_transaction_between_two_elements_of_another_is_a_write_cycle() -> None:
    assert names(
        T(1, appends=[("x", 1), ("x", 3)]),
        T(2, appends=[("x", 2)]),
        T(3, reads=[("x", [1, 2, 3])]),
    ) == {"G0"}


def test_a_list_with_an_aborted_element() -> None:
    history = [
        T(1, appends=[("x", 1)], status="aborted"),
        T(2, appends=[("x", 2)]),
        T(3, reads=[("x", [1, 2])]),
    ]
    assert names(*history) == {"G1a"}


def test_a_list_that_ends_in_the_middle_of_a_transaction() -> None:
    assert names(
        T(1, appends=[("x", 1), ("x", 2)]), T(2, reads=[("x", [1])]), T(3, reads=[("x", [1, 2])])
    ) == {"G1b"}


def test_an_object_is_no_list_of_elements() -> None:
    history = [
        T(1, appends=[("x", ["a", 1])], position=1),
        T(2, reads=[("x", {"a": 1})]),
    ]
    found = isolation.check(history).anomalies["impossible read"]
    assert "is no list, though the key is appended to" in found.why


def test_its_own_elements_are_at_the_end_of_what_a_transaction_reads() -> None:
    own: Steps = [("append", "x", 2), ("read", "x", [1, 2]), ("append", "x", 3)]
    history = [T(1, appends=[("x", 1)]), T(2, operations=own), T(3, reads=[("x", [1, 2, 3])])]
    assert names(*history) == set()
    history[1].operations = [("append", "x", 2), ("read", "x", [1]), ("append", "x", 3)]
    assert names(*history) == {"impossible read"}


def test_of_two_lists_one_must_be_the_beginning_of_the_other() -> None:
    history = [T(1, appends=[("x", 1)]), T(2, appends=[("x", 2)]), T(3, reads=[("x", [1, 2])])]
    assert names(*history, T(4, reads=[("x", [2])])) == {"impossible read"}
    assert names(*history, T(4, reads=[("x", [1, 1])])) == {"impossible read"}
    assert names(*history, T(4, reads=[("x", 7)])) == {"impossible read"}


def test_appends_that_nobody_read_are_a_gap_unless_they_have_positions() -> None:
    history = [T(1, appends=[("x", 1)]), T(2, appends=[("x", 2)]), T(3, appends=[("x", 3)])]
    assert not isolation.check(history).complete
    for each in history:
        each.position = int(each.id)
    assert isolation.check(history).complete


def test_lists_show_what_registers_with_positions_show() -> None:
    """Read whole at the end, a list knows as much as a register with positions."""
    told = set[str]()
    for seed in range(300):
        registers = random_transactions(Random(seed), positions=True)
        lists = as_lists(registers)
        if lists is None:
            continue
        verdicts = isolation.check(registers), isolation.check(lists)
        assert set(verdicts[0].anomalies) == set(verdicts[1].anomalies), (seed, lists)
        assert verdicts[1].complete
        told |= set(verdicts[0].anomalies)
    assert {"G1c", "lost update", "G-single", "G2-item", "G2"} <= told


def as_lists(registers: list[Transaction]) -> list[Transaction] | None:
    """The same history with lists; None if a transaction writes a key twice, or reads an
    aborted write, whose place in a list nobody knows."""
    order: dict[object, list[tuple[int, object]]] = {}
    for each in registers:
        if len({pair[0] for pair in each.writes}) < len(each.writes):
            return None
        for key, value, *position in each.writes:
            place = position[0] if position else each.position
            if each.status == "committed":
                assert isinstance(place, int)
                order.setdefault(key, []).append((place, value))
    lists = {key: [value for _, value in sorted(of_key)] for key, of_key in order.items()}

    def beginning(pair: Sequence[object]) -> tuple[object, list[object] | None]:
        key, value = pair
        values = lists.get(key, [])
        return key, None if value is None else values[: values.index(value) + 1]

    try:
        found = [
            T(
                each.id,
                [beginning(pair) for pair in each.reads],
                appends=[pair[:2] for pair in each.writes],
                predicate_reads=[beginning(pair) for pair in each.predicate_reads],
                status=each.status,
            )
            for each in registers
        ]
    except ValueError:
        return None
    return [*found, T("all", list(lists.items()))]


# ── what is known and what is not ────────────────────────────────────────────


def test_write_skew_that_locks_on_rows_prevent_and_that_they_do_not() -> None:
    def skew(one: Transaction, two: Transaction) -> set[str]:
        one.position, two.position = 1, 2
        return names(one, two)

    seen = [("x", None), ("y", None)]
    assert skew(T(1, seen, [("x", 1)]), T(2, seen, [("y", 2)])) == {"G2-item"}
    one = T(1, writes=[("x", 1)], predicate_reads=seen)
    assert skew(one, T(2, writes=[("y", 2)], predicate_reads=seen)) == {"G2"}


def test_a_phantom_is_one_scan_of_two_states() -> None:
    scans: Steps = [("predicate read", "x", None), ("predicate read", "x", 1)]
    history = [T(1, writes=[("x", 1)], position=1), T(2, operations=scans, position=2)]
    assert names(*history) == {"G-single"}


def test_the_read_only_anomaly_is_a_write_skew_that_a_third_one_sees() -> None:
    """Fekete, O'Neil, O'Neil 2004: a deposit, a withdrawal with a fee, and a report."""
    history = [
        T("deposit", [("savings", None)], [("savings", 20)], position=1),
        T("report", [("checking", None), ("savings", 20)]),
        T("fee", [("checking", None), ("savings", None)], [("checking", -11)], position=2),
    ]
    assert names(history[0], history[2]) == set()
    assert names(*history) == {"G2-item"}


def test_a_lost_update_is_certain_without_positions() -> None:
    found = isolation.check([T(1, [("x", None)], [("x", 1)]), T(2, [("x", None)], [("x", 2)])])
    assert set(found.anomalies) == {"lost update"}
    assert found.result("repeatable read") == "violated"
    assert found.result("read committed") == "no anomaly found"


def test_a_chain_of_updates_needs_no_positions() -> None:
    history = [T(n, [("x", n - 1 or None)], [("x", n)]) for n in range(1, 6)]
    found = isolation.check(history)
    assert found.complete
    assert found.result("serializable") == "holds"
    history.append(T(6, writes=[("x", 6)]))
    found = isolation.check(history)
    assert found.result("serializable") == "no anomaly found"
    assert found.unordered == ["x"]
    assert "That is no proof" in found.explain()


def test_an_unknown_outcome_counts_once_somebody_has_seen_it() -> None:
    skew = [("x", None), ("y", None)]
    lost = T(1, skew, [("x", 1)], status="unknown")
    other = T(2, skew, [("y", 2)])
    assert names(lost, other) == set()
    assert names(lost, other, T(3, [("x", 1)])) == {"G2-item"}
    assert isolation.check([lost, other]).transactions == 1


def test_reads_of_what_was_undone_replaced_or_never_written() -> None:
    assert names(T(1, writes=[("x", 1)], status="aborted"), T(2, [("x", 1)])) == {"G1a"}
    assert names(T(1, writes=[("x", 1), ("x", 2)]), T(2, [("x", 1)])) == {"G1b"}
    assert names(T(1, writes=[("x", 1)]), T(2, [("x", 9)])) == {"impossible read"}
    early: Steps = [("read", "x", 1), ("write", "x", 1)]
    assert names(T(1, operations=early)) == {"impossible read"}
    forgot: Steps = [("write", "x", 1), ("read", "x", None)]
    assert names(T(1, operations=forgot)) == {"impossible read"}


def test_real_time_only_if_it_is_asked_for() -> None:
    history = [
        T(1, writes=[("x", 1)], position=1, begin_ns=0, end_ns=10),
        T(2, reads=[("x", None)], begin_ns=11, end_ns=20),
    ]
    assert names(*history) == set()
    found = isolation.check(history, real_time=True)
    assert set(found.anomalies) == {"real time"}
    assert found.levels[-1] == "serializable"
    assert found.result("strict serializable") == "violated"
    history[1].begin_ns = 10  # as long as they overlap, or may
    assert names(*history, real_time=True) == set()
    with pytest.raises(InvalidArgument, match="needs real_time=True"):
        isolation.check(history).result("strict serializable")
    history[1].end_ns = None
    with pytest.raises(MalformedHistory, match="transaction 2 lacks begin_ns or end_ns"):
        isolation.check(history, real_time=True)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"status": "comitted"}, "status is 'comitted'"),
        ({"position": "4"}, "position of transaction 1"),
    ],
)
def test_what_a_program_gives_is_held_to_the_same_as_a_file(fields: Any, what: str) -> None:
    with pytest.raises(InvalidArgument, match=what):
        isolation.check([T(1, [], [("x", 1)], **fields), T(2, [], [("x", 2)], position=1)])


def test_the_ladder_forbids_on_each_rung_what_it_forbids_below() -> None:
    assert forbidden("read committed") == ("impossible read", "G0", "G1a", "G1b", "G1c")
    assert forbids("lost update") == "repeatable read"
    with pytest.raises(InvalidArgument, match="there are: read uncommitted"):
        forbidden("readable")


# ── what is refused ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("lines", "number", "what"),
    [
        (['{"id": 1, "writes": [["x", 1]]}', '{"id": 1}'], 2, "id 1 is there twice, as in line 1"),
        (
            ['{"id": 1, "writes": [["x", 1]]}', '{"id": 2, "writes": [["x", 1]]}'],
            2,
            'transactions 1 and 2 both write 1 to key "x"; written values must be unique',
        ),
        (
            [
                '{"id": 1, "writes": [["x", 1]], "position": 4}',
                '{"id": 2, "writes": [["x", 2]], "position": 4}',
            ],
            2,
            "at position 4; positions must differ",
        ),
        (
            ['{"id": 1, "writes": [["x", 1]]}', '{"id": 2, "appends": [["x", 2]]}'],
            2,
            'key "x" is written and appended to; it must be one of them',
        ),
        (
            ['{"id": 1, "appends": [["x", 1]]}', '{"id": 2, "writes": [["x", 2]]}'],
            2,
            'key "x" is written and appended to; it must be one of them',
        ),
        (['{"id": 1, "appends": [["x", 1]], "writes": [["x", 2]]}'], 1, "written and appended"),
        (
            ['{"id": 1}', '{"id": 2, "reads": [["x", 1]], "reads": []}'],
            2,
            'the name "reads" is there twice in one object',
        ),
        (['{"id": 1, "reads": [["x", {"a": 1, "a": 1}]]}'], 1, 'the name "a" is there twice'),
        (['{"id": 1, "status": "aborted", "position": 1}'], 1, "is aborted and has position 1"),
        (['{"id": 1, "writes": [["x", null]]}'], 1, "let a value of its own stand for 'deleted'"),
        (['{"id": 1, "writes": [["x"]]}'], 1, "expected [key, value]"),
        (['{"id": 1, "writes": [["x", 1e999]]}'], 1, "inf is no number of JSON"),
        ([f'{{"id": 1, "reads": [["x", {"[" * 900}{"]" * 900}]]}}'], 1, "more than 100 deep"),
        ([f'{{"id": 1, "reads": [["x", {"[" * 101}{"]" * 101}]]}}'], 1, "more than 100 deep"),
        (['{"id": 1, "writes": {"x": 1}}'], 1, "writes must be a list"),
        (
            ['{"id": 1, "writes": [["x", 1, "a"]]}'],
            1,
            "position of a write of transaction 1 is 'a'",
        ),
        (['{"id": 1, "operations": [["erase", "x", 1]]}'], 1, "operation 'erase'; there are: read"),
        (['{"id": 1, "operations": [["read", "x", 1]], "reads": [["x", 1]]}'], 1, "both"),
        (['{"id": 1, "status": "done"}'], 1, "status is 'done'; it must be one of committed"),
        (["{}"], 1, "id is missing"),
        (['{"id": 1, "read": [["x", 99]]}'], 1, "no field is called 'read'; did you mean reads?"),
        (['{"id": 1, "pos": 2}'], 1, "did you mean position?"),
        (
            ['{"id": 1, "writes": [["x", 1]], "appends": [["x", 2]]}'],
            1,
            'key "x" is written and appended to',
        ),
    ],
)
def test_what_cannot_be_checked_is_refused_by_line(
    lines: list[str], number: int, what: str
) -> None:
    with pytest.raises(MalformedHistory, match=f"line {number}: ") as caught:
        isolation.check(transactions.parse(lines))
    assert what in str(caught.value)


def test_an_impossible_read_is_told_with_its_reader() -> None:
    verdict = isolation.check([T(1, [], [("x", 1)], position=1), T(7, [("x", 99)], position=2)])
    assert 'transaction 7: read of "x": 99, which nobody wrote' in verdict.explain()


def test_what_is_written_as_lines_is_read_again() -> None:
    history = [
        T(1, [("x", None)], [("x", 1, 7)], process="a", begin_ns=1, end_ns=2),
        T("two", operations=[("append", "l", 1), ("read", "l", [1])], status="unknown"),
        T(3, predicate_reads=[("x", 1)], position=5),
    ]
    again = list(transactions.parse(each.dumped() for each in history))
    for one, other in zip(history, again, strict=True):
        assert one.accesses() == other.accesses()
        assert (one.id, one.status, one.position) == (other.id, other.status, other.position)
        assert (one.process, one.begin_ns, one.end_ns) == (
            other.process,
            other.begin_ns,
            other.end_ns,
        )


# ── big ones ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("level", "best", "found"),
    [
        ("read committed", "read committed", {"lost update", "G-single"}),
        ("snapshot", "snapshot isolation", {"G2-item"}),
        ("serializable", "serializable", set()),
    ],
)
def test_what_a_store_shows_at_each_level(level: Level, best: str, found: set[str]) -> None:
    history = store_transactions(Random(1), level, count=600)
    verdict = isolation.check(history)
    assert verdict.complete
    assert verdict.levels[-1] == best
    assert found <= set(verdict.anomalies)


def test_ten_thousand_transactions() -> None:
    history = store_transactions(Random(2), "serializable", count=10_000, keys=400)
    began = time.process_time()
    assert isolation.check(history).result("serializable") == "holds"
    assert time.process_time() - began < 10


def test_one_read_skew_among_two_thousand_is_found() -> None:
    history = store_transactions(Random(2), "serializable", count=2_000)
    by_key: dict[object, list[tuple[int, object]]] = {}
    for number, each in enumerate(history):
        for key, value in each.writes:
            by_key.setdefault(key, []).append((number, value))
    (_, old), (_, new) = by_key[0][5], by_key[1][-1]
    history.append(T("torn", [(0, old), (1, new)]))
    verdict = isolation.check(history)
    assert set(verdict.anomalies) >= {"G-single"}
    assert verdict.levels[-1] == "read committed"
    assert "torn" in verdict.explain()


def test_a_chain_of_ten_thousand_needs_no_recursion() -> None:
    history = [T(n, [("x", n - 1 or None)], [("x", n)]) for n in range(1, 10_000)]
    assert isolation.check(history).result("serializable") == "holds"
