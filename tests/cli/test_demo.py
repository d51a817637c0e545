"""The demo, as a newcomer runs it, and as a torturer does."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from sdkit.cli.anomalies import AnomalyScript, Course
from sdkit.cli.demo import Outcome
from sdkit.cli.demo_bank import Report, restarts
from sdkit.cli.demo_levels import Matrix
from sdkit.cli.demo_price import Price
from sdkit.host import Host
from sdkit.scenarios.bank_workload import Indeterminates, Verdict
from sdkit.storage import LocalHost
from sdkit.store.isolation import ANOMALIES, RULES
from tests.cli.command import sdkit

WANTED = {
    "transfers_acknowledged",
    "transfers_per_second",
    "kills",
    "indeterminate",
    "lost_acknowledged",
    "applied_twice",
    "half_applied",
    "wrong_audits",
    "audits",
    "total_before",
    "total_after",
    "recovery_ms",
    "anomalies",
    "price",
}

PRICE = Price(seconds=1.0, commits=9, waits=2, aborts=1, total_before=100, total_after=100)
VERDICT = Verdict(
    transfers_acknowledged=9,
    lost_acknowledged=0,
    applied_twice=0,
    half_applied=0,
    audits=1,
    wrong_audits=0,
    total_before=100,
    total_after=100,
    indeterminate=Indeterminates(),
    lost_races=0,
)


def test_the_demo_prints_one_object_with_everything_in_it() -> None:
    done = sdkit("demo", "--json", "--seconds", "3", "--kills", "1", "--clients", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert set(found) >= WANTED
    assert found["kills"] == len(found["recovery_ms"]) == 1
    assert found["transfers_acknowledged"] > 0
    assert found["audits"] > 0
    assert set(found["indeterminate"]) == {"committed", "not_committed"}

    # The matrix, as measured; `tests/store/test_anomalies.py` holds it against the code's table.
    assert list(found["anomalies"]) == list(RULES)
    for level, row in found["anomalies"].items():
        assert row == {name: name not in RULES[level].forbids for name in ANOMALIES}

    assert list(found["price"]) == ["locking", "optimistic"]
    for price in found["price"].values():
        assert price["commits"] > 0
        assert price["commits_per_second"] > 0
        assert {"waits", "aborts"} <= set(price)
        assert price["total_before"] == price["total_after"]


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing() -> None:
    done = sdkit("demo", "--json", "--seconds", "20", "--kills", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert found["kills"] == 20
    assert done.stderr == ""
    broken = ("lost_acknowledged", "applied_twice", "half_applied", "wrong_audits")
    assert {name: found[name] for name in broken} == dict.fromkeys(broken, 0)
    assert found["total_before"] == found["total_after"] == 10_000


def test_the_demo_for_people_ends_with_its_verdict(tmp_path: Path) -> None:
    done = sdkit("demo", "--seconds", "1", "--kills", "0", "--data", str(tmp_path / "new"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Held: every acknowledged transfer is there, once and whole." in done.stdout
    for level in ("read uncommitted: 10 of 11", "serializable (optimistic): 0 of 11"):
        assert f"{level} anomalies seen" in done.stdout
    assert "As promised by sdkit/store/isolation.py, level by level." in done.stdout
    assert re.search(r"waits per 100 commits +│ +\d+ │ +\d+ │", done.stdout)
    assert "0:00:0" not in done.stdout, "a progress bar is for a terminal"
    assert "SIGKILL proves" not in done.stdout, "nothing was killed"
    assert (tmp_path / "new").is_dir(), "a directory that was named is kept"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_server_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "demo", "--data", str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    while "the store listens, process" not in (line := demo.stdout.readline()):
        assert line
    demo.send_signal(number)
    _, errors = demo.communicate(timeout=60)
    if number is not signal.SIGKILL:
        assert "the books were not checked" in errors
        assert demo.returncode == 130
    with waiting_for(tmp_path / "data"):
        pass  # the server has let go of its directory


def test_a_demo_that_is_ended_in_its_second_part_says_what_is_missing() -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "sdkit.cli.start", "demo", "--seconds", "0.5", "--kills", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    while "The levels:" not in (line := demo.stdout.readline()):
        assert line
    demo.send_signal(signal.SIGINT)
    _, errors = demo.communicate(timeout=60)
    assert "the levels were not measured" in errors
    assert demo.returncode == 130


def test_a_matrix_that_is_not_as_promised_shows_the_run_that_was_not() -> None:
    script = AnomalyScript.parsed("lost update", "sessions bob\nbob: get x\n    1\n")
    seen, not_seen = Course(script, {2: "1"}), Course(script, {2: "nothing"})
    right = Matrix({"read committed": {"lost update": seen}})
    assert right.surprises == []
    too_much = Matrix({"repeatable read": {"lost update": seen}})
    assert too_much.surprises == ["repeatable read: lost update was observed\nbob: get x\n    1"]
    too_little = Matrix({"read committed": {"lost update": not_seen}})
    assert too_little.surprises == [
        "read committed: lost update was not observed\nbob: get x\n    nothing"
    ]
    bank = Report(VERDICT, 1.0, 0, [], [])
    assert Outcome(bank, right, {"locking": PRICE}).held
    assert not Outcome(bank, too_much, {"locking": PRICE}).held
    assert not Outcome(bank, right, {"locking": replace(PRICE, total_after=99)}).held
    assert not Outcome(Report(replace(VERDICT, lost_acknowledged=1), 1.0, 0, [], []), right).held


@contextmanager
def waiting_for(directory: Path) -> Iterator[Host]:
    """The directory, as soon as the process that has it is gone."""
    descriptor = os.open(directory / "lock", os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits
    finally:
        os.close(descriptor)
    with LocalHost("test", directory) as host:
        yield host


def test_many_restarts_are_told_in_two_rows() -> None:
    few = Report(VERDICT, 1.0, 2, [300.0, 500.0], [10.0, 20.0])
    assert restarts(few)[1] == ("restart 2, ms (recovery alone)", "500 (20)")
    many = Report(VERDICT, 9.0, 5, [300.0, 900.0, 310.0, 320.0, 330.0], [9.0, 50.0, 7.0, 8.0, 6.0])
    assert [value for _, value in restarts(many)] == ["320 (8)", "900 (50)"]
    assert restarts(Report(VERDICT, 1.0, 0, [], [])) == []
