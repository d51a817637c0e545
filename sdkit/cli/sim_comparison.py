"""What ``sdkit sim`` shows of a comparison: its tables and plots for people, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from sdkit.scenarios.comparison import Cell, Comparison, Part, Plot, Table, Text

BARS: Final = " ▁▂▃▄▅▆▇█"


def plain(comparison: Comparison, seed: int, parts: Sequence[Part]) -> dict[str, object]:
    """A comparison as plain data: each part with its kind and its fields."""
    return {
        "comparison": comparison.name,
        "seed": seed,
        "parts": [{"kind": type(part).__name__.lower(), **asdict(part)} for part in parts],
    }


def begin(console: Console, comparison: Comparison, seed: int) -> None:
    """What is compared: the first line."""
    console.print(f"[bold]{comparison.name}[/], seed {seed}: {comparison.summary}", highlight=False)


def show(console: Console, parts: Sequence[Part]) -> None:
    """What a comparison found, for a person."""
    for part in parts:
        console.print(f"\n[bold]{escape(part.title)}[/]", highlight=False)
        match part:
            case Table():
                _show_table(console, part)
            case Plot():
                _show_plot(console, part)
            case Text():
                for line in part.lines:
                    console.print(escape(line), highlight=False, no_wrap=True)


def _show_table(console: Console, table: Table) -> None:
    shown = RichTable(box=None, padding=(0, 2, 0, 0))
    for number, heading in enumerate(table.columns):
        is_text = any(isinstance(row[number], str) for row in table.rows)
        shown.add_column(
            escape(heading),
            justify="left" if is_text else "right",
            no_wrap=number == 0,  # the names of the rows: where it is narrow, headings wrap instead
        )
    for row in row_texts(table):
        shown.add_row(*map(escape, row))
    console.print(shown, highlight=False)
    for note in table.notes:
        console.print(escape(note), highlight=False)


def _show_plot(console: Console, plot: Plot) -> None:
    top = max((value for values in plot.curves.values() for value in values), default=0.0)
    width = max(map(len, plot.curves), default=0)
    for name, values in plot.curves.items():
        line = f"{name:<{width}}  {bars(values, top)}  max {cell_text(max(values, default=0.0))}"
        console.print(escape(line), highlight=False, no_wrap=True)


def bars(values: Sequence[float], top: float) -> str:
    """One character for each value, as high as its share of ``top``; only zero is blank."""
    steps = len(BARS) - 1
    return "".join(BARS[max(1, round(steps * value / top)) if value > 0 else 0] for value in values)


def row_texts(table: Table) -> list[tuple[str, ...]]:
    """The rows as text, with the same number of decimals wherever a column has any."""
    columns = zip(*table.rows, strict=True)
    return list(zip(*map(_column_texts, columns), strict=True))


def _column_texts(cells: Sequence[Cell]) -> list[str]:
    alone = [cell_text(cell) for cell in cells]
    of_floats = [text for text, cell in zip(alone, cells, strict=True) if isinstance(cell, float)]
    if any("e" in text for text in of_floats):  # tiny ones: too many digits to stand in line
        return alone
    decimals = max((len(text.partition(".")[2]) for text in of_floats), default=0)
    return [
        f"{cell:,.{decimals}f}" if isinstance(cell, float) else text
        for text, cell in zip(alone, cells, strict=True)
    ]


def cell_text(cell: Cell) -> str:
    """A number with as many digits as a reader compares; text as it is."""
    match cell:
        case None:
            return ""
        case int():
            return f"{cell:,}"
        case float():
            return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.4g}"
        case _:
            return cell
