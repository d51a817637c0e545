"""What histories mean, by trying everything: slow, and plainly right.

A checker is clever, so what it is compared with must not be. For calls: the real
things (a variable, a dictionary, a deque, ...), used by one client at a time, in
*every* order that time allows, with every subset of the calls that nobody knows of.
For transactions: every circle of the graph, one by one, named by its definition, and,
where the order of versions is not known, every order that there could be.

Only for histories of a few calls; the specification draws no others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, permutations, product
from typing import Any, Final

from sdkit.check.history import Operation
from sdkit.check.lines import Flag
from sdkit.check.transactions import Transaction

TOKENS_MAX: Final = 6


# ── calls ────────────────────────────────────────────────────────────────────


class Refused(Exception):
    """The thing does not do that now."""


class RegisterThing:
    def __init__(self) -> None:
        self.value: Hashable = None

    def do(self, call: Operation) -> Hashable:
        if call.op == "read":
            return self.value
        if call.op == "write":
            self.value = call.argument
            return None
        assert isinstance(call.argument, tuple)
        expected, new = call.argument
        if self.value != expected:
            return Flag.FALSE
        self.value = new
        return Flag.TRUE


class MapThing:
    def __init__(self) -> None:
        self.rows: dict[str, Hashable] = {}

    def do(self, call: Operation) -> Hashable:
        if call.op == "get":
            return self.rows.get("it")
        if call.op == "put":
            self.rows["it"] = call.argument
            return None
        return Flag.TRUE if self.rows.pop("it", None) is not None else Flag.FALSE


class QueueThing:
    def __init__(self) -> None:
        self.waiting: deque[Hashable] = deque()

    def do(self, call: Operation) -> Hashable:
        if call.op == "enqueue":
            self.waiting.append(call.argument)
            return None
        return self.waiting.popleft() if self.waiting else None


class MutexThing:
    def __init__(self) -> None:
        self.holder: Hashable = None

    def do(self, call: Operation) -> Hashable:
        if call.op == "acquire":
            if self.holder is not None:
                raise Refused
            self.holder = call.process
        elif self.holder != call.process:
            raise Refused
        else:
            self.holder = None
        return None


class FencedLockThing:
    def __init__(self) -> None:
        self.held: Hashable = None
        self.greatest = 0

    def do(self, call: Operation) -> Hashable:
        if call.op == "acquire":
            token = self.greatest + 1 if call.result is None else call.result
            assert isinstance(token, int)
            if self.held is not None or token <= self.greatest:
                raise Refused
            self.held = self.greatest = token
            return token
        is_mine = self.held == call.argument
        if is_mine:
            self.held = None
        if call.op == "expire":
            return None
        return Flag.TRUE if is_mine else Flag.FALSE


class LogThing:
    def __init__(self) -> None:
        self.entries: list[Hashable] = []

    def do(self, call: Operation) -> Hashable:
        if call.op == "append":
            self.entries.append(call.argument)
            return len(self.entries) - 1
        if call.op == "length":
            return len(self.entries)
        if call.argument is None:
            return tuple(self.entries)
        assert isinstance(call.argument, int)
        return self.entries[call.argument] if call.argument < len(self.entries) else None


class CounterThing:
    def __init__(self) -> None:
        self.total = 0

    def do(self, call: Operation) -> Hashable:
        if call.op == "add":
            assert isinstance(call.argument, int)
            self.total += call.argument
        return self.total


class SetThing:
    def __init__(self) -> None:
        self.elements: set[Hashable] = set()

    def do(self, call: Operation) -> Hashable:
        element, was = call.argument, call.argument in self.elements
        if call.op == "read":
            return tuple(sorted(self.elements, key=repr))
        if call.op == "contains":
            return Flag.TRUE if was else Flag.FALSE
        if call.op == "add":
            self.elements.add(element)
            return Flag.FALSE if was else Flag.TRUE
        self.elements.discard(element)
        return Flag.TRUE if was else Flag.FALSE


Thing = (
    RegisterThing
    | MapThing
    | QueueThing
    | MutexThing
    | FencedLockThing
    | LogThing
    | CounterThing
    | SetThing
)

THINGS: Final[dict[str, type[Thing]]] = {
    "register": RegisterThing,
    "map": MapThing,
    "queue": QueueThing,
    "mutex": MutexThing,
    "fenced-lock": FencedLockThing,
    "log": LogThing,
    "counter": CounterThing,
    "set": SetThing,
}
SILENT: Final = ("write", "put", "delete", "append", "add", "remove", "release", "cas", "enqueue")
"""Calls whose answer may be left out."""


def has_an_order(model: str, operations: Sequence[Operation]) -> bool:
    """Is there an order of the calls, in time, in which the real thing answers so?"""
    sure = [each for each in operations if each.outcome == "ok"]
    lost = [each for each in operations if each.outcome == "info"]
    choices = product(*(_ways(model, each) for each in lost))
    return any(_ordered(model, sure + [each for each in way if each]) for way in choices)


def _ways(model: str, lost: Operation) -> list[Operation | None]:
    """It never happened; or it did, and nobody knows what it answered."""
    if model == "fenced-lock" and lost.op == "acquire":
        return [None] + [replace(lost, result=token) for token in range(1, TOKENS_MAX)]
    return [None, lost]


def _ordered(model: str, operations: list[Operation]) -> bool:
    stack: list[tuple[Operation, ...]] = [()]
    while stack:
        order = stack.pop()
        if not _plays(model, order):
            continue
        left = [each for each in operations if not any(each is one for one in order)]
        if not left:
            return True
        stack += [
            (*order, each)
            for each in left
            if not any(comes_before(other, each) for other in left if other is not each)
        ]
    return False


def comes_before(one: Operation, other: Operation) -> bool:
    """Was ``one`` over when ``other`` began, by the clock or by their process?"""
    if one.end is None:
        return False
    return one.end < other.start or (
        one.process == other.process and (one.start, one.line) < (other.start, other.line)
    )


def _plays(model: str, order: Sequence[Operation]) -> bool:
    """Do the real things, one for each key, answer like this?"""
    things: dict[Hashable, Thing] = {}
    for call in order:
        thing = things.setdefault(call.key, THINGS[model]())
        try:
            answer = thing.do(call)
        except Refused:
            return False  # for a lost call too: that it never happened is another way
        if call.outcome == "ok" and not same(model, call, answer):
            return False
    return True


def same(model: str, call: Operation, answer: Hashable) -> bool:
    """Is what was recorded what the thing said?"""
    if call.op == "cas" and call.result in (None, call.argument):
        return answer is Flag.TRUE
    if call.result is None and call.op in SILENT:
        # Locks say nothing when all went well, and no when it did not.
        return not (call.op == "release" and answer is Flag.FALSE)
    if model == "set" and call.op == "read":
        assert isinstance(answer, tuple)
        assert isinstance(call.result, tuple)
        return sorted(answer, key=repr) == sorted(call.result, key=repr)
    return call.result == answer


# ── transactions ─────────────────────────────────────────────────────────────

Arrow = tuple[int, int, str, Hashable]  # from, to, kind, key


def resolved(history: Sequence[Transaction]) -> list[Transaction]:
    """An unknown outcome is a commit if one that counts has seen it, and else an abort."""
    written = {(key, value): each for each in history for key, value, *_ in each.writes}
    counted = [each for each in history if each.status == "committed"]
    for each in counted:  # it grows as it is walked
        for key, value in [*each.reads, *each.predicate_reads]:
            writer = written.get((key, value))
            if writer is not None and writer.status == "unknown" and writer not in counted:
                counted.append(writer)
    return [replace(each, status="committed" if each in counted else "aborted") for each in history]


def orders_of_versions(history: Sequence[Transaction]) -> Iterator[dict[Hashable, list[int]]]:
    """Every order in which the writers of each key may stand, those with positions by them."""
    places: list[dict[Hashable, Any]] = [
        {key: place[0] if place else each.position for key, _, *place in each.writes}
        if each.status == "committed"
        else {}
        for each in history
    ]
    keys = dict.fromkeys(key for of_one in places for key in of_one)
    writers = {key: [n for n, of_one in enumerate(places) if key in of_one] for key in keys}
    possible = [
        [order for order in permutations(of_key) if _is_sorted([places[n][key] for n in order])]
        for key, of_key in writers.items()
    ]
    for orders in product(*possible):
        yield dict(zip(writers, map(list, orders), strict=True))


def _is_sorted(positions: Sequence[Any]) -> bool:
    known = [position for position in positions if position is not None]
    return known == sorted(known)


def _last(each: Transaction) -> dict[Hashable, object]:
    """What it installs for each key."""
    return {key: value for key, value, *_ in each.writes}


def arrows(history: Sequence[Transaction], order: dict[Hashable, list[int]]) -> list[Arrow]:
    """Adya's graph of committed register transactions, for one order of versions."""
    installed = {
        (key, value): number
        for number, each in enumerate(history)
        for key, value in _last(each).items()
        if each.status == "committed"
    }
    found: list[Arrow] = []
    for key, writers in order.items():
        found += [(a, b, "ww", key) for a, b in pairwise(writers)]
    for number, each in enumerate(history):
        if each.status != "committed":
            continue
        plain = {tuple(pair) for pair in each.reads}
        scanned = [pair for pair in each.predicate_reads if tuple(pair) not in plain]
        for kind, (key, value) in [("rw", pair) for pair in each.reads] + [
            ("predicate rw", pair) for pair in scanned
        ]:
            if value is not None and (key, value) not in installed:
                continue  # wrong by itself, and so no arrow
            writers = order.get(key, [])
            at = -1 if value is None else writers.index(installed[key, value])
            if value is not None and writers[at] == number:
                continue  # its own
            if at >= 0:
                found.append((writers[at], number, "wr", key))
            if at + 1 < len(writers) and writers[at + 1] != number:
                found.append((number, writers[at + 1], kind, key))
    return found


