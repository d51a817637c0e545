"""Scenario: a play with a verdict.

A scenario puts machines on a stage, lets programs run on them while faults
come, and in the end compares what was promised with what is there. It is an
ordinary value, so that the command line, the tests and the search for failing
seeds treat all scenarios alike:

    Scenario(name="bank", checks={"nothing lost": "...", ...}, menus=[...], play=play)

`Scenario.play` gets a `Stage` and returns `Findings`. It never sees the faults:
they come from outside, as in life; all it can do is wait until they are over.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sdkit.sim.faults import Menu
from sdkit.sim.world import World


@dataclass(frozen=True)
class Broken:
    """A promise that was not kept.

    Args:
        promise: which: a key of `Scenario.checks`.
        detail: what was seen instead, for a person.
        at_s: when it went wrong, in virtual seconds, if that is known better than by its end.
    """

    promise: str
    detail: str
    at_s: float | None = None

    def __str__(self) -> str:
        return f"{self.promise}: {self.detail}"


@dataclass
class Findings:
    """What a play ends with: broken promises, and what the clients saw, for the story."""

    broken: list[Broken] = field(default_factory=list)
    seen: dict[str, int | float | str] = field(default_factory=dict)


class Stage:
    """What a play gets: its world, and what it needs to know of the run.

    Args:
        world: where it happens.
        without: the names of the safeguards to leave out.
        seconds: how long faults may come.
        calm: returns when no fault will come any more and each is undone: every machine
            is up, every link whole.
    """

    def __init__(
        self,
        world: World,
        *,
        without: frozenset[str],
        seconds: float,
        calm: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self.world: Final = world
        self.without: Final = without
        self.seconds: Final = seconds
        self.calm: Final = calm


@dataclass(frozen=True)
class Scenario:
    """Something that can be simulated by name.

    Args:
        name: as on the command line.
        summary: what happens in it, in one sentence.
        checks: its promises: a short name, and the sentence that it stands for.
        safeguards: those that it can do without: a name, and what happens then.
        menus: the faults that it may suffer.
        seconds: how long faults go on, in virtual seconds; the play ends some time after.
        latency_s: of every message: between two bounds.
        play: a function of the stage. Of a module, so that a run can be sent to another process.
    """

    name: str
    summary: str
    checks: Mapping[str, str]
    safeguards: Mapping[str, str]
    menus: tuple[Menu, ...]
    seconds: float
    latency_s: tuple[float, float]
    play: Callable[[Stage], Coroutine[Any, Any, Findings]]
