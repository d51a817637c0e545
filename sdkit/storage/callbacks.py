"""Callbacks: functions of somebody else's that the log calls, and what becomes of their errors.

A callback that raises must not end the log for everybody else: its caller is
the task that writes and syncs, those who wait for a record have nothing to do
with it, and a disk that works must not be called broken. So the error goes
where asyncio sends what nobody waits for, to the event loop's exception handler,
which logs it unless the program has set one that does more; and the log goes on.

Only ``SystemExit`` and ``KeyboardInterrupt`` go further: they are meant for the program.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

from sdkit import trace
from sdkit.errors import InvalidArgument


def call_back(function: Callable[..., object], /, *args: object, **named: object) -> None:
    """Call ``function``, and tell the event loop what it raises."""
    try:
        returned = function(*args, **named)
        if returned is not None and inspect.isawaitable(returned):
            if inspect.iscoroutine(returned):
                returned.close()  # it never runs, and does not complain of it
            raise InvalidArgument(
                f"{function!r} returned something to be awaited; a journal calls plain functions"
            )
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{function!r} raised, called by a journal", "exception": error}
        )


def event(name: str, /, **fields: object) -> None:
    """`sdkit.trace.event`, for the task that writes: a listener is a callback, too."""
    call_back(trace.event, name, **fields)
