"""The bank: the first part of ``sdkit demo``, on real processes, sockets and a real disk.

What it shows: a server process is killed with SIGKILL in the middle of a load and
started again on the same directory, and afterwards every transfer that was ever
acknowledged is there, once and whole. What it does is in `play`, top to bottom;
what counts as broken is in `sdkit.scenarios.bank_workload`.

What SIGKILL can prove, and what it cannot: the process loses everything it had in
memory, between any two instructions. The operating system's page cache survives,
so a store that never called ``fdatasync`` would pass. Power cuts need a disk that
forgets, which is the simulator's.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from rich.console import Console
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sdkit.cli.child import ServedRoom
from sdkit.errors import NotConnected
from sdkit.scenarios.bank_workload import Bank, Verdict
from sdkit.store.client import StoreClient

AUDIT_PAUSE_S: Final = 0.02
RESTARTS_SHOWN: Final = 4
SIGKILL_PROVES: Final = (
    "SIGKILL proves that nothing acknowledged lived in the process alone; the operating "
    "system's page cache survives it. Power cuts, which it does not survive, come with the "
    "simulator."
)


@dataclass
class Settings:
    """What the options say."""

    seconds: float
    clients: int
    kills: int
    seed: int
    data: Path


@dataclass
class Report:
    """How a run went."""

    verdict: Verdict
    seconds: float
    kills: int
    start_ms: list[float]  # of the lives after the first: process start to listening
    recovery_ms: list[float]  # the part of it that was recovery
    notes: list[str] = field(default_factory=list)

    @property
    def transfers_per_second(self) -> float:
        return self.verdict.transfers_acknowledged / self.seconds

    def as_json(self, seed: int) -> dict[str, object]:
        verdict = dataclasses.asdict(self.verdict)
        return {
            "held": self.verdict.held,
            "seed": seed,
            "seconds": round(self.seconds, 3),
            "transfers_per_second": round(self.transfers_per_second, 1),
            "kills": self.kills,
            "recovery_ms": [round(value, 1) for value in self.recovery_ms],
            "restart_ms": [round(value, 1) for value in self.start_ms],
            **verdict,
        }


Say = Callable[[str], None]


def teller_of_times(console: Console) -> Say:
    """Prints a line with the seconds since now."""
    began = time.monotonic()

    def say(text: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:6.1f} s[/]  {text}", highlight=False)

    return say


async def play(settings: Settings, bank: Bank, say: Say) -> Report:
    """Start the server, load it, kill it, start it again; then read the books.

    Args:
        settings: how long, how many, how often.
        bank: the books; looked at by whoever shows the progress.
        say: told of each kill and restart, in a line.
    """
    draw = random.Random(settings.seed)
    async with ServedRoom("store", settings.data, ["--durability", "sync"]) as served:
        say(f"the store listens, process {served.pid}, durability sync")
        async with _Teller(served) as teller:
            await bank.open_accounts(await teller())
        began = time.monotonic()
        ends = began + settings.seconds
        await _load(settings, bank, served, draw, lambda: time.monotonic() < ends, say)
        took = time.monotonic() - began
        say("the load has ended; reading the books")
        async with _Teller(served) as teller:
            verdict = await bank.verdict(await teller())
        kills = len(served.start_ms) - 1
    return Report(verdict, took, kills, served.start_ms[1:], served.recovery_ms[1:], served.notes)


async def _load(
    settings: Settings,
    bank: Bank,
    served: ServedRoom,
    draw: random.Random,
    go_on: Callable[[], bool],
    say: Say,
) -> None:
    async def client(number: int) -> None:
        async with _Teller(served) as teller:
            own_draw = random.Random(f"{settings.seed} client {number}")
            await bank.transfers(f"c{number}", teller, own_draw, go_on)

    async def auditor() -> None:
        async with _Teller(served) as teller:
            await bank.audit(teller, go_on, lambda: asyncio.sleep(AUDIT_PAUSE_S))

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(settings.clients):
                group.create_task(client(number))
            group.create_task(auditor())
            group.create_task(_kill_now_and_then(settings, served, draw, say))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None  # the server has fallen, as all of them say


async def _kill_now_and_then(
    settings: Settings, served: ServedRoom, draw: random.Random, say: Say
) -> None:
    """Each kill falls somewhere in the middle of its share of the time."""
    share_s = settings.seconds / (settings.kills or 1)
    began = time.monotonic()
    for number in range(settings.kills):
        at_s = (number + draw.uniform(0.3, 0.8)) * share_s
        await asyncio.sleep(max(0.0, began + at_s - time.monotonic()))
        pid = served.pid
        await served.kill(after_s=draw.uniform(0, 0.01))
        say(f"SIGKILL to process {pid}, in the middle of the load")
        await served.start()
        say(
            f"process {served.pid} serves again after {served.start_ms[-1]:.0f} ms, "
            f"{served.recovery_ms[-1]:.0f} ms of it recovery"
        )


class _Teller:
    """One client's way to the store: a connection of its own, a new one for every life."""

    def __init__(self, served: ServedRoom) -> None:
        self._served = served
        self._store: StoreClient | None = None
        self._address: tuple[str, int] | None = None

    async def __call__(self) -> StoreClient:
        while True:
            address = await self._served.address()
            if self._store is not None and self._address == address:
                return self._store
            await self._leave()
            store = StoreClient(*address)
            try:
                await store.connect()
            except NotConnected:
                await asyncio.sleep(0.01)  # it died between telling its address and our call
                continue
            self._store, self._address = store, address

    async def _leave(self) -> None:
        if self._store is not None:
            await self._store.close()
            self._store = None

    async def __aenter__(self) -> _Teller:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._leave()


