"""Comparison: one piece of work done in several ways, side by side, to be read and not judged.

A `sdkit.sim.scenario.Scenario` asks whether a promise is kept, and has a verdict. Some
questions have none: how many keys move when a node joins, what each safeguard does to the
throughput of a burning system. A comparison does the work in every way, and puts the figures
beside each other:

    Comparison(name="hashing", summary="...", compare=compare)

It needs no faults and no search for a failing seed; the same seed gives the same figures,
to the last digit, in any process. So nothing in it is measured in real time: it counts
(hashes, moves, virtual seconds). What is timed is in ``benchmarks/``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True)
class Table:
    """Figures in rows.

    Args:
        title: what the table answers, in one line.
        columns: a heading for each cell of a row.
        rows: text stands left and numbers right; None is an empty cell.
        notes: what a reader has to know to read it right, a line each.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Plot:
    """Curves of one unit under each other, drawn to one scale.

    Args:
        title: what is drawn, with the unit and what runs from left to right.
        curves: a name, and the values at equal distances; none is negative.
    """

    title: str
    curves: Mapping[str, Sequence[float]]


@dataclass(frozen=True)
class Text:
    """A picture in characters, line by line."""

    title: str
    lines: Sequence[str]


Part = Table | Plot | Text
Tell = Callable[[int, int, str], None]
"""Called before each way: how many are done, of how many, and which one comes now."""


def tell_nobody(done: int, of: int, way: str) -> None:
    """A `Tell` for those who do not look on."""


@dataclass(frozen=True)
class Comparison:
    """Something that ``sdkit sim`` compares by name.

    Args:
        name: as on the command line.
        summary: what is compared, in one sentence.
        compare: does the work, for a seed, and returns what is to be shown, in order. It tells
            how far it is.
    """

    name: str
    summary: str
    compare: Callable[[int, Tell], Sequence[Part]]
