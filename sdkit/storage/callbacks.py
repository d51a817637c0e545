"""Callbacks: call a user's function, and report its error without ending the log.

The task that writes and syncs calls the callbacks. If one raises, the log must not end:
the waiters of other records have no part in it, and the disk works. So the error goes to
the event loop's exception handler, as the errors of tasks do that nothing waits for. The
handler logs it, unless the program has set another. The log goes on.

Only ``SystemExit`` and ``KeyboardInterrupt`` are raised again: they are meant for the program.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sdkit import trace
from sdkit.arguments import close_unawaited, is_awaitable, shown
from sdkit.errors import InvalidArgument


def call_back(function: Callable[..., object], /, *args: object, **named: object) -> None:
    """Call ``function``; give its error to the event loop's exception handler."""
    try:
        returned = function(*args, **named)
        if returned is not None and is_awaitable(returned):
            close_unawaited(returned)
            raise InvalidArgument(
                f"{shown(function)} returned something to be awaited; a journal calls plain "
                "functions"
            )
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        asyncio.get_running_loop().call_exception_handler(
            {"message": f"{function!r} raised, called by a journal", "exception": error}
        )


def event(name: str, /, **fields: object) -> None:
    """As `sdkit.trace.event`, for the task that writes: a listener is a callback too."""
    call_back(trace.event, name, **fields)
