"""The table and the picture of ``docs/hashing.md``: ten nodes, an eleventh, and one that leaves."""

from __future__ import annotations

from sdkit.cli.sim_comparison import row_texts
from sdkit.scenarios.comparison import Table, Text
from sdkit.scenarios.hashing import compare


def draw() -> str:
    """What ``sdkit sim hashing`` prints about load, moves and single keys, for seed 0."""
    parts = compare(0)
    table = next(part for part in parts if isinstance(part, Table))
    rows = [table.columns, ["---"] * len(table.columns), *row_texts(table)]
    drawn = ["| " + " | ".join(row) + " |" for row in rows]
    for part in parts:
        if isinstance(part, Text):
            drawn += ["", f"{part.title}:", "", "```text", *part.lines, "```"]
    return "\n".join(drawn) + "\n"
