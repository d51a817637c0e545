"""The journal's machine dies before each step of its disk, and again at steps of the recovery."""

from __future__ import annotations

from functools import cache

import pytest

from sdkit.scenarios.journal import JOURNAL
from sdkit.sim.explore import run_once
from sdkit.sim.faults import Fault, Schedule

SEEDS = (1, 2)
SECONDS = 0.012
RECOVERY = 24  # steps of an open after a crash, and some more


def crashes(seed: int, *steps: tuple[str, int]) -> Schedule:
    faults = [
        Fault(number=number, kind=kind, target="log", at_step=step, for_s=0.001)
        for number, (kind, step) in enumerate(steps, 1)
    ]
    return Schedule("journal", seed, tuple(faults), SECONDS)


@cache
def steps_of(seed: int) -> int:
    """How many steps of the disk a run without a crash has, until it is over."""
    outcome = run_once(JOURNAL, crashes(seed), record=True)
    return sum(row.name.startswith("disk.") and row.at_s < SECONDS for row in outcome.recorded)


def must_hold(schedule: Schedule) -> None:
    outcome = run_once(JOURNAL, schedule)
    assert outcome.verdict == "held", f"{outcome.broken}\n{schedule.text()}\n{outcome.error}"
    assert outcome.happened, "no crash came"


def test_the_runs_below_do_everything_that_a_journal_does() -> None:
    outcome = run_once(JOURNAL, crashes(SEEDS[0]), record=True)
    done = {(row.name, str(row.fields.get("path")).split("/")[-1]) for row in outcome.recorded}
    assert {("disk.sync", "000000000002.wal"), ("disk.rename", "snapshot")} <= done
    assert "disk.remove" in {name for name, _ in done}


@pytest.mark.parametrize("kind", ["kill", "power cut"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_crash_before_every_step_breaks_no_promise(kind: str, seed: int) -> None:
    for step in range(1, steps_of(seed) + 1):
        must_hold(crashes(seed, (kind, step)))


@pytest.mark.parametrize("second", ["kill", "power cut"])
@pytest.mark.parametrize("first", ["kill", "power cut"])
def test_a_second_crash_in_the_recovery_breaks_no_promise(first: str, second: str) -> None:
    for step in range(20, steps_of(SEEDS[0]), 41):
        for later in range(1, RECOVERY + 1):
            must_hold(crashes(SEEDS[0], (first, step), (second, step + later)))
