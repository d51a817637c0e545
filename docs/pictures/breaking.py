"""The table of `docs/break-it.md`: each safeguard, and the smallest run that needs it."""

from __future__ import annotations

from sdkit.cli.sim_report import command
from sdkit.sim.explore import run_once
from sdkit.sim.scenario import Scenario
from sdkit.without import SAFEGUARDS
from tests.without.schedules import CASES, saved

OF_THE_CLIENT = {"bank.look_for_the_id": "a repeated transfer looks for its id first"}


def draw() -> str:
    """A table for each scenario; each row is a run that was made just now."""
    parts: list[str] = []
    for scenario in dict.fromkeys(scenario.name for scenario, _ in CASES):
        parts.append(f"### {scenario}\n")
        parts.append("| without | what it does | what happens | shown by |\n|---|---|---|---|")
        parts += [_row(*case) for case in CASES if case[0].name == scenario]
        parts.append("")
    return "\n".join(parts)


def _row(scenario: Scenario, name: str) -> str:
    schedule = saved(scenario, name)
    outcome = run_once(scenario, schedule)
    rule = SAFEGUARDS[name].rule if name in SAFEGUARDS else OF_THE_CLIENT[name]
    faults = "; ".join(str(fault) for fault in schedule.faults) or "no fault is needed"
    then = str(outcome.broken[0])
    then = then if len(then) < 150 else then[:147] + "..."
    happens = f"{scenario.safeguards[name]}: *{then}*"
    cells = (f"`{name}`", rule, happens, f"{faults}<br>`{command(schedule)}`")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
