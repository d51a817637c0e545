"""``make explore``: seeds that nobody has tried yet, of every scenario, for as long as it is told.

A test tries the same seeds every time, so that it is right or wrong every time.
To find something new somebody has to try others. Whatever breaks is made smaller
and written to a file that ``sdkit sim --schedule`` runs again.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import be_quiet, run_once, schedule_for, shrink


def explore(
    minutes: Annotated[float, typer.Option(help="How long.")] = 60.0,
    folder: Annotated[Path, typer.Option(help="Where failing schedules go.")] = Path("explore"),
) -> None:
    """Try new seeds of every scenario; exit status 1 if any breaks."""
    be_quiet()
    until = time.monotonic() + 60.0 * minutes
    seed, runs, broken = secrets.randbelow(10**9), 0, 0
    print(f"seeds from {seed} on, for {minutes:g} min", flush=True)
    while time.monotonic() < until:
        for scenario in SCENARIOS.values():
            outcome = run_once(scenario, schedule_for(scenario, seed))
            runs += 1
            if outcome.broken:
                broken += 1
                folder.mkdir(exist_ok=True)
                path = folder / f"{scenario.name}-{seed}.jsonl"
                path.write_text(shrink(scenario, outcome).schedule.text(), encoding="utf-8")
                print(f"{scenario.name}, seed {seed}: {outcome.broken[0]}; {path}", flush=True)
        seed += 1
    print(f"{runs:,} runs, {broken} broken")
    raise typer.Exit(1 if broken else 0)


if __name__ == "__main__":
    typer.run(explore)
