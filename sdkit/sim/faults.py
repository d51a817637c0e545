"""Faults: what goes wrong, as plain data.

A fault that is a line of code in a test happens once, there. A fault that is a
row in a table can be drawn from a seed, printed, saved, left out, and tried
again a hundred times while a failing run is made smaller:

     1   0.412 s  cut                client-2->db    0.310 s
     2   1.093 s  power cut          db              0.250 s
     3   1.902 s  failed sync        db

The idea
    `draw` makes a schedule from menus: which kinds a scenario may suffer, where,
    how often. Each menu draws from a stream of its own, made of the seed, the
    kind and the target. So a menu that is added or a fault that is left out
    changes nothing about the others.

Things to notice
    1. A fault keeps its `number` when others are left out. What has to be drawn
       while it happens (which sectors a power cut keeps) comes from the seed and
       that number, so it happens the same way alone.
    2. A fault may come at an instant, or at a *step* of a disk: "before the 17th
       write, sync or rename". The second is how a crash at every write is tried.
    3. Nothing here happens. Who carries it out is `sdkit.sim.injection`.

Shrinking a schedule by leaving out elements is delta debugging (Zeller and
Hildebrandt, 2002); `sdkit.sim.explore` does it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from difflib import get_close_matches
from random import Random
from typing import Final, Literal

from sdkit.arguments import check_between
from sdkit.errors import InvalidArgument

SEED_MAX: Final = 2**63 - 1
SECONDS_MAX: Final = 1e7  # four months: a run, or a fault in it
NUMBER_MAX: Final = 10**9
AMOUNT_MAX: Final = 1e9
NEAR_STEPS: Final = 40  # a recovery takes about half as many

On = Literal["machine", "disk", "link"]


@dataclass(frozen=True)
class Kind:
    """A way to fail.

    Args:
        name: as in tables and files.
        on: what it happens to.
        lasts: it has an end; ``for_s`` says when.
        amount: what its number means; empty if it has none.
        least, most: what the number may be.
    """

    name: str
    on: On
    says: str
    lasts: bool = False
    amount: str = ""
    least: float = 0.0
    most: float = AMOUNT_MAX


KINDS: Final = {
    kind.name: kind
    for kind in (
        Kind("kill", "machine", "the process is killed, and started again", lasts=True),
        Kind("power cut", "machine", "the machine loses power, and boots again", lasts=True),
        Kind("pause", "machine", "the process is stopped, and goes on", lasts=True),
        Kind(
            "slow cpu", "machine", "it runs for this share of the time", True, "share", 0.01, 0.99
        ),
        Kind("clock jump", "machine", "its wall clock is set", False, "seconds", -AMOUNT_MAX),
        Kind("clock drift", "machine", "its clocks run fast or slow", True, "relative", -0.99),
        Kind("slow disk", "disk", "every step takes this many times longer", True, "times"),
        Kind("full disk", "disk", "nothing more fits", lasts=True),
        Kind("failed write", "disk", "the next append fails"),
        Kind("short write", "disk", "the next append leaves a part behind", amount="bytes"),
        Kind("failed sync", "disk", "the next sync fails"),
        Kind("lying disk", "disk", "syncs say yes and do nothing", lasts=True),
        Kind("flipped bit", "disk", "one bit at rest rots"),
        Kind("cut", "link", "nothing arrives", lasts=True),
        Kind("slow link", "link", "everything takes this much longer", True, "seconds"),
        Kind(
            "lossy link", "link", "packets are lost and sent again", True, "probability", 0.0, 1.0
        ),
        Kind("reset", "link", "every connection breaks"),
        Kind("refuse", "machine", "connections to it are refused", lasts=True),
        Kind("no name", "machine", "its name does not resolve", lasts=True),
    )
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that goes wrong.

    Args:
        number: its name within a schedule, from 1.
        kind: one of `KINDS`.
        target: a machine; of a link, ``a->b`` for one direction or ``a<->b``.
        at_s: when, in virtual seconds since the beginning.
        at_step: instead: before this step of the target's disk, counted from the beginning.
        for_s: how long it lasts, in seconds.
        amount: see `Kind.amount`.
    """

    number: int
    kind: str
    target: str
    at_s: float = 0.0
    at_step: int | None = None
    for_s: float = 0.0
    amount: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = get_close_matches(str(self.kind), KINDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(KINDS)}"
            raise InvalidArgument(f"no fault is called {self.kind!r}{hint}", kind=self.kind)
        kind = KINDS[self.kind]
        if kind.on == "link":
            self.ends()
        check_between("number", self.number, 0, NUMBER_MAX)
        check_between("at_step", self.at_step or 0, 0, NUMBER_MAX)
        check_between("at_s", self.at_s, 0.0, SECONDS_MAX)
        check_between("for_s", self.for_s, 0.0, SECONDS_MAX)
        if kind.amount:
            check_between(f"{kind.name}'s amount", self.amount, kind.least, kind.most)
        if self.at_step is not None and kind.on == "link":
            raise InvalidArgument(f"fault {self.number}: a link has no disk whose steps to count")

    def ends(self) -> list[tuple[str, str]]:
        """Of a link: the directions, as (source, target)."""
        source, both, target = self.target.partition("<->")
        if both:
            return [(source, target), (target, source)]
        source, one, target = self.target.partition("->")
        if not one:
            raise InvalidArgument(
                f"{self.kind} has target {self.target!r}; it must be a->b or a<->b"
            )
        return [(source, target)]

    @property
    def when(self) -> str:
        """As text: ``2.184 s`` or ``step 17``."""
        return f"{self.at_s:.3f} s" if self.at_step is None else f"step {self.at_step}"

    def __str__(self) -> str:
        """As in "power cut at 2.184 s on db for 0.250 s"."""
        amount = f" ({KINDS[self.kind].amount} {self.amount:g})" if KINDS[self.kind].amount else ""
        lasts = f" for {self.for_s:.3f} s" if self.for_s else ""
        when = self.when if self.at_step is None else f"disk {self.when}"
        return f"{self.kind}{amount} at {when} on {self.target}{lasts}"


