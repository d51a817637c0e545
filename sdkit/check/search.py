"""Search: is there an order of the calls that the model allows and that time allows?

Each call took effect at one instant between its beginning and its end. Which one,
nobody saw; so the search looks for an order of all calls that

    * keeps time: what ended before another began comes before it, and
    * keeps the model: each call, in this order, could have been answered so.

        1  |--write 5--|
        2       |-----read: 5-----|            write 5, read 5, write 7, read 7
        3          |----write 7----|           is such an order; there is no need
        4                       |--read: 7--|  to find out which was the real one

It goes forward one call at a time (Wing and Gong, "Testing and Verifying Concurrent
Objects", 1993). What may come next is what began before the first end among the
calls that are left. Where nothing fits it takes the last call back and tries another.
Two paths that have placed the *same set of calls* and reached the *same state* have
the same future, so a second one is not followed (Lowe, "Testing for
Linearizability", 2017). That memory is what makes the search usable at all.

Things to notice
    1. A call that changes nothing and fits is placed at once, without trying the
       others first: wherever else it could stand, it can stand here as well.
    2. A call of unknown outcome has no end: nothing ever has to wait for it, and the
       order is complete without it.
    3. The set of placed calls is kept as the first one that is not placed and a few
       bits for what is placed beyond it, so its size follows the number of clients
       and not the length of the history.
    4. `hints` cut off what cannot succeed, for models that give hints.
    5. It is a loop with a stack of its own, no recursion, and stops when it has used
       up its steps; asked again, it goes on where it was.

In the general case the problem is NP-complete (Gibbons and Korach 1997), so there will
always be histories on which it gives up. It says so then.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

from sdkit.check.hints import Hints
from sdkit.check.history import Operation
from sdkit.check.model import IMPOSSIBLE, Model, State, check_state

NEVER: Final = float("inf")


@dataclass(slots=True)
class Frame:
    """A point of the search: what may come next, and how to get back to what was before."""

    state: State
    choices: list[tuple[int, State]]  # which call, and the state after it; the last one is next
    first: int  # the first call that is not placed, of those that ended
    beyond: int  # bit n: call first + n is placed
    placed: int = -1  # the call that led to the next frame
    settled: int = 0  # the newest frame, up to this one, whose value nobody wants any more
    is_clean: bool = True  # and no value that was there since then is wanted either


class Search:
    """The search in one part of a history.

    Args:
        model: what it should behave like.
        operations: those with the outcome ok or info, in the order of their beginnings.
        hinted: use `hints`. Without, the answer is the same and may take for ever.
    """

    hints: ClassVar[type[Hints]] = Hints

    def __init__(
        self, model: Model, operations: Sequence[Operation], *, hinted: bool = True
    ) -> None:
        self.operations: Final = operations
        self.steps = 0
        self.found: bool | None = None
        self.longest: list[int] = []
        """The longest order that could be placed, as numbers of operations."""
        self._model = model
        self._hints = self.hints(model, operations if hinted else [])
        count = len(operations)
        self._start = self.starts()
        self._end = [NEVER if each.end is None else each.end for each in operations]
        self._changes = [model.changes(each) for each in operations]
        self._previous = self._before_in_process()
        # Those that ended and are not placed, as a list in which any can be cut out and put back.
        ended = [number for number in range(count) if operations[number].outcome == "ok"]
        self._next = _links([count, *ended, count], count + 1)
        self._back = _links([count, *reversed(ended), count], count + 1)
        self._rank = {number: rank for rank, number in enumerate(ended)}
        self._lost = [
            number
            for number in range(count)
            if operations[number].outcome == "info" and self._changes[number]
        ]
        self._is_placed = [False] * (count + 1)
        self._lost_placed = 0
        self._seen: set[Hashable] = set()
        self._certain = 0  # frames before this one have nothing left to try
        self._stack = [Frame(model.initial, [], 0, 0)]
        self._stack[0].choices = self._choices(model.initial)

    def run(self, steps: int) -> bool | None:
        """Search for up to ``steps`` calls placed; True or False once it is known, else None."""
        until = self.steps + steps
        while self.found is None and self.steps < until:
            if self.is_complete():
                self._remember_longest()
                self.found = True
            elif self._stack[-1].choices:
                self.steps += 1
                self._place(*self._stack[-1].choices.pop())
            else:
                self._remember_longest()
                if len(self._stack) == 1:
                    self.found = False
                else:
                    self._stack.pop()
                    self._take_back()
        return self.found

    # ── the rules, each on its own ───────────────────────────────────────────

    def starts(self) -> list[int]:
        """When each call began: it cannot come after what ended before that."""
        return [each.start for each in self.operations]

    def follows(self, number: int) -> bool:
        """Are the calls placed that its own process had made and seen the end of?"""
        previous = self._previous[number]
        return previous < 0 or self._is_placed[previous]

    def memory(self, first: int, beyond: int, state: State) -> Hashable:
        """What decides about the future: the calls that are placed, and the state."""
        return first, beyond, self._lost_placed, state

    def is_complete(self) -> bool:
        """Is every call placed that must have happened?"""
        return self._next[-1] == len(self.operations)

    # ── forward ──────────────────────────────────────────────────────────────

    def _choices(self, state: State) -> list[tuple[int, State]]:
        """What may come next and fits, the one to try first at the end."""
        soonest, fitting = NEVER, list[tuple[int, State]]()
        number, last = self._next[-1], len(self.operations)
        while number != last and self._start[number] <= soonest:
            soonest = min(soonest, self._end[number])
            if self.follows(number):
                after = self._model.step(state, self.operations[number])
                if after is not IMPOSSIBLE:
                    if not self._changes[number]:
                        return [(number, after)]
                    fitting.append((number, after))
            number = self._next[number]
        # What must be over soonest is the best guess.
        fitting.sort(key=lambda choice: self._end[choice[0]], reverse=True)
        return self.lost_choices(state, soonest) + fitting

    def lost_choices(self, state: State, soonest: float) -> list[tuple[int, State]]:
        """Calls that nobody knows of, where they would make a difference; the oldest is last.

        Most that did happen happened in the order in which they began. The newest first would
        take n! steps for n appends and a read of all of them, where this way takes n.
        """
        choices = []
        for number in self._lost:
            if self._start[number] > soonest:
                break
            if self._is_placed[number] or not self.follows(number):
                continue
            if self._hints.are_there and self._hints.is_useless(number):
                continue
            after = self._model.step(state, self.operations[number])
            if after is not IMPOSSIBLE and after != state:
                choices.append((number, after))
        return choices[::-1]

    def _place(self, number: int, after: State) -> None:
        frame = self._stack[-1]
        first, beyond = frame.first, frame.beyond
        if number in self._rank:
            beyond |= 1 << (self._rank[number] - first)
            while beyond & 1:
                beyond >>= 1
                first += 1
        else:
            self._lost_placed |= 1 << number
        frame.placed = number
        self._is_placed[number] = True
        self._cut_out(number)
        hints = self._hints
        if hints.are_there:
            hints.place(number)
        memory = self.memory(first, beyond, after)
        try:
            is_known = memory in self._seen
        except TypeError:
            check_state(self._model, after)
            raise
        if is_known or (hints.are_there and hints.is_dead_end(frame.state, after)):
            self._take_back()
            return
        self._seen.add(memory)
        new = Frame(after, [], first, beyond)
        if hints.are_there:
            self._settle(frame, new)
        self._stack.append(new)
        new.choices = self._choices(after)

    def _settle(self, frame: Frame, new: Frame) -> None:
        """If nobody cares how we came here, there is nothing to turn back to."""
        new.settled, new.is_clean = frame.settled, frame.is_clean
        if frame.state != new.state and self._hints.is_wanted(frame.state):
            new.is_clean = False
        if not self._hints.is_wanted(new.state):
            if new.is_clean:
                for passed in self._stack[new.settled :]:
                    passed.choices.clear()
                if new.settled <= self._certain:
                    # And nothing before it will be met again: forget it.
                    self._certain = len(self._stack)
                    self._seen.clear()
            new.settled, new.is_clean = len(self._stack), True

    # ── and back ─────────────────────────────────────────────────────────────

    def _take_back(self) -> None:
        number = self._stack[-1].placed
        self._is_placed[number] = False
        if number in self._rank:
            self._next[self._back[number]] = self._back[self._next[number]] = number
        else:
            self._lost_placed &= ~(1 << number)
        if self._hints.are_there:
            self._hints.place(number, -1)

    def _cut_out(self, number: int) -> None:
        if number in self._rank:
            before, after = self._back[number], self._next[number]
            self._next[before], self._back[after] = after, before

    def _remember_longest(self) -> None:
        if len(self._stack) - 1 > len(self.longest) or not self.longest:
            self.longest = [frame.placed for frame in self._stack[:-1]]

    def _before_in_process(self) -> list[int]:
        """For each call, the last one of its process that ended; -1 if there is none."""
        last: dict[object, int] = {}
        found = []
        for number, each in enumerate(self.operations):
            found.append(last.get(each.process, -1))
            if each.outcome == "ok":
                last[each.process] = number
        return found


def _links(order: Sequence[int], length: int) -> list[int]:
    """For each of ``order`` the one after it; what is not in it points nowhere."""
    links = [-1] * length
    for one, other in pairwise(order):
        links[one] = other
    return links
