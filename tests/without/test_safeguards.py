"""Each safeguard is there for a reason: a saved schedule shows what happens without it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdkit.sim.explore import only, run_once, schedule_for
from sdkit.sim.scenario import Scenario
from sdkit.without import SAFEGUARDS
from tests.without.schedules import CASES, FOLDER, path_of, saved

IDS = [f"{scenario.name} {name}" for scenario, name in CASES]


@pytest.mark.parametrize(("scenario", "safeguard"), CASES, ids=IDS)
def test_without_it_a_promise_is_broken_and_with_it_or_one_fault_less_it_is_not(
    scenario: Scenario, safeguard: str
) -> None:
    schedule = saved(scenario, safeguard)
    assert schedule.without == (safeguard,)
    redrawn = schedule_for(scenario, schedule.seed, without=[safeguard], seconds=schedule.seconds)
    assert only(redrawn, [fault.number for fault in schedule.faults]) == schedule  # the replay
    promises = run_once(scenario, schedule).promises
    assert promises
    whole = run_once(scenario, replace(schedule, without=()))
    assert not whole.broken, f"{whole.broken}\n{whole.error}"
    for fault in schedule.faults:
        others = tuple(other for other in schedule.faults if other is not fault)
        smaller = run_once(scenario, replace(schedule, faults=others))
        assert not smaller.promises & promises, f"fault {fault.number} is not needed"


def test_every_safeguard_belongs_to_a_scenario_and_every_file_to_a_safeguard() -> None:
    assert {name for _, name in CASES} >= SAFEGUARDS.keys()
    assert {path_of(scenario, name) for scenario, name in CASES} == set(FOLDER.glob("*.jsonl"))
