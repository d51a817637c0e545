"""Hints: what the rest of a history still needs, so that the search does not run into dead ends.

The search for an order tries what could come next, and finds out much later that it
has thrown away a value that somebody still had to read. With thirty clients there
are more such wrong turns than time. For things that hold one value, a register or
one key of a map, the history itself says which turns are wrong.

A call may *ask* for a value (a read that answered 5 asks for 5, a compare-and-set
that succeeded asks for what it expected) and may *make* one (a write of 7 makes 7).
A lost compare-and-set only *wishes* for its value: it may as well have done nothing.
Two rules follow, and both lose nothing:

    dead end   The value goes from 5 to 7 while some call still asks for 5, and no
               call is left that could make 5 again. No order continues from here.

    settled    No call that is left asks or wishes for the value that is there now,
               or for one that was there since the last such point; and none says
               what was *not* there. Then nobody will ever care how we came here: if
               no order continues from here, none continues from that last point.

Why the second is true. From one settled point to the next the search has placed one
value's life: the call that made it and all that asked for it, maybe with a compare-
and-set and the next value's life after it. Take any order of the remaining calls
that works, and move this life to its front. It may begin now, since the search could
just place it. The calls that surrounded it do not miss it: whoever asks among them
asks for a value that one of them made, and nothing came between those two but calls
that are moved away.

With the second rule the search never turns back further than one value's life, where
values are unique, and so takes polynomial time; the problem in general is
NP-complete. Gibbons and Korach ("Testing Shared Memories", SIAM J. Comput. 26(4),
1997) showed that knowing which write each read saw makes it easy, and arrange the
lives as intervals. Here the same fact is two conditions on a search that needs no
uniqueness to be right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from sdkit.check.history import Operation
from sdkit.check.model import NOTHING, Model, State


class Hints:
    """What the operations of one part ask for and make, as far as they are not placed.

    A model that says nothing of asking and making gets no hints, and loses no truth.
    """

    def __init__(self, model: Model, operations: Sequence[Operation]) -> None:
        self._asks = [model.asks(each) for each in operations]
        self._makes = [model.makes(each) for each in operations]
        self._looks = [model.looks(each) for each in operations]
        self._is_lost = [each.outcome == "info" for each in operations]
        self._asked: Counter[State] = Counter()
        self._wished: Counter[State] = Counter()
        for value, is_lost in zip(self._asks, self._is_lost, strict=True):
            (self._wished if is_lost else self._asked)[value] += 1
        self._makers = Counter(self._makes)
        self._lookers = sum(self._looks)
        self.are_there = any(value is not NOTHING for value in self._asks + self._makes)

    def place(self, number: int, way: int = 1) -> None:
        """Operation ``number`` has been put into the order, or with ``way`` -1 taken out of it."""
        counter = self._wished if self._is_lost[number] else self._asked
        counter[self._asks[number]] -= way
        self._makers[self._makes[number]] -= way
        if self._looks[number]:
            self._lookers -= way

    def is_dead_end(self, before: State, after: State) -> bool:
        """Was the last of ``before`` thrown away while somebody still asks for it?"""
        return before != after and self._asked[before] > 0 and self._makers[before] <= 0

    def is_wanted(self, state: State) -> bool:
        """Does anybody that is left ask or wish for it, or say what was not there?"""
        return self._lookers > 0 or self._asked[state] > 0 or self._wished[state] > 0

    def is_useless(self, number: int) -> bool:
        """Is it a lost call whose value nobody wants? Then it may as well not have happened."""
        return not self.is_wanted(self._makes[number])
