"""The load of `levels` shows what each level allows, and its history says what happened."""

from __future__ import annotations

from itertools import count

import pytest

from sdkit.check import isolation as checker
from sdkit.scenarios.catalog import SCENARIOS
from sdkit.scenarios.levels_workload import Account, Rows, Scan
from sdkit.scenarios.served_store import LEVELS, drawn
from sdkit.sim.explore import run_once, schedule_for

WITHIN_RUNS = 12


@pytest.mark.parametrize(
    ("level", "allowed"),
    [
        ("read uncommitted", {"G1a", "G1b", "G1c", "lost update", "G-single", "G2"}),
        ("read committed", {"lost update", "G-single", "G2"}),
        ("repeatable read", {"G2-item", "G2"}),
    ],
)
def test_each_level_shows_what_it_allows(level: str, allowed: set[str]) -> None:
    scenario = SCENARIOS["levels"]
    seen = set[str]()
    seeds = (seed for seed in count() if drawn(seed, LEVELS) == level)
    for _ in range(WITHIN_RUNS):
        outcome = run_once(scenario, schedule_for(scenario, next(seeds)))
        assert outcome.seen["level"] == level
        seen.update(str(outcome.seen["anomalies"]).split(", "))
        if allowed <= seen:
            return
    pytest.fail(f"never seen at {level}: {sorted(allowed - seen)}")


def test_each_level_is_drawn_by_some_seed() -> None:
    assert {drawn(seed, LEVELS) for seed in range(25)} == set(LEVELS)


def account(rows: Rows, name: str, position: int | None) -> Account:
    made = Account(name, f"client {name}", status="committed", position=position)
    rows.note(made)
    return made


def two_who_scan_and_insert() -> Rows:
    """Each looks at what there is, and adds a row that the other one has not seen."""
    rows = Rows(deletes=True)
    rows.first.position = 1
    for name, position in (("a", 2), ("b", 3)):
        made = account(rows, name, position)
        made.steps += [
            Scan(b"row/0/", b"row/00", dict(row for row in rows.first_rows() if b"/0/" in row[0])),
            ("write", b"row/0/new-" + name.encode(), name.encode()),
        ]
    return rows


def test_a_row_that_a_scan_missed_is_an_edge() -> None:
    verdict = checker.check(two_who_scan_and_insert().history())
    assert list(verdict.anomalies) == ["G2"]
    assert verdict.complete


def test_a_scan_says_nothing_of_rows_outside_its_range() -> None:
    rows = two_who_scan_and_insert()
    for each in rows.accounts[1:]:
        scan = each.steps[0]
        assert isinstance(scan, Scan)
        scan.end = b"row/0/c"  # what is inserted lies behind it
    assert not checker.check(rows.history()).anomalies


def test_an_absent_row_was_deleted_by_the_one_who_did() -> None:
    rows = Rows(deletes=True)
    rows.first.position = 1
    deleter, reader = account(rows, "deleter", 2), account(rows, "reader", None)
    deleter.steps.append(("write", b"row/0/brief-0", None))
    reader.steps.append(("read", b"row/0/brief-0", None))
    assert not checker.check(rows.history()).anomalies
    deleter.status, deleter.position = "aborted", None
    assert list(checker.check(rows.history()).anomalies) == ["impossible read"]


def test_an_unknown_commit_has_happened_if_its_mark_is_there() -> None:
    rows = Rows(deletes=True)
    done, not_done = account(rows, "done", None), account(rows, "not done", None)
    for each in (done, not_done):
        each.status = "unknown"
        each.steps.append(("write", b"row/0/born-0", each.name.encode()))
    rows.settle({b"mark/done": 7, b"mark/another": None})
    assert (done.status, done.position) == ("committed", 7)
    assert (not_done.status, not_done.position) == ("aborted", None)


def test_rows_are_left_by_the_commits_in_the_order_of_their_positions() -> None:
    rows = Rows(deletes=True)
    rows.first.position = 1
    later, earlier = account(rows, "later", 3), account(rows, "earlier", 2)
    later.steps += [("write", b"row/0/born-0", b"x"), ("write", b"row/0/brief-0", None)]
    earlier.steps += [("write", b"row/0/born-0", b"y"), ("write", b"row/0/born-1", b"y")]
    account(rows, "never", None).status = "aborted"
    left = dict(rows.first_rows()) | {b"row/0/born-0": b"x", b"row/0/born-1": b"y"}
    del left[b"row/0/brief-0"]
    assert rows.left() == left


def test_marks_tell_lost_commits_and_aborts_that_were_none() -> None:
    rows = Rows(deletes=True)
    kept, lost, reader, undead = (account(rows, name, 2) for name in ("a", "b", "c", "d"))
    for each in (kept, lost, undead):
        each.steps.append(("write", b"row/0/born-0", each.name.encode()))
    undead.status = "aborted"
    marks = {kept.mark, undead.mark}
    assert rows.lost(marks) == [lost]
    assert rows.undead(marks) == [undead]
    assert not reader.leaves_a_mark


def test_who_sees_what_was_undone_has_read_what_was_aborted() -> None:
    rows = Rows(deletes=True)
    rows.first.position = 1
    account(rows, "a", None).undone.append((b"row/0/born-0", b"never mind"))
    account(rows, "b", None).steps.append(("read", b"row/0/born-0", b"never mind"))
    assert list(checker.check(rows.history()).anomalies) == ["G1a"]
