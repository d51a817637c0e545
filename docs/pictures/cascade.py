"""The tables and plots of ``sdkit sim cascade`` on ``docs/breaker.md``."""

from __future__ import annotations

from sdkit.cli.sim_comparison import bars, cell_text, row_texts
from sdkit.scenarios.cascade_figures import compare
from sdkit.scenarios.comparison import Plot, Table


def draw() -> str:
    """What the command prints for seed 0."""
    drawn: list[str] = []
    for part in compare(0):
        match part:
            case Table():
                rows = [part.columns, ["---"] * len(part.columns), *row_texts(part)]
                drawn += [f"{part.title}:", ""]
                drawn += ["| " + " | ".join(row) + " |" for row in rows]
                drawn += ["", "; ".join(part.notes) + "."]
            case Plot():
                top = max(max(values) for values in part.curves.values())
                drawn += ["", f"{part.title}:", "", "```text"]
                drawn += [
                    f"{name:<10} {bars(values, top)}  max {cell_text(max(values))}"
                    for name, values in part.curves.items()
                ]
                drawn += ["```"]
    return "\n".join(drawn) + "\n"
