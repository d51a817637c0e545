"""``sdkit sim``: run a scenario with a seed, search for a seed that breaks it, make it smaller.

    sdkit sim bank --seed 7                  one run, told as a story
    sdkit sim bank --runs 500 --jobs 2       many, and a verdict over all
    sdkit sim bank --without journal.sync --runs 200
                                             search until one breaks, then shrink it

Exit status 1 if anything was broken.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sdkit.cli.options import option, parse_seconds
from sdkit.errors import InvalidArgument, check_between
from sdkit.scenarios.catalog import SCENARIOS
from sdkit.sim import timeline
from sdkit.sim.digest import Recorded
from sdkit.sim.explore import Outcome, explore, only, run_once, schedule_for, shrink
from sdkit.sim.faults import KINDS, Schedule, table
from sdkit.sim.scenario import Scenario

RUNS_MAX: Final = 10**9
SEED_MAX: Final = 2**63 - 1


def sim(
    scenario: Annotated[
        str | None, typer.Argument(help="Which scenario; see --list.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the run; of the first one with --runs.")] = 0,
    runs: Annotated[
        int | None, typer.Option(help="Make so many runs, with this seed and the next ones.")
    ] = None,
    jobs: Annotated[int, typer.Option(help="Processes that share the runs.")] = 1,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a safeguard out; see --list. May be given again."),
    ] = None,
    only_fault: Annotated[
        list[int] | None,
        typer.Option(help="Of the run's faults, let only this one happen. May be given again."),
    ] = None,
    no_faults: Annotated[bool, typer.Option("--no-faults", help="Let none happen.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=option(parse_seconds),
            metavar="DURATION",
            help="How long faults go on, in virtual time.",
        ),
    ] = None,
    schedule: Annotated[
        Path | None, typer.Option(help="Run the schedule of faults in this file.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the schedule, or the smallest failing one, here.")
    ] = None,
    timeline_file: Annotated[
        Path | None,
        typer.Option("--timeline", help="Draw the run into this file, one page of HTML."),
    ] = None,
    record: Annotated[
        Path | None, typer.Option(help="Write everything that happened here, for --compare.")
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Show where two recorded runs first differ.", show_default=False),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the scenarios.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a scenario in the simulator: the same code, in a world where power fails."""
    if list_:
        _list(as_json=as_json)
        return
    if compare is not None:
        _compare(*compare, as_json=as_json)
        return
    wanted = _read(schedule) if schedule is not None else None
    chosen = _find(wanted.scenario if wanted else scenario)
    if wanted is None:
        wanted = schedule_for(
            chosen, _checked(seed), without=_safeguards(chosen, without), seconds=seconds
        )
    if runs is not None:
        check_between("--runs", runs, 1, RUNS_MAX)
        check_between("--jobs", jobs, 1, 1024)
        _search(chosen, wanted, runs, jobs, save=save, as_json=as_json)
        return
    if only_fault or no_faults:
        wanted = _only(wanted, only_fault or [])
    if save is not None:
        save.write_text(wanted.text())
    _one(chosen, wanted, timeline_file, record, as_json=as_json)


# ── choosing ─────────────────────────────────────────────────────────────────


def _find(name: str | None) -> Scenario:
    if name is None:
        raise InvalidArgument(f"which scenario? There are: {', '.join(SCENARIOS)}")
    if name not in SCENARIOS:
        raise InvalidArgument(
            f"no scenario is called {name!r}; there are: {', '.join(SCENARIOS)}", name=name
        )
    return SCENARIOS[name]


