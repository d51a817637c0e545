"""Reorder: resolve a deadlock by changing the order of the queues, and abort nobody.

A transaction waits for two kinds of others: those that *hold* a lock that it wants,
and those that *asked* for it earlier and still wait. A held lock cannot be taken away.
But the order of those that wait can be changed:

    T1 shares a, T2 shares b;   T3 waits to write a, T4 waits to write b
    T1 wants to read b          behind T4, who asked first
    T2 wants to read a          behind T3, who asked first

    T1 --asked--> T4 --holds--> T2 --asked--> T3 --holds--> T1

No abort is needed here. If T1 goes before T4, it reads and ends, and the others
follow. (PostgreSQL calls this a *soft* deadlock.) The idea is one sentence:

    If a transaction holds others back, it takes the place of the first of them.

T1 holds T3 back, so it takes the place of T3, which is before T4.

Why no circle is left
    Go round a circle, from each waiter to the one that it waits for, and watch the
    places. Along "holds" the place does not rise, since the holder has taken the
    place of the first that it holds back. Along "asked" it falls. So it cannot return to
    its first value, unless every step is "holds". That is a real deadlock, and it is
    broken before this step, by an abort (`sdkit.store.lock_manager`).

Two things to notice
    * It is fair: a request that is passed has asked later than some request that
      gains by it.
    * Places change only when such a circle closes, and not at every wait. Otherwise the
      order of asking holds, which is what people expect.

PostgreSQL looks for the edges to reverse by trial (``deadlock.c``, its README
calls it "lock reordering"); it moves fewer waiters and searches longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

Owner = TypeVar("Owner")
OwnerOut = TypeVar("OwnerOut", covariant=True)


class Placed(Protocol[OwnerOut]):
    """A waiting request with its place (``asked``): the lower place goes first."""

    asked: float

    @property
    def owner(self) -> OwnerOut: ...


Waiting = TypeVar("Waiting", bound=Placed[object])


def take_places(
    waiting: Sequence[Waiting], held_against: Callable[[Waiting], Iterable[object]]
) -> None:
    """Give each request the place of the first one that its owner holds back.

    Args:
        waiting: all requests that wait, at most one of each owner.
        held_against: the owners whose locks a request waits for.

    O(n log n + the locks that are held against them).
    """
    of_owner = {request.owner: request for request in waiting}
    for first in sorted(waiting, key=lambda request: request.asked):
        to_follow = [first]
        while to_follow:
            for owner in held_against(to_follow.pop()):
                holder = of_owner.get(owner)
                if holder is not None and holder.asked > first.asked:
                    holder.asked = first.asked
                    to_follow.append(holder)
