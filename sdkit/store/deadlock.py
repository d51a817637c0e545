"""Deadlock: find the cycle the moment it closes, and choose who has to give way.

T1 holds a and waits for b; T2 holds b and waits for a. Neither will ever go
on. A time-out ends this too, but late, and it cannot tell a deadlock from a
slow holder. The *wait-for graph* can: an edge from each waiting transaction to
those that stand between it and its lock, and a deadlock is a cycle.

    T1 --a--> T2 --b--> T3 --c--> T1

A cycle can only close at the instant when somebody begins to wait, and only
through that one. So the search starts there, at that instant, and the graph
need not be kept: the lock table answers whom each waits for.

Two decisions
    * Only those count who *hold* what another wants. Who has merely asked for it
      earlier can be passed (`sdkit.store.reorder`), and need not be aborted.
      Where all locks are exclusive, each waits for one holder, and the search is
      a walk.
    * The victim is the youngest of the cycle: it has the least to lose, and
      the oldest transaction of all is never a victim, so that somebody always
      gets to its end. The age counts from the first lock that a transaction asks
      for. (From its beginning would be another order over a network, where the
      beginning arrives together with the first statement. InnoDB chooses the one
      that has changed the fewest rows; PostgreSQL whoever notices, and it looks
      only after a second.)

A transaction that is committing waits for nobody, so it is in no cycle and
cannot be chosen.

Coffman, Elphick and Shoshani, "System Deadlocks" (1971); Gray and Reuter,
section 7.11.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar

from sdkit.errors import Aborted


class Numbered(Protocol):
    """Someone who can wait."""

    @property
    def id(self) -> int: ...

    @property
    def age(self) -> int:
        """Higher for those whose first lock was asked for later."""
        ...


Waiter = TypeVar("Waiter", bound=Numbered)


class Deadlock(Aborted):
    """Transactions waited for each other in a circle, and this one was chosen to give way."""

    code = "deadlock"


def find_cycle(start: Waiter, waits_for: Callable[[Waiter], Iterable[Waiter]]) -> list[Waiter]:
    """A cycle through ``start``, in the direction of waiting; empty if there is none.

    O(transactions that it waits for, directly or through others), each asked once.
    """
    came_from: dict[int, Waiter] = {}
    to_ask = [start]
    while to_ask:
        waiter = to_ask.pop()
        for other in waits_for(waiter):
            if other is start:
                return _way(start, waiter, came_from)
            if other.id not in came_from:
                came_from[other.id] = waiter
                to_ask.append(other)
    return []


def _way(start: Waiter, end: Waiter, came_from: dict[int, Waiter]) -> list[Waiter]:
    """How ``end`` was reached from ``start``."""
    way = [end]
    while way[-1] is not start:
        way.append(came_from[way[-1].id])
    return way[::-1]


def choose_victim(cycle: Sequence[Waiter]) -> Waiter:
    """The youngest."""
    return max(cycle, key=lambda waiter: waiter.age)


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
