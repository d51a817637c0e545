"""Saved schedules: for each safeguard that a scenario can do without, the smallest that shows it.

    python -m tests.without.schedules [SCENARIO [SAFEGUARD ...]]

searches and shrinks them anew: all, or those named.
"""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path

from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import NOTHING_RAISES, Outcome, explore, schedule_for, shrink
from sdkit.sim.faults import Schedule
from sdkit.sim.scenario import Scenario

FOLDER = Path(__file__).parent / "schedules"
RUNS_MAX = 300
TRIED_MAX = 5  # broken runs that are shrunk, to keep the smallest
CASES = [(scenario, name) for scenario in SCENARIOS.values() for name in scenario.safeguards]


def path_of(scenario: Scenario, safeguard: str) -> Path:
    return FOLDER / f"{scenario.name}-{safeguard}.jsonl"


def saved(scenario: Scenario, safeguard: str) -> Schedule:
    path = path_of(scenario, safeguard)
    return Schedule.parse(path.read_text(encoding="utf-8"), source=path.name)


def search(scenario: Scenario, safeguard: str) -> Outcome | None:
    """The smallest run that breaks; rather one that breaks a promise than one that only raises."""
    schedules = (schedule_for(scenario, seed, without=[safeguard]) for seed in range(RUNS_MAX))
    broken = list(islice((it for it in explore(scenario, schedules) if it.broken), TRIED_MAX))
    smallest = [shrink(scenario, outcome) for outcome in broken]
    return min(smallest, key=_size, default=None)


def _size(outcome: Outcome) -> tuple[bool, int, float]:
    schedule = outcome.schedule
    return outcome.promises == {NOTHING_RAISES}, len(schedule.faults), schedule.seconds


def main(arguments: list[str]) -> None:
    FOLDER.mkdir(exist_ok=True)
    for scenario, name in CASES:
        if arguments and (scenario.name != arguments[0] or name not in (arguments[1:] or [name])):
            continue
        found = search(scenario, name)
        if found is None:
            print(f"{scenario.name} {name}: NOT FOUND in {RUNS_MAX} runs", flush=True)
            continue
        path_of(scenario, name).write_text(found.schedule.text(), encoding="utf-8")
        faults = len(found.schedule.faults)
        print(f"{scenario.name} {name}: {faults} faults, {found.broken[0]}"[:160], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
