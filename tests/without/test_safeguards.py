"""Each safeguard is there for a reason: without it, some run breaks a promise."""

from __future__ import annotations

import pytest

from sdkit.sim.scenario import Scenario
from sdkit.without import SAFEGUARDS
from tests.without.search import CASES, RUNS_MAX, first_broken, rows_shown

IDS = [f"{scenario.name} {name}" for scenario, name in CASES]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "safeguard"), CASES, ids=IDS)
def test_without_it_a_promise_is_broken_and_with_it_the_same_run_holds(
    scenario: Scenario, safeguard: str
) -> None:
    assert first_broken(scenario, safeguard), f"not in {RUNS_MAX} runs"


def test_every_safeguard_belongs_to_a_scenario_and_has_its_row_on_the_page() -> None:
    assert {name for _, name in CASES} >= SAFEGUARDS.keys()
    assert rows_shown().keys() == {(scenario.name, name) for scenario, name in CASES}
