"""Search for runs that fail without a safeguard, and write the table of `docs/break-it.md`.

    python -m tests.without.search [SCENARIO [SAFEGUARD ...]]

searches for all safeguards or for those named, shrinks what it finds, and writes their rows of
the table. That takes minutes. No test compares the rows with a later version: a seed always
draws the same faults, but each change of the code moves the steps between which they strike.
Another test searches anew, to show that each safeguard is needed
(``tests/without/test_safeguards.py``).
"""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sdkit.cli.sim_report import command
from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim.explore import (
    NOTHING_RAISES,
    Outcome,
    explore,
    run_once,
    schedule_for,
    shrink,
)
from sdkit.sim.scenario import Scenario
from sdkit.without import SAFEGUARDS

PAGE = Path(__file__).parents[2] / "docs" / "break-it.md"
RUNS_MAX = 300
TRIED_MAX = 3  # broken runs that are shrunk, to keep the smallest
CASES = [(scenario, name) for scenario in SCENARIOS.values() for name in scenario.safeguards]
OF_THE_CLIENT = {"bank.look_for_the_id": "a repeated transfer looks for its id first"}
HEAD = "| without | what it does | what happens | a run that shows it |\n|---|---|---|---|"
_TABLE = re.compile(r"(<!-- found -->\n).*?(<!-- end found -->)", re.DOTALL)
_ROW = re.compile(r"^\| `([a-z_.]+)` \|.*$", re.MULTILINE)


def first_broken(scenario: Scenario, safeguard: str) -> Outcome | None:
    """Find the first run that breaks without the safeguard; check that it holds with it."""
    for seed in range(RUNS_MAX):
        outcome = run_once(scenario, schedule_for(scenario, seed, without=[safeguard]))
        if outcome.broken:
            whole = run_once(scenario, replace(outcome.schedule, without=()))
            assert not whole.broken, f"{command(whole.schedule)}: {whole.broken}\n{whole.error}"
            return outcome
    return None


def smallest(scenario: Scenario, safeguard: str) -> Outcome | None:
    """Find the smallest run that breaks. A broken promise is preferred to a raised error."""
    schedules = (schedule_for(scenario, seed, without=[safeguard]) for seed in range(RUNS_MAX))
    broken = list(islice((it for it in explore(scenario, schedules) if it.broken), TRIED_MAX))
    return min((shrink(scenario, outcome) for outcome in broken), key=_size, default=None)


def _size(outcome: Outcome) -> tuple[bool, int, float]:
    schedule = outcome.schedule
    return outcome.promises == {NOTHING_RAISES}, len(schedule.faults), schedule.seconds


def row(scenario: Scenario, name: str, outcome: Outcome) -> str:
    """Write a safeguard's row of the table."""
    schedule = outcome.schedule
    rule = SAFEGUARDS[name].rule if name in SAFEGUARDS else OF_THE_CLIENT[name]
    faults = "; ".join(str(fault) for fault in schedule.faults) or "no fault is needed"
    then = str(outcome.broken[0])
    then = then if len(then) < 150 else then[:147] + "..."
    happens = f"{scenario.safeguards[name]}: *{then}*"
    cells = (f"`{name}`", rule, happens, f"{faults}<br>`{command(schedule)}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def rows_shown() -> dict[tuple[str, str], str]:
    """Read the rows of the page, by scenario and safeguard."""
    found = _TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    rows: dict[tuple[str, str], str] = {}
    for part in re.split(r"^### ", found[0], flags=re.MULTILINE)[1:]:
        scenario = part.split("\n", 1)[0]
        rows |= {(scenario, match[1]): match[0] for match in _ROW.finditer(part)}
    return rows


def show(rows: dict[tuple[str, str], str]) -> None:
    """Write the table into the page: a part for each scenario, in the order of the catalog."""
    parts = []
    for scenario in SCENARIOS.values():
        names = [name for name in scenario.safeguards if (scenario.name, name) in rows]
        if names:
            lines = [rows[scenario.name, name] for name in names]
            parts.append("\n".join([f"### {scenario.name}\n", HEAD, *lines, "", ""]))
    table = "".join(parts)
    text = _TABLE.sub(lambda match: match[1] + table + match[2], PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(text, encoding="utf-8")


def main(arguments: list[str]) -> None:
    """Search for the named cases, and show what was found."""
    for scenario, name in CASES:
        if arguments and (scenario.name != arguments[0] or name not in (arguments[1:] or [name])):
            continue
        found = smallest(scenario, name)
        if found is None:
            print(f"{scenario.name} {name}: NOT FOUND in {RUNS_MAX} runs", flush=True)
            continue
        show({**rows_shown(), (scenario.name, name): row(scenario, name, found)})
        faults = len(found.schedule.faults)
        print(f"{scenario.name} {name}: {faults} faults, {found.broken[0]}"[:160], flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
