"""`python -m benchmarks ROOM`: print one room's table, and judge it."""

from __future__ import annotations

import importlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.harness import Result, Work, run

ROOMS = ("store", "rpc", "journal", "trace", "sim", "hashing", "breaker", "check")


def main(
    rooms: Annotated[list[str] | None, typer.Argument(help=", ".join(ROOMS))] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Rounds a row; medians are over these.")] = 5,
    only: Annotated[str, typer.Option(help="Rows whose wording contains this.")] = "",
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
) -> None:
    """Measure ours, the peers and the limit in turns; print medians of per-round ratios."""
    console = Console()
    results: list[Result] = []
    for room in rooms or ROOMS:
        if room not in ROOMS:
            console.print(f"no benchmark named {room}; there are {', '.join(ROOMS)}")
            raise typer.Exit(2)
        works = _table(room, console)
        for work in works:
            if only in work.work:
                with console.status("") as status:
                    results.append(run(work, rounds, status.update))
                _print(console, results[-1])
    if json_file is not None:
        figures = [asdict(figure) for result in results for figure in result.figures]
        json_file.write_text(json.dumps(figures, indent=1) + "\n")


def _table(room: str, console: Console) -> list[Work]:
    try:
        works: list[Work] = importlib.import_module(f"benchmarks.{room}").table()
    except ModuleNotFoundError as error:
        console.print(
            f"the benchmark of {room} compares with {error.name}, which is not installed; "
            "`make dev` installs all peers (or: pip install -e '.[dev]')",
            markup=False,  # or [dev] would be a colour
        )
        raise typer.Exit(2) from error
    return works


def _print(console: Console, result: Result) -> None:
    table = Table(title=result.work.work, title_justify="left", title_style="bold")
    table.add_column("contender")
    table.add_column("kind")
    table.add_column(result.work.unit, justify="right")
    table.add_column("of the limit", justify="right")
    table.add_column("of the best peer", justify="right")
    for figure in result.figures:
        table.add_row(
            figure.contender,
            figure.kind,
            f"{figure.median:,.4g}" if figure.median < 1000 else f"{figure.median:,.0f}",
            "" if figure.ratio_to_limit is None else f"{figure.ratio_to_limit:.2f}",
            "" if figure.ratio_to_best_peer is None else f"{figure.ratio_to_best_peer:.2f}",
        )
    console.print(table)
    for name, bar, value, met in result.reached:
        sign = "<=" if bar.at_most else ">="
        word = "[green]reached[/]" if met else "[red]missed[/]"
        asked = f"{bar.ratio} x {bar.against}" if bar.against else f"{bar.ratio} {result.work.unit}"
        console.print(f"  {word}: {value:.2f} {sign} {asked} ({name})")
    if result.unsteady:
        console.print(f"  [yellow]does not count[/]: {result.unsteady}")
    if result.work.skipped:
        console.print(f"  {result.work.skipped}")
    console.print()


if __name__ == "__main__":
    typer.run(main)
