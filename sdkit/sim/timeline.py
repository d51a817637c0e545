"""Timeline: one run as a picture, in one HTML file that needs nothing else.

A lane for each machine, time from left to right. The lane is a bar while the
machine is up, and a gap while it is not; faults are marks on it, numbered as in
the table; messages are lines from lane to lane, drawn at the instant at which
they arrive; events are dots. The moment at which a promise was broken is a red
line through everything, with its name.

    db        ▇▇▇▇▇▇▇▇▇▇▇▇▇▇①      ▇▇▇▇▇▇▇▇▇▇▇▇▇▇
                 │ │                    │
    client-1  ▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇▇

Time in which nothing happens for long is drawn as a narrow gap, with its length. What
happens is mostly over in a few seconds, and a client that waits for half a minute would
squeeze all of it into the first inch.

The page holds its data as JSON and draws it with a small script, so that one can
zoom (wheel) into a millisecond of it, move (drag), and read what each mark is.
"""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from typing import Final

from sdkit.sim.digest import Recorded
from sdkit.sim.explore import Outcome
from sdkit.sim.faults import KINDS, as_row
from sdkit.sim.scenario import Scenario

GAP: Final = 0.1  # of a run: idle time that is longer is drawn short
MESSAGES_MAX: Final = 50_000  # a browser draws no more with pleasure


def page(scenario: Scenario, outcome: Outcome) -> str:
    """The page for one recorded run.

    Args:
        outcome: of `sdkit.sim.explore.run_once` with ``record=True``.
    """
    schedule = outcome.schedule
    without = f", without {', '.join(schedule.without)}" if schedule.without else ""
    template = resources.files("sdkit.sim").joinpath("timeline.html").read_text("utf-8")
    # "<" is written as an escape, so that no text of the run can end the script element.
    data = json.dumps(_data(outcome)).replace("<", "\\u003c")
    for name, text in (
        ("title", html.escape(f"{scenario.name}, seed {schedule.seed}{without}")),
        ("summary", html.escape(scenario.summary)),
        ("data", data),
    ):
        template = template.replace(f"@{name}@", text)
    return template


def _data(outcome: Outcome) -> dict[str, object]:
    recorded = outcome.recorded
    messages = [
        (row.at_s, row.fields["source"], row.machine, row.fields["bytes"], row.name[4:])
        for row in recorded
        if row.name.startswith("net.")
    ]
    return {
        "machines": list(outcome.hosts),
        "end": outcome.virtual_seconds,
        "gaps": _gaps(outcome),
        "up": _lives(recorded, outcome.virtual_seconds),
        "messages": messages[:MESSAGES_MAX],
        "left_out": max(0, len(messages) - MESSAGES_MAX),
        "events": [
            (row.at_s, row.machine, _text(row))
            for row in recorded
            if row.machine and not row.name.startswith(_NO_EVENTS)
        ],
        "faults": _faults(outcome),
        "broken": [
            (outcome.virtual_seconds if each.at_s is None else each.at_s, str(each))
            for each in outcome.broken
        ],
    }


def _gaps(outcome: Outcome) -> list[tuple[float, float]]:
    """Where nothing at all happens, not even to a disk, for a tenth of the run or more."""
    moments = {0.0, outcome.virtual_seconds, *(row.at_s for row in outcome.recorded)}
    for fault in outcome.schedule.faults:
        moments |= {fault.at_s, fault.at_s + fault.for_s}
    within = sorted(moment for moment in moments if moment <= outcome.virtual_seconds)
    longest = outcome.virtual_seconds * GAP
    return [(one, other) for one, other in pairwise(within) if other - one > longest]


def _lives(recorded: Sequence[Recorded], end: float) -> list[tuple[str, float, float, str]]:
    """When each machine was up: its name, from, to, and which boot it was."""
    since: dict[str, tuple[float, object]] = {}
    lives = []
    for row in recorded:
        if row.name == "machine.boot":
            since[row.machine] = (row.at_s, row.fields["number"])
        elif row.name in _ENDS and row.machine in since:
            began, number = since.pop(row.machine)
            says = f"{row.machine}, boot {number}, ended by {row.name[8:].replace('_', ' ')}"
            lives.append((row.machine, began, row.at_s, says))
    for machine, (began, number) in since.items():
        lives.append((machine, began, end, f"{machine}, boot {number}"))
    return lives


def _faults(outcome: Outcome) -> list[dict[str, object]]:
    """Those that happened, each with the lane that it is drawn on."""
    came = {row.fields["number"]: row.at_s for row in outcome.recorded if row.name == "sim.fault"}
    on_machine = Counter(fault.target for fault in outcome.schedule.faults)
    drawn = []
    for fault in outcome.schedule.faults:
        if fault.number not in came:
            continue
        lane = fault.target
        if KINDS[fault.kind].on == "link":
            # On the end that has fewer of its own: one lane would be full of all links.
            lane = min(fault.ends()[0], key=lambda name: on_machine[name])
        drawn.append(
            {
                "number": fault.number,
                "at": came[fault.number],
                "lasts": fault.for_s,
                "lane": lane,
                "says": str(fault),
                "row": as_row(fault),
            }
        )
    return drawn


def _text(row: Recorded) -> str:
    facts = " ".join(f"{name}={value!r}" for name, value in row.fields.items())
    took = "" if row.duration_s is None else f" in {row.duration_s * 1e3:.3f} ms"
    return f"{row.name} {facts}{took}"


_NO_EVENTS: Final = ("net.", "machine.boot", "disk.")
_ENDS: Final = ("machine.kill", "machine.power_cut", "machine.end")