def _safeguards(scenario: Scenario, names: Sequence[str] | None) -> list[str]:
    for name in names or []:
        if name not in scenario.safeguards:
            near = get_close_matches(name, scenario.safeguards, 3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else "sdkit sim --list shows them"
            raise InvalidArgument(
                f"{scenario.name} cannot do without {name!r}; {hint}", safeguard=name
            )
    return list(names or [])


def _checked(seed: int) -> int:
    check_between("--seed", seed, 0, SEED_MAX)
    return seed


def _read(path: Path) -> Schedule:
    return Schedule.parse(path.read_text(encoding="utf-8"), source=str(path))


def _only(schedule: Schedule, numbers: Sequence[int]) -> Schedule:
    known = {fault.number for fault in schedule.faults}
    for number in numbers:
        if number not in known:
            raise InvalidArgument(
                f"there is no fault {number}; seed {schedule.seed} draws faults 1 to {len(known)}"
            )
    return only(schedule, numbers)


# ── one run ──────────────────────────────────────────────────────────────────


def _one(
    scenario: Scenario,
    schedule: Schedule,
    timeline_file: Path | None,
    record: Path | None,
    *,
    as_json: bool,
) -> None:
    wanted = timeline_file is not None or record is not None
    outcome = run_once(scenario, schedule, record=wanted)
    if timeline_file is not None:
        timeline_file.write_text(timeline.page(scenario, outcome), encoding="utf-8")
    if record is not None:
        rows = [*map(_row, outcome.recorded), json.dumps(_as_json(outcome))]
        record.write_text("\n".join(rows) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(_as_json(outcome)))
    else:
        _tell(Console(), scenario, outcome)
        if timeline_file is not None:
            print(f"drawn: {timeline_file}")
    raise typer.Exit(1 if outcome.broken else 0)


def _as_json(outcome: Outcome) -> dict[str, object]:
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


def _row(recorded: Recorded) -> str:
    return json.dumps(
        asdict(recorded), default=lambda value: value.decode("utf-8", "backslashreplace")
    )


def _tell(console: Console, scenario: Scenario, outcome: Outcome) -> None:
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
    for promise, sentence in scenario.checks.items():
        if promise not in broken:
            console.print(f"[green]held[/]    {promise}: {sentence}", highlight=False)
    for each in broken.values():
        console.print(f"[red]BROKEN[/]  {escape(str(each))}", highlight=False)
    if outcome.error:
        console.print(escape(outcome.error), highlight=False)
    console.print("[green]Held.[/]" if not broken else "[red]Broken.[/]", end=" ")


# ── many runs ────────────────────────────────────────────────────────────────


def _search(
    scenario: Scenario,
    first: Schedule,
    runs: int,
    jobs: int,
    *,
    save: Path | None,
    as_json: bool,
) -> None:
    console = Console(stderr=as_json)
    outcomes: list[Outcome] = []
    interrupted = False
    with _progress(console) as progress:
        bar = progress.add_task(scenario.name, total=runs)
        try:
            for outcome in explore(scenario, _schedules(scenario, first, runs), jobs=jobs):
                outcomes.append(replace(outcome, recorded=()))
                progress.advance(bar)
                # Without a safeguard one broken run is what was looked for.
                if outcome.broken and first.without:
                    break
        except KeyboardInterrupt:
            interrupted = True
    outcomes.sort(key=lambda outcome: outcome.schedule.seed)
    broken = [outcome for outcome in outcomes if outcome.broken]
    smallest = None
    if broken and not interrupted:
        smallest = _shrunk(console, scenario, broken[0])
        if save is not None:
            save.write_text(smallest.schedule.text())
    if as_json:
        print(json.dumps(_summary(scenario, first, outcomes, smallest, interrupted=interrupted)))
    else:
        _tell_all(console, scenario, outcomes, smallest, interrupted=interrupted)
    raise typer.Exit(1 if broken else 130 if interrupted else 0)


def _schedules(scenario: Scenario, first: Schedule, runs: int) -> Iterator[Schedule]:
    for seed in range(first.seed, first.seed + runs):
        yield schedule_for(scenario, seed, without=first.without, seconds=first.seconds)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _shrunk(console: Console, scenario: Scenario, outcome: Outcome) -> Outcome:
    with _progress(console) as progress, suppress(KeyboardInterrupt):
        bar = progress.add_task("shrinking", total=None)
        outcome = shrink(
            scenario,
            outcome,
            on_try=lambda left: progress.update(bar, advance=1, description=f"{left} faults left"),
        )
    return outcome


def _summary(
    scenario: Scenario,
    first: Schedule,
    outcomes: list[Outcome],
    smallest: Outcome | None,
    *,
    interrupted: bool,
) -> dict[str, Any]:
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
        "smallest": None if smallest is None else _as_json(smallest),
    }


