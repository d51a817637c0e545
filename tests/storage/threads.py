"""Threads of disks: those of a test itself, whatever another one has left behind.

A journal that was left in a closed loop on purpose keeps its thread until the journal
is collected, which may take longer than its test. Waiting for that one would never end.
"""

from __future__ import annotations

import threading
from weakref import WeakSet

# The threads themselves: a number is given to the next thread when one has ended.
_others: WeakSet[threading.Thread] = WeakSet()


def remember_others() -> None:
    """Every thread that is there now belongs to another test."""
    _others.clear()
    _others.update(threading.enumerate())


def own_disk_threads() -> list[threading.Thread]:
    """The threads of disks that were made since `remember_others`, and are alive."""
    threads = threading.enumerate()
    return [each for each in threads if each.name == "disk" and each not in _others]
