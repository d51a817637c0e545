"""What ``sdkit sim`` shows of a comparison: its tables and plots for people, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
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


def compared(comparison: Comparison, seed: int) -> Sequence[Part]:
    """Do the work; if a person looks on, the error output shows how far it is."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        bar = progress.add_task(comparison.name, total=None)

        def tell(done: int, of: int, way: str) -> None:
            progress.update(bar, completed=done, total=of, description=escape(way))

        return comparison.compare(seed, tell)


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
    rows = row_texts(table)
    widths = _widths(table, rows, console.width)
    for number, heading in enumerate(table.columns):
        shown.add_column(
            escape(heading),
            justify="left" if _is_text(table, number) else "right",
            width=widths[number],
            overflow="fold",  # rather than lost
        )
    for row in rows:
        shown.add_row(*map(escape, row))
    console.print(shown, highlight=False)
    for note in table.notes:
        console.print(escape(note), highlight=False)


def _is_text(table: Table, number: int) -> bool:
    return any(isinstance(row[number], str) for row in table.rows)


def _widths(table: Table, rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """The widths of the columns, two blanks after each.

    Where it is narrow, headings and texts wrap between words; names of rows and numbers are
    whole. Where it is too narrow for the words of headings, those are broken.
    """
    room -= 2 * len(table.columns)
    columns = list(zip(table.columns, *rows, strict=True))
    widest = [max(map(len, column)) for column in columns]
    narrowest = list(widest)
    for with_headings in (True, False):
        for number, (heading, *cells) in enumerate(columns):
            words = heading.split() if with_headings else []
            for cell in cells:
                words += cell.split() if number and _is_text(table, number) else [cell]
            narrowest[number] = max(map(len, words), default=1) or 1
        if sum(narrowest) <= room:
            break
    wanted = [wide - narrow for wide, narrow in zip(widest, narrowest, strict=True)]
    spare, asked = max(0, room - sum(narrowest)), sum(wanted)
    if asked <= spare:
        return widest
    return [narrow + more * spare // asked for narrow, more in zip(narrowest, wanted, strict=True)]


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
