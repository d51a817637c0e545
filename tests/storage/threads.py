"""Threads of disks: those of a test itself, whatever another one has left behind."""

from __future__ import annotations

import threading


def disk_threads() -> set[int | None]:
    """The threads of disks that are alive.

    A journal that was left in a closed loop on purpose keeps its thread until it is
    collected, so a test compares with what was there when it began.
    """
    return {thread.ident for thread in threading.enumerate() if thread.name == "disk"}