@dataclass(frozen=True)
class Menu:
    """A kind of fault that a scenario may suffer.

    Args:
        kind: one of `KINDS`.
        targets: where it may happen.
        times: how often at each target, at least and at most.
        for_s: how long it lasts, at least and at most.
        amount: at least and at most.
        at_steps: draw the moment as a step of the disk, up to this one, and not as an
            instant. Often it is near a step that is drawn once for the target, so that
            one crash falls into the recovery from another.
    """

    kind: str
    targets: Sequence[str]
    times: tuple[int, int] = (0, 1)
    for_s: tuple[float, float] = (0.0, 0.0)
    amount: tuple[float, float] = (0.0, 0.0)
    at_steps: int = 0


def draw(menus: Iterable[Menu], *, seed: int, seconds: float) -> list[Fault]:
    """A schedule for one run, by time, numbered from 1.

    Args:
        seconds: no fault begins later than this.
    """
    drawn: list[Fault] = []
    for menu in menus:
        for target in menu.targets:
            rng = Random(f"{seed} faults {menu.kind} {target}")
            for _ in range(rng.randint(*menu.times)):
                at_s = round(rng.uniform(0.0, seconds), 6)
                at_step = _step(menu, target, seed, rng) if menu.at_steps else None
                for_s = round(rng.uniform(*menu.for_s), 6)
                amount = round(rng.uniform(*menu.amount), 6)
                fault = Fault(
                    number=0,
                    kind=menu.kind,
                    target=target,
                    at_s=at_s if at_step is None else 0.0,
                    at_step=at_step,
                    for_s=for_s,
                    amount=int(amount) if KINDS[menu.kind].amount == "bytes" else amount,
                )
                drawn.append(fault)
    drawn.sort(key=lambda fault: (fault.at_s, fault.at_step or 0, fault.kind, fault.target))
    return [replace(fault, number=number) for number, fault in enumerate(drawn, 1)]


def _step(menu: Menu, target: str, seed: int, rng: Random) -> int:
    if rng.random() < 0.3:
        return rng.randint(1, menu.at_steps)
    first = Random(f"{seed} steps {target}").randint(1, menu.at_steps)
    return first + rng.randrange(NEAR_STEPS)


