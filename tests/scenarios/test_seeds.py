"""Every scenario holds, over many seeds; CI asks for five times as many with ``SEEDS=5``.

All but the first block of each are slow tests.

``make explore`` goes on with other seeds for as long as it is told to.
"""

from __future__ import annotations

import os

import pytest

from sdkit.cli.sim_report import command
from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import run_once, schedule_for

BLOCK = 25
# A minute and a half of one processor in all.
BLOCKS = {"bank": 6, "levels": 3, "registers": 2, "journal": 10, "rpc": 6, "clocks": 2}
TIMES = int(os.environ.get("SEEDS", "1"))
CASES = [
    pytest.param(name, block * BLOCK, marks=[pytest.mark.slow] if block else [])
    for name, count in BLOCKS.items()
    for block in range(count * TIMES)
]


@pytest.mark.parametrize(("name", "first"), CASES, ids=lambda value: str(value))
def test_no_promise_is_broken(name: str, first: int) -> None:
    for seed in range(first, first + BLOCK):
        outcome = run_once(SCENARIOS[name], schedule_for(SCENARIOS[name], seed))
        said = "; ".join(map(str, outcome.broken))
        replay = f"sdkit sim {name} --seed {seed}"
        assert not outcome.broken, f"{said}\nreplay: {replay}\n{command(outcome.schedule)}"


def test_every_scenario_has_its_seeds() -> None:
    assert BLOCKS.keys() == SCENARIOS.keys()
