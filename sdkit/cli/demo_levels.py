"""The levels: the second part of ``sdkit demo``: which anomaly can be seen at which level.

The usual table of isolation levels is copied from book to book. This one is measured:
eleven scripts (`sdkit.cli.anomalies`) run at five levels, over TCP, against two server
processes, because a store is serializable in one of two ways. What comes out is held
against what `sdkit.store.isolation` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Final, get_args

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdkit.cli.anomalies import AnomalyScript, Course, observe, parts_of
from sdkit.cli.child import ServedRoom, serving
from sdkit.cli.demo_bank import Say
from sdkit.store import Store, StoreClient
from sdkit.store.config import Serializable
from sdkit.store.isolation import ANOMALIES, RULES

SESSIONS_MAX: Final = 5  # in one script: setup, alice, bob, carol, after

Servers = Mapping[Serializable, ServedRoom]


@asynccontextmanager
async def servers(directory: Path) -> AsyncIterator[Servers]:
    """A store for each way to be serializable, each a process with its own directory."""
    rooms: dict[Serializable, ServedRoom] = {
        kind: ServedRoom(
            "store", directory / kind, ["--durability", "sync", "--serializable", kind]
        )
        for kind in sorted(get_args(Serializable))  # as in the table: locking first
    }
    async with serving(*rooms.values()):
        yield rooms


@dataclass
class Matrix:
    """What was observed: by level, by anomaly."""

    courses: dict[str, dict[str, Course]]

    @property
    def surprises(self) -> list[str]:
        """Where it differs from what `sdkit.store.isolation` promises, each with its run."""
        return [
            f"{level}: {anomaly} was {'' if course.observed else 'not '}observed\n{course}"
            for level, row in self.courses.items()
            for anomaly, course in row.items()
            if course.observed is not allows(level, anomaly)
        ]

    def as_json(self) -> dict[str, dict[str, bool]]:
        """Level -> anomaly -> was it observed?"""
        return {
            level: {anomaly: course.observed for anomaly, course in row.items()}
            for level, row in self.courses.items()
        }


def allows(level: str, anomaly: str) -> bool:
    """May the anomaly be seen at this level?"""
    return anomaly not in RULES[level].forbids


async def measure(scripts: list[AnomalyScript], running: Servers, say: Say) -> Matrix:
    """Run every script at every level. `say` is told of each level, in a line."""
    courses: dict[str, dict[str, Course]] = {}
    for level in RULES:
        isolation, kind = parts_of(level)
        address = await running[kind or "optimistic"].address()
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(StoreClient(*address))
                for _ in range(SESSIONS_MAX + 1)
            ]
            watched, in_turn = clients[0], cycle(clients[1:])  # a connection for each session

            async def open_store(in_turn: cycle[StoreClient] = in_turn) -> Store:
                return next(in_turn)

            courses[level] = {
                script.anomaly: await observe(script, isolation, watched, open_store)
                for script in scripts
            }
        seen = sum(course.observed for course in courses[level].values())
        say(f"{level}: {seen} of {len(scripts)} anomalies seen")
    return Matrix(courses)


def print_matrix(console: Console, matrix: Matrix) -> None:
    """The matrix as a table, and whether it is as promised."""
    table = Table(
        title="The anomalies, as seen at each level",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=0,
    )
    table.add_column(width=20)
    for level in matrix.courses:
        heading = level.replace(" ", "\n")
        table.add_column(heading, width=max(map(len, heading.split())), justify="center")
    for anomaly in ANOMALIES:
        row = [_cell(level, courses[anomaly]) for level, courses in matrix.courses.items()]
        table.add_row(anomaly, *row)
    console.print(table)
    for surprise in matrix.surprises:
        console.print(f"[red]{escape(surprise)}[/]", highlight=False)
    if matrix.surprises:
        console.print("[red]BROKEN.[/] This is not what sdkit/store/isolation.py promises.")
    else:
        console.print("[green]As promised[/] by sdkit/store/isolation.py, level by level.")


def _cell(level: str, course: Course) -> str:
    if course.observed:
        return "seen" if allows(level, course.script.anomaly) else "[red]SEEN[/]"
    return "[red]NOT SEEN[/]" if allows(level, course.script.anomaly) else "[dim]·[/]"
