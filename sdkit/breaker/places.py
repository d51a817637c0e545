"""Places: who is in, who waits at the door, and who is sent away.

A ship's hull is divided by bulkheads so that one hole does not sink it. Here: of
all the workers a process has, only so many may be inside calls to one callee at a
time, so that a callee that hangs can take those, and not the rest.

    calls_max 2, waiting_max 1

    asks      a     b     c        d          a leaves     b leaves
    inside    a     a b   a b      a b        b c          c
    waits                 c        c
    told      in    in    wait     no, now    (c: in)

Two things to notice
    1. *The door is where the no is said.* Who would be fifth in a line of four is
       told at once, not after having waited for nothing (load is *shed early*). The
       line is short on purpose: it takes up a burst; what is always full is overloaded.
    2. *A place is handed over, not put back.* Whoever leaves gives the place to the first
       in line, under the same lock. Were it put back and taken again, a newcomer could
       slip in between, and the one in line would starve.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from sdkit.arguments import check_between
from sdkit.errors import Overloaded
from sdkit.trace import event

W = TypeVar("W")


class BulkheadFull(Overloaded):
    """All places are taken, and so is the line. Nothing was sent; it says nothing of the callee."""

    code = "bulkhead_full"


class Places(Generic[W]):
    """A number of places, and a line of those who wait for one.

    Not safe for threads: the shell calls it one at a time. ``W`` is whatever the shell wakes.

    Args:
        name: how errors and events call it.
        calls_max: places, 1 to 1,000,000.
        waiting_max: length of the line, 0 to 1,000,000.
        say: is told each event; a shell with a lock tells them on when that is free.

    Raises:
        InvalidArgument: a value is out of range.
    """

    def __init__(
        self,
        name: str,
        calls_max: int,
        waiting_max: int,
        say: Callable[..., None] = event,
    ) -> None:
        check_between("calls_max", calls_max, 1, 1_000_000)
        check_between("waiting_max", waiting_max, 0, 1_000_000)
        self.name: Final = name
        self._say: Final = say
        self.calls_max, self.waiting_max = calls_max, waiting_max
        self.taken = 0
        self.shed = 0  # so many were sent away
        self._line: Final[OrderedDict[int, W]] = OrderedDict()  # by number
        self._number = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return len(self._line)

    def enter(self) -> bool:
        """Take a place, if one is free and nobody waits for it."""
        if self.taken >= self.calls_max:
            return False
        self.taken += 1
        return True

    def wait(self, waiter: W) -> int:
        """Stand in line; the number to `give_up` with.

        Raises:
            BulkheadFull: the line is full.
        """
        if len(self._line) >= self.waiting_max:
            raise self.send_away("and nobody else may wait")
        self._number += 1
        self._line[self._number] = waiter
        return self._number

    def send_away(self, why: str) -> BulkheadFull:
        """The refusal, counted and told."""
        self.shed += 1
        event = self._say
        event("breaker.shed", bulkhead=self.name, calls=self.taken, waiting=len(self._line))
        return BulkheadFull(
            f"bulkhead {self.name} has {self.taken} calls under way of {self.calls_max} and "
            f"{len(self._line)} waiting of {self.waiting_max}, {why}; try again later, or raise "
            "calls_max",
            bulkhead=self.name,
            calls=self.taken,
            waiting=len(self._line),
        )

    def leave(self) -> W | None:
        """Give the place up. Whoever comes back has it now, and is to be woken."""
        if self._line:
            _, waiter = self._line.popitem(last=False)
            return waiter
        self.taken -= 1
        return None

    def empty(self) -> None:
        """Begin anew, with all places free: those who had one, or waited, are not here any more."""
        self.taken = 0
        self._line.clear()

    def give_up(self, number: int) -> bool:
        """Leave the line. False if it is too late: the place was handed over already."""
        return self._line.pop(number, None) is not None
