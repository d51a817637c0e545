"""``sdkit demo``: what a store promises, kept before your eyes: nothing lost, nothing mixed up.

Three parts, each in a file of its own:

    demo_bank    durability and atomicity: a bank, and ``kill -9`` in the middle of its work
    demo_levels  isolation: every anomaly at every level, seen or not
    demo_price   what the strictest level costs, in the two ways there are to it

``--seconds`` is for the bank; the other two take a few seconds more.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from sdkit.arguments import check_between
from sdkit.cli import demo_levels, demo_price
from sdkit.cli.anomalies import scripts
from sdkit.cli.console import console as make_console
from sdkit.cli.demo_bank import Report, Settings, play_on, print_report, teller_of_times
from sdkit.cli.demo_levels import Matrix, print_matrix
from sdkit.cli.demo_price import Price, print_prices
from sdkit.cli.units import option, parse_seconds
from sdkit.errors import InvalidArgument
from sdkit.store.config import Serializable

SECONDS_MIN: Final = 0.5
SECONDS_MAX: Final = 7 * 86_400.0
KILL_EVERY_S: Final = 0.25  # about as long as starting a server takes
PRICE_S_MIN: Final = 0.3  # for each way to be serializable
PRICE_S_MAX: Final = 1.5


@dataclass
class Outcome:
    """What the parts have found, as far as they have come."""

    bank: Report | None = None
    matrix: Matrix | None = None
    prices: dict[Serializable, Price] | None = None

    @property
    def held(self) -> bool:
        """Was every promise kept?"""
        return (
            self.bank is not None
            and self.bank.verdict.held
            and self.matrix is not None
            and not self.matrix.surprises
            and self.prices is not None
            and all(price.held for price in self.prices.values())
        )

    @property
    def missing(self) -> str:
        """What was not done, if it is interrupted now."""
        if self.bank is None:
            return "the books were not checked"
        return "the levels were not measured" if self.matrix is None else "no price was measured"

    def as_json(self, seed: int) -> dict[str, object]:
        """One object with all of it."""
        assert self.bank is not None
        assert self.matrix is not None
        assert self.prices is not None
        return {
            **self.bank.as_json(seed),
            "held": self.held,
            "anomalies": self.matrix.as_json(),
            "price": {kind: price.as_json() for kind, price in self.prices.items()},
        }


def demo(
    seconds: Annotated[
        float,
        typer.Option(
            parser=option(parse_seconds),
            metavar="DURATION",
            help="How long the bank's load lasts: 20, 2min.",
        ),
    ] = 20.0,
    clients: Annotated[
        int, typer.Option(min=1, max=200, help="Clients, each on its own connection.")
    ] = 8,
    kills: Annotated[int, typer.Option(min=0, help="How often the server gets SIGKILL.")] = 2,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Decides transfers and kill times; drawn, and shown, if it is not given.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Use this directory and keep it. Must be empty or new.")
    ] = None,
) -> None:
    """Move money through a store while it is killed; see what each isolation level lets through.

    Exit status 1 if anything was lost, applied twice, half there or seen wrong, or if a level
    shows another anomaly than it may.
    """
    check_between("--seconds", seconds, SECONDS_MIN, SECONDS_MAX)
    kills_max = int(seconds / KILL_EVERY_S)
    if kills > kills_max:
        raise InvalidArgument(
            f"--kills is {kills}; {seconds:g} s have room for {kills_max} at most, since the "
            "server must work in between; give more --seconds or fewer kills"
        )
    directory = _fresh_directory(data)
    settings = Settings(
        seconds, clients, kills, secrets.randbelow(10_000) if seed is None else seed, directory
    )
    outcome = Outcome()
    console = Console(quiet=True, force_terminal=False) if as_json else make_console()
    began = time.monotonic()
    try:
        asyncio.run(_main(settings, outcome, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        took_s = time.monotonic() - began
        sys.stderr.write(f"\ninterrupted after {took_s:.0f} s: {outcome.missing}\n")
        raise typer.Exit(130) from None
    finally:
        if data is None and (outcome.bank is None or outcome.bank.verdict.held):
            shutil.rmtree(directory, ignore_errors=True)
    if as_json:
        sys.stdout.write(json.dumps(outcome.as_json(settings.seed)) + "\n")
    if not outcome.held:
        raise typer.Exit(1)


def _fresh_directory(data: Path | None) -> Path:
    if data is None:
        return Path(tempfile.mkdtemp(prefix="sdkit-demo-"))
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise typer.BadParameter(f"{data} is not an empty directory; the demo wants a fresh one")
    return data


async def _main(settings: Settings, outcome: Outcome, console: Console) -> None:
    main = asyncio.current_task()
    assert main is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: the servers end with us
        asyncio.get_running_loop().add_signal_handler(number, main.cancel)
    outcome.bank = await play_on(console, settings)
    print_report(console, outcome.bank, settings)
    console.print(
        "\n[bold]The levels:[/] eleven scripts of interleaved steps, one for each anomaly, at "
        "every\nisolation level, over TCP. Then what the strictest level costs.",
        highlight=False,
    )
    say = teller_of_times(console)
    # Like the bank's this directory is no TemporaryDirectory: that one complains if it is lost.
    directory = Path(tempfile.mkdtemp(prefix="sdkit-demo-levels-"))
    try:
        async with demo_levels.servers(directory) as running:
            outcome.matrix = await demo_levels.measure(scripts(), running, say)
            print_matrix(console, outcome.matrix)
            seconds = min(PRICE_S_MAX, max(PRICE_S_MIN, settings.seconds / 10))
            outcome.prices = await demo_price.measure(running, seconds, settings.seed, say)
            print_prices(console, outcome.prices)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
