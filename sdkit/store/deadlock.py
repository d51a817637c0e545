"""Deadlock: find the cycle the moment it closes, and choose who has to give way.

T1 holds a and waits for b; T2 holds b and waits for a. Neither will ever go
on. A time-out ends this too, but late, and it cannot tell a deadlock from a
slow holder. The *wait-for graph* can: an edge from each waiting transaction to
the one that holds what it waits for, and a deadlock is a cycle.

    T1 --a--> T2 --b--> T3 --c--> T1

A cycle can only close at the instant when somebody begins to wait, and only
through that one. So the search starts there, at that instant, and the graph
need not be kept: the lock table answers whom each waits for.

Two decisions
    * The edge leads to the holder, and not to those queued before as well. T9
      queued behind T5 will not run before T5 does, so that is waiting, too;
      but every lock is exclusive, all who queue for a key wait for the same
      holder, and so each circle through a queue has a shorter one through the
      holder. With one edge each, the search is a walk: its cost is the length
      of the way, however many stand in the queues beside it. (The first shared
      lock would change that: several holders, and a search in breadth.)
    * The victim is the youngest of the cycle: it has the least to lose, and
      the oldest transaction of all is never a victim, so that somebody always
      gets to its end. (InnoDB chooses the one that has changed the fewest
      rows; PostgreSQL whoever notices, and it looks only after a second.)

A transaction that is committing waits for nobody, so it is in no cycle and
cannot be chosen.

Coffman, Elphick and Shoshani, "System Deadlocks" (1971); Gray and Reuter,
section 7.11.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from sdkit.errors import Aborted


class Numbered(Protocol):
    """Whoever can wait: younger ones have higher numbers."""

    @property
    def id(self) -> int: ...


Waiter = TypeVar("Waiter", bound=Numbered)


class Deadlock(Aborted):
    """Transactions waited for each other in a circle, and this one was chosen to give way."""

    code = "deadlock"


def find_cycle(start: Waiter, waits_for: Callable[[Waiter], Waiter | None]) -> list[Waiter]:
    """The cycle through ``start``, in the direction of waiting; empty if there is none.

    O(transactions on the way), each asked once.
    """
    way = {start.id: start}
    waiter = waits_for(start)
    while waiter is not None and waiter.id not in way:
        way[waiter.id] = waiter
        waiter = waits_for(waiter)
    return list(way.values()) if waiter is start else []


def choose_victim(cycle: Sequence[Waiter]) -> Waiter:
    """The youngest."""
    return max(cycle, key=lambda waiter: waiter.id)


def deadlock_error(victim: int, cycle: Sequence[tuple[int, bytes]]) -> Deadlock:
    """The error that shows the circle.

    Args:
        cycle: each transaction of it, with the key that it waits for; the next
            one holds that key, the last one waits for the first.
    """
    steps = ", ".join(
        f"{waiter} waits for {key!r} behind {cycle[(index + 1) % len(cycle)][0]}"
        for index, (waiter, key) in enumerate(cycle)
    )
    return Deadlock(
        f"transaction {victim} was chosen to end a deadlock: {steps}; repeat it from its start",
        transaction=victim,
        cycle=[waiter for waiter, _ in cycle],
        keys=[key for _, key in cycle],
    )
