"""``sdkit sim``: run a scenario with a seed, search for a seed that breaks it, make it smaller.

    sdkit sim bank --seed 7                  one run, told as a story
    sdkit sim bank --runs 500 --jobs 2       many, and a verdict over all
    sdkit sim bank --without journal.sync --runs 200
                                             search until one breaks, then shrink it
    sdkit sim hashing                        a comparison: a table, and nothing to break

Exit status 1 if anything was broken.
"""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from sdkit.arguments import check_between
from sdkit.cli import sim_comparison
from sdkit.cli.console import console as make_console
from sdkit.cli.sim_report import counted, plain, row_of, show_list, summary, tell, tell_all
from sdkit.cli.units import option, parse_seconds
from sdkit.errors import InvalidArgument
from sdkit.scenarios.catalog import COMPARISONS, SCENARIOS
from sdkit.scenarios.comparison import Comparison
from sdkit.sim import timeline
from sdkit.sim.explore import Outcome, be_quiet, explore, only, run_once, schedule_for, shrink
from sdkit.sim.faults import SEED_MAX, Schedule
from sdkit.sim.scenario import Scenario

RUNS_MAX: Final = 10**9
SECONDS_MIN: Final = 0.01
SECONDS_MAX: Final = 3600.0


def sim(
    scenario: Annotated[
        str | None, typer.Argument(help="Which scenario; see --list.", show_default=False)
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the run; of the first one with --runs (default: 0).", metavar="NUMBER"
        ),
    ] = None,
    runs: Annotated[
        int | None,
        typer.Option(help="Make so many runs, with this seed and the next ones.", metavar="NUMBER"),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(help="Processes that share the runs (default: 1).", metavar="NUMBER"),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a safeguard out; see --list. May be given again.", metavar="NAME"),
    ] = None,
    only_fault: Annotated[
        list[int] | None,
        typer.Option(
            help="Of the run's faults, let only this one happen. May be given again.",
            metavar="NUMBER",
        ),
    ] = None,
    no_faults: Annotated[bool, typer.Option("--no-faults", help="Let none happen.")] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            parser=option(parse_seconds),
            metavar="DURATION",
            help="How long the clients go on, in virtual time; faults begin no later.",
        ),
    ] = None,
    schedule: Annotated[
        Path | None,
        typer.Option(help="Run the schedule of faults in this file.", metavar="FILE"),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write the schedule, or the smallest failing one, here.", metavar="FILE"),
    ] = None,
    timeline_file: Annotated[
        Path | None,
        typer.Option(
            "--timeline", help="Draw the run into this file, one page of HTML.", metavar="FILE"
        ),
    ] = None,
    record: Annotated[
        Path | None,
        typer.Option(help="Write everything that happened here, for --compare.", metavar="FILE"),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Show where two recorded runs first differ.",
            metavar="FILE FILE",
            show_default=False,
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Show the scenarios.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Run a scenario in the simulator: the same code, in a world where power fails."""
    be_quiet()
    if list_:
        if scenario is not None and scenario not in COMPARISONS:
            _find(scenario)
        show_list(scenario, as_json=as_json)
        return
    if compare is not None:
        _compare(*compare, as_json=as_json)
        return
    if scenario in COMPARISONS:
        of_a_run = {
            "--runs": runs,
            "--jobs": jobs,
            "--without": without,
            "--only-fault": only_fault,
            "--no-faults": no_faults,
            "--seconds": seconds,
            "--schedule": schedule,
            "--save": save,
            "--timeline": timeline_file,
            "--record": record,
        }
        unfit = [name for name, value in of_a_run.items() if value not in (None, [], False)]
        _show_comparison(COMPARISONS[scenario], _checked(seed or 0), unfit, as_json=as_json)
        return
    if no_faults:
        _alone("--no-faults", only_fault=only_fault)
    _check_numbers(runs, jobs, seconds)
    if schedule is not None:
        _alone("--schedule", seed=seed, without=without, seconds=seconds)
        wanted = _read(schedule)
        if scenario not in (None, wanted.scenario):
            raise InvalidArgument(f"{schedule} is a schedule of {wanted.scenario}, not {scenario}")
        chosen = _find(wanted.scenario)
    else:
        chosen = _find(scenario)
        left_out = _safeguards(chosen, without)
        wanted = schedule_for(chosen, _checked(seed or 0), without=left_out, seconds=seconds)
    if runs is not None:
        _refuse_timeline(timeline_file)
        _alone(
            "--runs",
            schedule=schedule,
            only_fault=only_fault,
            no_faults=no_faults or None,
            record=record,
        )
        jobs = 1 if jobs is None else jobs
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


def _alone(option: str, **others: object) -> None:
    """Refuse what ``option`` decides itself, or what would be ignored beside it."""
    for name, value in others.items():
        if value not in (None, []):
            text = name if name.isupper() else f"--{name.replace('_', '-')}"
            raise InvalidArgument(f"{option} and {text} do not go together; leave one of them out")


def _check_numbers(runs: int | None, jobs: int | None, seconds: float | None) -> None:
    if jobs is not None and runs is None:
        raise InvalidArgument("--jobs shares many runs, and this is one; give --runs, too")
    if seconds is not None:
        check_between("--seconds", seconds, SECONDS_MIN, SECONDS_MAX)


def _refuse_timeline(file: Path | None) -> None:
    if file is not None:
        raise InvalidArgument(
            "--timeline draws one run, and --runs makes many; add --timeline to the line "
            "'replay: ...' in which their search ends"
        )


def _find(name: str | None) -> Scenario:
    names = ", ".join([*SCENARIOS, *COMPARISONS])
    if name is None:
        raise InvalidArgument(f"which scenario? There are: {names}")
    if name not in SCENARIOS:
        near = get_close_matches(name, [*SCENARIOS, *COMPARISONS], 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {names}"
        raise InvalidArgument(f"no scenario is called {name!r}; {hint}", name=name)
    return SCENARIOS[name]


def _safeguards(scenario: Scenario, names: Sequence[str] | None) -> list[str]:
    for name in names or []:
        if name not in scenario.safeguards:
            near = get_close_matches(name, scenario.safeguards, 1, cutoff=0.4)
            others = [each.name for each in SCENARIOS.values() if name in each.safeguards]
            if others:
                hint = f"{' and '.join(others)} can"
            elif near:
                hint = f"did you mean {near[0]}?"
            else:
                hint = f"sdkit sim {scenario.name} --list shows what it can do without"
            raise InvalidArgument(
                f"{scenario.name} cannot do without {name!r}; {hint}", safeguard=name
            )
    return list(dict.fromkeys(names or []))


def _checked(seed: int) -> int:
    check_between("--seed", seed, 0, SEED_MAX)
    return seed


def _read(path: Path) -> Schedule:
    schedule = Schedule.parse(_text(path), source=str(path))
    _safeguards(_find(schedule.scenario), schedule.without)
    return schedule


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path} is not text in UTF-8: {error}") from error


def _only(schedule: Schedule, numbers: Sequence[int]) -> Schedule:
    known = {fault.number for fault in schedule.faults}
    for number in numbers:
        if number not in known:
            raise InvalidArgument(
                f"there is no fault {number}; seed {schedule.seed} draws faults 1 to {len(known)}"
            )
    return only(schedule, numbers)


# ── comparing ways ───────────────────────────────────────────────────────────


def _show_comparison(
    comparison: Comparison, seed: int, unfit: Sequence[str], *, as_json: bool
) -> None:
    if unfit:
        raise InvalidArgument(
            f"{comparison.name} is a comparison, without faults or verdict: it takes --seed and "
            f"--json, not {', '.join(unfit)}"
        )
    if as_json:
        parts = sim_comparison.compared(comparison, seed)
        print(json.dumps(sim_comparison.plain(comparison, seed, parts)))
        return
    console = make_console()
    sim_comparison.begin(console, comparison, seed)  # before the work, which takes a while
    sim_comparison.show(console, sim_comparison.compared(comparison, seed))


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
        rows = [*map(row_of, outcome.recorded), json.dumps(plain(outcome))]
        record.write_text("\n".join(rows) + "\n", encoding="utf-8")
    if as_json:
        print(json.dumps(plain(outcome)))
    else:
        tell(make_console(), scenario, outcome)
        if timeline_file is not None:
            print(f"drawn: {timeline_file}")
    raise typer.Exit(1 if outcome.broken else 0)


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
    console = Console(stderr=True) if as_json else make_console()
    outcomes: list[Outcome] = []
    interrupted = False
    with _ctrl_c() as pressed, _progress(console) as progress:
        if not console.is_terminal:
            print(
                f"searching {counted(runs, 'seed')} from {first.seed} on",
                file=sys.stderr,
                flush=True,
            )
        bar = progress.add_task(scenario.name, total=runs)
        for outcome in explore(scenario, _schedules(scenario, first, runs), jobs=jobs):
            outcomes.append(replace(outcome, recorded=()))
            progress.advance(bar)
            interrupted = pressed()
            # Without a safeguard one broken run is what was looked for.
            if interrupted or (outcome.broken and first.without):
                break
    outcomes.sort(key=lambda outcome: outcome.schedule.seed)
    broken = [outcome for outcome in outcomes if outcome.broken]
    smallest, cut_short = None, False
    if broken and not interrupted:
        smallest, cut_short = _shrunk(console, scenario, broken[0])
        if save is not None:
            save.write_text(smallest.schedule.text())
    stopped = interrupted or cut_short
    if as_json:
        print(json.dumps(summary(scenario, first, outcomes, smallest, interrupted=stopped)))
    else:
        tell_all(console, scenario, outcomes, smallest, interrupted=stopped)
    raise typer.Exit(130 if stopped else 1 if broken else 0)


@contextmanager
def _ctrl_c() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed: the run under way is finished, so that what is known is whole."""
    presses: list[int] = []

    def note(number: int, _frame: object) -> None:
        if presses:
            raise KeyboardInterrupt
        presses.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(presses)
    finally:
        signal.signal(signal.SIGINT, before)


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


def _shrunk(console: Console, scenario: Scenario, outcome: Outcome) -> tuple[Outcome, bool]:
    """The smallest run, and whether Ctrl-C left it larger than it could be."""
    smallest = outcome

    with _progress(console) as progress:
        bar = progress.add_task("shrinking", total=None)

        def note(known: Outcome) -> None:
            nonlocal smallest
            smallest, left = known, len(known.schedule.faults)
            progress.update(bar, advance=1, description=f"{left} faults left")

        try:
            return shrink(scenario, outcome, on_try=note), False
        except KeyboardInterrupt:
            return smallest, True


# ── comparing runs ───────────────────────────────────────────────────────────


def _compare(first: Path, second: Path, *, as_json: bool) -> None:
    rows = [_text(path).splitlines() for path in (first, second)]
    for path, lines in zip((first, second), rows, strict=True):
        if not lines:
            raise InvalidArgument(f"{path} is empty; --record writes what can be compared")
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
