"""Cascade, in figures: goodput, latency and load over time, for each way of calling.

*Goodput* is what matters to users: pages that came in time. Throughput would count the
late ones, too, and the busiest of all is the service that answers only those who left.
Latency is a median, not a mean: one page that never came would be the whole of a mean.
"""

from __future__ import annotations

import statistics
from collections import Counter
from typing import Final

from sdkit.scenarios.cascade import GOOD_S, SECONDS, SLOW_FROM, SLOW_UNTIL, WAYS, Account, run_way
from sdkit.scenarios.comparison import Comparison, Part, Plot, Table, Tell, tell_nobody


def by_second(account: Account) -> dict[int, list[tuple[float, str]]]:
    """Latency and outcome of the pages that were asked for in each second."""
    seconds: dict[int, list[tuple[float, str]]] = {second: [] for second in range(SECONDS)}
    for asked_s, took_s, outcome in account.pages:
        if int(asked_s) in seconds:
            seconds[int(asked_s)].append((took_s, outcome))
    return seconds


def goodput(account: Account) -> list[float]:
    """Pages asked for in each second that came in time, complete or not."""
    return [
        float(sum(outcome in ("complete", "degraded") for _, outcome in pages))
        for pages in by_second(account).values()
    ]


def latency(account: Account) -> list[float]:
    """Median of each second, in seconds; a page that never came took until the end."""
    return [
        statistics.median([took_s for took_s, _ in pages] or [0.0])
        for pages in by_second(account).values()
    ]


def well_again_after(account: Account) -> float | None:
    """Seconds from when Profile was well again until the pages were; None: not in this run."""
    bad = [
        second
        for second, pages in by_second(account).items()
        if sum(outcome == "complete" for _, outcome in pages) < 0.9 * len(pages)
    ]
    last = max(bad, default=0)
    return None if last == SECONDS - 1 else float(max(0, last + 1 - SLOW_UNTIL))


def compare(seed: int, tell: Tell = tell_nobody) -> list[Part]:
    """All ways, side by side."""
    accounts, rows = {}, []
    for number, way in enumerate(WAYS):
        tell(number, len(WAYS), way)
        accounts[way] = run_way(way, seed)
    for way, account in accounts.items():
        during = [page for page in account.pages if SLOW_FROM <= page[0] < SLOW_UNTIL]
        outcomes = Counter(outcome for _, _, outcome in during)
        again = well_again_after(account)
        rows.append(
            (
                way,
                len(during),
                outcomes["complete"],
                outcomes["degraded"],
                outcomes["late"] + outcomes["failed"],
                round(statistics.median(took_s for _, took_s, _ in during), 3),
                sum(account.profile_calls[s] for s in range(SLOW_FROM, SLOW_UNTIL)),
                "not in this run" if again is None else f"{again:.0f} s",
            )
        )
    return [
        Table(
            f"While Profile is slow (seconds {SLOW_FROM} to {SLOW_UNTIL} of {SECONDS})",
            (
                "calls are made with",
                "pages",
                "complete",
                "without names",
                "lost",
                "median s",
                "calls to Profile",
                "well again after",
            ),
            rows,
            (
                f"lost: failed, or later than {GOOD_S:g} s",
                "median s: of all pages, the lost ones too",
                "well again: from Profile's recovery until 9 of 10 pages are complete again",
            ),
        ),
        Plot(
            f"Goodput: pages in time, each second of {SECONDS}",
            {way: goodput(account) for way, account in accounts.items()},
        ),
        Plot(
            "Latency: median of the pages asked for in each second [s]",
            {way: [round(s, 3) for s in latency(account)] for way, account in accounts.items()},
        ),
        Plot(
            "Load: calls that reached Profile, each second",
            {
                way: [float(account.profile_calls[second]) for second in range(SECONDS)]
                for way, account in accounts.items()
            },
        ),
    ]


CASCADE: Final = Comparison(
    "cascade",
    "one slow service under four others: calls with nothing, time-outs, retries, a whole pipeline",
    compare,
)
