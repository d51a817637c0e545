"""What the timeline of a run holds; how it looks is looked at."""

from __future__ import annotations

import json
import re
from typing import Any

from sdkit.sim.digest import Recorded
from sdkit.sim.explore import Outcome
from sdkit.sim.faults import Fault, Schedule
from sdkit.sim.scenario import Findings, Scenario, Stage
from sdkit.sim.timeline import page


async def play(stage: Stage) -> Findings:
    return Findings()


SCENARIO = Scenario(
    name="toy",
    summary="nothing",
    checks={},
    safeguards={},
    seconds=30.0,
    latency_s=(0.001, 0.002),
    play=play,
    menus=(),
)


def drawn(*moments_s: float, end_s: float, faults: tuple[Fault, ...] = ()) -> Any:
    outcome = Outcome(
        schedule=Schedule("toy", 0, faults, 30.0, ()),
        broken=(),
        seen={},
        digest="",
        virtual_seconds=end_s,
        cpu_seconds=0.0,
        happened=(),
        hosts=("db",),
        recorded=tuple(Recorded(at_s, "db", "disk.sync", {}) for at_s in moments_s),
    )
    found = re.search(r'id="data">(.*?)</script>', page(SCENARIO, outcome))
    assert found
    return json.loads(found[1])


def test_long_idle_time_is_a_gap_and_short_is_none() -> None:
    """The 25 s that a client waits must not squeeze the three in which all happens."""
    data = drawn(0.5, 1.0, 2.0, 3.0, 27.9, end_s=28.0)
    assert data["gaps"] == [[3.0, 27.9]]
    assert drawn(*(n / 10 for n in range(280)), end_s=28.0)["gaps"] == []


def test_a_fault_that_begins_or_ends_is_no_idle_time() -> None:
    fault = Fault(number=1, kind="pause", target="db", at_s=10.0, for_s=5.0)
    assert drawn(0.0, 28.0, end_s=28.0, faults=(fault,))["gaps"] == [[0, 10], [10, 15], [15, 28]]
