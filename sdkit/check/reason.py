"""Reason: a few calls of a history that contradict each other.

"These thousand calls have no order" explains nothing. Mostly three or four of them
already contradict each other. To find them, leave calls out while the rest still has no
order. But not every call may go: without the write of 5, a read of 5 is a contradiction
that the history does not contain. Two kinds of calls may go:

    the end         The history until some instant is a history too; calls that were open
                    then have an unknown outcome. If it has no order, the whole has none.
    a group         A call that changes nothing. Or all calls of one value: the writes that
                    made it and the reads that saw it. Or an acquire and its release, or
                    the enqueue and the dequeue of a value (`Model.groups`). If the whole
                    has an order, the rest has the same order without them.

So if the rest has no order, the whole has none: the result is a true reason. It is small,
but not always the smallest. To find the smallest would take too long.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sdkit.check.history import Operation
from sdkit.check.model import NOTHING, Model, State
from sdkit.check.search import Search

TRY_STEPS: Final = 20_000  # for one attempt, and two more for each call
ALL_STEPS: Final = 200_000  # for all of them, and twenty more for each call


@dataclass(slots=True)
class Placed:
    """One call of an order, and the state after it."""

    operation: Operation
    after: str


@dataclass(slots=True)
class Counterexample:
    """Calls that contradict each other.

    Args:
        part: the key, or the like, that they are about, as text.
        operations: the calls, in the order of their beginnings.
        order: the longest order that was found, of some of them, and the state after each.
        initial: the state before the first.
        stuck: the calls that could come next. None fits. The one that ended first comes first.
        reasons: why each of ``stuck`` does not fit.
        around: other calls of the same part at the same time. They are not part of the reason.
    """

    part: str
    operations: list[Operation]
    order: list[Placed]
    initial: str
    stuck: list[Operation]
    reasons: list[str]
    around: list[Operation]


def counterexample(model: Model, part: str, operations: Sequence[Operation]) -> Counterexample:
    """Find a small reason why ``operations`` has no order; it must have none."""
    shrinking = _Shrinking(model, len(operations))
    small = shrinking.shrink(list(operations))
    search = Search(model, small, hinted=False)
    if search.run(TRY_STEPS) is None:
        search = Search(model, small)
        search.run(ALL_STEPS + shrinking.try_steps)
    order, state = list[Placed](), model.initial
    for number in search.longest:
        state = model.step(state, small[number])
        order.append(Placed(small[number], model.describe(state)))
    placed = set(search.longest)
    left = [each for number, each in enumerate(small) if number not in placed]
    stuck = sorted(
        (each for each in left if each.end is not None and _may_be_next(each, left)),
        key=lambda each: each.end or 0,
    )
    return Counterexample(
        part,
        small,
        order,
        model.describe(model.initial),
        stuck,
        [_reason(model, state, each) for each in stuck],
        _around(operations, small),
    )


def _may_be_next(operation: Operation, left: Sequence[Operation]) -> bool:
    return not any(
        other.end is not None
        and (
            other.end < operation.start
            or (other.process == operation.process and other.start < operation.start)
        )
        for other in left
    )


def _reason(model: Model, state: State, operation: Operation) -> str:
    return f"at this point it is {model.describe(state)}"


def _around(operations: Sequence[Operation], small: Sequence[Operation]) -> list[Operation]:
    """Calls that were left out and overlap in time with those that were kept."""
    kept = {(each.process, each.start, each.line) for each in small}
    begin = min(each.start for each in small)
    end = max(each.start if each.end is None else each.end for each in small)
    return [
        each
        for each in operations
        if (each.process, each.start, each.line) not in kept
        and each.start <= end
        and (each.end is None or each.end >= begin)
    ]


class _Shrinking:
    """A search for fewer calls that still have no order."""

    def __init__(self, model: Model, calls: int) -> None:
        self._model = model
        self.try_steps = TRY_STEPS + 2 * calls
        self._steps_left = ALL_STEPS + 20 * calls

    def shrink(self, operations: list[Operation]) -> list[Operation]:
        operations = self._first_part(operations)
        while True:
            smaller = self._without_groups(operations)
            if len(smaller) == len(operations):
                return operations
            operations = smaller

    def _fails(self, operations: Sequence[Operation]) -> bool:
        """Whether it is certain that there is no order."""
        search = Search(self._model, operations)
        found = search.run(min(self.try_steps, self._steps_left))
        self._steps_left -= search.steps
        return found is False

    def _first_part(self, operations: list[Operation]) -> list[Operation]:
        """The history until the first instant at which it is over, found by halving."""
        ends = sorted({each.end for each in operations if each.end is not None})
        low, high, best = 0, len(ends) - 1, operations
        while low < high:
            middle = (low + high) // 2
            cut = _until(operations, ends[middle])
            if self._fails(cut):
                high, best = middle, cut
            else:
                low = middle + 1
        return best

    def _without_groups(self, operations: list[Operation]) -> list[Operation]:
        """Leave out groups, many at once at first, then fewer."""
        groups = [set(group) for group in _groups(self._model, operations)]
        kept = list(range(len(operations)))
        size = max(1, len(groups) // 2)
        while size and self._steps_left > 0:
            for at in range(0, len(groups), size):
                gone = set[int]().union(*groups[at : at + size])
                fewer = [number for number in kept if number not in gone]
                if len(fewer) < len(kept) and self._fails([operations[n] for n in fewer]):
                    kept = fewer
            left = set(kept)
            groups = [group for group in groups if group & left]
            size = min(size // 2, len(groups)) if size > 1 else 0
        return [operations[number] for number in kept]


def _until(operations: Sequence[Operation], instant: int) -> list[Operation]:
    """The history until ``instant``; calls that were open then have an unknown outcome."""
    return [
        each
        if each.end is None or each.end <= instant
        else replace(each, outcome="info", end=None, result=None)
        for each in operations
        if each.start <= instant
    ]


def _groups(model: Model, operations: Sequence[Operation]) -> list[list[int]]:
    """Calls that may be left out together, by their numbers: the rest keeps its order."""
    single = [[number] for number, each in enumerate(operations) if not model.changes(each)]
    single += map(list, model.groups(operations))
    lives: dict[Hashable, list[int]] = {}
    asks = [model.asks(each) for each in operations]
    makes = [model.makes(each) for each in operations]
    if any(model.looks(each) for each in operations):
        return single
    joined = _joined(list(zip(asks, makes, strict=True)))
    for number, (asked, made) in enumerate(zip(asks, makes, strict=True)):
        value = asked if made is NOTHING else made
        if value is not NOTHING:
            lives.setdefault(joined.get(value, value), []).append(number)
    first = joined.get(model.initial, model.initial)
    return [group for value, group in lives.items() if value != first] + single


def _joined(pairs: Sequence[tuple[Hashable, Hashable]]) -> dict[Hashable, Hashable]:
    """Group values of which one was made out of the other. Returns the name of each one's group."""
    found: dict[Hashable, Hashable] = {}
    for asked, made in pairs:
        if asked is not NOTHING and made is not NOTHING:
            one, other = found.get(asked, asked), found.get(made, made)
            for value in [value for value, name in found.items() if name == other] + [made, asked]:
                found[value] = one
    return found
