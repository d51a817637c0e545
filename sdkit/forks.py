"""Forks: renew objects in a forked child, where a copy of the parent's would be wrong.

``os.fork`` copies memory. Some copies are wrong at once: a random generator would
repeat its parent's draws, a lock may be held by a thread that the child does not have,
a descriptor would keep the parent's directory locked.

    renew_in_child(generator, Random.seed)       # called in each child, with the child's copy

Notice that owners are held *weakly*. ``os.register_at_fork`` keeps its arguments for as
long as the process lives. So there is one hook for all owners, and an owner that was
freed is not renewed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_renewals: Final[WeakKeyDictionary[Any, Callable[[Any], object]]] = WeakKeyDictionary()


def renew_in_child(owner: T, renew: Callable[[T], object]) -> None:
    """Call ``renew(owner)`` in every child that is forked while ``owner`` lives. O(1).

    Args:
        owner: hashable, and weakly referenceable. It has one renewal, the last one given. An
            owner that is equal to it counts as the same one.
        renew: must not hold ``owner`` itself (an unbound method does not). When it is
            called, only the thread that forked exists, and no event loop runs.
    """
    _renewals[owner] = renew


def _renew_all() -> None:
    with ExitStack() as each_has_its_turn:  # even if one before it raises
        for owner, renew in _renewals.items():
            each_has_its_turn.callback(renew, owner)


if hasattr(os, "register_at_fork"):  # where there is no fork there is no hook
    os.register_at_fork(after_in_child=_renew_all)
