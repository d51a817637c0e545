"""What ``sdkit sim`` shows: the story of a run, a verdict over many, and both as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from sdkit.cli.console import console as make_console
from sdkit.scenarios.catalog import COMPARISONS, SCENARIOS
from sdkit.sim.digest import Recorded
from sdkit.sim.explore import Outcome
from sdkit.sim.faults import KINDS, Schedule, table
from sdkit.sim.scenario import Scenario


def plain(outcome: Outcome) -> dict[str, object]:
    """One run as plain data."""
    schedule = outcome.schedule
    return {
        "scenario": schedule.scenario,
        "seed": schedule.seed,
        "without": list(schedule.without),
        "seconds": schedule.seconds,
        "verdict": outcome.verdict,
        "broken": [asdict(broken) for broken in outcome.broken],
        "digest": outcome.digest,
        "virtual_seconds": round(outcome.virtual_seconds, 6),
        "faults": [asdict(fault) for fault in schedule.faults],
        "happened": list(outcome.happened),
        "hosts": list(outcome.hosts),
        "seen": outcome.seen,
        "error": outcome.error,
    }


def row_of(recorded: Recorded) -> str:
    """One recorded happening, as a line of JSON."""
    return json.dumps(
        asdict(recorded), default=lambda value: value.decode("utf-8", "backslashreplace")
    )


def tell(console: Console, scenario: Scenario, outcome: Outcome) -> None:
    """One run, as a story."""
    schedule = outcome.schedule
    console.print(f"[bold]{scenario.name}[/], seed {schedule.seed}: {scenario.summary}")
    for name in schedule.without:
        console.print(f"without [bold]{name}[/]: {scenario.safeguards[name]}", highlight=False)
    console.print(f"machines: {', '.join(outcome.hosts)}", highlight=False)
    console.print()
    if schedule.faults:
        console.print(table(schedule.faults), highlight=False)
    else:
        console.print("no faults")
    console.print()
    seen = Table.grid(padding=(0, 2))
    for name, value in outcome.seen.items():
        seen.add_row(name, f"{value:,}" if isinstance(value, int) else f"{value}")
    console.print(seen)
    console.print()
    _judge(console, scenario, outcome)
    cpu, virtual = outcome.cpu_seconds, outcome.virtual_seconds
    console.print(f"digest {outcome.digest[:16]}, {virtual:.2f} virtual seconds in {cpu:.2f}")


def _judge(console: Console, scenario: Scenario, outcome: Outcome) -> None:
    broken = {each.promise: each for each in outcome.broken}
    verdicts = Table.grid(padding=(0, 2))
    verdicts.add_column(width=len("BROKEN"))
    verdicts.add_column()
    for promise, sentence in scenario.checks.items():
        if promise not in broken:
            verdicts.add_row("[green]held[/]", escape(f"{promise}: {sentence}"))
    for each in broken.values():
        verdicts.add_row("[red]BROKEN[/]", escape(str(each)))
    console.print(verdicts, highlight=False)
    if outcome.error:
        console.print(escape(outcome.error), highlight=False)
    console.print("[green]Held.[/]" if not broken else "[red]Broken.[/]", end=" ")


def summary(
    scenario: Scenario,
    first: Schedule,
    outcomes: list[Outcome],
    smallest: Outcome | None,
    *,
    interrupted: bool,
) -> dict[str, Any]:
    """Many runs as plain data."""
    slowest = max(outcomes, key=lambda outcome: outcome.cpu_seconds, default=None)
    broken = [outcome for outcome in outcomes if outcome.broken]
    return {
        "scenario": scenario.name,
        "without": list(first.without),
        "runs": len(outcomes),
        "verdict": "broken" if broken else "held",
        "broken": [
            {
                "seed": outcome.schedule.seed,
                "broken": [asdict(each) for each in outcome.broken],
                "faults": len(outcome.schedule.faults),
                "digest": outcome.digest,
            }
            for outcome in broken
        ],
        "faults": dict(_fault_counts(outcomes)),
        "slowest": None
        if slowest is None
        else {"seed": slowest.schedule.seed, "cpu_seconds": round(slowest.cpu_seconds, 3)},
        "virtual_seconds": round(sum(outcome.virtual_seconds for outcome in outcomes), 3),
        "interrupted": interrupted,
        "smallest": None if smallest is None else plain(smallest),
    }


def _fault_counts(outcomes: list[Outcome]) -> Counter[str]:
    """How often each kind of fault happened, in the order of `KINDS`."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        kinds = {fault.number: fault.kind for fault in outcome.schedule.faults}
        counts.update(kinds[number] for number in outcome.happened)
    return Counter({kind: counts[kind] for kind in KINDS if counts[kind]})