def circles(found: Sequence[Arrow]) -> Iterator[list[Arrow]]:
    """Every circle that passes each transaction once, from its smallest number."""
    for start in {arrow[0] for arrow in found}:
        stack = [[arrow] for arrow in found if arrow[0] == start and arrow[1] >= start]
        while stack:
            way = stack.pop()
            if way[-1][1] == start:
                yield way
                continue
            passed = {arrow[0] for arrow in way}
            stack += [
                [*way, arrow]
                for arrow in found
                if arrow[0] == way[-1][1]
                and (arrow[1] == start or (arrow[1] > start and arrow[1] not in passed))
            ]


def name_of(circle: Sequence[Arrow]) -> str:
    """By the definitions; each circle has the first name that fits."""
    kinds = [kind for _, _, kind, _ in circle]
    anti = ["rw" in kind for kind in kinds]
    if not any(anti):
        return "G0" if set(kinds) == {"ww"} else "G1c"
    if anti.count(True) == 1:
        on_one_key = len({key for *_, key in circle}) == 1
        return "lost update" if on_one_key and "wr" not in kinds else "G-single"
    if not any(anti[n - 1] and anti[n] for n in range(len(anti))):
        return "G-nonadjacent"
    return "G2" if "predicate rw" in kinds else "G2-item"


def no_snapshots(found: Sequence[Arrow], count: int) -> bool:
    """Cerone and Gotsman: does the relation "ww or wr, then maybe one rw" have a circle?"""
    steps = {(a, b) for a, b, kind, _ in found if "rw" not in kind}
    anti = {(a, b) for a, b, kind, _ in found if "rw" in kind}
    steps |= {(a, d) for a, b in steps for c, d in anti if b == c}
    for middle in range(count):
        steps |= {(a, d) for a, b in steps if b == middle for c, d in steps if c == middle}
    return any(a == b for a, b in steps)


def wrong_reads(history: Sequence[Transaction]) -> set[str]:
    """G1a, G1b and reads of what nobody wrote, by their definitions."""
    found = set()
    written = {(key, value): each for each in history for key, value, *_ in each.writes}
    for each in history:
        if each.status != "committed":
            continue
        for key, value in [*each.reads, *each.predicate_reads]:
            writer = written.get((key, value))
            if value is None or writer is each:
                continue
            if writer is None:
                found.add("impossible read")
            elif writer.status == "aborted":
                found.add("G1a")
            elif _last(writer)[key] != value:
                found.add("G1b")
    return found
