"""Forks: the objects that a child process must not use as its parent left them.

``os.fork`` copies memory, and some things in it are wrong at once in the copy: a
generator that would repeat its parent's draws, a lock that was held by a thread
that is not there any more, a descriptor that keeps the parent's directory locked.

    renew_in_child(generator, Random.seed)       # called in each child, with the child's copy

Notice that owners are held *weakly*. ``os.register_at_fork`` keeps what it is given
for as long as the process lives; so there is one hook for all, and what has
gone is called no more.
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
        owner: hashable, and weakly referenceable; it has one renewal, the last one given.
        renew: must not hold ``owner`` itself (an unbound method does not). Only the
            thread that forked is left when it is called, and no loop is running.
    """
    _renewals[owner] = renew


def _renew_all() -> None:
    with ExitStack() as each_has_its_turn:  # even if one before it raises
        for owner, renew in _renewals.items():
            each_has_its_turn.callback(renew, owner)


if hasattr(os, "register_at_fork"):  # where there is no fork there is no hook
    os.register_at_fork(after_in_child=_renew_all)
