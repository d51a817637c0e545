"""The picture on ``docs/checkers.md``: what three clients of a stale cache saw, as bars."""

from __future__ import annotations

import runpy
from pathlib import Path

from sdkit.check import Register, linearizability
from sdkit.check.explain_calls import call
from sdkit.sim.loop import run

EXAMPLE = Path(__file__).parents[2] / "examples" / "check_stale_cache.py"
STEP = 9
CIRCLED_ONE, CROSS = 0x2460, "\N{BALLOT X}"


def draw() -> str:
    """A row per process, a bar per call; the numbers are the order, as far as there is one."""
    record = runpy.run_path(str(EXAMPLE))["record"]
    found = linearizability.check(run(record()), Register()).counterexample
    assert found is not None
    instants = sorted({at for each in found.operations for at in (each.start, each.end or 0)})
    rows: dict[object, str] = {}
    for each in found.operations:
        order = [n for n, placed in enumerate(found.order, 1) if placed.operation is each]
        label = f"{call(each)} {chr(CIRCLED_ONE + order[0] - 1) if order else CROSS}"
        begin, end = instants.index(each.start), instants.index(each.end or 0)
        row = rows.get(each.process, "").ljust(begin * STEP)
        rows[each.process] = row + "|" + label.center((end - begin) * STEP + 1, "-") + "|"
    lines = [f"{process!s:8}{row}" for process, row in rows.items()]
    return "```text\n" + "\n".join(lines) + "\n```\n"
