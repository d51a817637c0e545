"""The same seed gives the same run: in one process, in two, and under any hash seed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import run_once, schedule_for

SEEDS = (0, 7)
PROGRAM = """
import sys
from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import run_once, schedule_for
heap = [object() for _ in range(int(sys.argv[1]))]  # other addresses than in the other process
for name, scenario in SCENARIOS.items():
    for seed in (0, 7):
        print(name, seed, run_once(scenario, schedule_for(scenario, seed)).digest)
"""


def digests_under(hash_seed: str, objects: int) -> str:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(objects)],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_processes_with_different_hash_seeds_agree_on_every_scenario() -> None:
    first = digests_under("1", 0)
    assert first.count("\n") == len(SCENARIOS) * len(SEEDS)
    assert first == digests_under("2", 1_000)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_second_run_in_one_process_is_the_same(name: str) -> None:
    scenario = SCENARIOS[name]
    first, second = (run_once(scenario, schedule_for(scenario, 3)) for _ in range(2))
    assert first.digest == second.digest
    assert first.seen == second.seen


@pytest.mark.parametrize("name", SCENARIOS)
def test_recording_a_run_does_not_change_it(name: str) -> None:
    scenario = SCENARIOS[name]
    schedule = schedule_for(scenario, 4)
    assert run_once(scenario, schedule).digest == run_once(scenario, schedule, record=True).digest


@pytest.mark.parametrize("name", SCENARIOS)
def test_another_seed_is_another_run(name: str) -> None:
    scenario = SCENARIOS[name]
    digests = {run_once(scenario, schedule_for(scenario, seed)).digest for seed in range(5)}
    assert len(digests) == 5
