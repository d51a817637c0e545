"""Scenario: a play with a verdict.

A scenario puts machines on a stage, lets programs run on them while faults
come, and in the end compares what was promised with what is there. It is an
ordinary value, so that the command line, the tests and the search for failing
seeds treat all scenarios alike:

    Scenario(name="bank", checks={"nothing lost": "...", ...}, menus=[...], play=play)

`Scenario.play` gets a `World` and returns `Findings`. It never sees the faults:
they come from outside, as in life.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from sdkit.sim.faults import Menu
from sdkit.sim.world import World


@dataclass(frozen=True)
class Broken:
    """A promise that was not kept.

    Args:
        promise: which: a key of `Scenario.checks`.
        detail: what was seen instead, for a person.
    """

    promise: str
    detail: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


@dataclass
class Findings:
    """What a play ends with: broken promises, and what the clients saw, for the story."""

    broken: list[Broken] = field(default_factory=list)
    seen: dict[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Scenario:
    """Something that can be simulated by name.

    Args:
        name: as on the command line.
        summary: what happens in it, in one sentence.
        checks: its promises: a short name, and the sentence that it stands for.
        safeguards: the safeguards that it can do without, by name.
        menus: the faults that it may suffer.
        seconds: how long faults go on, in virtual seconds; the play ends some time after.
        play: the world, the names of the safeguards to leave out, and ``seconds``.
    """

    name: str
    summary: str
    checks: Mapping[str, str]
    safeguards: tuple[str, ...]
    menus: tuple[Menu, ...]
    seconds: float
    play: Callable[[World, frozenset[str], float], Coroutine[Any, Any, Findings]]
