"""Harness: contenders take turns, and what counts is the ratio within a round.

Absolute rates of a shared machine mean little: the same code measures 30 %
faster or slower an hour later. So every round runs each contender once, the
order changes from round to round, and the figure that is printed is the
*median of the per-round ratios*.

A **limit** is the least code that could do the job at all (a bare dict, bare
``fdatasync``); a **peer** is a product that makes the same promise. A row that
syncs to disk counts only while its limit is steady, see `Work.limit_rate_min`.

    def table() -> list[Work]: ...        # in benchmarks/<room>.py

`python -m benchmarks ROOM [--rounds N] [--json FILE]` prints the table.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Kind = Literal["ours", "peer", "limit"]

TRIES_MAX: Final = 3  # runs of a row whose limit was not steady


@dataclass
class Contender:
    """One way of doing the work.

    Args:
        name: as printed.
        kind: ours, peer or limit.
        measure: does the work once, for some 0.3 to 1 s, and returns the figure.
    """

    name: str
    kind: Kind
    measure: Callable[[], float]


@dataclass
class Bar:
    """What a row must reach: the ratio of ours to ``against``, at least (or at most) ``ratio``."""

    against: str  # a contender's name, "limit" or "best peer"; "" for an absolute figure
    ratio: float
    at_most: bool = False


@dataclass
class Work:
    """One row of the table: the same work done by several contenders.

    Args:
        work: the wording of the table that asks for it.
        unit: of the figures, as in ``"transactions/s"``.
        better: whether more or less of it is better.
        contenders: at least one of them is ours, if there are bars.
        bars: what must be reached, by each of ours.
        limit_rate_min: the row counts only if the limit makes at least this
            much in every round and its spread (best / worst) stays below 2.
        skipped: why a contender could not run, for people.
    """

    work: str
    unit: str
    better: Literal["more", "less"]
    contenders: list[Contender]
    bars: list[Bar] = field(default_factory=list)
    limit_rate_min: float | None = None
    skipped: str = ""
    rounds_max: int | None = None  # for work that takes long


@dataclass
class Figure:
    """One contender's result, as written to JSON."""

    work: str
    contender: str
    kind: Kind
    median: float
    unit: str
    better: str
    ratio_to_limit: float | None
    ratio_to_best_peer: float | None


@dataclass
class Result:
    """One row, measured."""

    work: Work
    figures: list[Figure]
    reached: list[tuple[str, Bar, float, bool]]
    """Which of ours, what was asked, what it reached, and whether that is enough."""
    unsteady: str = ""


def run(work: Work, rounds: int, progress: Callable[[str], None]) -> Result:
    """Measure one row; again, up to `TRIES_MAX` times, while its limit is not steady."""
    result = _run_once(work, rounds, progress)
    for _ in range(TRIES_MAX - 1):
        if not result.unsteady:
            break
        progress(f"{work.work}: {result.unsteady}; again")
        result = _run_once(work, rounds, progress)
    return result


def _run_once(work: Work, rounds: int, progress: Callable[[str], None]) -> Result:
    rounds = min(rounds, work.rounds_max or rounds)
    measured: dict[str, list[float]] = {contender.name: [] for contender in work.contenders}
    for number in range(rounds):
        turn = number % len(work.contenders)
        for contender in work.contenders[turn:] + work.contenders[:turn]:
            progress(f"{work.work}: round {number + 1} of {rounds}, {contender.name}")
            measured[contender.name].append(contender.measure())
    limits = [c.name for c in work.contenders if c.kind == "limit"]
    peers = [c.name for c in work.contenders if c.kind == "peer"]
    best_peer = _best(work, peers, measured)
    figures = [
        Figure(
            work.work,
            contender.name,
            contender.kind,
            statistics.median(measured[contender.name]),
            work.unit,
            work.better,
            _ratio(measured, contender.name, limits[0]) if limits else None,
            _ratio(measured, contender.name, best_peer) if best_peer else None,
        )
        for contender in work.contenders
    ]
    ours = [c.name for c in work.contenders if c.kind == "ours"]
    reached = []
    for name, bar in itertools.product(ours, work.bars):
        against = {"limit": limits[0] if limits else "", "best peer": best_peer}.get(
            bar.against, bar.against
        )
        if against and against not in measured:
            continue  # a peer that is not installed here
        if not against and bar.against:
            continue
        value = _ratio(measured, name, against) if against else statistics.median(measured[name])
        met = value <= bar.ratio if bar.at_most else value >= bar.ratio
        reached.append((name, bar, value, met))
    return Result(work, figures, reached, _unsteady(work, [measured[name] for name in limits]))


def _best(work: Work, peers: list[str], measured: dict[str, list[float]]) -> str:
    if not peers:
        return ""
    choose = max if work.better == "more" else min
    return choose(peers, key=lambda name: statistics.median(measured[name]))


def _ratio(measured: dict[str, list[float]], name: str, against: str) -> float:
    """Median over the rounds of ``name`` divided by ``against``."""
    pairs = zip(measured[name], measured[against], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def _unsteady(work: Work, limits: list[list[float]]) -> str:
    if work.limit_rate_min is None:
        return ""
    for rates in limits:
        if min(rates) < work.limit_rate_min:
            return (
                f"the limit made only {min(rates):.0f} {work.unit}, {work.limit_rate_min:.0f} asked"
            )
        if max(rates) / min(rates) >= 2:
            return f"the limit moved between {min(rates):.0f} and {max(rates):.0f} {work.unit}"
    return ""
