"""The journal's machine dies before each step of its disk, and again at steps of the recovery."""

from __future__ import annotations

from functools import cache

import pytest

from sdkit.scenarios.journal import JOURNAL
from sdkit.sim.explore import run_once
from sdkit.sim.faults import Fault, Schedule

SEEDS = (4, 5)  # of the second the durability is `interval`
CRASHED = [4, pytest.param(5, marks=pytest.mark.slow)]
SECONDS = 0.012
RECOVERY = 24  # steps of an open after a crash, and some more


def crashes(seed: int, *steps: tuple[str, int]) -> Schedule:
    faults = [
        Fault(number=number, kind=kind, target="log", at_step=step, for_s=0.001)
        for number, (kind, step) in enumerate(steps, 1)
    ]
    return Schedule("journal", seed, tuple(faults), SECONDS)


@cache
def steps_of(seed: int) -> list[tuple[str, str]]:
    """The steps of the disk in a run without a crash, until it is over: operation and file."""
    outcome = run_once(JOURNAL, crashes(seed), record=True)
    return [
        (row.name.removeprefix("disk."), str(row.fields["path"]).rpartition("/")[2])
        for row in outcome.recorded
        if row.name.startswith("disk.") and row.at_s < SECONDS
    ]


def must_hold(schedule: Schedule) -> None:
    outcome = run_once(JOURNAL, schedule)
    assert outcome.verdict == "held", f"{outcome.broken}\n{schedule.text()}\n{outcome.error}"
    assert outcome.happened, "no crash came"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_runs_below_do_everything_that_a_journal_does(seed: int) -> None:
    steps = steps_of(seed)
    assert {"append", "sync", "sync_directory", "rename", "remove"} <= {
        operation for operation, _ in steps
    }
    assert ("rename", "snapshot") in steps
    assert sum(operation == "list" for operation, _ in steps) > 1  # it is opened again


@pytest.mark.parametrize("kind", ["kill", "power cut"])
@pytest.mark.parametrize("seed", CRASHED)
def test_a_crash_before_every_step_breaks_no_promise(kind: str, seed: int) -> None:
    for step in range(1, len(steps_of(seed)) + 1):
        must_hold(crashes(seed, (kind, step)))


@pytest.mark.slow
@pytest.mark.parametrize("second", ["kill", "power cut"])
@pytest.mark.parametrize("first", ["kill", "power cut"])
def test_a_second_crash_in_the_recovery_breaks_no_promise(first: str, second: str) -> None:
    for step in range(20, len(steps_of(SEEDS[0])), 41):
        for later in range(1, RECOVERY + 1):
            must_hold(crashes(SEEDS[0], (first, step), (second, step + later)))