async def play_on(console: Console, settings: Settings) -> Report:
    """`play`, with live progress on a terminal and a line per happening elsewhere."""
    bank = Bank()
    clients = "client moves" if settings.clients == 1 else "clients move"
    kills = "kill" if settings.kills == 1 else "kills"
    console.print(
        f"[bold]The bank:[/] {settings.clients} {clients} money between {bank.accounts} "
        "accounts while an auditor\nadds them all up. "
        f"{settings.seconds:g} s, {settings.kills} {kills}, seed {settings.seed}.",
        highlight=False,
    )
    screen = _Screen(console, settings, bank)
    playing = asyncio.create_task(play(settings, bank, screen.say))
    try:
        return await screen.follow(playing)
    finally:
        playing.cancel()
        await asyncio.wait({playing})


class _Screen:
    """What `play_on` shows."""

    def __init__(self, console: Console, settings: Settings, bank: Bank) -> None:
        self._console = console
        self._bank = bank
        self._began = time.monotonic()
        self.say = teller_of_times(console)
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
        )
        self._bar = self._progress.add_task("load", total=settings.seconds)

    async def follow(self, report: asyncio.Task[Report]) -> Report:
        live = Live(self._progress, console=self._console, transient=True)
        with live if self._console.is_terminal else nullcontext():  # no bar in a file or a pipe
            while not report.done():
                elapsed = time.monotonic() - self._began
                self._progress.update(self._bar, completed=elapsed, description=self._figures())
                await asyncio.wait({report}, timeout=0.2)
        return report.result()

    def _figures(self) -> str:
        bank = self._bank
        return (
            f"{len(bank.acknowledged):,} transfers, {bank.audits} audits, "
            f"{bank.lost_races:,} conflicts"
        )


def restarts(report: Report) -> list[tuple[str, str]]:
    """A row for each restart, or for many of them one with the median and the slowest."""
    took = list(zip(report.start_ms, report.recovery_ms, strict=True))
    if len(took) <= RESTARTS_SHOWN:
        return [
            (f"restart {number}, ms (recovery alone)", f"{start:.0f} ({recovery:.0f})")
            for number, (start, recovery) in enumerate(took, start=1)
        ]
    usual = f"{median(report.start_ms):.0f} ({median(report.recovery_ms):.0f})"
    start, recovery = max(took)
    return [
        (f"{len(took)} restarts, ms (recovery alone): median", usual),
        ("    the slowest", f"{start:.0f} ({recovery:.0f})"),
    ]


def print_report(console: Console, report: Report, settings: Settings) -> None:
    """The books as a table, and what they say."""
    verdict = report.verdict
    table = Table(title="The books", title_justify="left", title_style="bold", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    lost_answers = verdict.indeterminate.committed + verdict.indeterminate.not_committed
    for name, value, good in (
        ("transfers acknowledged", f"{verdict.transfers_acknowledged:,}", None),
        ("transfers per second", f"{report.transfers_per_second:,.0f}", None),
        ("commits whose answer was lost", f"{lost_answers}", None),
        ("    of these, had committed", f"{verdict.indeterminate.committed}", None),
        ("    of these, had not", f"{verdict.indeterminate.not_committed}", None),
        ("aborted by a conflict, repeated", f"{verdict.lost_races:,}", None),
        ("acknowledged and lost", f"{verdict.lost_acknowledged}", not verdict.lost_acknowledged),
        ("applied twice", f"{verdict.applied_twice}", not verdict.applied_twice),
        (
            "half there (accounts that disagree)",
            f"{verdict.half_applied}",
            not verdict.half_applied,
        ),
        ("audits", f"{verdict.audits:,}", None),
        ("audits that saw another total", f"{verdict.wrong_audits}", not verdict.wrong_audits),
        ("total before", f"{verdict.total_before:,}", None),
        (
            "total after",
            f"{verdict.total_after:,}",
            verdict.total_before == verdict.total_after,
        ),
    ):
        mark = "" if good is None else "[green]ok[/]" if good else "[red]BROKEN[/]"
        table.add_row(name, value, mark)
    for name, value in restarts(report):
        table.add_row(name, value, "")
    console.print(table)
    for note in report.notes:
        console.print(f"the server said: {note}", highlight=False)
    for example in verdict.examples:
        console.print(f"[red]{example}[/]", highlight=False)
    if verdict.held:
        console.print("[green]Held:[/] every acknowledged transfer is there, once and whole.")
    else:
        console.print(f"[red]BROKEN.[/] The data is kept in {settings.data}; seed {settings.seed}.")
    if report.kills:
        console.print(SIGKILL_PROVES, style="dim", highlight=False)
