"""The price: the third part of ``sdkit demo``: what it costs to be serializable, in both ways.

Both ways forbid every anomaly, so the choice between them is one of price. Locking
makes readers and writers wait for each other; two that have read the same account and
both want to change it wait in a circle, and one of them is aborted. Optimism lets
nobody wait to read, and finds out later: whoever lost has worked for nothing and
begins again. Here eight clients move money between ten accounts, so that they are in
each other's way all the time, and the servers count waits and aborts.

How much either costs depends on the work. Among many accounts they would seldom
meet, and both would be cheap.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from typing import Final

from rich.console import Console
from rich.table import Table

from sdkit.cli.child import ServedRoom
from sdkit.cli.demo_bank import Say
from sdkit.cli.demo_levels import Servers
from sdkit.store import Isolation, StoreClient, Transaction
from sdkit.store.config import Serializable

ACCOUNTS: Final = 10
OPENING_BALANCE: Final = 100
CLIENTS: Final = 8
ATTEMPTS_MAX: Final = 1_000
ACCOUNT: Final = b"price/%d"


@dataclass
class Price:
    """What one way to be serializable cost."""

    seconds: float
    commits: int
    waits: int
    aborts: int
    total_before: int
    total_after: int

    @property
    def commits_per_second(self) -> float:
        """Transfers that were acknowledged."""
        return self.commits / self.seconds

    def per_hundred(self, count: int) -> float:
        """So many, for each hundred transfers."""
        return 100 * count / max(1, self.commits)

    @property
    def held(self) -> bool:
        """Is the money all there?"""
        return self.total_before == self.total_after

    def as_json(self) -> dict[str, object]:
        """Its fields, and the rate."""
        rate = round(self.commits_per_second, 1)
        return {**asdict(self), "seconds": round(self.seconds, 3), "commits_per_second": rate}


async def measure(
    running: Servers, seconds: float, seed: int, say: Say
) -> dict[Serializable, Price]:
    """The same work on both servers, one after the other, for so many seconds each."""
    prices: dict[Serializable, Price] = {}
    for kind, served in running.items():
        say(f"{kind}: {CLIENTS} clients on {ACCOUNTS} accounts, serializable, for {seconds:.1f} s")
        prices[kind] = await _price(served, seconds, seed)
    return prices


async def _price(served: ServedRoom, seconds: float, seed: int) -> Price:
    async with AsyncExitStack() as stack:
        address = await served.address()
        clients = [await stack.enter_async_context(StoreClient(*address)) for _ in range(CLIENTS)]
        first = clients[0]
        async with first.begin() as transaction:
            for number in range(ACCOUNTS):
                await transaction.put(ACCOUNT % number, b"%d" % OPENING_BALANCE)
        before = counters(await first.metrics())
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            working = [
                group.create_task(
                    _work(client, random.Random(f"{seed} price {number}"), began + seconds)
                )
                for number, client in enumerate(clients)
            ]
        took = time.monotonic() - began
        after = counters(await first.metrics())
        return Price(
            seconds=took,
            commits=sum(task.result() for task in working),
            waits=_rise(before, after, "sdkit_store_waits_total"),
            aborts=_rise(before, after, "sdkit_store_aborts_total"),
            total_before=ACCOUNTS * OPENING_BALANCE,
            total_after=await first.run(_total, read_only=True),
        )


async def _work(store: StoreClient, draw: random.Random, ends: float) -> int:
    """One client: transfers until the time is up. Returns how many."""
    done = 0
    while time.monotonic() < ends:
        source, target = (ACCOUNT % number for number in draw.sample(range(ACCOUNTS), 2))

        async def move(
            transaction: Transaction, source: bytes = source, target: bytes = target
        ) -> None:
            has, gets = await transaction.get(source), await transaction.get(target)
            assert has is not None
            assert gets is not None
            await transaction.put(source, b"%d" % (int(has) - 1))
            await transaction.put(target, b"%d" % (int(gets) + 1))

        await store.run(move, isolation=Isolation.SERIALIZABLE, attempts=ATTEMPTS_MAX)
        done += 1
    return done


async def _total(transaction: Transaction) -> int:
    return sum([int(value) async for _, value in transaction.scan(prefix=b"price/")])


def counters(metrics: str) -> dict[str, float]:
    """The values in what a server's ``metrics`` says, by name."""
    return {
        name: float(value)
        for name, value in re.findall(r"^(\w+) (\S+)$", metrics, flags=re.MULTILINE)
    }


def _rise(before: dict[str, float], after: dict[str, float], name: str) -> int:
    return int(after.get(name, 0) - before.get(name, 0))


def print_prices(console: Console, prices: dict[Serializable, Price]) -> None:
    """Both prices, side by side."""
    table = Table(title="The price of serializable", title_justify="left", title_style="bold")
    table.add_column("")
    for kind in prices:
        table.add_column(kind, justify="right")
    found = list(prices.values())
    for name, cells in (
        ("commits per second", [f"{price.commits_per_second:,.0f}" for price in found]),
        ("waits per 100 commits", [f"{price.per_hundred(price.waits):.0f}" for price in found]),
        ("aborts per 100 commits", [f"{price.per_hundred(price.aborts):.0f}" for price in found]),
        ("total before", [f"{price.total_before:,}" for price in found]),
        ("total after", [f"{price.total_after:,}{_mark(price)}" for price in found]),
    ):
        table.add_row(name, *cells)
    console.print(table)
    if all(price.held for price in found):
        console.print(
            "[green]Held:[/] no transfer overwrote another. "
            "The price depends on how often they meet.",
            highlight=False,
        )
    else:
        console.print("[red]BROKEN.[/] Transfers have overwritten each other.")


def _mark(price: Price) -> str:
    return " [green]ok[/]" if price.held else " [red]BROKEN[/]"
