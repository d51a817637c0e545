"""``sdkit check``: could this history have happened? For files from any system.

    sdkit check calls.jsonl --model register         does it behave like one register?
    sdkit check calls.jsonl --model shop.models:Cart      like one of mine?
    sdkit check transactions.jsonl --isolation serializable

Exit status: 0 it holds; 1 it is violated; 3 nobody can say: the budget is used up, or
no anomaly was found and the order of writes is not known; 2 the file is not a history.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from sdkit.check import (
    LEVELS,
    MODELS,
    History,
    MalformedHistory,
    isolation,
    linearizability,
    page,
)
from sdkit.check import transactions as history_of_transactions
from sdkit.check.explain_calls import call
from sdkit.check.explain_circles import because
from sdkit.cli.own_model import own_model, said_of
from sdkit.cli.units import parse_seconds
from sdkit.errors import InvalidArgument

STEPS_MAX: Final = 4_000_000  # about a GB of memory
Say = Callable[[str], None]

STATUS: Final = {
    "linearizable": 0,
    "holds": 0,
    "not linearizable": 1,
    "violated": 1,
    "undecided": 3,
    "no anomaly found": 3,
}


def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="JSON lines; - reads the input.")],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"Calls, compared with a {', '.join(MODELS)}, or your own package.module:Class.",
        ),
    ] = None,
    level: Annotated[
        str | None,
        typer.Option(
            "--isolation", metavar="LEVEL", help=f"Transactions, held to {', '.join(LEVELS)}."
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="BUDGET", help="Give up after so long (60s), or so many steps (500000steps)."
        ),
    ] = "60s",
    html: Annotated[
        Path | None, typer.Option(help="Draw the verdict into this file, one page of HTML.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Judge a recorded history: exit 0 it holds, 1 violated, 3 undecided, 2 not a history."""
    if model is not None and level is not None:
        raise InvalidArgument("give --model for calls or --isolation for transactions, not both")
    if model is None and level is None:
        raise InvalidArgument("give --model NAME for calls, or --isolation LEVEL for transactions")
    if html is not None and html.exists() and file.exists() and html.samefile(file):
        raise InvalidArgument(f"--html is {html}, the history itself; name another file")
    if model is not None:
        status = _calls(file, model, budget, html, as_json=as_json)
    else:
        known = _known("level", (level or "").replace("-", " "), list(LEVELS))
        status = _transactions(file, known, html, as_json=as_json)
    raise typer.Exit(status)


def _calls(file: Path, name: str, budget: str, html: Path | None, *, as_json: bool) -> int:
    steps, seconds = _budget(budget)
    model = own_model(name) if ":" in name else MODELS[_known("model", name, list(MODELS))]()
    with _lines(file) as lines:
        history = History.parse(lines)
    _refuse_empty(file, history.operations, "operation")
    with _naming(file), said_of(name), _progress() as say:
        verdict = linearizability.check(
            history,
            model,
            steps=steps,
            seconds=seconds,
            progress=lambda done, total: say(f"{done:,} of {total:,} parts decided"),
        )
    if as_json:
        print(json.dumps(_plain_calls(verdict)))
    else:
        print(verdict.explain())
    if html is not None:  # last: a page that cannot be written takes no verdict away
        html.write_text(page(verdict, file.name), encoding="utf-8")
    return STATUS[verdict.result]


def _transactions(file: Path, level: str, html: Path | None, *, as_json: bool) -> int:
    with _lines(file) as lines:
        history = list(history_of_transactions.parse(lines))
    _refuse_empty(file, history, "transaction")
    with _naming(file), _progress() as say:
        verdict = isolation.check(history, real_time=level == "strict serializable", progress=say)
    result = verdict.result(level)
    if as_json:
        print(json.dumps(_plain_transactions(verdict, level)))
    else:
        print(f"{level}: {result}")
        print(verdict.explain())
    if html is not None:
        html.write_text(page(verdict, file.name), encoding="utf-8")
    return STATUS[result]


# ── as JSON ──────────────────────────────────────────────────────────────────


def _plain_calls(verdict: linearizability.Verdict) -> dict[str, object]:
    found = verdict.counterexample
    return {
        "result": verdict.result,
        "model": verdict.model,
        "operations": verdict.operations,
        "parts": verdict.parts,
        "steps": verdict.steps,
        "undecided": verdict.undecided,
        "counterexample": found
        and {
            "part": found.part,
            "operations": [
                {
                    "process": each.process,
                    "call": call(each),
                    "start_ns": each.start,
                    "end_ns": each.end,
                    "line": each.line or None,
                }
                for each in found.operations
            ],
            "order": [call(each.operation) for each in found.order],
            "cannot_be_next": [
                {"process": each.process, "call": call(each), "because": reason}
                for each, reason in zip(found.stuck, found.reasons, strict=True)
            ],
        },
    }


def _plain_transactions(verdict: isolation.Verdict, level: str) -> dict[str, object]:
    return {
        "result": verdict.result(level),
        "level": level,
        "levels": list(verdict.levels),
        "complete": verdict.complete,
        "transactions": verdict.transactions,
        "summary": verdict.summary,
        "anomalies": {
            name: {
                "transactions": [
                    verdict.observed.transactions[number].id for number in anomaly.transactions
                ],
                "edges": [
                    {
                        "from": verdict.observed.transactions[edge.source].id,
                        "to": verdict.observed.transactions[edge.target].id,
                        "why": edge.why.value,
                        "because": because(verdict.observed, edge),
                    }
                    for edge in anomaly.edges
                ],
                "because": anomaly.why or None,
            }
            for name, anomaly in verdict.anomalies.items()
        },
    }


# ── input and progress ───────────────────────────────────────────────────────


def _known(what: str, name: str, known: list[str]) -> str:
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise InvalidArgument(f"no {what} {name!r}; {hint}")
    return name


def _budget(text: str) -> tuple[int | None, float | None]:
    """Steps or seconds; with seconds there is a bound on the steps, for the sake of memory."""
    steps: int | None = None
    seconds: float | None = None
    try:
        if text.endswith("steps"):
            steps = int(text.removesuffix("steps").replace(",", ""))
        else:
            seconds = parse_seconds(text)
    except (ValueError, InvalidArgument):
        pass  # refused below, as is what is not above 0
    if (steps or seconds or 0) <= 0:
        raise InvalidArgument(
            f"--budget is {text!r}; give a time above 0, as in 60s, or steps, as in 500000steps"
        )
    return (STEPS_MAX if steps is None else steps), seconds


def _refuse_empty(file: Path, history: Sequence[object], what: str) -> None:
    """Nothing at all would satisfy everything; whoever sees that "hold" has lost a file."""
    if not history:
        name = "the input" if str(file) == "-" else str(file)
        raise InvalidArgument(f"{name} is empty: it holds no {what}")


@contextmanager
def _lines(file: Path) -> Iterator[Iterator[bytes]]:
    """The lines of the file; an error in them names it."""
    with _naming(file):
        if str(file) == "-":
            yield iter(sys.stdin.buffer)
        else:
            with file.open("rb") as opened:
                yield iter(opened)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """What is wrong with the history is said with the name of its file."""
    try:
        yield
    except MalformedHistory as error:
        raise InvalidArgument(f"{file}: {error.message}", **error.fields) from None


@contextmanager
def _progress() -> Iterator[Say]:
    """What is being done, on the error output, if a person looks on."""
    if sys.stderr is None or sys.stderr.closed or not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console  # as long to load as the rest of the command
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("checking")
        yield lambda text: bar.update(task, description=text)