def _fault_counts(outcomes: list[Outcome]) -> Counter[str]:
    """How often each kind of fault happened, in the order of `KINDS`."""
    counts: Counter[str] = Counter()
    for outcome in outcomes:
        kinds = {fault.number: fault.kind for fault in outcome.schedule.faults}
        counts.update(kinds[number] for number in outcome.happened)
    return Counter({kind: counts[kind] for kind in KINDS if counts[kind]})


def _tell_all(
    console: Console,
    scenario: Scenario,
    outcomes: list[Outcome],
    smallest: Outcome | None,
    *,
    interrupted: bool,
) -> None:
    if interrupted:
        console.print(f"interrupted after {len(outcomes)} runs; so far:", highlight=False)
    broken = [outcome for outcome in outcomes if outcome.broken]
    if outcomes:
        counts = _fault_counts(outcomes)
        virtual = sum(outcome.virtual_seconds for outcome in outcomes)
        slowest = max(outcomes, key=lambda outcome: outcome.cpu_seconds)
        console.print(
            f"{len(outcomes):,} runs of {scenario.name}, {virtual:,.0f} virtual seconds, "
            f"{counts.total():,} faults; slowest: seed {slowest.schedule.seed}, "
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
        console.print(f"[green]Held[/] in all {len(outcomes):,} runs.", highlight=False)
    if smallest is not None:
        _tell_smallest(console, broken[0], smallest)


def _tell_smallest(console: Console, found: Outcome, smallest: Outcome) -> None:
    faults, needed = found.schedule.faults, smallest.schedule.faults
    enough = "none is needed" if not needed else f"{len(needed)} of them enough"
    console.print(f"{len(faults)} faults, {enough}:", highlight=False)
    for fault in needed:
        console.print(f"  {fault.number}. {fault}", highlight=False)
    for each in smallest.broken:
        console.print(f"  then {escape(str(each))}", highlight=False)
    console.print(f"replay: {_command(smallest.schedule)}", highlight=False, soft_wrap=True)


def _command(schedule: Schedule) -> str:
    words = ["sdkit sim", schedule.scenario]
    words += [f"--without {name}" for name in schedule.without]
    words += [f"--seed {schedule.seed}", f"--seconds {schedule.seconds:g}"]
    words += [f"--only-fault {fault.number}" for fault in schedule.faults]
    return " ".join(words if schedule.faults else [*words, "--no-faults"])


# ── showing ──────────────────────────────────────────────────────────────────


def _list(*, as_json: bool) -> None:
    if as_json:
        rows = [
            {
                "name": scenario.name,
                "summary": scenario.summary,
                "checks": dict(scenario.checks),
                "safeguards": list(scenario.safeguards),
            }
            for scenario in SCENARIOS.values()
        ]
        print(json.dumps(rows))
        return
    console = Console()
    for scenario in SCENARIOS.values():
        console.print(f"[bold]{scenario.name}[/]  {scenario.summary}", highlight=False)
        texts = Table.grid(padding=(0, 2))
        for name, sentence in scenario.checks.items():
            texts.add_row("  checks", name, sentence)
        for name, otherwise in scenario.safeguards.items():
            texts.add_row("  without", name, otherwise)
        console.print(texts)
        console.print()


def _compare(first: Path, second: Path, *, as_json: bool) -> None:
    rows = [path.read_text(encoding="utf-8").splitlines() for path in (first, second)]
    at = next((n for n, pair in enumerate(zip(*rows, strict=False)) if pair[0] != pair[1]), None)
    if at is None and len(rows[0]) != len(rows[1]):
        at = min(map(len, rows))
    texts = [lines[at] if at is not None and at < len(lines) else None for lines in rows]
    if as_json:
        print(
            json.dumps({"same": at is None, "line": None if at is None else at + 1, "rows": texts})
        )
    elif at is None:
        print(f"the same, in all {len(rows[0]):,} lines")
    else:
        print(f"they first differ in line {at + 1:,}")
        for path, text in zip((first, second), texts, strict=True):
            print(f"{path}: {'(it ends before)' if text is None else text}")
    raise typer.Exit(0 if at is None else 1)
