"""Every schedule that once broke a promise: it must hold now, and stay so."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import run_once
from sdkit.sim.faults import Schedule

FOUND = sorted((Path(__file__).parent / "found").glob("*.jsonl"))


def test_there_are_schedules_to_replay() -> None:
    assert FOUND


@pytest.mark.parametrize("path", FOUND, ids=lambda path: path.stem)
def test_what_was_broken_once_holds(path: Path) -> None:
    schedule = Schedule.parse(path.read_text(encoding="utf-8"), source=str(path))
    assert not schedule.without
    outcome = run_once(SCENARIOS[schedule.scenario], schedule)
    assert outcome.verdict == "held", f"{outcome.broken}\n{outcome.error}"