def as_row(fault: Fault) -> tuple[str, ...]:
    """Number, when, what, where, how long, how much."""
    amount = KINDS[fault.kind].amount
    return (
        f"{fault.number}",
        fault.when,
        fault.kind,
        fault.target,
        f"{fault.for_s:.3f} s" if fault.for_s else "",
        f"{amount} {fault.amount:g}" if amount else "",
    )


def table(faults: Iterable[Fault]) -> str:
    """A schedule as text, a row for each fault."""
    rows = [as_row(fault) for fault in faults]
    head = ("#", "when", "fault", "where", "lasts", "")
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [cell.rjust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        cells += [cell.ljust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


@dataclass(frozen=True)
class Schedule:
    """A run that can be made again: what `explore` writes to a file and the command reads."""

    scenario: str
    seed: int
    faults: tuple[Fault, ...]
    seconds: float
    without: tuple[str, ...] = field(default=())

    def text(self) -> str:
        """JSON lines: the run first, then a line for each fault."""
        head = {
            "scenario": self.scenario,
            "seed": self.seed,
            "seconds": self.seconds,
            "without": list(self.without),
        }
        rows = [json.dumps(head)]
        for fault in self.faults:
            row = {name: value for name, value in asdict(fault).items() if value not in (None, 0.0)}
            rows.append(json.dumps(row))
        return "\n".join(rows) + "\n"

    @classmethod
    def parse(cls, text: str, *, source: str = "schedule") -> Schedule:
        """The reverse of `text`.

        Args:
            source: what an error calls it; a file's name.

        Raises:
            InvalidArgument: a line is no such thing; the message names it.
        """
        lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
        if not lines:
            raise InvalidArgument(f"{source} is empty; it must begin with a line that names a run")
        (first, head), *rest = lines
        run = _run(head, f"{source}:{first}")
        faults: dict[int, Fault] = {}
        for n, line in rest:
            fault = _fault(line, f"{source}:{n}")
            if faults.setdefault(fault.number, fault) is not fault:
                raise InvalidArgument(f"{source}:{n}: there is a fault {fault.number} already")
        return replace(run, faults=tuple(faults.values()))


def _run(line: str, place: str) -> Schedule:
    """The first line: a schedule without its faults."""
    head = _record(line, place)
    known = [each.name for each in fields(Schedule) if each.name != "faults"]
    if unknown := sorted(head.keys() - set(known)):
        raise InvalidArgument(f"{place}: a run has no {unknown[0]}; it has {', '.join(known)}")
    match head:
        case {"scenario": str(scenario), "seed": int(seed), "seconds": int() | float() as seconds}:
            without = head.get("without", [])
        case _:
            raise InvalidArgument(f"{place}: a run needs scenario, seed and seconds")
    if not isinstance(without, list):
        raise InvalidArgument(f"{place}: without is {without!r}; it must be a list")
    try:
        check_between("seed", seed, 0, SEED_MAX)
        check_between("seconds", seconds, 0.0, SECONDS_MAX)
    except InvalidArgument as error:
        raise InvalidArgument(f"{place}: {error}") from error
    return Schedule(scenario, seed, (), float(seconds), tuple(map(str, without)))


def _record(line: str, place: str) -> dict[str, object]:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise InvalidArgument(f"{place}: not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InvalidArgument(f"{place}: {line.strip()[:40]} is not a JSON object")
    return record


_TYPES: Final = {
    "number": int,
    "kind": str,
    "target": str,
    "at_s": float,
    "at_step": int,
    "for_s": float,
    "amount": float,
}


def _fault(line: str, place: str) -> Fault:
    record = _record(line, place)
    known = {each.name for each in fields(Fault)}
    if unknown := sorted(record.keys() - known):
        raise InvalidArgument(f"{place}: a fault has no {unknown[0]}; it has {', '.join(_TYPES)}")
    values = {}
    for name, value in record.items():
        wanted = _TYPES[name]
        accepted = (int, float) if wanted is float else wanted
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise InvalidArgument(f"{place}: {name} is {value!r}; it must be of {wanted.__name__}")
        values[name] = value
    if missing := [name for name in ("number", "kind", "target") if name not in values]:
        raise InvalidArgument(f"{place}: a fault needs number, kind and target; no {missing[0]}")
    try:
        return Fault(**values)  # type: ignore[arg-type]
    except InvalidArgument as error:
        raise InvalidArgument(f"{place}: {error}") from error