def tell_all(
    console: Console,
    scenario: Scenario,
    outcomes: list[Outcome],
    smallest: Outcome | None,
    *,
    interrupted: bool,
) -> None:
    """Many runs, in a few lines."""
    if interrupted:
        doing = "while making it smaller" if smallest else f"after {counted(len(outcomes), 'run')}"
        console.print(f"interrupted {doing}; so far:", highlight=False)
    broken = [outcome for outcome in outcomes if outcome.broken]
    if outcomes:
        counts = _fault_counts(outcomes)
        virtual = sum(outcome.virtual_seconds for outcome in outcomes)
        slowest = max(outcomes, key=lambda outcome: outcome.cpu_seconds)
        console.print(
            f"{counted(len(outcomes), 'run')} of {scenario.name}, {virtual:,.0f} virtual seconds, "
            f"{counted(counts.total(), 'fault')}; slowest: seed {slowest.schedule.seed}, "
            f"{slowest.cpu_seconds:.2f} s",
            highlight=False,
        )
        console.print("  ".join(f"{kind} {n:,}" for kind, n in counts.items()), highlight=False)
    for outcome in broken[:10]:
        text = "; ".join(escape(str(each)) for each in outcome.broken)
        console.print(f"[red]seed {outcome.schedule.seed} breaks it:[/] {text}", highlight=False)
    if len(broken) > 10:
        console.print(f"and {len(broken) - 10} more seeds")
    if not broken:
        console.print(f"[green]Held[/] in all {counted(len(outcomes), 'run')}.", highlight=False)
    if smallest is not None:
        _tell_smallest(console, broken[0], smallest, interrupted=interrupted)


def counted(number: int, what: str) -> str:
    """As in "1 run", "2 runs"."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def _tell_smallest(
    console: Console, found: Outcome, smallest: Outcome, *, interrupted: bool
) -> None:
    faults, needed = found.schedule.faults, smallest.schedule.faults
    enough = "none is needed" if not needed else f"{len(needed)} of them enough"
    so_far = ", so far" * interrupted
    console.print(f"{counted(len(faults), 'fault')}, {enough}{so_far}:", highlight=False)
    for fault in needed:
        console.print(f"  {fault.number}. {fault}", highlight=False)
    for each in smallest.broken:
        console.print(f"  then {escape(str(each))}", highlight=False)
    console.print(f"replay: {command(smallest.schedule)}", highlight=False, soft_wrap=True)


def command(schedule: Schedule) -> str:
    """What to type to see the same run."""
    words = ["sdkit sim", schedule.scenario]
    words += [f"--without {name}" for name in schedule.without]
    words += [f"--seed {schedule.seed}", f"--seconds {schedule.seconds:g}"]
    words += [f"--only-fault {fault.number}" for fault in schedule.faults]
    return " ".join(words if schedule.faults else [*words, "--no-faults"])


def show_list(only: str | None, *, as_json: bool) -> None:
    """The scenarios, what each checks and can do without; then the comparisons. Or ``only`` one."""
    scenarios = [each for each in SCENARIOS.values() if only in (None, each.name)]
    comparisons = [each for each in COMPARISONS.values() if only in (None, each.name)]
    if as_json:
        rows = [
            {
                "kind": "scenario",
                "name": scenario.name,
                "summary": scenario.summary,
                "checks": dict(scenario.checks),
                "safeguards": list(scenario.safeguards),
            }
            for scenario in scenarios
        ]
        compared = [
            {"kind": "comparison", "name": comparison.name, "summary": comparison.summary}
            for comparison in comparisons
        ]
        print(json.dumps(rows + compared))
        return
    console = make_console()
    for scenario in scenarios:
        console.print(f"[bold]{scenario.name}[/]  {scenario.summary}", highlight=False)
        texts = Table.grid(padding=(0, 2))
        texts.add_column()
        texts.add_column(no_wrap=True)  # a name is there to be copied
        for name, sentence in scenario.checks.items():
            texts.add_row("  checks", name, sentence)
        for name, otherwise in scenario.safeguards.items():
            texts.add_row("  without", name, otherwise)
        console.print(texts)
        console.print()
    for comparison in comparisons:
        console.print(f"[bold]{comparison.name}[/]  {comparison.summary}", highlight=False)
        console.print("  a comparison: a table, without faults or verdict\n", highlight=False)
