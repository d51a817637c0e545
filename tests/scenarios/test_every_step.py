"""The journal's machine dies before each step of its disk, and again at steps of the recovery."""

from __future__ import annotations

import pytest

from sdkit.scenarios.journal import JOURNAL
from sdkit.sim.explore import run_once
from sdkit.sim.faults import Fault, Schedule

SECONDS = 0.06
LAST_STEP = 90  # of a run this short
RECOVERY = 24  # steps of an open after a crash, and some more


def crashes(seed: int, *steps: tuple[str, int]) -> Schedule:
    faults = [
        Fault(number=number, kind=kind, target="log", at_step=step, for_s=0.001)
        for number, (kind, step) in enumerate(steps, 1)
    ]
    return Schedule("journal", seed, tuple(faults), SECONDS)


def must_hold(schedule: Schedule) -> None:
    outcome = run_once(JOURNAL, schedule)
    assert outcome.verdict == "held", f"{outcome.broken}\n{schedule.text()}\n{outcome.error}"


def test_a_run_is_as_long_as_this_file_believes() -> None:
    outcome = run_once(JOURNAL, crashes(1), record=True)
    steps = [row.fields["step"] for row in outcome.recorded if row.name.startswith("disk.")]
    assert len(steps) >= LAST_STEP


@pytest.mark.parametrize("kind", ["kill", "power cut"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_crash_before_every_step_breaks_no_promise(kind: str, seed: int) -> None:
    for step in range(1, LAST_STEP + 1):
        must_hold(crashes(seed, (kind, step)))


@pytest.mark.parametrize("second", ["kill", "power cut"])
@pytest.mark.parametrize("first", ["kill", "power cut"])
def test_a_second_crash_in_the_recovery_breaks_no_promise(first: str, second: str) -> None:
    for step in range(20, LAST_STEP, 23):
        for later in range(1, RECOVERY + 1):
            must_hold(crashes(3, (first, step), (second, step + later)))
