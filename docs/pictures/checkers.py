"""The circle on ``docs/checkers.md``: write skew in the store, at repeatable read."""

from __future__ import annotations

import runpy
from pathlib import Path

from sdkit.check import isolation
from sdkit.check.explain_circles import ident
from sdkit.check.lines import shown
from sdkit.sim.disk import SimulatedDisk
from sdkit.sim.host import SimulatedHost
from sdkit.sim.loop import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "check_write_skew.py"


def draw() -> str:
    """Each transaction of the smallest circle, and why it is before the next."""
    record = runpy.run_path(str(EXAMPLE))["record"]
    verdict = isolation.check(run(record(SimulatedHost("db", SimulatedDisk()))))
    lines = ["flowchart LR"]
    for edge in verdict.anomalies["G2-item"].edges:
        source, target = ident(verdict.observed, edge.source), ident(verdict.observed, edge.target)
        seen = f"{shown(edge.before)} from {shown(edge.key)}, not yet {shown(edge.after)}"
        reason = f"{edge.why.value}: read {seen}".replace('"', "")
        lines.append(f'    {source}(("{source}")) -->|"{reason}"| {target}(("{target}"))')
    return "\n".join(lines) + "\n"
