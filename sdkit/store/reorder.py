"""Reorder: a circle that only the order of the queues has made is dissolved, not broken.

A transaction waits for two sorts of others: for those who *hold* what it wants,
and for those who have merely *asked* for it earlier. The first cannot be helped.
The second is a matter of order, and order can be changed:

    T1 shares a, T2 shares b;   T3 waits to write a, T4 waits to write b
    T1 wants to read b          behind T4, who asked first
    T2 wants to read a          behind T3, who asked first

    T1 --asked--> T4 --holds--> T2 --asked--> T3 --holds--> T1

Nobody has to be aborted here. If T1 goes before T4, it reads, ends, and the
others follow. (PostgreSQL calls this a *soft* deadlock.) The idea is one sentence:

    Whoever holds others back takes the place of the first of them.

T1 holds T3 back, so it asks as if it had asked when T3 did, which was before T4.

Why no circle is left
    Follow the waiting round a circle and watch the places. Along "holds" the
    place does not rise, since the holder has taken the place of those whom it
    holds back. Along "asked" it falls. It cannot come back to where it was, unless
    the whole circle is "holds": a real deadlock, which has to be broken before
    (`sdkit.store.lock_manager`).

Two things to notice
    * It is fair. Who is passed has asked later than somebody who gains by it.
    * It happens when such a circle closes, and not at every wait: nearly always
      nobody need move, and the order of asking is what people expect.

PostgreSQL looks for the edges to reverse by trial (``deadlock.c``, its README
calls it "lock reordering"); it moves fewer waiters and searches longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

Owner = TypeVar("Owner")
OwnerOut = TypeVar("OwnerOut", covariant=True)


class Placed(Protocol[OwnerOut]):
    """A request with a place among all that wait: who has a lower one goes first."""

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
        held_against: the owners that hold a lock which a request wants.

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
